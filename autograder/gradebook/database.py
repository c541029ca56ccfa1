"""A gradebook that another program is writing to: wait for it, and say so where waiting does not help."""

import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine, ExceptionContext

__all__ = ["GradebookBusy", "wait_for_busy_gradebook"]


class GradebookBusy(Exception):
    """Another program kept the gradebook locked; the text says for how long, and what to do."""


def wait_for_busy_gradebook(seconds: float = 60.0) -> None:
    """Let every connection of this process wait for a locked gradebook; sqlite alone gives up after five seconds.

    Args:
        seconds: How long. ``GradebookBusy`` is raised then, in the place of an error that speaks of upgrading the database.
    """

    @event.listens_for(Engine, "connect")
    def _patient(connection: Any, record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    @event.listens_for(Engine, "handle_error")
    def _explain(context: ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise GradebookBusy(
                f"The gradebook is being written to by another program and was not free within {seconds:.0f} s (sqlite: {error}). "
                "Let the other nbgrader, formgrader or database tool finish, or close it, and run the same command again: the scores of "
                "a submission are saved all at once or not at all, and what was saved is not graded again."
            ) from error
