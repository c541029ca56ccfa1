"""Every command that README, docs and the students' instructions print is run as it stands there, or says why not.

A command in none of the tables fails; so does a line of a table whose command is printed no more.
"""

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
TEXTS = (
    "README.md", "data/README.md", "nbgrader_config.py", *(f"docs/{name}.md" for name in ("design", "performance", "results", "training")),
    "docs/ci/README.md", "autograder/assignments/fcn/release/START_HERE.md",
)  # fmt: skip
PROGRAMS = ("python", "nbgrader", "make", "pytest", "jupyter", "apt", "pip")
COMMAND = re.compile(rf"(?:{'|'.join(PROGRAMS)})\b")

# in this order, in one copy of the repository: exit codes that are right there
RUN = {
    "python -m autograder release fcn --out build/release": (0, 1),  # 1: see ``test_the_first_command_of_an_instructor``
    "python -m autograder collect RAW/* --out submitted": (0,),
    "python -m autograder grade submitted/* --out build/graded --data data/cmp_facade --jobs 2": (0, 1),  # gates without pictures: 1
    "nbgrader generate_assignment fcn": (0,),
    "nbgrader autograde fcn": (0,),
    "nbgrader generate_feedback fcn": (0,),
    "nbgrader export": (0,),
    "python -m autograder export build/graded --to csv --manual COPY.csv": (0,),
    "python -m autograder export build/graded --to gradescope": (0,),
    "python -m autograder export build/graded --to classroom50": (0, 1),  # 1: what is open has no place in that format
    "python -m autograder export build/graded --to junit": (0,),
    "python -m autograder export build/graded --to csv": (0,),
    "python -m autograder gradescope-zip --out autograder.zip": (0,),
    "python -m autograder grade submission.zip --out graded --data \"$CMP_ROOT\" --require-isolation bubblewrap": (0, 1, 2),  # 2: none here
    "python -m autograder grade --bulk EXPORT.zip --roster roster.csv --out build/graded": (0, 1),
    "python -m segkit data verify --data ROOT": (1,),  # a handful of pictures: it must say what is missing
}
HANDING_IN = {  # in the students' folder, all of it still to be done
    "python -m segkit submit": (1,),
    'python -m segkit submit --code-only --where "drive/ada"': (1,),
}
NOT_RUN = {  # pattern of the whole command -> why
    r"make( \w+)?|make venv && .*": "a target of the Makefile: see test_targets; CI runs `make test`, which runs this",
    r"pytest": "this is it",
    r"python -m autograder selftest .*": "takes minutes; tests/autograder/test_selftest_sample.py sits a part",
    r"python -m segkit data fetch": "needs a network; tests/segkit/test_download.py serves the archives itself",
    r"apt install \w+|pip install \w+": "installs on this machine",
    r"jupyter lab": "a server for a browser",
    r"python (benchmarks|docs)/\w+\.py .*": "minutes to hours; tests/benchmarks runs their parts",
    r"python -m segkit (pretrain|train|evaluate) .*": "hours on real pictures; tests/segkit runs these commands on drawn ones",
    r"python -m autograder (predict|grade) SUBMISSION\.\.\. .*": "stands for any submission; tests/autograder/predictions runs both",
    r"python -m autograder grade( \.\.\. .*)?|python -m segkit \.\.\.|nbgrader autograde": "only named, or shortened",
}


@cache
def printed() -> tuple[str, ...]:
    """All commands, each once: from blocks of code, and from code within a line."""
    found = []
    for name in TEXTS:
        text = (REPO / name).read_text(encoding="utf-8")
        blocks = re.findall(r"```\w*\n(.*?)```", text, flags=re.DOTALL)
        lines = [line.strip() for block in blocks for line in block.splitlines()]
        lines += [line.strip() for line in text.splitlines() if re.match(r"    \w", line)] if name.endswith(".py") else []
        lines += [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))]
        found += [re.split(r"\s{2,}(?:#|[a-z])", line)[0].split("      #")[0].strip() for line in lines if COMMAND.match(line)]
    choices = [alternative for command in found for alternative in _alternatives(command)]
    return tuple(dict.fromkeys(re.sub(r"\s+", " ", command) for command in choices))


