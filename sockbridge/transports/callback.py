"""The one check of a script callback's name, which comes from the URL and stands in our script.

Knows: which names are harmless.
Does not know: who asks.
Spec: sockjs-protocol 0.3.3, JsonPolling, HtmlFile; the 32 characters are the reference server's.
"""

from __future__ import annotations

import re
from typing import Final

MAX_LENGTH: Final = 32

_NAME = re.compile(r"[A-Za-z0-9_.-]+")


def check_callback(name: str) -> str | None:
    """What is wrong with ``name`` (the decoded query parameter), or None if it may be used."""
    if not name:
        return '"callback" parameter required'
    if len(name) > MAX_LENGTH or not _NAME.fullmatch(name):
        return 'invalid "callback" parameter'
    return None
