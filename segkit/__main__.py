"""Entry point of ``python -m segkit``."""

import sys

if not sys.flags.safe_path:  # the folder in which one stands comes last: a random.py in it must not take the place of Python's own
    sys.path.append(sys.path.pop(0))

from segkit.cli import main

main(prog_name="python -m segkit")
