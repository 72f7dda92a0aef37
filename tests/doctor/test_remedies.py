from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

import sockbridge
from sockbridge.doctor.findings import Cause, fault
from sockbridge.doctor.remedies import REMEDIES, fitted
from sockbridge.doctor.report import places

from ..needs import needs
from ..proxy.conftest import NGINX_FRAME, snippet

SERVER = (
    "upstream chat {{ server 127.0.0.1:1; }} {http} server {{ location /chat {{ proxy_pass http://chat; {lines} }} }}"
)
URL = "https://chat.example.org/chat"
MAP = "map $http_upgrade $connection_upgrade { default upgrade; '' ''; }"


def test_there_is_a_remedy_for_each_cause() -> None:
    assert REMEDIES.keys() == set(Cause)
    assert all(remedy.text.endswith(".") or remedy.text.endswith("'.") for remedy in REMEDIES.values())


@pytest.mark.proxy
@pytest.mark.parametrize(
    "cause", [cause for cause, remedy in REMEDIES.items() if remedy.nginx], ids=lambda one: one.value
)
def test_nginx_takes_the_lines(cause: Cause, tmp_path: Path) -> None:
    lines = [line for line in fitted(cause, [], URL).nginx if not line.startswith("#")]
    is_outside = any(line.startswith("map ") for line in lines)
    text = "\n".join(lines)
    config = tmp_path / "nginx.conf"
    body = SERVER.format(http=f"{MAP} {text if is_outside else ''}", lines="" if is_outside else text)
    config.write_text(NGINX_FRAME.format(folder=tmp_path, snippet=body))
    done = subprocess.run(
        [needs("nginx"), "-t", "-p", tmp_path, "-c", config, "-e", "stderr"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.proxy
@pytest.mark.parametrize(
    "cause", [cause for cause, remedy in REMEDIES.items() if remedy.haproxy], ids=lambda one: one.value
)
def test_haproxy_takes_the_lines(cause: Cause, tmp_path: Path) -> None:
    lines = fitted(cause, [], URL).haproxy
    section = next((one for one in ("frontend", "defaults") if f"# {one}:" in lines), "backend")
    added = "".join(f"    {line}\n" for line in lines if not line.startswith("#"))
    text = (
        re.sub(rf"^({section}\b.*\n)", rf"\1{added}", snippet("haproxy"), flags=re.MULTILINE)
        .replace(" ssl crt /etc/ssl/chat.pem", "")
        .replace(":443", "127.0.0.1:1")
    )
    config = tmp_path / "haproxy.cfg"
    config.write_text(text)
    done = subprocess.run([needs("haproxy"), "-c", "-f", config], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "cause", [cause for cause, remedy in REMEDIES.items() if remedy.sockbridge], ids=lambda one: one.value
)
def test_mount_takes_the_options(cause: Cause) -> None:
    for line in fitted(cause, [], URL).sockbridge:
        sockbridge.Options(**eval(f"dict({line.partition('  #')[0]})"))


def test_lines_speak_of_what_was_examined() -> None:
    remedy = fitted(Cause.NO_AFFINITY, [], "https://test/a.b/chat")
    assert r"    ~^/a\.b/chat/(?<segment>[^/.]+)/[^/.]+/[a-z_]+$ $segment;" in remedy.nginx
    assert "balance hash path,field(4,/)" in remedy.haproxy
    assert "balance hash path,field(2,/)" in fitted(Cause.NO_AFFINITY, [], "https://test/").haproxy
    refused = fault("cors", Cause.ORIGIN_REFUSED, "refused", origin="https://page.example")
    assert fitted(Cause.ORIGIN_REFUSED, [refused], "https://test/").sockbridge == (
        'allowed_origins=["https://page.example"]',
    )


@pytest.mark.parametrize(
    ("silence", "proxy", "heartbeat"),
    [(10.02, "60s", "4"), (1.01, "60s", "0.4"), (60.0, "120s", "24"), (4.9, "60s", "1")],
)
def test_times_follow_from_what_was_measured(silence: float, proxy: str, heartbeat: str) -> None:
    remedy = fitted(Cause.IDLE_CUT, [fault("idle xhr", Cause.IDLE_CUT, "cut", silence_seconds=silence)], "http://test/")
    assert remedy.nginx == (f"proxy_read_timeout {proxy};", f"proxy_send_timeout {proxy};")
    assert remedy.sockbridge[0].startswith(f"heartbeat_delay={heartbeat} ")


@pytest.mark.parametrize(("size", "limit"), [(2, 4), (256 * 1024, 4), (5 * 1024 * 1024 + 1, 6)])
def test_the_proxy_is_to_take_what_was_asked_for(size: int, limit: int) -> None:
    refused = fault("large body", Cause.BODY_LIMIT, "413", size_bytes=size)
    assert fitted(Cause.BODY_LIMIT, [refused], "http://test/").nginx == (f"client_max_body_size {limit}m;",)


@pytest.mark.parametrize(
    ("status", "said"), [(401, "--header"), (403, "a rule of the proxy"), (404, "location"), (503, "is not there")]
)
def test_a_refusal_is_cured_by_its_status(status: int, said: str) -> None:
    refused = fault("xhr_send", Cause.REFUSED, "refused", status=status)
    assert said in fitted(Cause.REFUSED, [refused], "http://test/").text


def test_each_status_of_a_refusal_is_spoken_of() -> None:
    refused = [fault("xhr", Cause.REFUSED, "refused", status=status) for status in (401, 503)]
    text = fitted(Cause.REFUSED, refused, "http://test/").text
    assert "401" in text
    assert "503" in text
    assert "403" not in text


@pytest.mark.parametrize("cause", Cause)
def test_no_word_is_left_open(cause: Cause) -> None:
    remedy = fitted(cause, [], "http://test/chat")
    assert not [line for _, lines in places(remedy) for line in lines if re.search("<(?!segment)", line)]