def _alternatives(command: str) -> list[str]:
    """``--to csv|junit`` as two commands."""
    word = next((word for word in command.split() if re.fullmatch(r"\w+(\|\w+)+", word)), None)
    return [command.replace(word, choice) for choice in word.split("|")] if word else [command]


def test_every_printed_command_is_run_or_says_why_not():
    known = {*RUN, *HANDING_IN}
    lost = [command for command in printed() if command not in known and not any(re.fullmatch(p, command) for p in NOT_RUN)]
    assert not lost, "printed, but in no table of this test"
    assert not [command for command in known if command not in printed()], "in a table, but printed nowhere"
    assert not [p for p in NOT_RUN if not any(re.fullmatch(p, command) for command in printed())], "a reason for no command"


def test_targets():
    targets = {command.split()[1] for command in printed() if re.fullmatch(r"make \w+", command)}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert subprocess.run(["make", "-n", target], cwd=REPO, capture_output=True, check=False).returncode == 0, target


def _options(command: str) -> tuple[list[str], set[str]]:
    """The command alone, and the options that it is given."""
    words = [word for word in command.replace("...", " ").split()]
    options = {word for word in words if word.startswith("--")}
    end = 2 if words[1].endswith(".py") else 4 if len(words) > 3 and not words[3].startswith("-") else 3
    end = 5 if words[2:5] == ["segkit", "data", words[4] if len(words) > 4 else ""] else end
    return words[1:end], options


@pytest.mark.slow
def test_options_of_commands_that_are_not_run():
    """A command that is not run must at least know its options."""
    wanted: dict[tuple[str, ...], set[str]] = {}
    for command in printed():
        if command.startswith("python ") and any(re.fullmatch(pattern, command) for pattern in NOT_RUN):
            alone, options = _options(command)
            wanted.setdefault(tuple(alone), set()).update(options)
    for alone, options in wanted.items():
        done = subprocess.run([sys.executable, *alone, "--help"], cwd=REPO, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{alone}: {done.stderr[-500:]}"
        assert not [option for option in options if option not in done.stdout], f"{' '.join(alone)} has no such option"


# ------------------------------------------------------------------------------------------------------- running them
@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A copy of the repository with a class of two, as an instructor finds it."""
    root = tmp_path_factory.mktemp("printed") / "course"
    skipped = shutil.ignore_patterns(".venv", ".git", "build", "__pycache__", ".*_cache", "pictures")
    shutil.copytree(REPO, root, ignore=skipped, symlinks=True)
    for name in ("ada", "bob"):
        (root / "RAW" / name).mkdir(parents=True)
        shutil.copy(root / "notebooks" / "fcn" / "1_data.ipynb", root / "RAW" / name)
    shutil.copytree(root / "data" / "sample" / "base", root / "data" / "cmp_facade" / "base")
    (root / "ROOT").symlink_to(root / "data" / "cmp_facade")
    with zipfile.ZipFile(root / "submission.zip", "w") as bundle:
        bundle.write(root / "RAW" / "ada" / "1_data.ipynb", "1_data.ipynb")
    (root / "roster.csv").write_text("ID number,First name,Last name,Email address\n1,Ada,Lovelace,ada@example.org\n", encoding="utf-8")
    with zipfile.ZipFile(root / "EXPORT.zip", "w") as bundle:
        bundle.write(root / "RAW" / "ada" / "1_data.ipynb", "Ada Lovelace_4711_assignsubmission_file_/1_data.ipynb")
    return root


def run(command: str, folder: Path, root: Path) -> subprocess.CompletedProcess:
    """Run a command by the shell, word for word, with this Python."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "CMP_ROOT": "data/cmp_facade",
                   **{name: "x" for name in ("CLASSROOM", "SUBMISSION_TAG", "COMMIT_URL", "RELEASE_URL", "REVIEW_URL")},  # its runner's
                   "SEGKIT_COURSE_SECRET": "of the tests only", "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}  # fmt: skip
    environment.pop("SEGKIT_DATA", None)
    return subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=580, check=False)


def assert_went_well(command: str, done: subprocess.CompletedProcess, codes: tuple[int, ...]) -> None:
    said = f"{command}\nexit {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    assert done.returncode in codes, said
    assert "Traceback" not in done.stdout + done.stderr, said


