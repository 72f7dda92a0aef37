"""TCP and TLS, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sockbridge.client.stomp.link import LinkEnded
from sockbridge.client.stomp.tcp import Reader, TcpLink, open_tcp
from sockbridge.errors import ConnectFailed
from tests.fakes import GUARD

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """A TCP server; gives its port."""
    tasks: list[asyncio.Task[None]] = []

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(run(reader, writer)))

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.transport.abort() if serve is idle else writer.close()

    # not as a coroutine function: asyncio logs when the task of such a one is cancelled
    running = await asyncio.start_server(start, "127.0.0.1", 0)
    try:
        yield running.sockets[0].getsockname()[1]
    finally:
        running.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while octets := await reader.read(1000):
        writer.write(octets)


async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def dial(port: int, **how: object) -> TcpLink:
    given = {"ssl": None, "timeout": GUARD, "send_buffer_limit": 1000, **how}
    return await open_tcp("127.0.0.1", port, **given)  # type: ignore[arg-type]


async def test_nothing_that_listens_is_told_in_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectFailed, match="nothing listens on 127"):
            await dial(free.getsockname()[1])


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "a" * 64])
async def test_a_name_that_is_none_is_told_in_words(host: str) -> None:
    with pytest.raises(ConnectFailed, match="there is no host"):
        await open_tcp(host, 1, ssl=None, timeout=GUARD, send_buffer_limit=1)


async def test_a_server_without_tls_is_told_in_words() -> None:
    async with server(echo) as port:
        with pytest.raises(ConnectFailed, match="TLS"):
            await dial(port, ssl=ssl.create_default_context())


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async with server(idle) as port:
        with pytest.raises(ConnectFailed, match="within"):
            await dial(port, ssl=ssl.create_default_context(), timeout=0.05)


async def test_octets_go_both_ways_until_one_side_ends() -> None:
    async with server(echo) as port, asyncio.timeout(GUARD):
        link = await dial(port)
        assert (link.transport, link.is_text) == ("tcp", False)
        await link.send(b"\xff\n")
        assert await link.receive() == b"\xff\n"
        await link.close()
        await link.close()
        with pytest.raises(LinkEnded):
            await link.send(b"x")


async def test_the_end_of_the_server_is_told() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")

    async with server(leave) as port, asyncio.timeout(GUARD):
        link = await dial(port)
        assert await link.receive() == b"bye"
        with pytest.raises(LinkEnded, match="closed") as caught:
            await link.receive()
        assert caught.value.may_return
        await link.close()


async def test_a_reset_is_told() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with server(reset) as port, asyncio.timeout(GUARD):
        link = await dial(port)
        await link.send(b"xx")
        with pytest.raises(LinkEnded, match="cut"):
            await link.receive()
        with pytest.raises(LinkEnded):
            await link.send(b"x")
        await link.close()


async def test_a_server_that_reads_nothing_makes_send_wait_and_close_does_not_hang() -> None:
    async with server(idle) as port, asyncio.timeout(GUARD):
        link = await dial(port, send_buffer_limit=1)
        await link.send(b"x" * 100_000_000)
        buffered = link.buffered
        assert buffered > 0
        sending = [asyncio.create_task(link.send(b"x" * 1000)) for _ in range(2)]
        done, _ = await asyncio.wait(sending, timeout=0.05)
        assert not done
        assert link.buffered <= buffered, "what waits for room is not in it"
        await link.close()
        for one in sending:
            with pytest.raises(LinkEnded):
                await one


async def test_who_is_cancelled_while_there_is_no_room_has_sent_nothing() -> None:
    may_read, taken = asyncio.Event(), asyncio.Queue[bytes]()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket has it
        await may_read.wait()
        writer.transport.resume_reading()  # type: ignore[attr-defined]  # as before
        while line := await reader.readline():
            taken.put_nowait(line)

    async with server(late) as port, asyncio.timeout(GUARD):
        link = await dial(port, send_buffer_limit=1)
        for _ in range(200):
            await asyncio.wait([filling := asyncio.create_task(link.send(b"x" * 49_999 + b"\n"))], timeout=0.05)
            if not filling.done():
                break
        filling.cancel()
        sending = [asyncio.create_task(link.send(b"%d\n" % number)) for number in range(4)]
        await asyncio.wait(sending, timeout=0.05)
        sending[1].cancel()
        may_read.set()
        while (line := await taken.get()).startswith(b"x"):
            pass
        assert [line, await taken.get(), await taken.get()] == [b"0\n", b"2\n", b"3\n"]
        await link.close()
        assert filling.cancelled()


async def test_what_came_before_a_break_is_read_first() -> None:
    reader = Reader()
    reader.feed_data(b"why")
    reader.set_exception(ConnectionResetError())
    assert (await reader.read(10), await reader.read(10)) == (b"why", b"")
