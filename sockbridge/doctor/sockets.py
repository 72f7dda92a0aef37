"""Whether websockets pass.

Knows: the handshake and what refuses it, the first frame, pings.
Does not know: other transports.
Spec: RFC 6455, 4.2 and 5.5; sockjs-protocol 0.3.3, WebsocketHttpErrors, Protocol.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from typing import Final, Literal

import aiohttp
from aiohttp import WSMsgType
from yarl import URL

from ..client.faults import NETWORK
from .findings import Cause, Finding, duration, fault, passed, printable, skipped
from .probe import Answer, HandshakeRefused, Late, Network, NoAnswer, TooLarge, Watch, led_to, session_url, translate
from .reach import REDIRECTS, Place

NO_HANDSHAKE: Final = ("not a valid websocket request", 'can "upgrade" only to "websocket"', "upgrade")
"""What SockJS servers say of a handshake that lacks its Upgrade header, or parts of it, in small letters."""


async def check_websocket(network: Network, place: Place) -> Finding:
    """Open a session over a websocket."""
    name = "websocket"
    if not place.websocket:
        return skipped(name, "the server says in /info that it serves none")
    url = session_url(place.base) / name
    watch = Watch()
    try:
        async with network.websocket(url) as socket:
            shaken = watch.seconds
            said = await _next_text(network, socket)
            if said.startswith("c["):
                verdict = f"the server ends the session at once: {printable(said)}"
                return fault(name, Cause.SESSION_CLOSED, verdict, handshake_seconds=shaken)
            if said != "o":
                verdict = f"the first frame is not 'o' but {printable(said)!r}"
                return fault(name, Cause.NOT_SOCKJS, verdict, handshake_seconds=shaken)
            opened = watch.seconds
            return await _ping(network, socket, name, handshake_seconds=shaken, open_seconds=opened)
    except HandshakeRefused as error:
        return await _refused(network, url, name, error)
    except NoAnswer as error:
        return _failed(name, error)


async def check_raw_websocket(network: Network, place: Place) -> Finding:
    """Open a plain websocket: a handshake, and a ping."""
    name = "websocket-raw"
    if not place.websocket:
        return skipped(name, "the server says in /info that it serves no websockets")
    url = place.base / "websocket"
    watch = Watch()
    try:
        async with network.websocket(url) as socket:
            return await _ping(network, socket, name, handshake_seconds=watch.seconds)
    except HandshakeRefused as error:
        return await _refused(network, url, name, error)
    except NoAnswer as error:
        return _failed(name, error)


async def _next_text(network: Network, socket: aiohttp.ClientWebSocketResponse[Literal[True]]) -> str:
    try:
        async with asyncio.timeout(network.settings.timeout):
            while True:
                message = await socket.receive()
                if message.type is WSMsgType.TEXT:
                    return str(message.data)
                if message.type is not WSMsgType.PING:
                    raise _end(socket, message)
    except NETWORK as error:
        raise translate(error) from error


async def _ping(
    network: Network, socket: aiohttp.ClientWebSocketResponse[Literal[True]], name: str, **figures: float
) -> Finding:
    # An answer to a ping shows that frames pass in both directions; no handler is asked.
    watch = Watch()
    try:
        async with asyncio.timeout(network.settings.timeout):
            await socket.ping(b"doctor")
            while (message := await socket.receive()).type is not WSMsgType.PONG:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING):
                    raise _end(socket, message)
    except TimeoutError:
        verdict = f"a ping was not answered within {duration(network.settings.timeout)}"
        return fault(name, Cause.WEBSOCKET_SILENT, verdict, **figures)
    except NETWORK as error:
        raise translate(error) from error
    figures["ping_seconds"] = watch.seconds
    opened = figures.get("open_seconds", figures["handshake_seconds"])
    return passed(name, f"opened in {duration(opened)}, a ping was answered in {duration(watch.seconds)}", **figures)


def _end(socket: aiohttp.ClientWebSocketResponse[Literal[True]], message: aiohttp.WSMessage) -> NoAnswer:
    if message.type is WSMsgType.CLOSE:
        return NoAnswer(f"the websocket was closed at once ({message.data} {printable(str(message.extra or ''))})")
    if message.type is WSMsgType.ERROR and isinstance(message.data, Exception):
        return translate(message.data)
    return NoAnswer("the websocket was cut after its handshake")


def _failed(name: str, error: NoAnswer) -> Finding:
    if isinstance(error, Late):
        return fault(name, Cause.WEBSOCKET_SILENT, "the websocket's handshake or first frame did not come in time")
    if isinstance(error, TooLarge):
        return skipped(name, str(error))
    return fault(name, Cause.CUT, f"no websocket: {error}")


async def _refused(network: Network, url: URL, name: str, error: HandshakeRefused) -> Finding:
    # aiohttp does not hand out the body of a refusal, so ask again for it.
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
    }
    try:
        answer = await network.fetch("GET", url, headers=headers)
    except NoAnswer:
        return fault(name, Cause.WEBSOCKET_REFUSED, f"the handshake was refused: {error}")
    if answer.status == 101:
        return fault(name, Cause.WEBSOCKET_REFUSED, f"the handshake is broken: {error}")
    if name == "websocket-raw" and answer.status == 404:
        return skipped(name, f"{answer.summary}: not served, or blocked on the way")
    if _lacks_upgrade(answer):
        verdict = f"the handshake reached the server without its Upgrade header: it was answered {answer.summary}"
        return fault(name, Cause.UPGRADE_STRIPPED, verdict, status=answer.status)
    verdict = f"the handshake was answered {answer.summary} instead of 101"
    if answer.status in REDIRECTS and (origin := led_to(url, answer.headers.get("Location", ""))):
        verdict += f": it leads to {origin}, and browsers follow no redirect here"
    return fault(name, Cause.WEBSOCKET_REFUSED, verdict, status=answer.status)


def _lacks_upgrade(answer: Answer) -> bool:
    said = answer.text.lower()
    return answer.status in (400, 426) and any(text in said for text in NO_HANDSHAKE)
