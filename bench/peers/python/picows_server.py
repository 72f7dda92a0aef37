"""A bare websocket of the package ``picows``, with its core API.

Knows: its listeners and transports.
Does not know: SockJS; messages of several frames, which the core API leaves to the application.
"""

# mypy: disable-error-code="import-not-found, misc"
# not everybody who checks types has it; then its classes are of no known kind

from __future__ import annotations

from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from .serving import BACKLOG, HOST, serve_forever

transports: set[WSTransport] = set()


class Echo(WSListener):
    """Every message goes back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())


class Broadcast(WSListener):
    """Every message goes to all."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        transports.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        transports.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            message = frame.get_payload_as_bytes()  # it outlives the frame while it waits to be written
            for each in transports:
                each.send(frame.msg_type, message)


def listener(request: WSUpgradeRequest) -> WSListener:
    """As the path says."""
    return Echo() if request.path == b"/echo" else Broadcast()


async def main(port: int) -> None:
    """Serve until cancelled."""
    server = await ws_create_server(listener, HOST, port, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    serve_forever(main)
