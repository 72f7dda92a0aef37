"""What a run was made on: versions, and the hardware without its name.

Knows: how to ask the programs that servers run on.
Does not know: which servers there are.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import aiohttp

QUESTIONS: Final = {"node": "--version", "go": "version", "java": "--version"}
"""Program -> the argument that makes it tell its version."""


def versions() -> dict[str, str]:
    """By name; of Python and aiohttp, and of what else is installed."""
    found = {"Python": platform.python_version(), "aiohttp": aiohttp.__version__}
    for program, question in QUESTIONS.items():
        if shutil.which(program):
            answer = subprocess.run([program, question], capture_output=True, text=True, check=False).stdout
            number = re.search(r"\d+(\.\d+)+", answer)
            found[program] = number[0] if number else "of an unknown version"
    return found


def machine() -> dict[str, object]:
    """Processor, how many cores we may use, and the system."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:  # not Linux
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
    }
