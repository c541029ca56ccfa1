"""Command line of the autograder, one file per command. They are imported when they are named."""

import click

from segkit.cli import LazyGroup

__all__ = ["main"]

COMMANDS = {
    "new": ("autograder.cli.new:new_command", "Write a working assignment to begin with."),
    "release": ("autograder.cli.release:release_command", "Build the student release, leak-checked."),
    "grade": ("autograder.cli.grade:grade_command", "Grade submissions: results, reports, class page."),
    "watch": ("autograder.cli.watch:watch_command", "Grade what comes into folders, for weeks."),
    "predict": ("autograder.cli.predict:predict_command", "Run student code only; `grade --predictions` scores elsewhere."),
    "collect": ("autograder.cli.collect:collect_command", "Write clean copies of raw hand-ins for nbgrader."),
    "export": ("autograder.cli.export:export_command", "Results for Gradescope, Classroom 50, JUnit, nbgrader, or as CSV."),
    "mark": ("autograder.cli.mark:mark_command", "Mark written answers in the browser, take marks over, change points."),
    "alike": ("autograder.cli.alike:alike_command", "Code, checkpoints and answers that are nearly the same, to look at."),
    "viva": ("autograder.cli.viva:viva_command", "Questions for each student about changes of their own code, answers measured."),
    "gradescope-zip": ("autograder.export.gradescope_zip:gradescope_zip_command", "Pack the grader for Gradescope."),
    "selftest": ("autograder.cli.selftest:selftest_command", "Sit the grader's own exam: known submissions, known results."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="segkit", message="autograder %(version)s")
def main() -> None:
    """Release assignments and grade submissions."""
