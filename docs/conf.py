"""Sphinx settings: Markdown pages, one theme. ``sphinx-build -W docs docs/_build`` builds them."""

from __future__ import annotations

project = "sockbridge"
author = "The sockbridge founders"
extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
