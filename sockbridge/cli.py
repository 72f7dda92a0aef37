"""The command ``sockbridge``.

Knows: its arguments, where output goes, what it exits with.
Does not know: how a server is examined.
Spec: docs/doctor.md.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NoReturn, TextIO

from .doctor.examine import Progress, examine
from .doctor.findings import Finding, Report, Status, printable
from .doctor.report import as_json, failure_as_json, plain
from .doctor.settings import (
    TRANSPORTS,
    Settings,
    parse_header,
    parse_origin,
    parse_transports,
    parse_url,
    veiled,
)
from .errors import ConnectFailed, InvalidOption

CLEAN: Final = 0
FAULTS: Final = 1
FAILED: Final = 2
INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells have it."""

LONGEST: Final = 2000
"""Characters of a sentence that says why there is no report."""

SILENT: Final = logging.NullHandler()

EPILOG: Final = """\
exit codes: 0 no fault (there may be warnings), 1 a fault was found, 2 it could not be examined, 130 interrupted.
environment: SSL_CERT_FILE names the file of a CA of your own.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: None: those of the process.

    Returns:
        what the process is to exit with.
    """
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper):  # whatever a server says, and whatever the terminal can show
            output.reconfigure(errors="backslashreplace")
    logging.getLogger().addHandler(SILENT)  # libraries may quote a server; without it Python shows their warnings
    asked = _parse(arguments)
    try:
        return _doctor(asked)
    except KeyboardInterrupt:
        print("sockbridge doctor: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # who reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor does the interpreter complain at its end
        return FAILED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    asked, unknown = parser.parse_known_args(arguments)
    if unknown:  # may be part of a header that was not quoted for the shell
        shown = (one.partition("=")[0] if one.startswith("--") else "***" for one in unknown)
        parser.error(f"unknown arguments: {' '.join(shown)}")
    return asked


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = printable(" ".join(map(veiled, message.split())), LONGEST)
        self.exit(FAILED, f"{self.prog}: {message}\nTry '{self.prog} --help'.\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="sockbridge", description="Tools for SockJS servers.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"sockbridge {_version()}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="doctor")
    doctor = verbs.add_parser(
        "doctor",
        help="examine the way to a SockJS server: what passes, what buffers, what cuts, and what helps",
        description="Examine the way to the SockJS server at URL: which transports pass what stands in between, "
        "what buffers, what cuts, and which line helps.",
        epilog=EPILOG,
        allow_abbrev=False,
    )
    add = doctor.add_argument
    add("url", metavar="URL", help="what pages give to SockJS, e.g. https://example.org/chat")
    add("--origin", metavar="URL", help="check what pages of this origin may do (CORS); default: the server's own")
    add("--idle", metavar="SECONDS", type=float, default=0.0, help="hold quiet connections so long; default: none")
    add("--connections", metavar="N", type=int, default=8, help="that look for one session; default: 8")
    add("--header", metavar="'NAME: VALUE'", action="append", default=[], help="send it as well; may be repeated")
    add("--insecure", action="store_true", help="take any certificate")
    add("--large", metavar="BYTES", type=int, help="of a large request; default: 262144")
    add("--timeout", metavar="SECONDS", type=float, default=5.0, help="for each answer; default: 5")
    add("--transports", metavar="NAMES", help=f"with commas between them; default: {','.join(TRANSPORTS)}")
    add("--echo", action="store_true", help="send messages: the application sends them back, and this does no harm")
    add("--json", action="store_true", help="one JSON object instead of text")
    return parser


def _version() -> str:
    try:
        return version("sockbridge")
    except PackageNotFoundError:  # run from a folder
        return "unknown"


def _settings(asked: argparse.Namespace) -> Settings:
    return Settings(
        url=parse_url(asked.url),
        origin=parse_origin(asked.origin) if asked.origin is not None else None,
        idle=asked.idle,
        connections=asked.connections,
        headers=dict(parse_header(one) for one in asked.header),
        insecure=asked.insecure,
        large=asked.large,
        timeout=asked.timeout,
        transports=parse_transports(asked.transports) if asked.transports is not None else TRANSPORTS,
        echo=asked.echo,
    )


def _doctor(asked: argparse.Namespace) -> int:
    try:
        settings = _settings(asked)
        with _progress(sys.stderr) as progress:
            report = asyncio.run(examine(settings, progress))
        if asked.json:
            _write(as_json(report, _version()))
        else:
            _show(report)
    except (InvalidOption, ConnectFailed) as error:
        return _fail(asked, str(error))
    except BrokenPipeError:  # main knows
        raise
    except Exception as error:  # ours is the fault then, and a traceback would help nobody who reads this
        return _fail(asked, f"a fault of sockbridge, please report it: {type(error).__name__}: {error}")
    return CLEAN if report.is_clean else FAULTS


def _fail(asked: argparse.Namespace, why: str) -> int:
    why = printable(why, LONGEST)
    print(f"sockbridge doctor: {why}", file=sys.stderr)
    if asked.json:
        _write(failure_as_json(_shown(asked.url), why, _version()))
    return FAILED


def _shown(url: str) -> str:
    try:
        return str(parse_url(url))
    except InvalidOption:
        return printable(veiled(url), LONGEST)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _show(report: Report) -> None:
    if _has_rich() and sys.stdout.isatty():
        from .doctor.rich_report import show

        show(report, sys.stdout)
    else:
        _write(plain(report))


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None


@contextmanager
def _progress(output: TextIO) -> Iterator[Progress]:
    if _has_rich() and output.isatty():
        from .doctor.rich_report import Spinning

        with Spinning(output) as spinning:
            yield spinning
    else:
        yield Lines(output)


class Lines:
    """A line per check, as ``Progress``."""

    def __init__(self, output: TextIO) -> None:
        self._output = output

    def on_started(self, check: str) -> None:
        """Nothing: it says enough when it is done."""

    def on_finished(self, check: str, findings: Sequence[Finding], seconds: float) -> None:
        """As ``Progress.on_finished``."""
        worst = next(
            (
                status
                for status in (Status.FAULT, Status.WARNING, Status.OK)
                if any(one.status is status for one in findings)
            ),
            Status.SKIPPED,
        )
        print(f"{check}: {worst.value} ({seconds:.1f} s)", file=self._output, flush=True)
