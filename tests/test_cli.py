"""The command, run in its own process as users do, and once in ours where a process adds nothing."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import re
import signal
import sys
from pathlib import Path

import pytest
from aiohttp import web

from sockbridge.cli import main

from .doctor.conftest import chat, hold, other_server
from .fakes import GUARD

FOLDER = Path(__file__).parents[1]


async def start(
    *arguments: str,
    output: int = asyncio.subprocess.PIPE,
    errors: int = asyncio.subprocess.PIPE,
    **environment: str,
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sockbridge",
        *arguments,
        cwd=FOLDER,
        env={**os.environ, **environment},
        stdout=output,
        stderr=errors,
        preexec_fn=hear_interrupts,
    )


def hear_interrupts() -> None:
    """A shell has what it starts in the background ignore SIGINT, and the tests may run there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal(io.StringIO):
    """An output that says it takes colours."""

    def isatty(self) -> bool:
        return True


async def run(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Exit code, output, errors."""
    process = await start(*arguments, **environment)
    async with asyncio.timeout(4 * GUARD):
        output, errors = await process.communicate()
    assert b"Traceback" not in errors, errors.decode()
    return process.returncode, output.decode(), errors.decode()


# What cannot be examined.


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor", "nonsense"],
        ["doctor", "ws://test/chat"],
        ["doctor", "http://nowhere.invalid/"],
        ["doctor", "http://127.0.0.1:1/"],
        ["doctor", "http://a..b/x"],
        ["doctor", f"http://{64 * 'a'}/x"],
        ["doctor", f"http://{'a.' * 200}example/"],
        ["doctor", "http://\x1b[2J/"],
        ["doctor", "http://te\x1bst/"],
        ["doctor", "http://127.0.0.1:1/\x1b[2J"],
        ["doctor", "http://127.0.0.1:1/", "--origin", "nonsense"],
        ["doctor", "http://127.0.0.1:1/", "--origin", "http://a..b"],
        ["doctor", "http://127.0.0.1:1/", "--header", "nonsense"],
        ["doctor", "http://127.0.0.1:1/", "--transports", "pigeon"],
        ["doctor", "http://127.0.0.1:1/", "--transports", ""],
        ["doctor", "http://127.0.0.1:1/", "--connections", "1"],
        ["doctor", "http://127.0.0.1:1/", "--idle", "-1"],
        ["doctor", "http://127.0.0.1:1/", "--idle", "nan"],
        ["doctor", "http://127.0.0.1:1/", "--large", "0"],
    ],
)
def test_what_cannot_be_examined_is_a_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("sockbridge doctor: ")
    assert errors.count("\n") == 1
    assert "\x1b" not in errors


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nurse"],
        ["doctor"],
        ["doctor", "http://test/", "--unknown"],
        ["doctor", "http://test/", "--idle", "long"],
        ["doctor", "http://test/", "--large", "1.5"],
        ["doctor", "http://test/", "--ins"],
    ],
)
def test_a_wrong_command_line_is_a_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "--help" in capsys.readouterr().err


def test_help_names_each_exit_code_and_what_the_environment_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for text in ("0 no fault", "1 a fault", "2 it could not", "130 interrupted", "SSL_CERT_FILE"):
        assert text in said


def test_a_failure_is_an_object_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "nonsense", "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert (said["outcome"], said["url"]) == ("failed", "nonsense")
    assert "begins with http" in said["error"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://user:secret@127.0.0.1:1/chat"],
        ["http://user:secret@a..b/chat"],
        ["http://user:x/secret@test"],
        ["http://127.0.0.1:1/?token=secret"],
        ["http://127.0.0.1:1/", "--header", "secret"],
        ["http://127.0.0.1:1/", "--header", "Authorization: secret\n"],
        ["http://127.0.0.1:1/", "--origin", "http://user:secret@test"],
    ],
)
def test_what_is_secret_is_not_repeated(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *arguments, "--json"]) == 2
    output, errors = capsys.readouterr()
    assert json.loads(output)["url"].startswith("http")
    assert "secret" not in output + errors


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://user:secret@test/"],
        ["doctor", "http://test/", "--header", "Authorization:", "Bearer", "secret"],
        ["doctor", "http://test/", "--header", "Authorization:", "-secret"],
        ["doctor", "http://test/", "--headers=Authorization: secret"],
        ["doctor", "http://test/", "http://user:secret@test/"],
    ],
)
def test_what_is_secret_in_a_wrong_command_line_is_not_repeated(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    output, errors = capsys.readouterr()
    assert "***" in errors or "--headers" in errors
    assert "secret" not in output + errors


class Stuck(io.StringIO):
    """An output that fails once, with what nobody expects."""

    has_failed = False

    def write(self, text: str) -> int:
        if not self.has_failed:
            self.has_failed = True
            raise ValueError("stuck \x1b[2J")
        return super().write(text)


async def test_what_nobody_expected_is_a_sentence_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", Stuck())
    async with chat() as url:
        code = await asyncio.to_thread(main, ["doctor", url, "--json"])
    assert code == 2
    said = json.loads(capsys.readouterr().out)
    assert said["outcome"] == "failed"
    assert said["error"] == "a fault of sockbridge, please report it: ValueError: stuck \\x1b[2J"
    assert sys.stderr.getvalue() == f"sockbridge doctor: {said['error']}\n"


async def test_a_plain_web_page_is_no_server() -> None:
    async with other_server() as url:
        code, output, errors = await run("doctor", url)
    assert (code, output) == (2, "")
    assert "is no SockJS server: /info was answered 404" in errors


async def test_bytes_that_are_no_text_are_no_url() -> None:
    code, _, errors = await run("doctor", os.fsdecode(b"http://\xff\xfe/"), PYTHONIOENCODING="ascii")
    assert code == 2
    assert errors.startswith("sockbridge doctor: ")


# What can.


async def test_a_clean_bill() -> None:
    async with chat() as url:
        code, output, errors = await run("doctor", url, "--echo", "--idle", "0.2", "--header", "X-One: 1")
    assert code == 0
    assert output.startswith(f"sockbridge doctor {url}\n")
    assert "A clean bill of health." in output
    assert "\x1b" not in output + errors
    assert {"reachable: ok", "xhr: ok", "affinity: ok", "echo websocket: ok", "jsonp: skipped"} <= {
        line.partition(" (")[0] for line in errors.splitlines()
    }


@pytest.mark.parametrize("options", [[], ["--json"]])
async def test_it_can_be_called(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """From another thread, as a test's loop runs in this one."""
    async with chat() as url:
        code = await asyncio.to_thread(main, ["doctor", url, "--timeout", "2", *options])
    assert code == 0
    output, errors = capsys.readouterr()
    assert (json.loads(output)["outcome"] == "clean") if options else ("A clean bill" in output)
    assert "reachable: ok" in errors


async def test_a_terminal_gets_colours() -> None:
    pytest.importorskip("rich")
    reading, writing = pty.openpty()
    shown: list[bytes] = []
    loop = asyncio.get_running_loop()
    loop.add_reader(reading, lambda: shown.append(os.read(reading, 65536)))
    try:
        async with chat() as url, asyncio.timeout(4 * GUARD):
            process = await start("doctor", url, output=writing, errors=writing, TERM="xterm-256color")
            assert await process.wait() == 0
            while "A clean bill" not in (text := b"".join(shown).decode()):
                await asyncio.sleep(0)
    finally:
        loop.remove_reader(reading)
        os.close(reading)
        os.close(writing)
    assert "\x1b[" in text
    assert "reachable: ok" not in text  # the line of the spinner says it


async def test_a_terminal_without_rich_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    async with chat() as url:
        assert await asyncio.to_thread(main, ["doctor", url]) == 0
    assert "A clean bill" in sys.stdout.getvalue()
    assert "reachable: ok" in sys.stderr.getvalue()
    assert "\x1b" not in sys.stdout.getvalue() + sys.stderr.getvalue()


async def test_a_fault_is_the_exit_code_1() -> None:
    async with chat() as url:
        code, output, errors = await run("doctor", url, "--origin", "https://app.example.org", "--json")
    assert code == 1
    said = json.loads(output)
    assert said["outcome"] == "faults"
    assert list(said["remedies"]) == ["origin-refused"]
    assert "cors: fault" in errors or "origin: fault" in errors


async def test_what_a_server_says_is_shown_whatever_the_terminal_can() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=500, text="Störung \x1b[2J")

    async with other_server(info=answer) as url:
        code, output, errors = await run("doctor", url, "--json", PYTHONIOENCODING="ascii")
    assert code == 2
    assert json.loads(output)["error"].startswith(url)
    assert "\x1b" not in errors


