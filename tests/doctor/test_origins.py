from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web
from yarl import URL

from sockbridge.doctor.findings import Cause, Finding, Status
from sockbridge.doctor.origins import check_origin, is_cross_origin, is_cross_site, judge_headers
from sockbridge.doctor.probe import Network
from sockbridge.doctor.reach import Place

from .conftest import chat, hold, other_server, place_of, settings

PAGE = "https://app.example.org"
CREDENTIALS = {"Access-Control-Allow-Credentials": "true"}


def place_at(url: str) -> Place:
    return Place(URL(url), URL(url), True, False, None, "")


async def origin_at(answers: dict[str, Any], origin: str | None = PAGE) -> list[Finding]:
    async with other_server(**answers) as url, Network(settings(url, origin=origin, timeout=0.2)) as network:
        return await check_origin(network, place_at(url))


def answer_with(status: int = 200, **headers: str) -> Any:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text="o\n", headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


GOOD = answer_with(Access_Control_Allow_Origin=PAGE, Access_Control_Allow_Credentials="true")


@pytest.mark.parametrize(
    ("allowed", "credentials", "cause"),
    [
        ([PAGE], "true", None),
        ([f" {PAGE} "], "true", None),
        ([], "true", Cause.CORS_STRIPPED),
        ([""], "true", Cause.CORS_STRIPPED),
        ([PAGE, PAGE], "true", Cause.CORS_DOUBLED),
        ([f"{PAGE}, {PAGE}"], "true", Cause.CORS_DOUBLED),
        ([PAGE, "*"], "true", Cause.CORS_DOUBLED),
        (["*"], "true", Cause.CORS_WRONG),
        (["null"], "true", Cause.CORS_WRONG),
        ([f"{PAGE}/"], "true", Cause.CORS_WRONG),
        (["https://\x1b[2J"], "true", Cause.CORS_WRONG),
        ([PAGE], None, Cause.CORS_STRIPPED),
        ([PAGE], "True", Cause.CORS_WRONG),
        ([PAGE], "false", Cause.CORS_WRONG),
    ],
)
def test_a_browser_wants_one_origin_and_credentials(
    allowed: list[str], credentials: str | None, cause: Cause | None
) -> None:
    headers = {"Access-Control-Allow-Credentials": credentials} if credentials else {}
    judged = judge_headers(allowed, headers, PAGE)
    assert (judged and judged[0]) == cause
    assert "\x1b" not in str(judged and judged[1])


@pytest.mark.parametrize(
    ("origin", "cross_origin", "cross_site"),
    [
        (None, False, False),
        ("http://test", False, False),
        ("https://test", True, False),
        ("http://test:8080", True, False),
        ("http://other", True, True),
        ("null", True, True),
    ],
)
def test_a_page_is_of_another_origin_or_site(origin: str | None, cross_origin: bool, cross_site: bool) -> None:
    asked = settings("http://test/chat", origin=origin)
    assert is_cross_origin(asked, place_at("http://test/chat")) is cross_origin
    assert is_cross_site(asked, place_at("http://test/chat")) is cross_site


async def test_our_server_lets_its_own_pages_in() -> None:
    async with chat() as url, place_of(url) as (network, place):
        assert [one.status for one in await check_origin(network, place)] == [Status.OK]


async def test_our_server_lets_pages_in_that_it_knows() -> None:
    async with chat(allowed_origins=[PAGE]) as url, place_of(url, origin=PAGE) as (network, place):
        assert [one.status for one in await check_origin(network, place)] == [Status.OK, Status.OK]


async def test_our_server_refuses_others() -> None:
    async with chat() as url, place_of(url, origin=PAGE) as (network, place):
        cors, preflight = await check_origin(network, place)
        assert cors.cause is Cause.ORIGIN_REFUSED
        assert preflight.status is Status.SKIPPED


async def test_a_server_that_refuses_its_own_pages() -> None:
    (found,) = await origin_at({"info": answer_with(403)}, None)
    assert found.cause is Cause.OWN_ORIGIN_REFUSED


@pytest.mark.parametrize(
    ("believed", "said"),
    [
        ("https://{host}:{port}", "X-Forwarded-Proto"),
        ("http://{host}", "X-Forwarded-Host (or Host)"),
        ("https://{host}", "X-Forwarded-Proto and X-Forwarded-Host (or Host)"),
        ("http://backend:8080", ""),
    ],
)
async def test_what_the_server_takes_itself_for_shows_which_value_is_wrong(believed: str, said: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        own = believed.format(host=request.url.host, port=request.url.port)
        return web.Response(status=200 if request.headers["Origin"] == own else 403)

    (found,) = await origin_at({"info": answer}, None)
    assert found.cause is Cause.OWN_ORIGIN_REFUSED
    assert found.figures.get("wrong", "") == said
    assert ("takes itself for" in found.verdict) is bool(said)


async def test_requests_with_an_origin_that_get_no_answer() -> None:
    assert [one.cause for one in await origin_at({"info": hold}, None)] == [Cause.CUT]
    assert [one.cause for one in await origin_at({"info": hold, "xhr": hold})] == [Cause.CUT, Cause.CUT]


async def test_what_a_page_reads_later_counts_as_well() -> None:
    """``/info`` is as it should be, the answer to a send is not."""
    cors, preflight = await origin_at({"info": GOOD, "xhr": GOOD, "xhr_send": answer_with(204)})
    assert cors.cause is Cause.CORS_STRIPPED
    assert "/xhr_send" in cors.verdict
    assert (preflight.status, preflight.cause) == (Status.WARNING, Cause.CORS_STRIPPED)


async def test_what_other_checks_find_is_not_found_twice() -> None:
    answers = {"info": GOOD, "xhr": GOOD, "xhr_send": answer_with(404)}
    cors, preflight = await origin_at(answers)
    assert (cors.status, preflight.status) == (Status.OK, Status.SKIPPED)
    cors, _ = await origin_at({"info": GOOD, "xhr": answer_with(502)})
    assert cors.status is Status.OK


async def test_a_preflight_that_is_refused_is_a_warning() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=405) if request.method == "OPTIONS" else await GOOD(request)  # type: ignore[no-any-return]  # a response

    _, preflight = await origin_at({"info": GOOD, "xhr": answer, "xhr_send": GOOD})
    assert (preflight.status, preflight.cause) == (Status.WARNING, Cause.PREFLIGHT_REFUSED)
