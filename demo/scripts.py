"""The browser scripts of the demos: fetched from npm once, at pinned versions, checked, never committed.

``python -m demo.scripts`` fetches what is missing into ``demo/static/``. Where npm is not to be had, the
pages load the same bytes from a CDN, whose answer the browser checks by the same hash.

Knows: names, versions, hashes, where the files lie.
Does not know: which page uses which.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

STATIC: Final = Path(__file__).parent / "static"


@dataclass(frozen=True, slots=True)
class Script:
    """One file of one npm package.

    Attributes:
        name: file name here, and in the page's URL.
        package: npm's name for the package.
        version: the pinned one.
        member: path inside the package.
        sha384: of the file, base64, as browsers' ``integrity`` wants it.
    """

    name: str
    package: str
    version: str
    member: str
    sha384: str

    @property
    def path(self) -> Path:
        """Where the file lies once it is fetched."""
        return STATIC / self.name

    @property
    def cdn_url(self) -> str:
        """Where a page gets the same bytes without a set-up."""
        return f"https://cdn.jsdelivr.net/npm/{self.package}@{self.version}/{self.member}"

    @property
    def integrity(self) -> str:
        """For the ``integrity`` attribute of a script element."""
        return f"sha384-{self.sha384}"

    def is_intact(self, content: bytes) -> bool:
        """Are these the very bytes that were pinned?"""
        return base64.b64encode(hashlib.sha384(content).digest()).decode() == self.sha384

    def is_here(self) -> bool:
        """Has it been fetched, and is it intact?"""
        return self.path.is_file() and self.is_intact(self.path.read_bytes())


SOCKJS: Final = Script(
    "sockjs.min.js",
    "sockjs-client",
    "1.6.1",
    "dist/sockjs.min.js",
    "svdnwiXBL+Js+yUneJSRFy24NgGiOfDM/vkQl/vCeVrcbYD6yW8EwPr1FnxTEZsR",
)

STOMPJS: Final = Script(
    "stomp.umd.min.js",
    "@stomp/stompjs",
    "7.5.0",
    "bundles/stomp.umd.min.js",
    "kQjQD4X78U0SNVeFmVuyOn7JuHmYlQ/CaFvAm/Omtfa8/ev8Iu1Ur9grrK53Vp/z",
)

# Older clients of STOMP, which pages in the field still load; the tests do.
WEBSTOMP: Final = Script(
    "webstomp.min.js",
    "webstomp-client",
    "1.2.6",
    "dist/webstomp.min.js",
    "23cbORBkeo07MYYaPIc6G66nLUd4tU4xolNO6xYagRc+ERBNAiMl9pO/DZCnIfJN",
)

STOMPJS_2: Final = Script(
    "stomp-2.3.3.min.js",
    "stompjs",
    "2.3.3",
    "lib/stomp.min.js",
    "clKAk7WaYNQiu/pGVWisoFQcSK2VL7YweoI1gim9/HFbMsRvD2ZtLWNoZoL4df65",
)

SCRIPTS: Final = (SOCKJS, STOMPJS, WEBSTOMP, STOMPJS_2)


class FetchFailed(Exception):
    """A script could not be fetched; the text says why and what to do."""


def fetch(script: Script) -> None:
    """Fetch one script with npm.

    Raises:
        FetchFailed: npm is missing, has no network, or gave other bytes than those pinned.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FetchFailed("npm is not installed (Debian: apt-get install npm)")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--pack-destination", folder, f"{script.package}@{script.version}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.tgz"))
        if done.returncode != 0 or not archives:
            raise FetchFailed(f"npm could not fetch {script.package}: {done.stderr.strip()[-300:]}")
        with tarfile.open(archives[0]) as archive:
            path = f"package/{script.member}"
            member = archive.extractfile(path) if path in archive.getnames() else None
            content = member.read() if member is not None else b""
    if not script.is_intact(content):
        raise FetchFailed(f"{script.package}@{script.version} is not what was pinned; nothing was kept")
    STATIC.mkdir(exist_ok=True)
    script.path.write_bytes(content)


def main() -> int:
    """Fetch what is missing; failing is no error, since the pages then use the CDN."""
    for script in SCRIPTS:
        if script.is_here():
            continue
        print(f"fetching {script.package}@{script.version} with npm ...", flush=True)
        try:
            fetch(script)
        except FetchFailed as error:
            print(f"{error}\nThe demo pages will load {script.cdn_url} instead.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
