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
from pathlib import Path

from aiohttp import web

from sockbridge import stomp

from .scripts import STATIC, Script


def arguments(module: str, description: str, *, port: int) -> argparse.ArgumentParser:
    """A command line with ``--host`` and ``--port``."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default %(default)s")
    parser.add_argument("--port", type=port_number, default=port, help="default %(default)s; 0 takes a free one")
    return parser


def script_url(script: Script) -> str:
    """Where pages of a demo load ``script``: from the demo's own ``/static`` once fetched, else from the CDN."""
    return f"/static/{script.name}" if script.is_here() else script.cdn_url


def add_static(app: web.Application) -> None:
    """Serve the fetched scripts under ``/static``."""
    if STATIC.is_dir():
        app.router.add_static("/static", STATIC)


def add_page(app: web.Application, name: str, **scripts: Script) -> None:
    """Serve the page ``name`` at ``/``, and what it loads under ``/static``. ``{{sockjs}}`` in it becomes the address
    of the script ``sockjs``, ``{{sockjs.integrity}}`` its hash."""
    page = Path(__file__).with_name(name)

    def fill() -> str:
        text = page.read_text(encoding="utf-8")  # anew each time, so that who edits it only reloads
        for key, script in scripts.items():
            text = text.replace(f"{{{{{key}}}}}", script_url(script))
            text = text.replace(f"{{{{{key}.integrity}}}}", script.integrity)
        return text

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=fill(), content_type="text/html", headers={"Cache-Control": "no-store"})

    app.router.add_get("/", answer)
    add_static(app)


def run(
    app: web.Application, host: str, port: int, greeting: str, tcp_listener: stomp.TcpListener | None = None
) -> int:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        greeting: printed once the port is open; ``{url}`` in it becomes the address.
        tcp_listener: a listener that starts with ``app``; its address is printed as well.

    Returns:
        the exit status: 1 where a port could not be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        return _refuse(host, port, error)

    async def greet(app: web.Application) -> None:
        print(greeting.format(url=f"http://{_address(host, listener.getsockname()[1])}"), flush=True)
        if tcp_listener is not None:
            print(f"STOMP over TCP at {_address(tcp_listener.host, tcp_listener.port)}", flush=True)

    app.on_startup.append(greet)  # the last to be called, so all that is announced is there
    # The second suppressed is a second Ctrl-C, while goodbyes are said.
    with listener, contextlib.suppress(web.GracefulExit, KeyboardInterrupt):
        try:
            web.run_app(app, sock=listener, access_log=None, print=None)
        except OSError as error:
            if tcp_listener is None:
                raise
            return _refuse(tcp_listener.host, tcp_listener.port, error, option="--stomp-port")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a third has nothing left to end, and would print a traceback
    print("Stopped.", flush=True)
    return 0


def port_number(text: str) -> int:
    """A port on the command line."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refuse(host: str, port: int, error: OSError, option: str = "--port") -> int:
    reason = (error.strerror or str(error)).partition(" (")[0]
    if error.errno == errno.EADDRINUSE:
        reason = f"another program uses it. End that one, or choose another port: {option} 0 takes a free one."
    print(f"cannot listen on {host}, port {port}: {reason}", file=sys.stderr)
    return 1
