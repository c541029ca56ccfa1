"""Structure-aware fuzzing of everything that reads what strangers hand in: notebooks, zips, checkpoints, a worker's answers.

Every case is drawn from its name alone (``notebooks:7:123``: target, run, number), so one that failed is replayed by its name::

    SEGKIT_FUZZ_SEED=notebooks:7:123 python -m pytest -n 0 tests/fuzz

A short run is part of the normal suite. The long one: ``python -m tests.fuzz --seconds 600 --seed 7`` or ``make fuzz``.
"""
