"""Structure-aware fuzzing of everything that reads what strangers hand in: notebooks, zips, checkpoints, a worker's answers.

Hypothesis draws the cases and shrinks one that fails. A round of cases is drawn from its name alone (``notebooks:7:123``: target, seed,
number), so it is replayed by its name::

    SEGKIT_FUZZ_SEED=notebooks:7:123 python -m pytest -n 0 tests/fuzz

One round of each target is part of the normal suite. ``make fuzz`` goes on for as many seconds as it is given.
"""
