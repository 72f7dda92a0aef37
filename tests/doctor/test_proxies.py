"""Real proxies, in good and bad configurations: each fault is named, and only it (docs/doctor.md has the table)."""

from __future__ import annotations

import re

import pytest

from sockbridge.doctor.findings import Status
from sockbridge.errors import ConnectFailed

from ..proxy.conftest import StartBackend, StartProxy, free_port, snippet
from .conftest import finding, report, told

pytestmark = [pytest.mark.proxy, pytest.mark.usefixtures("trusted")]

ORIGIN = "https://app.example.org"
STREAMS = ["xhr_streaming", "eventsource", "htmlfile"]
SOCKETS = ["websocket", "websocket-raw"]
HELD = ["idle websocket", "idle xhr_streaming", "idle xhr"]

UPSTREAM = re.compile(r"upstream chat \{.*?\n\}\n", re.DOTALL)
BACKEND = re.compile(r"^backend chat\n.*", re.DOTALL | re.MULTILINE)


async def behind_nginx(nginx: StartProxy, port: int, changes: dict[str, str]) -> str:
    return await nginx(snippet("nginx"), {"127.0.0.1:8081": f"127.0.0.1:{port}", **changes})


async def behind_haproxy(haproxy: StartProxy, port: int, more: str = "", changes: dict[str, str] | None = None) -> str:
    text = snippet("haproxy").rstrip() + f"\n    {more}\n"
    return await haproxy(text, {"127.0.0.1:8081": f"127.0.0.1:{port}", **(changes or {})})


# The good set-ups.


@pytest.mark.slow
async def test_nginx_as_documented_gets_a_clean_bill(nginx: StartProxy, backend: StartBackend) -> None:
    one = await backend(heartbeat_delay=0.3)
    origin = await behind_nginx(nginx, one.port, {"timeout 60s": "timeout 2s"})
    examined = await report(f"{origin}/chat", echo=True, idle=2.5)
    assert told(examined) == {}
    assert examined.is_clean
    assert [item.check for item in examined.findings if item.status is Status.SKIPPED] == ["jsonp"]
    assert "heartbeat every" in finding(examined, "idle websocket").verdict


async def test_haproxy_as_documented_gets_a_clean_bill(haproxy: StartProxy, backend: StartBackend) -> None:
    one = await backend()
    origin = await behind_haproxy(haproxy, one.port)
    examined = await report(f"{origin}/chat", echo=True, idle=0.2)
    assert told(examined) == {}
    assert [item.check for item in examined.findings if item.status is Status.SKIPPED] == ["jsonp"]


async def test_another_origin_is_let_in_where_it_is_allowed(nginx: StartProxy, backend: StartBackend) -> None:
    one = await backend(jsessionid="Secure; SameSite=None")
    origin = await behind_nginx(nginx, one.port, {})
    examined = await report(f"{origin}/chat-open", origin=ORIGIN)
    assert told(examined) == {}
    assert all(item.status is Status.OK for item in examined.findings)


@pytest.mark.parametrize("block", ["haproxy sticky", "haproxy sticky by url"])
async def test_sticky_haproxies_get_a_clean_bill(block: str, haproxy: StartProxy, backend: StartBackend) -> None:
    ports = [(await backend()).port, (await backend()).port]
    text = BACKEND.sub(lambda _: snippet(block), snippet("haproxy"))
    names = {"127.0.0.1:8081": f"127.0.0.1:{ports[0]}", "127.0.0.1:8082": f"127.0.0.1:{ports[1]}"}
    examined = await report(f"{await haproxy(text, names)}/chat", echo=True)
    assert told(examined) == {}
    by_cookie = finding(examined, "affinity").verdict.endswith("by the cookie")
    assert by_cookie is (block == "haproxy sticky")


async def test_a_sticky_nginx_gets_a_clean_bill(nginx: StartProxy, backend: StartBackend) -> None:
    ports = [(await backend()).port, (await backend()).port]
    text = UPSTREAM.sub(lambda _: snippet("nginx sticky"), snippet("nginx"))
    names = {"127.0.0.1:8081": f"127.0.0.1:{ports[0]}", "127.0.0.1:8082": f"127.0.0.1:{ports[1]}"}
    assert told(await report(f"{await nginx(text, names)}/chat", echo=True)) == {}


# nginx, each with one fault.

NO_UPGRADE = {"proxy_set_header Upgrade           $http_upgrade;": "", "$connection_upgrade;": "close;"}


