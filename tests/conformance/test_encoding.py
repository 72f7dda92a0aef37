"""Section 8: the letters of frames and how strings are escaped inside them."""

from __future__ import annotations

import json

import pytest

from .conftest import Wire

ESCAPED = [
    *range(0x00, 0x20),
    *range(0x200C, 0x2010),
    *range(0x2028, 0x2030),
    *range(0x2060, 0x2070),
    *range(0xFFF0, 0x10000),
]
"""Code points that servers have to escape."""

SHORT_ESCAPES = {8: r"\b", 9: r"\t", 10: r"\n", 12: r"\f", 13: r"\r"}

CLIENT_ESCAPED = [
    *range(0x00, 0x20),
    0x22,
    0x5C,
    *range(0x7F, 0xA0),
    *range(0x0300, 0x0340),
    0x0345,
    0x0374,
    *range(0x0600, 0x0605),
    0x070F,
    0x17B4,
    0x17B5,
    *range(0x200C, 0x2010),
    *range(0x2028, 0x2030),
    *range(0x2060, 0x2070),
    *range(0xF900, 0xFB00),
    *range(0xFFF0, 0x10000),
]
"""Code points of the kinds that the browser client escapes."""


def escape_all(text: str) -> bytes:
    """``text`` as a JSON string with an escape for every UTF-16 unit."""
    units = text.encode("utf-16-be", "surrogatepass")
    return b'"%b"' % b"".join(b"\\u%b" % units[at : at + 2].hex().encode() for at in range(0, len(units), 2))


async def echo(wire: Wire, body: bytes) -> bytes:
    """The frame that comes back for the body of a send."""
    url = await wire.open()
    assert (await wire.request("POST", f"{url}/xhr_send", body)).status == 204
    return (await wire.request("POST", f"{url}/xhr")).body


async def test_servers_escape_what_browsers_mangle(wire: Wire) -> None:
    """Rule 8.1."""
    text = "".join(map(chr, ESCAPED))
    frame = (await echo(wire, json.dumps([text], ensure_ascii=False).encode())).decode()
    assert json.loads(frame[1:]) == [text]
    for code in ESCAPED:
        assert chr(code) not in frame[:-1]  # the line feed at the end ends the frame
        assert SHORT_ESCAPES.get(code, f"\\u{code:04x}") in frame


async def test_astral_characters_become_two_escapes(wire: Wire) -> None:
    """Rule 8.2."""
    frame = await echo(wire, '["\U0001f600 \U0010ffff"]'.encode())
    assert frame == rb'a["\ud83d\ude00 \udbff\udfff"]' + b"\n"


@pytest.mark.parametrize("lone", ["\\ud800", "\\udfff", "a\\udc00b", "\\ude00\\ud83d"])
async def test_lone_surrogates_come_back_unchanged(wire: Wire, lone: str) -> None:
    """Rule 8.2."""
    assert await echo(wire, f'["{lone}"]'.encode()) == f'a["{lone}"]\n'.encode()


async def test_every_escape_of_the_client_is_understood(wire: Wire) -> None:
    """Rule 8.3."""
    text = "".join(map(chr, CLIENT_ESCAPED))
    frame = await echo(wire, b"[%b]" % escape_all(text))
    assert json.loads(frame[1:]) == [text]


async def test_unescaped_text_is_understood_as_utf8(wire: Wire) -> None:
    """Rule 8.3."""
    frame = await echo(wire, '["gr\u00fc\u00df Gott \u4f60\u597d"]'.encode())
    assert json.loads(frame[1:]) == ["gr\u00fc\u00df Gott \u4f60\u597d"]


async def test_frames_hold_no_blanks_between_their_parts(wire: Wire) -> None:
    """Rule 8.4."""
    assert await echo(wire, b' [ "x" , "y" ] ') == b'a["x","y"]\n'
    url = await wire.open("/close")
    assert (await wire.request("POST", f"{url}/xhr")).body == b'c[3000,"Go away!"]\n'


@pytest.mark.parametrize("text", ["", '"', "\\", "</script>", "100% %20", "'", "\x7f", "a\nb"])
async def test_awkward_text_comes_back_equal(wire: Wire, text: str) -> None:
    """Rule 8.3."""
    assert json.loads((await echo(wire, json.dumps([text]).encode()))[1:]) == [text]
