"""Section 7, iframe page: the bytes that iframe transports load."""

from __future__ import annotations

import hashlib

import pytest

from sockbridge.options import DEFAULT_CLIENT_URL

from .conftest import SCRIPT_URL, Wire


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


async def test_the_iframe_page_is_the_known_one_byte_for_byte(wire: Wire) -> None:
    """Rule 7.7."""
    answer = await wire.request("GET", "/echo/iframe.html")
    assert answer.status == 200
    assert f'<script src="{SCRIPT_URL}"></script>'.encode() in answer.body
    assert len(answer.body) == 419
    assert md5(answer.body) == "5ff84430262941008d61a8033546b552"


async def test_the_iframe_page_loads_the_published_client_by_default(wire: Wire) -> None:
    """Rule 7.7."""
    answer = await wire.request("GET", "/plain/iframe.html")
    assert DEFAULT_CLIENT_URL.encode() in answer.body
    assert len(answer.body) == 472
    assert md5(answer.body) == "08c88a6396a2481f245d665a53d9dc14"


@pytest.mark.parametrize(
    "path",
    [
        "/iframe-a.html",
        "/iframe-.html",
        "/iframe-0.1.2.html",
        "/iframe-0.1.2abc-dirty.2144.html",
        "/iframe.html?t=qweqweasd",
        "/iframe-0.1.2abc-dirty.2144.html?t=qweqwe123",
        "/iframe0_1.html",
    ],
)
async def test_versions_and_queries_give_the_same_page(wire: Wire, path: str) -> None:
    """Rule 7.8."""
    plain = await wire.request("GET", "/echo/iframe.html")
    answer = await wire.request("GET", f"/echo{path}")
    assert answer.status == 200
    assert answer.body == plain.body
    assert answer.headers["ETag"] == plain.headers["ETag"]
    assert "Last-Modified" not in answer.headers
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("known", ["{tag}", "W/{tag}", '"other", {tag}', "*"])
async def test_who_has_the_page_already_gets_304(wire: Wire, known: str) -> None:
    """Rule 7.9."""
    tag = (await wire.request("GET", "/echo/iframe.html")).headers["ETag"]
    assert tag.startswith('"')
    assert tag.endswith('"')
    connection = await wire.connect()
    await connection.ask("GET", "/echo/iframe.html", headers={"If-None-Match": known.format(tag=tag)})
    head = await connection.head()
    assert head.status == 304
    assert "Content-Type" not in head.headers
    assert head.headers["ETag"] == tag
    await connection.ask("GET", "/echo")  # nothing of a body is in the way
    assert (await connection.answer()).status == 200


@pytest.mark.parametrize("known", ['"other"', "other", "", '"'])
async def test_who_has_another_page_gets_this_one(wire: Wire, known: str) -> None:
    """Rule 7.9."""
    answer = await wire.request("GET", "/echo/iframe.html", headers={"If-None-Match": known})
    assert answer.status == 200
    assert len(answer.body) == 419
