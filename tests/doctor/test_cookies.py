from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from sockbridge.doctor.cookies import check_cookies, find_cookie
from sockbridge.doctor.findings import Cause, Finding, Status
from sockbridge.doctor.probe import Network
from sockbridge.doctor.reach import Place

from .conftest import chat, hold, other_server, place_of, settings

PAGE = "https://app.example.org"


async def cookie_at(answer: Any, *, needed: bool = True) -> Finding:
    async with other_server(xhr=answer) as url, Network(settings(url, timeout=0.2)) as network:
        return await check_cookies(network, Place(URL(url), URL(url), True, needed, None, ""))


@pytest.mark.parametrize("options", [{}, {"jsessionid": True}, {"jsessionid": "Secure"}])
async def test_ours_is_as_it_should_be(options: dict[str, Any]) -> None:
    async with chat(**options) as url, place_of(url) as (network, place):
        assert (await check_cookies(network, place)).status is Status.OK


@pytest.mark.parametrize(
    ("jsessionid", "status"),
    [
        (True, Status.FAULT),
        ("Secure", Status.FAULT),
        ("SameSite=None", Status.FAULT),
        ("Secure; SameSite=Lax", Status.FAULT),
        ("Secure; SameSite=None", Status.OK),
        ("secure; samesite=none", Status.OK),
    ],
)
async def test_pages_of_another_site_need_more(jsessionid: bool | str, status: Status) -> None:
    async with (
        chat(jsessionid=jsessionid, allowed_origins="*") as url,
        place_of(url, origin=PAGE) as (network, place),
    ):
        found = await check_cookies(network, place)
        assert found.status is status
        assert found.cause is (Cause.COOKIE_NOT_CROSS_SITE if status is Status.FAULT else None)


async def test_a_cookie_that_is_announced_and_not_set() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="o\n")

    assert (await cookie_at(answer)).cause is Cause.COOKIE_MISSING
    assert (await cookie_at(answer, needed=False)).status is Status.OK


async def test_nothing_is_said_where_no_session_opens() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=502)

    assert (await cookie_at(answer)).status is Status.SKIPPED
    assert (await cookie_at(hold)).status is Status.SKIPPED


@pytest.mark.parametrize(
    ("headers", "is_there"),
    [
        ([], False),
        (["other=1; Secure"], False),
        (["other=1", "JSESSIONID=one~dummy; path=/"], True),
        (["JSESSIONID"], False),
        (["\x00=\x00", "(=1", "JSESSIONID=a b\xff"], True),
        (["JSESSIONID =1", "a;b=c"], True),
        ([";;;", "=", ""], False),
    ],
)
def test_the_cookie_is_found_among_others(headers: list[str], is_there: bool) -> None:
    assert (find_cookie(headers) is not None) is is_there


def test_attributes_are_read_as_browsers_do() -> None:
    header = "JSESSIONID=one~dummy ; Path=/; SECURE; SameSite = None;"
    assert find_cookie([header]) == {"path": "/", "secure": "", "samesite": "None", "": ""}