def added(line: str) -> dict[str, str]:
    """A line more in the location."""
    return {"proxy_buffering  off;": f"proxy_buffering  off; {line}"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"proxy_buffering  off;": "proxy_ignore_headers X-Accel-Buffering;"}, {"buffered": STREAMS}),
        (NO_UPGRADE, {"upgrade-stripped": SOCKETS}),
        (added("if ($http_upgrade) { return 403; }"), {"websocket-refused": SOCKETS}),
        (added("client_max_body_size 16k;"), {"body-limit": ["large body"]}),
        (added("proxy_hide_header Set-Cookie;"), {"cookie-missing": ["cookies"]}),
        (added("proxy_hide_header Cache-Control;"), {"info-cacheable": ["info"]}),
        (
            added("if ($uri ~ streaming) { return 502; }"),
            {"refused": ["xhr_streaming"]},
        ),
        (added("if ($uri ~ /eventsource$) { return 404; }"), {"blocked": ["eventsource"]}),
        (added("limit_except GET { deny all; }"), {"method-refused": ["xhr_streaming", "xhr"]}),
        (added("if ($uri ~ _send$) { return 401; }"), {"refused": ["xhr_send"]}),
        ({"X-Forwarded-Proto $scheme": "X-Forwarded-Proto http"}, {"own-origin-refused": ["origin"]}),
    ],
    ids=[
        *("buffering", "upgrade", "no-websocket", "body", "cookie", "cacheable", "502"),
        *("404", "methods", "no-sending", "scheme"),
    ],
)
async def test_nginx_with_one_fault(
    changes: dict[str, str], expected: dict[str, list[str]], nginx: StartProxy, backend: StartBackend
) -> None:
    one = await backend()
    origin = await behind_nginx(nginx, one.port, changes)
    assert told(await report(f"{origin}/chat")) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("proxy_hide_header Access-Control-Allow-Origin;", "cors-stripped"),
        ("proxy_hide_header Access-Control-Allow-Credentials;", "cors-stripped"),
        ("add_header Access-Control-Allow-Origin $http_origin always;", "cors-doubled"),
        (
            "proxy_hide_header Access-Control-Allow-Origin; add_header Access-Control-Allow-Origin * always;",
            "cors-wrong",
        ),
    ],
)
async def test_nginx_with_wrong_cors(line: str, expected: str, nginx: StartProxy, backend: StartBackend) -> None:
    one = await backend(jsessionid=False)
    origin = await behind_nginx(nginx, one.port, added(line))
    assert told(await report(f"{origin}/chat-open", origin=ORIGIN)) == {expected: ["cors", "preflight"]}


async def test_nginx_cuts_quiet_connections(nginx: StartProxy, backend: StartBackend) -> None:
    one = await backend()
    origin = await behind_nginx(nginx, one.port, {"timeout 60s": "timeout 1s"})
    examined = await report(f"{origin}/chat", idle=3.0)
    assert told(examined) == {"idle-cut": HELD}
    assert 0.9 < float(finding(examined, "idle websocket").figures["silence_seconds"]) < 2


async def test_nginx_in_front_of_two_workers_without_affinity(nginx: StartProxy, backend: StartBackend) -> None:
    ports = [(await backend()).port, (await backend()).port]
    text = UPSTREAM.sub(
        lambda _: snippet("nginx sticky").replace("hash $sockjs_server consistent;", ""), snippet("nginx")
    )
    names = {"127.0.0.1:8081": f"127.0.0.1:{ports[0]}", "127.0.0.1:8082": f"127.0.0.1:{ports[1]}"}
    examined = await report(f"{await nginx(text, names)}/chat", echo=True)
    assert told(examined) == {"no-affinity": ["affinity"]}
    assert finding(examined, "echo websocket").status is Status.OK
    assert finding(examined, "echo xhr").status is Status.SKIPPED


async def test_buffering_is_seen_in_front_of_two_workers(nginx: StartProxy, backend: StartBackend) -> None:
    ports = [(await backend()).port, (await backend()).port]
    text = UPSTREAM.sub(
        lambda _: snippet("nginx sticky").replace("hash $sockjs_server consistent;", ""), snippet("nginx")
    )
    names = {
        "127.0.0.1:8081": f"127.0.0.1:{ports[0]}",
        "127.0.0.1:8082": f"127.0.0.1:{ports[1]}",
        "proxy_buffering  off;": "proxy_ignore_headers X-Accel-Buffering;",
    }
    examined = await report(f"{await nginx(text, names)}/chat")
    assert told(examined) == {"buffered": STREAMS, "no-affinity": ["affinity"]}


async def test_a_server_that_does_not_know_its_own_origin(nginx: StartProxy, backend: StartBackend) -> None:
    one = await backend(forwarded=False)
    origin = await behind_nginx(nginx, one.port, {})
    assert told(await report(f"{origin}/chat")) == {"own-origin-refused": ["origin"]}


async def test_nginx_without_a_server_behind_it(nginx: StartProxy, backend: StartBackend) -> None:
    origin = await behind_nginx(nginx, free_port(), {})
    with pytest.raises(ConnectFailed, match=r"502 \(Bad Gateway\) by nginx.* is it running"):
        await report(f"{origin}/chat")


