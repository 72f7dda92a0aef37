"""Sphinx settings: Markdown pages, one theme. ``sphinx-build -W docs docs/_build`` builds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pygments.lexers.special import TextLexer

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "sockbridge"
author = "The sockbridge founders"
extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"


def setup(app: Sphinx) -> None:
    """Sphinx has no highlighter for HAProxy's configuration; its blocks are shown as they are."""
    app.add_lexer("haproxy", TextLexer)
