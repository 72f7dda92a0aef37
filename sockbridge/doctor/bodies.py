"""Whether large messages pass.

What is sent is an empty array with blanks in it: legal JSON of any size, and no handler sees it.

Knows: ``xhr_send``, and who may refuse it.
Does not know: messages.
Spec: sockjs-protocol 0.3.3, XhrPolling (``xhr_send``).
"""

from __future__ import annotations

import re
from typing import Final

from .affinity import KNOWN
from .findings import Cause, Finding, fault, passed, quantity, skipped
from .probe import Answer, Network, NoAnswer, session_url
from .reach import Place

DEFAULT: Final = 256 * 1024
"""``max_message_size``, unless it is set."""

SMALLEST: Final = 1024
"""Below that it is not worth knowing."""

CHECK: Final = "large body"

_OWN_LIMIT = re.compile(rb"exceeds the limit of (\d{1,12}) bytes")


def blank_body(size: int) -> bytes:
    """An array without messages that has ``size`` bytes, at least 2."""
    return b"[" + b" " * (size - 2) + b"]"


async def check_large_body(network: Network, place: Place) -> Finding:
    """Send a large request."""
    asked = network.settings.large
    size = asked or DEFAULT
    small = await _send(network, place, 2)
    if not _is_taken(small):
        return skipped(CHECK, f"not even a small one is taken: {_said(small)}")
    answer = await _send(network, place, size)
    if _is_taken(answer):
        return passed(CHECK, f"a request of {quantity(size)} passes", size_bytes=size)
    own = _OWN_LIMIT.search(answer.body) if isinstance(answer, Answer) else None
    if own:
        return _at_the_server(asked, size, int(own[1]))
    passing = await _largest(network, place, size)
    verdict = f"a request of {quantity(size)} is stopped on the way: {_said(answer)}; " + (
        f"one of {quantity(passing)} passes" if passing else f"so is one of {quantity(SMALLEST)}"
    )
    return fault(CHECK, Cause.BODY_LIMIT, verdict, size_bytes=size, passing_bytes=passing)


def _at_the_server(asked: int | None, size: int, limit: int) -> Finding:
    figures = {"size_bytes": size, "server_limit_bytes": limit}
    if asked is None:  # nobody asked for that size, and the server knows what it takes
        return passed(CHECK, f"the server itself takes at most {quantity(limit)}, and says so", **figures)
    verdict = f"a request of {quantity(size)} is refused by the server, which takes at most {quantity(limit)}"
    return fault(CHECK, Cause.MESSAGE_LIMIT, verdict, **figures)


async def _send(network: Network, place: Place, size: int) -> Answer | NoAnswer:
    # A session of its own is opened for each: it may live on one of several workers, so 404 is as good an answer.
    session = session_url(place.base)
    try:
        await network.fetch("POST", session / "xhr")
        return await network.fetch("POST", session / "xhr_send", body=blank_body(size))
    except NoAnswer as error:
        return error


def _is_taken(answer: Answer | NoAnswer) -> bool:
    return isinstance(answer, Answer) and answer.status in KNOWN


def _said(answer: Answer | NoAnswer) -> str:
    return answer.summary if isinstance(answer, Answer) else str(answer)


async def _largest(network: Network, place: Place, size: int) -> int:
    # The largest power of two that passes; 0 if none does.
    size = 1 << (size - 1).bit_length()
    while (size := size // 2) >= SMALLEST:
        if _is_taken(await _send(network, place, size)):
            return size
    return 0
