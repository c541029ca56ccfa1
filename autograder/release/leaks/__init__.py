"""The leak check of a release: what must not be in it (``lines``), and the search for it (``scan``)."""

from autograder.release.leaks.lines import Secret, Secrets, collect_secrets
from autograder.release.leaks.scan import Finding, Release, check_folder, check_leaks, check_zip

__all__ = [
    "Finding",
    "Release",
    "Secret",
    "Secrets",
    "check_folder",
    "check_leaks",
    "check_zip",
    "collect_secrets",
]
