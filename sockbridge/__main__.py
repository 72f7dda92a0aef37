"""``python -m sockbridge``: the command ``sockbridge``."""

import sys

from .cli import main

sys.exit(main())
