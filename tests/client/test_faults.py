"""What went wrong, in words. What real connections raise is in ``test_connecting``."""

from __future__ import annotations

import errno
import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from sockbridge.client.faults import NETWORK, describe, has_not_left

KEY: Any = SimpleNamespace(host="host", port=81, is_ssl=True, ssl=True)
INFO: Any = SimpleNamespace(real_url="http://host/")

WORDS = [
    (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, "x")), "nothing listens on host:81"),
    (
        aiohttp.ClientConnectorError(KEY, OSError(errno.ENETUNREACH, "x")),
        "host:81 cannot be reached (network is unreach",
    ),
    (aiohttp.ClientConnectorError(KEY, OSError("odd")), "host:81 cannot be reached (odd)"),
    (aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "x")), "there is no host host"),
    (
        aiohttp.ClientProxyConnectionError(KEY, OSError(errno.ECONNREFUSED, "x")),
        "the proxy at host:81 cannot be reached",
    ),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "x")), "does host:81 speak https"),
    (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "TLS failed"),
    (aiohttp.ServerFingerprintMismatch(b"1", b"2", "host", 81), "another than the one that was pinned"),
    (aiohttp.WSServerHandshakeError(INFO, (), status=403, message="x"), "answered 403 instead of 101"),
    (aiohttp.WSServerHandshakeError(INFO, (), status=101, message="no key"), "handshake is wrong (no key)"),
    (aiohttp.ClientHttpProxyError(INFO, (), status=407, message="Login"), "the proxy answered 407 Login"),
    (aiohttp.ServerDisconnectedError(), "closed the connection without an answer"),
    (aiohttp.ClientPayloadError("x"), "in the middle of an answer"),
    (aiohttp.ClientResponseError(INFO, (), status=400, message="a\n  b\n ^"), "does not speak HTTP (a b ^)"),
    (aiohttp.InvalidURL("http://x"), "http://x is no URL"),
    (aiohttp.SocketTimeoutError(), "no answer in time"),
    (TimeoutError(), "no answer in time"),
    (aiohttp.ClientConnectionResetError("x"), "the connection was cut"),
    (ConnectionResetError(errno.ECONNRESET, "x"), "the connection was cut"),
    (BrokenPipeError(), "the connection was cut"),
    (aiohttp.ClientOSError(errno.ECONNABORTED, "x"), "software caused connection abort"),
    (OSError("odd"), "odd"),
    (OSError(), "OSError"),
    (aiohttp.ClientError("odd"), "odd"),
    (aiohttp.ClientError(), "ClientError"),
]


@pytest.mark.parametrize(("error", "words"), WORDS, ids=[f"{type(error).__name__} {words}" for error, words in WORDS])
def test_every_fault_has_words_on_one_line(error: BaseException, words: str) -> None:
    assert words in describe(error)
    assert "\n" not in describe(error)
    assert isinstance(error, NETWORK)


def test_what_was_never_connected_has_not_left() -> None:
    assert has_not_left(aiohttp.ClientConnectorError(KEY, OSError()))
    assert has_not_left(aiohttp.ConnectionTimeoutError())
    assert not has_not_left(aiohttp.ServerDisconnectedError())
    assert not has_not_left(aiohttp.ClientOSError(errno.ECONNRESET, "x"))
    assert not has_not_left(aiohttp.SocketTimeoutError())
