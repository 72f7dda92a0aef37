"""How a server of another project comes to be there: a package of this Python, or sources that are built once.

Knows: packages, build tools, the folder ``.bench`` of the checkout, where everything built goes.
Does not know: what the servers serve; processes that run.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from .running import CHECKOUT

BUILT: Final = CHECKOUT / ".bench"
"""Where everything goes that is built; deleting it costs a build."""

SOURCES: Final = Path(__file__).parent

BUILD_GUARD: Final = 600.0
"""Seconds that a build may take; most of it is fetching packages."""

BUILD_STAMP: Final = "built"
"""File in the folder of a build, written last: which sources it is of."""

Progress = Callable[[str], None]
"""Called with one line about what is done now."""


class Unavailable(Exception):
    """A peer cannot be measured here; the text says why, and what to install if that helps."""


class Program(Protocol):
    """What ``Peer`` asks of the program behind it."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What it needs in its environment beside ours."""

    def version(self) -> str:
        """For people: the version of each part that matters. Only if it is available."""

    def unavailable(self) -> str:
        """Why it can neither be started nor prepared; "" if it can."""

    def prepare(self, progress: Progress) -> None:
        """Build it unless it is built. Raises ``Unavailable``."""

    def command(self, port: int) -> list[str]:
        """What starts it, listening on ``port`` of 127.0.0.1. Once it is prepared."""


@dataclass(frozen=True, slots=True)
class Python:
    """A script of ``bench/peers/python``, run by the interpreter of the benchmark.

    Attributes:
        script: its module.
        packages: distribution -> module that must be importable, of all that it needs.
        is_uvloop: runs it on uvloop.
        environment: see ``Program``.
    """

    script: str
    packages: Mapping[str, str]
    is_uvloop: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def version(self) -> str:
        return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in self._all_packages())

    def unavailable(self) -> str:
        modules = self._all_packages()
        missing = [package for package, module in modules.items() if importlib.util.find_spec(module) is None]
        if not missing:
            return ""
        verb = "is" if len(missing) == 1 else "are"
        return f"{' and '.join(missing)} {verb} not installed: pip install {' '.join(missing)}"

    def prepare(self, progress: Progress) -> None:
        """Nothing is built."""
        if reason := self.unavailable():
            raise Unavailable(reason)

    def command(self, port: int) -> list[str]:
        command = [sys.executable, "-m", f"bench.peers.python.{self.script}", str(port)]
        return [*command, "--uvloop"] if self.is_uvloop else command

    def _all_packages(self) -> Mapping[str, str]:
        return {**self.packages, "uvloop": "uvloop"} if self.is_uvloop else self.packages


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Sources of ``bench/peers`` that a build tool makes a program of, in a copy under ``.bench``.

    Attributes:
        name: the folder of the sources, and of the copy.
        tools: program on the PATH -> what to install to get it; for the build and the start.
        build: commands to be run in the copy, one after the other.
        start: command that starts it; ``{folder}`` is the copy, ``{port}`` the port.
        versions: what is shown -> (file of the sources, pattern whose only group is the version).
        environment: see ``Program``.
        sources: where the folder is.
        built: where the copy is made.
    """

    name: str
    tools: Mapping[str, str]
    build: tuple[tuple[str, ...], ...]
    start: tuple[str, ...]
    versions: Mapping[str, tuple[str, str]]
    environment: Mapping[str, str] = field(default_factory=dict)
    sources: Path = SOURCES
    built: Path = BUILT

    def version(self) -> str:
        texts = {package: (self._source / file).read_text() for package, (file, _) in self.versions.items()}
        found = {package: re.search(pattern, texts[package]) for package, (_, pattern) in self.versions.items()}
        return ", ".join(f"{package} {match[1]}" for package, match in found.items() if match)

    def unavailable(self) -> str:
        missing = {tool: package for tool, package in self.tools.items() if shutil.which(tool) is None}
        return "; ".join(f"{tool} is not installed ({package})" for tool, package in missing.items())

    def prepare(self, progress: Progress) -> None:
        """Build it unless these sources are built.

        Raises:
            Unavailable: a tool is missing, or a command failed; the text has the end of what that wrote.
        """
        if reason := self.unavailable():
            raise Unavailable(reason)
        if self.is_built():
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._source, self._folder, ignore=shutil.ignore_patterns("__pycache__", "target"))
        for command in self.build:
            filled = [part.format(folder=self._folder) for part in command]
            progress(f"{self.name}: {' '.join(command).format(folder=self.name)}")
            self._run(filled)
        (self._folder / BUILD_STAMP).write_text(self._hash())

    def command(self, port: int) -> list[str]:
        return [part.format(folder=self._folder, port=port) for part in self.start]

    def is_built(self) -> bool:
        """Whether the copy is of the sources as they are now."""
        stamp = self._folder / BUILD_STAMP
        return stamp.exists() and stamp.read_text() == self._hash()

    @property
    def _source(self) -> Path:
        return self.sources / self.name

    @property
    def _folder(self) -> Path:
        return self.built / self.name

    def _hash(self) -> str:
        """Of the sources, and of the commands."""
        content = hashlib.sha256(repr(self.build).encode())
        for path in sorted(self._source.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                content.update(f"{path.relative_to(self._source)}\n".encode() + path.read_bytes())
        return content.hexdigest()

    def _run(self, command: list[str]) -> None:
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=BUILD_GUARD,
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{command[0]} took more than {BUILD_GUARD:.0f} seconds") from None
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if line.strip()]
            raise Unavailable(f"{command[0]} failed: " + "\n".join(lines[-10:]))
