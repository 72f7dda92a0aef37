"""What the demos share: the command line, the port, the browser script's address.

Knows: how a demo starts and ends, and where pages find the scripts.
Does not know: what a demo does.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import signal
import socket
import sys

from aiohttp import web

from .scripts import STATIC, Script


def arguments(module: str, description: str, *, port: int) -> argparse.ArgumentParser:
    """A command line with ``--host`` and ``--port``."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default %(default)s")
    parser.add_argument("--port", type=_port, default=port, help="default %(default)s; 0 takes a free one")
    return parser


def script_url(script: Script) -> str:
    """Where pages of a demo load ``script``: from the demo's own ``/static`` once fetched, else from the CDN."""
    return f"/static/{script.name}" if script.is_here() else script.cdn_url


def add_static(app: web.Application) -> None:
    """Serve the fetched scripts under ``/static``."""
    if STATIC.is_dir():
        app.router.add_static("/static", STATIC)


def run(app: web.Application, host: str, port: int, greeting: str) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        greeting: printed once the port is open; ``{url}`` in it becomes the address.

    Returns:
        the exit status: 1 where the port could not be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        print(f"cannot listen on {host}, port {port}: {_reason(error)}", file=sys.stderr)
        return 1
    name = f"[{host}]" if ":" in host else host
    with contextlib.suppress(web.GracefulExit, KeyboardInterrupt):  # a second Ctrl-C, while goodbyes are said
        print(greeting.format(url=f"http://{name}:{listener.getsockname()[1]}"), flush=True)
        web.run_app(app, sock=listener, access_log=None, print=None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third has nothing left to end, and would print a traceback
    print("Stopped.", flush=True)
    return 0


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program uses it. End that one, or choose another port: --port 0 takes a free one."
    return (error.strerror or str(error)).partition(" (")[0]