@pytest.mark.slow
def test_commands_for_instructors_and_ci_work_as_they_are_printed(course):
    for command, codes in RUN.items():
        if "COPY.csv" in command:
            shutil.copy(course / "build" / "graded" / "summary.csv", course / "COPY.csv")
        if "bubblewrap" in command and shutil.which("bwrap"):
            codes = (0, 1)
        done = run(command, course, course)
        assert_went_well(command, done, codes)
        if command.startswith("python -m autograder release") and done.returncode == 1:
            # the verdict of the exam does not fit files that are being worked on; that is all that may be in the way
            assert "grader's exam" in done.stdout + done.stderr
            assert_went_well(command, run(f"{command} --unexamined", course, course), (0,))
    assert (course / "build" / "release" / "fcn.zip").is_file() and (course / "autograder.zip").is_file()
    assert "ada" in (course / "build" / "graded" / "summary.csv").read_text(encoding="utf-8")
    assert json.loads((course / "graded" / "submission" / "result.json").read_text(encoding="utf-8"))["assignment"] == "fcn"
    # nothing is left in the course's folder but what the texts name, and what git ignores
    allowed = {*os.listdir(REPO), "RAW", "ROOT", "EXPORT.zip", "COPY.csv", "roster.csv", "submission.zip", "autograder.zip", "graded",
               "build", "submitted", "autograded", "feedback", "release", "gradebook.db", "grades.csv", ".nbgrader.log", "exchange"}
    assert not set(os.listdir(course)) - allowed


@pytest.mark.slow
def test_commands_for_students_work_in_the_folder_that_they_get(course):
    place = course / "build" / "release" / "fcn"
    if not place.is_dir():
        assert_went_well("release", run("python -m autograder release fcn --out build/release --unexamined", course, course), (0,))
    for command, codes in HANDING_IN.items():
        done = run(command, place, course)
        assert_went_well(command, done, codes)
        assert "hand in     submission.zip" in done.stdout and "not finished yet" in done.stdout, done.stdout


def test_the_new_check_of_the_readme_can_be_pasted(tmp_path):
    """As its own file in an assignment's checks: an id of its own is graded, the id of another check is refused."""
    from autograder.grade import grade_path
    from autograder.rubric import RubricError
    from autograder.run import Run, Settings

    block = next(b for b in re.findall(r"```python\n(.*?)```", (REPO / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL))
    source = "\n".join(line[2:] for line in block.splitlines()) + "\n"
    for name in ("rubric.toml", "prepare.py", "checks"):
        source_of = REPO / "tests" / "autograder" / "tiny_assignment" / name
        (shutil.copytree if source_of.is_dir() else shutil.copy)(source_of, tmp_path / name)
    rubric = tmp_path / "rubric.toml"
    identifier = re.search(r'@check\("(.+?)"\)', source)[1]
    added = f'\n[checks."{identifier}"]\ntitle = "New"\npoints = 2\n'
    rubric.write_text(rubric.read_text(encoding="utf-8") + added, encoding="utf-8")
    (tmp_path / "checks" / "test_new.py").write_text(source, encoding="utf-8")
    settings = Settings(str(tmp_path), tmp_path / "out", data="drawn", secret="of the tests only")
    with Run.create(settings) as opened:
        opened.settings = dataclasses.replace(settings, only=(identifier,))
        points = {}
        for name, union in (("iou", "hist.sum(0) + hist.sum(1) - hit"), ("recall", "hist.sum(1)")):
            (tmp_path / name).mkdir()
            work = f"def scores(hist):\n    hit = hist.diagonal()\n    return hit.sum() / hist.sum(), hit / ({union}), 0.5\n"
            (tmp_path / name / "work.py").write_text(f"{work}\ndef double(values):\n    return 2 * values\n", encoding="utf-8")
            points[name] = grade_path(opened, tmp_path / name, name)["checks"][0]["points"]
        assert points == {"iou": 2, "recall": 0}
    (tmp_path / "checks" / "test_twice.py").write_text(source, encoding="utf-8")
    with pytest.raises(RubricError, match="test_new.py.*test_twice.py"):
        Run.create(settings).close()


def test_texts_use_words_that_a_shell_can_split():
    for command in RUN:
        assert shlex.split(command)
