"""Becomes the program of its command line, pinned to a core and bound to the life of who started it.

A script, run as ``python -I -S launch.py CORE PARENT PROGRAM ARGUMENT...``; it uses the standard library alone. Done
before the program starts, so all its threads inherit it, and without ``preexec_fn``, which is unsafe beside threads.

Knows: affinity, limits and signals of a process on Linux.
Does not know: what it starts.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

SET_PARENT_DEATH_SIGNAL = 1
"""``PR_SET_PDEATHSIG`` of prctl(2): a killed benchmark leaves no server behind."""


def main(core: str, parent: str, *command: str) -> None:
    """Does not return.

    Args:
        core: number of the core; "" for no pinning.
        parent: id of the process that wants the program; the program dies with the thread of it that asked.
        command: the program, found on the PATH, and its arguments.
    """
    if core:
        os.sched_setaffinity(0, {int(core)})
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before we had asked to be told
        raise SystemExit("who started this is gone")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
