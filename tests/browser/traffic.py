"""The 200 messages that every client sends and must get back, in order and equal.

Knows: what has broken clients and servers before.
Does not know: who sends them.
Spec: sockjs-protocol 0.3.3, "Encoding"; HTML standard, "script data" states; RFC 8259, 7.
"""

from __future__ import annotations

import json
import random
from typing import Final

SCRIPT_URL: Final = "/script-has-run"

SCRIPT: Final = (
    "<script>window.scriptHasRun = true; try { top.scriptHasRun = true; } catch (error) {}"
    f" new Image().src = '{SCRIPT_URL}';</script>"
)
"""Leaves a mark in its own window and in the top one, and asks the server for ``SCRIPT_URL``, if it ever runs."""

ESCAPED_RANGES: Final = (
    (0x0000, 0x001F),
    (0x200C, 0x200F),
    (0x2028, 0x202F),
    (0x2060, 0x206F),
    (0xFFF0, 0xFFFF),
)
"""First and last code point of what the protocol wants as ``\\uXXXX``, but for the surrogates."""

SURROGATES: Final = (0xD800, 0xDFFF)

COUNT: Final = 200

EMPTY: Final = ("", "")

PERCENT: Final = ("100% %20", "%", "%%", "%25", "%2525", "%0A", "%00", "%E4", "%u2028", "%20%", "a%20b%2Fc+d&d=e")

MARKUP: Final = (
    "</script>",
    "</script>" + SCRIPT,
    "<!--",
    "<!--<script>",
    "<!--" + SCRIPT + "-->",
    "-->",
    "]]>",
    SCRIPT,
    "<script>",
    "</SCRIPT\t>" + SCRIPT,
    "</body></html>" + SCRIPT,
    '<img src=x onerror="top.scriptHasRun = window.scriptHasRun = true">',
    "&lt;/script&gt;&quot;&#34;",
)

QUOTES: Final = (
    '"',
    '""',
    "'",
    "\\",
    "\\\\",
    '\\"',
    "\\u0022",
    "\\u003c/script\\u003e",
    '");window.scriptHasRun = top.scriptHasRun = true;("',
    '\\");window.scriptHasRun = top.scriptHasRun = true;//',
    "');window.scriptHasRun = true;//",
    "`${window.scriptHasRun = true}`",
    "/* */ // */",
)

LINES: Final = (
    "\0",
    "a\0b",
    "\r",
    "\n",
    "\r\n\r\n",
    "line one\nline two\r\nline three\rline four",
    "data: x\n\nevent: close\ndata: y\n\n",
    "\u2028",
    "\u2029",
    "\x85",
    "\x7f",
    " ",
    "\t",
)

LIKE_FRAMES: Final = ("o", "h", "a", 'a["x"]', 'c[3000,"Go away!"]', "[]", '["a","b"]', "{}", "null", "0", '"x"', "m")

UNICODE: Final = (
    "\ufeff",
    "\ufefftext after a byte order mark",
    "\U0001f600",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1e9\U0001f1ea\U0001f44d\U0001f3fd",
    "\U0010ffff",
    "e\u0301 and \u00e9",
    "\u05e9\u05dc\u05d5\u05dd \u202e\u0645\u0631\u062d\u0628\u0627\u202c",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\u00fc\u00df\u00a0\u00ff\u0100\u07ff\u0800",
)

LONE_SURROGATES: Final = (
    "\ud800",
    "\udbff",
    "\udc00",
    "\udfff",
    "\udc00\ud800",
    "a\ud83d",
    "\ude00b",
    "\ud83d\ud83d\U0001f600\ude00",
    "\U0001f600\ud83d and text",
)


def _whole(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


def _escaped() -> list[str]:
    whole = [_whole(*bounds) for bounds in (*ESCAPED_RANGES, SURROGATES)]
    borders = [
        chr(border + step)
        for first, last in ESCAPED_RANGES
        for border in (first, last)
        for step in (-1, 0, 1)
        if 0 <= border + step <= 0xFFFF
    ]
    return [*whole, *borders]


def _big() -> list[str]:
    return [
        "x" * 100 * 1024,
        "".join(map(chr, range(0x20, 0xD800, 16))),  # a sample of every script, surrogates apart
        '<"\\%\n' * 1500,
        "A line of ordinary text that goes on and on. " * 600,
    ]


def _random_texts(count: int) -> list[str]:
    generator = random.Random(20)
    alphabet = "abc 0123%<>/\\\"'\n\r\0\u2028\u200d\u00e9\u65e5\U0001f600\ud83d\ude00"
    return ["".join(generator.choices(alphabet, k=generator.randrange(60))) for _ in range(count)]


def _make() -> list[str]:
    messages = [
        *EMPTY,
        *PERCENT,
        *MARKUP,
        *QUOTES,
        *LINES,
        *LIKE_FRAMES,
        *UNICODE,
        *LONE_SURROGATES,
        *_escaped(),
        *_big(),
    ]
    messages += _random_texts(COUNT - len(messages))
    random.Random(6).shuffle(messages)
    return messages


MESSAGES: Final[tuple[str, ...]] = tuple(_make())

MESSAGES_JSON: Final = json.dumps(MESSAGES)
"""``MESSAGES`` in ASCII; a lone surrogate is an escape, as UTF-8 cannot hold it."""
