"""Is what the Containerfile says so: its sources, packages, versions and command? Where an engine runs, it is built and used."""

import fnmatch
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from tiny import SECRET, TINY, write_submission

from autograder.cli import COMMANDS
from autograder.course.seeds import SECRET_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "Containerfile"
BASE = "docker.io/library/python"


def instructions(text: str) -> list[tuple[str, str]]:
    """Instruction and argument, lines that go on joined, remarks left out."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


LINES = instructions(FILE.read_text(encoding="utf-8"))


def of(word: str) -> list[str]:
    return [rest for name, rest in LINES if name == word]


def faults(lines: list[tuple[str, str]]) -> list[str]:
    """What cannot be right in it."""
    found = []
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    found += [f"unknown instruction {word}" for word, _ in lines if word not in known]
    for word, rest in lines:
        if word == "COPY":
            *sources, target = rest.split()
            found += [f"no such source: {source}" for source in sources if not (ROOT / source).exists()]
            found += [f"ignored: {source}" for source in sources if ignored(source)]
            found += [f"{rest}: copied over something else" for source in sources if (ROOT / source).is_dir() and source != target]
        if word == "RUN":
            found += [f"not in the lock: {name}" for command in rest.split("&&") for name in pip_packages(shlex.split(command))]
    return found


def pip_packages(words: list[str]) -> list[str]:
    """Packages that a command of pip names itself, in place of taking them from a file."""
    if words[:2] != ["pip", "install"]:
        return []
    with_value = {"--index-url", "--requirement", "--editable"}
    return [word for before, word in pairwise(words[1:]) if not word.startswith("-") and before not in with_value]


def ignored(source: str) -> bool:
    """Whether .dockerignore keeps it out; the last pattern that fits counts."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip().removeprefix("!")
        if pattern and not pattern.startswith("#") and fnmatch.fnmatch(source.rstrip("/"), pattern.removeprefix("**/")):
            verdict = not line.startswith("!")
    return verdict


def test_every_source_is_there_and_everything_that_is_installed_comes_from_the_lock():
    assert faults(LINES) == []


@pytest.mark.parametrize(("line", "fault"), [
    ("COPY segkitt/ segkitt/", "no such source"), ("COPY docs/ docs/", "ignored"),
    ("RUN true && pip install -q black", "not in the lock: black"),
    ("ADD x y", "unknown instruction"), ("COPY segkit/ ./", "copied over something else"),
])  # fmt: skip
def test_what_cannot_be_right_is_found(line, fault):
    assert any(fault in found for found in faults(instructions(line)))


@pytest.mark.parametrize("name", [".segkit-secret", ".venv", "build", "data/cmp_facade", "segkit/.segkit-secret", "gradebook.db"])
def test_secrets_environments_and_pictures_stay_outside(name):
    parts = Path(name).parts
    assert any(ignored(part) for part in ("/".join(parts[: n + 1]) for n in range(len(parts)))) or ignored(parts[-1])


def test_the_python_is_one_that_the_kit_was_tested_with():
    (base,) = of("FROM")
    version = base.removeprefix(f"{BASE}:").removesuffix("-slim")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert version in SpecifierSet(project["requires-python"])
    assert re.search(rf"Python [\d., and]*\b{re.escape(version)}\b", (ROOT / "requirements.lock").read_text(encoding="utf-8"))


def test_the_torch_that_is_installed_first_is_that_of_the_lock():
    (run,) = [run for run in of("RUN") if "torch" in run]
    take = run.partition(">")[0]
    found = subprocess.run(["sh", "-c", take], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert [line.partition("==")[0] for line in found] == ["torch", "torchvision"]
    assert {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()} >= {"torch", "torchvision"}


def test_it_runs_as_nobody_of_weight_and_the_command_is_there():
    order = [word for word, _ in LINES]
    assert of("USER") == ["grader"] and order.index("USER") > max(n for n, word in enumerate(order) if word in ("RUN", "COPY"))
    assert json.loads(of("ENTRYPOINT")[0]) == ["python", "-m", "autograder"] and json.loads(of("CMD")[0]) == ["--help"]
    assert {"grade", "watch"} <= set(COMMANDS)


def engine() -> str:
    """An engine that answers (a client alone does not) and has the base image, or can fetch it."""
    for name in ("podman", "docker"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True, timeout=60).returncode == 0:
            (base,) = of("FROM")
            if subprocess.run([name, "pull", base], capture_output=True, timeout=600).returncode == 0:
                return name
    return ""


@pytest.mark.slow
def test_it_can_be_built_and_grades(tmp_path):
    program = engine()
    if not program:
        pytest.skip("needs podman or docker, running, and a registry that has the base image")
    subprocess.run([program, "build", "-f", str(FILE), "-t", "segkit-test", "."], cwd=ROOT, check=True, timeout=3000)
    write_submission(tmp_path / "in" / "ann")
    shutil.copytree(TINY, tmp_path / "tiny", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (tmp_path, *tmp_path.rglob("*")):
        folder.chmod(0o777)
    command = [program, "run", "--rm", "--env", f"{SECRET_VARIABLE}={SECRET}", "--volume", f"{tmp_path}:/work", "segkit-test",
               "grade", "in/ann", "--out", "out", "--assignment", "tiny", "--data", "drawn", "--require-isolation", "landlock"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((tmp_path / "out" / "ann" / "result.json").read_text())["isolation"] in ("bubblewrap", "landlock")
