"""Entry point of ``python -m autograder``."""

from segkit.installs import entered

with entered():
    from autograder.cli import main

if __name__ == "__main__":
    main(prog_name="python -m autograder")
