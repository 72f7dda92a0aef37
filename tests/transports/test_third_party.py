"""A transport of a third party works like the built-in ones: opened, fed, refused, limited, cut off, closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sockbridge import DEFAULT_TRANSPORTS
from sockbridge.sockjs.framing import Close

from ..fakes import RecordingHandler
from .ndjson import NdjsonTransport
from .wire import Client, connected, echo_server, fetch, until


@asynccontextmanager
async def ndjson_server(**options: Any) -> AsyncIterator[tuple[str, Any, RecordingHandler]]:
    transports = (*DEFAULT_TRANSPORTS, NdjsonTransport)
    async with echo_server(transports=transports, **options) as served:
        yield served


async def test_it_opens_echoes_and_says_goodbye() -> None:
    async with ndjson_server() as (url, endpoint, handler), connected(url, "ndjson") as (client,):
        assert client.wire.head is not None
        assert client.wire.head.headers["Content-Type"] == "application/x-ndjson; charset=UTF-8"
        assert await handler.wait_for("on_connected") == ["ndjson"]
        await client.send("one\n", "two")
        assert await client.messages(2) == ["one\n", "two"]
        next(endpoint.sessions).close(3456, "enough")
        assert await client.frame() == 'c[3456,"enough"]'
        assert await client.frame() == ""
        assert await handler.wait_for("on_closed") == [Close(3456, "enough")]


async def test_a_second_receiver_is_told_2010() -> None:
    async with ndjson_server() as (url, _, _), connected(url, "ndjson") as (client,):
        for name in ("ndjson", "xhr"):
            intruder = Client(url, name, id=client.id)
            await intruder.begin()
            assert await intruder.frame() == 'c[2010,"Another connection still open"]'
            await intruder.close()
        await client.send("still here")
        assert await client.messages() == ["still here"]


async def test_the_response_limit_ends_the_stream_and_not_the_session() -> None:
    async with ndjson_server(response_limit=100) as (url, _, _), connected(url, "ndjson") as (client,):
        await client.send("x" * 200)
        assert await client.messages() == ["x" * 200]
        assert await client.frame() == ""
        await client.begin()
        await client.send("next")
        assert await client.messages() == ["next"]


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_cut_off_is_told(how: str) -> None:
    async with ndjson_server(disconnect_delay=0.1) as (url, endpoint, handler), connected(url, "ndjson") as (client,):
        await handler.wait_for("on_connected")
        if how == "rst":
            client.wire.reset()
        else:
            client.wire.finish()
        assert await handler.wait_for("on_closed") == [Close(1002, "Connection interrupted", clean=False)]
        await until(lambda: len(endpoint) == 0)


async def test_origin_and_method_are_checked_as_everywhere() -> None:
    async with ndjson_server(allowed_origins=["https://a.example"]) as (url, _, _):
        target = f"{url}/000/x/ndjson"
        head, _ = await fetch(target, "OPTIONS", headers={"Origin": "https://a.example"})
        assert head.status == 204
        assert head.headers["Access-Control-Allow-Methods"] == "OPTIONS, POST"
        assert (await fetch(target, "POST", headers={"Origin": "https://b.example"}))[0].status == 403
        assert (await fetch(target, "GET"))[0].status == 405
