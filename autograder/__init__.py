"""The autograder: judges submissions. Student code never runs in a process of this package but in its worker."""

import segkit  # noqa: F401  (before anything imports nbformat: it spares every command two seconds)
