"""The exceptions of the package ``sockjs``, by its names: they are those of our own tree that mean the same.

None of them is raised by what this room offers; applications that catch them go on to be right.

Knows: which of our errors corresponds to which of theirs.
Does not know: who raises them.
"""

from __future__ import annotations

from ...errors import SessionBusy, SessionClosed, SockbridgeError

SockjsException = SockbridgeError
SessionIsAcquired = SessionBusy
SessionIsClosed = SessionClosed
