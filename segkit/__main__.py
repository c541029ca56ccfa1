"""Entry point of ``python -m segkit``."""

import sys

if not getattr(sys.flags, "safe_path", False):  # the folder in which one stands comes last: a random.py in it must not take the place of
    here = sys.path[0]  # Python's own
    sys.path[:] = [*(path for path in sys.path if path != here), here]

from segkit.installs import entered

with entered():  # until this has been imported, nothing but the standard library is there for certain
    from segkit.cli import main

main(prog_name="python -m segkit")