async def test_what_libraries_say_of_a_server_is_not_shown() -> None:
    async def answer(request: web.Request) -> web.Response:
        headers = {"Set-Cookie": "no(name)=1"}  # of which aiohttp warns each time
        return web.json_response({"websocket": False}, headers=headers)

    async with other_server(info=answer) as url:
        code, _, errors = await run("doctor", url, "--transports", "websocket")
    assert code == 1
    assert "no(name)" not in errors
    assert all(re.fullmatch(r"[a-z ]+: [a-z]+ \([0-9.]+ s\)", line) for line in errors.splitlines())


async def test_an_interrupt_ends_it_without_a_traceback() -> None:
    is_asked = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        is_asked.set()
        return await hold(request)

    async with other_server(info=answer) as url, asyncio.timeout(4 * GUARD):
        process = await start("doctor", url, "--timeout", "60")
        await is_asked.wait()
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    assert process.returncode == 130
    assert errors.decode() == "sockbridge doctor: interrupted\n"


async def test_a_reader_that_has_seen_enough_does_not_matter() -> None:
    reading, writing = os.pipe()
    async with chat() as url, asyncio.timeout(4 * GUARD):
        process = await start("doctor", url, output=writing)
        os.close(writing)
        os.close(reading)
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert "Traceback" not in errors.decode()
    assert "Exception" not in errors.decode()


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("sockbridge 0.")
