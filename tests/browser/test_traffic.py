"""The messages that the clients send are as nasty as they promise."""

from __future__ import annotations

import pytest

from .traffic import COUNT, ESCAPED_RANGES, MESSAGES


def test_traffic_holds_what_it_promises() -> None:
    everything = "".join(MESSAGES)
    assert len(MESSAGES) == COUNT
    assert "" in MESSAGES
    assert "100% %20" in MESSAGES
    assert max(map(len, MESSAGES)) == 100 * 1024
    assert all(chr(point) in everything for first, last in ESCAPED_RANGES for point in range(first, last + 1))
    assert any("</script>" in message for message in MESSAGES)
    assert any("<!--" in message for message in MESSAGES)
    with pytest.raises(UnicodeEncodeError):
        everything.encode()  # lone surrogates
