"""The exceptions have the package's names and order, and stand in our tree."""

from __future__ import annotations

import sockjs.exceptions as theirs

import sockbridge
from sockbridge.compat.sockjs import exceptions as ours


def test_each_exception_of_the_package_is_there_below_the_same_base() -> None:
    names = [name for name, kind in vars(theirs).items() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert names == ["SockjsException", "SessionIsAcquired", "SessionIsClosed"]
    for name in names:
        assert issubclass(getattr(theirs, name), theirs.SockjsException)
        assert issubclass(getattr(ours, name), ours.SockjsException)
        assert issubclass(getattr(ours, name), sockbridge.SockbridgeError)
