"""What went wrong on the network, in a sentence that says what to try.

The one border where the exceptions of aiohttp and of the system become words.

Knows: aiohttp's exceptions, errors of the system and of TLS.
Does not know: who asked for what.
"""

from __future__ import annotations

import errno
import os
import ssl
from typing import Final

import aiohttp

NETWORK: Final = (aiohttp.ClientError, OSError, TimeoutError, ssl.SSLError)
"""What a request may fail with that is not our fault."""


def describe(error: BaseException) -> str:
    """``error`` in words, without a full stop."""
    for word in (_of_connecting, _of_answering):
        if (text := word(error)) is not None:
            return text
    if isinstance(error, TimeoutError):
        return "there was no answer in time"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "the connection was cut"
    if isinstance(error, OSError):
        return _system(error)
    return str(error) or type(error).__name__


def has_not_left(error: BaseException) -> bool:
    """True if a request failed with ``error`` before anything of it was sent."""
    return isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError))


def _of_connecting(error: BaseException) -> str | None:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        reason = _reason(error.certificate_error)
        return (
            f"the certificate of {error.host} is not valid ({reason}); pass a ClientSession whose connector trusts it"
        )
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"there is no host {error.host}: is the name right?"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return f"TLS failed ({_reason(error)}): does {error.host}:{error.port} speak https?"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({_reason(error)}): does the server speak https on this port?"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy at {error.host}:{error.port} cannot be reached ({_system(error.os_error)})"
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionRefusedError) or error.os_error.errno == errno.ECONNREFUSED:
            return f"nothing listens on {error.host}:{error.port}: is the server running, and the port right?"
        return f"{error.host}:{error.port} cannot be reached ({_system(error.os_error)})"
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return f"the certificate of {error.host} is another than the one that was pinned"
    return None


def _of_answering(error: BaseException) -> str | None:
    if isinstance(error, aiohttp.WSServerHandshakeError):
        if error.status == 101:
            return f"the server's handshake is wrong ({error.message})"
        return f"the server, or a proxy before it, answered {error.status} instead of 101"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status} {error.message}".rstrip()
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without an answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection was cut in the middle of an answer"
    if isinstance(error, aiohttp.ClientResponseError):
        # the message of the parser has lines that show where it stopped
        return f"what answers does not speak HTTP ({' '.join(error.message.split())[:100] or error.status})"
    if isinstance(error, aiohttp.InvalidURL):
        return f"{error.url} is no URL"
    return None


def _reason(error: BaseException) -> str:
    reason = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    inner = getattr(error, "os_error", None)
    if not reason and inner is not None:
        return _reason(inner)
    return str(reason or error).lower().replace("_", " ")


def _system(error: OSError) -> str:
    if error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()  # asyncio words some itself, with address and all
    return error.strerror or str(error) or type(error).__name__
