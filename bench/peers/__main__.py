"""Lists the peers, with their versions, or with the reason why one is skipped.

Run: ``python -m bench.peers [--prepare] [NAME...]``; ``--prepare`` builds what is to be built, for a later run
without a network.

Knows: lines for people.
Does not know: how anything is built.
"""

from __future__ import annotations

import argparse

from ..process import progress
from .programs import Unavailable
from .registry import PEERS, Peer


def main() -> None:
    """The command."""
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(description="The servers that sockbridge is measured beside.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(names)}; all if none is given")
    parser.add_argument("--prepare", action="store_true", help="build what is to be built, into .bench")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(names):
        parser.error(f"there is no peer {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    for peer in PEERS:
        if not arguments.names or peer.name in arguments.names:
            print(f"{peer.name:18} {_state(peer, arguments.prepare)}", flush=True)


def _state(peer: Peer, is_preparing: bool) -> str:
    if reason := peer.unavailable():
        return f"skipped: {reason}"
    try:
        if is_preparing:
            peer.prepare(progress)
    except Unavailable as fault:
        return f"skipped: {fault}"
    return peer.version()


if __name__ == "__main__":
    main()
