"""For all tests: examples of hypothesis have no deadline, as a loaded machine is no fault."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("sockbridge", deadline=None)
settings.load_profile("sockbridge")
