"""Entry point of ``python -m segkit``."""

import sys

if not sys.flags.safe_path:  # the folder in which one stands comes last: a random.py in it must not take the place of Python's own
    here = sys.path[0]
    sys.path[:] = [*(path for path in sys.path if path != here), here]

from segkit.cli import main

main(prog_name="python -m segkit")
