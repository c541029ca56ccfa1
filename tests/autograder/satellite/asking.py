"""A check's questions, put to functions in this process."""

from pathlib import Path

import numpy as np

from segkit.subject import LocalSubject


def findings(folder, mistakes, *more, seed=0, **defined):
    """What a check finds of these functions."""
    subject = LocalSubject(Path(folder))
    for name, value in defined.items():
        subject.adopt(name, value)
    return [*mistakes(subject, np.random.default_rng(seed), *more)]
