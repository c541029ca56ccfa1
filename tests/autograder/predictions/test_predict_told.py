"""What ``predict`` prints of hand-ins: names that students chose move no cursor and forge no line."""

from click.testing import CliRunner
from tiny import TINY

from autograder.cli import main


def test_names_of_files_do_nothing_to_the_terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_COURSE_SECRET", "not the class's own")
    folder = tmp_path / "alice"
    folder.mkdir()
    (folder / "a\x1b]0;all points\x07\u202e.pdf").write_bytes(b"%PDF")
    told = ["predict", str(folder), "--out", str(tmp_path / "out"), "--assignment", str(TINY), "--data", "drawn", "--device", "cpu"]
    outcome = CliRunner().invoke(main, told)
    assert outcome.exit_code == 1 and "alice: No notebook of the assignment was found" in outcome.output, outcome.output
    assert ".pdf" in outcome.output and not set("\x1b\x07\u202e") & set(outcome.output)
