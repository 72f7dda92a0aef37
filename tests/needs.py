"""Programs that some tests drive: found, or the test is skipped with the package to install.

With ``SOCKBRIDGE_REQUIRE_ALL=1`` in the environment a missing program is a failure, so that a run on a build
machine cannot pass by skipping.
"""

from __future__ import annotations

import os
import shutil
from typing import Final, NoReturn

import pytest

PACKAGES: Final = {
    "cc": "gcc",
    "chromium": "chromium",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "nginx": "nginx",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
}
"""Program -> the Debian package that has it."""

SYSTEM_FOLDERS: Final = ("/usr/sbin", "/sbin")
"""Where Debian puts servers; a plain user's PATH lacks them."""


def needs(program: str) -> str:
    """The path of ``program``, one of ``PACKAGES``; skips the calling test where it is missing.

    May be called in a test, in a fixture, and at the head of a module whose tests all need the program.
    """
    package = PACKAGES[program]
    path = shutil.which(program) or shutil.which(program, path=os.pathsep.join(SYSTEM_FOLDERS))
    if path is None:
        absent(f"{program} is not installed (Debian: apt-get install {package})")
    return path


def absent(reason: str) -> NoReturn:
    """Skip the calling test for ``reason``, or fail it where nothing may be skipped."""
    if os.environ.get("SOCKBRIDGE_REQUIRE_ALL") == "1":
        pytest.fail(f"{reason}; SOCKBRIDGE_REQUIRE_ALL=1 allows no skip", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