async def test_nginx_with_a_cache(
    nginx: StartProxy, backend: StartBackend, tmp_path_factory: pytest.TempPathFactory
) -> None:
    one = await backend()
    cache = tmp_path_factory.mktemp("cache")
    changes = {
        "upstream chat": f"proxy_cache_path {cache} keys_zone=all:1m;\nupstream chat",
        "proxy_buffering  off;": (
            "proxy_cache all; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control Set-Cookie Vary;"
        ),
    }
    examined = await report(f"{await behind_nginx(nginx, one.port, changes)}/chat")
    assert told(examined) == {"info-cached": ["info"]}


async def test_nginx_that_compresses(nginx: StartProxy, backend: StartBackend) -> None:
    """``no-transform`` is not heard."""
    one = await backend()
    types = "gzip on; gzip_proxied any; gzip_types application/javascript text/event-stream text/html;"
    changes = {"proxy_buffering  off;": f"proxy_buffering  off; {types}"}
    examined = await report(f"{await behind_nginx(nginx, one.port, changes)}/chat")
    assert told(examined) == {"compressed": STREAMS}
    assert examined.is_clean


# HAProxy, each with one fault.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("http-response wait-for-body time 20s", {"buffered": STREAMS}),
        ("http-request del-header Upgrade", {"upgrade-stripped": SOCKETS}),
        ("http-request deny if { req.hdr(Upgrade) -m found }", {"websocket-refused": SOCKETS}),
        (
            "http-request deny deny_status 413 if { req.hdr_val(Content-Length) gt 16384 }",
            {"body-limit": ["large body"]},
        ),
        ("http-response del-header Set-Cookie", {"cookie-missing": ["cookies"]}),
    ],
    ids=["buffering", "upgrade", "no-websocket", "body", "cookie"],
)
async def test_haproxy_with_one_fault(
    line: str, expected: dict[str, list[str]], haproxy: StartProxy, backend: StartBackend
) -> None:
    one = await backend()
    origin = await behind_haproxy(haproxy, one.port, line)
    assert told(await report(f"{origin}/chat")) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("http-response del-header Access-Control-Allow-Origin", "cors-stripped"),
        (f"http-response add-header Access-Control-Allow-Origin {ORIGIN}", "cors-doubled"),
        ("http-response set-header Access-Control-Allow-Origin *", "cors-wrong"),
    ],
)
async def test_haproxy_with_wrong_cors(line: str, expected: str, haproxy: StartProxy, backend: StartBackend) -> None:
    one = await backend(jsessionid=False)
    origin = await behind_haproxy(haproxy, one.port, line)
    assert told(await report(f"{origin}/chat-open", origin=ORIGIN)) == {expected: ["cors", "preflight"]}


async def test_haproxy_cuts_quiet_connections(haproxy: StartProxy, backend: StartBackend) -> None:
    one = await backend()
    origin = await behind_haproxy(haproxy, one.port, changes={" 60s": " 1s"})
    assert told(await report(f"{origin}/chat", idle=3.0)) == {"idle-cut": HELD}


async def test_haproxy_in_front_of_two_workers_without_affinity(haproxy: StartProxy, backend: StartBackend) -> None:
    ports = [(await backend()).port, (await backend()).port]
    text = BACKEND.sub(
        lambda _: snippet("haproxy sticky").replace("    cookie JSESSIONID prefix nocache\n", ""), snippet("haproxy")
    )
    names = {"127.0.0.1:8081": f"127.0.0.1:{ports[0]}", "127.0.0.1:8082": f"127.0.0.1:{ports[1]}"}
    assert told(await report(f"{await haproxy(text, names)}/chat")) == {"no-affinity": ["affinity"]}


async def test_a_cookie_is_no_help_to_pages_of_another_site(haproxy: StartProxy, backend: StartBackend) -> None:
    ports = [(await backend()).port, (await backend()).port]
    text = BACKEND.sub(lambda _: snippet("haproxy sticky"), snippet("haproxy"))
    names = {"127.0.0.1:8081": f"127.0.0.1:{ports[0]}", "127.0.0.1:8082": f"127.0.0.1:{ports[1]}"}
    origin = await haproxy(text, names)
    assert told(await report(f"{origin}/chat-open", origin=ORIGIN)) == {
        "cookie-not-cross-site": ["cookies"],
        "affinity-by-cookie": ["affinity"],
    }


# TLS.


async def test_an_unknown_certificate(
    nginx: StartProxy, backend: StartBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ``insecure`` is said in the report."""
    monkeypatch.delenv("SSL_CERT_FILE")
    one = await backend()
    origin = await behind_nginx(nginx, one.port, {})
    with pytest.raises(ConnectFailed, match=r"certificate of 127.0.0.1 is not valid.*self.signed.*--insecure"):
        await report(f"{origin}/chat")
    assert told(await report(f"{origin}/chat", insecure=True)) == {"not-verified": ["tls"]}
