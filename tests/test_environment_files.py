"""Do pyproject.toml, environment.yml and requirements.lock say the same?"""

import importlib.metadata as metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# torch brings those that its build needs; others differ from machine to machine
BROUGHT_BY_TORCH = re.compile(r"^(nvidia-|cuda-|triton$)")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def wanted() -> dict[str, Requirement]:
    """What pyproject.toml asks for, with all extras, by canonical name."""
    content = project()
    lines = [*content["dependencies"], *(line for extra in content["optional-dependencies"].values() for line in extra)]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def conda() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def lock_lines() -> list[str]:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def pins() -> dict[str, Version]:
    found = {}
    for line in lock_lines():
        requirement = Requirement(line)
        (specifier,) = requirement.specifier
        found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def test_conda_asks_for_the_same_lower_bounds_as_pip() -> None:
    (pip,) = (entry["pip"] for entry in conda()["dependencies"] if isinstance(entry, dict))
    requirements = [Requirement(line) for line in pip if not line.startswith("-e")]
    assert {canonicalize_name(r.name): r.specifier for r in requirements} == {n: r.specifier for n, r in wanted().items()}


def test_tqdm_finds_the_widgets_that_students_get_with_it() -> None:
    """Without them ``tqdm.auto`` warns in red in every notebook that imports it."""
    from tqdm.notebook import IProgress

    assert "ipywidgets" in {canonicalize_name(Requirement(line).name) for line in project()["dependencies"]}
    assert IProgress is not None


def test_conda_installs_this_folder_as_the_package() -> None:
    (pip,) = (entry["pip"] for entry in conda()["dependencies"] if isinstance(entry, dict))
    assert pip[-1] == "-e ."


def test_conda_and_pip_ask_for_the_same_python() -> None:
    (python,) = (e for e in conda()["dependencies"] if isinstance(e, str) and e.startswith("python"))
    assert python == f"python{project()['requires-python']}"


def test_every_dependency_has_a_lower_bound_and_nothing_else() -> None:
    for name, requirement in wanted().items():
        assert [s.operator for s in requirement.specifier] == [">="], f"{name}: expected one lower bound, found {requirement}"


def test_every_line_of_the_lock_is_one_exact_version() -> None:
    for line in lock_lines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+!]*( ; .+)?", line), line
        assert "+" not in line, f"{line}: a local build cannot be installed elsewhere"


def test_the_lock_names_no_place() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert not re.search(r"://|--index|--extra|--find|^-", text, re.MULTILINE)


def test_the_lock_names_each_package_once() -> None:
    names = [canonicalize_name(Requirement(line).name) for line in lock_lines()]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("name", sorted(wanted()))
def test_the_lock_pins_a_version_that_is_allowed(name: str) -> None:
    assert name in pins(), f"{name} is not in requirements.lock: run `make venv lock`"
    assert pins()[name] in wanted()[name].specifier, f"{name}: {pins()[name]} does not fit {wanted()[name]}"


def test_the_lock_leaves_torchs_own_libraries_to_torch() -> None:
    assert [name for name in pins() if BROUGHT_BY_TORCH.match(name)] == []


def test_the_lock_pins_indirect_dependencies_too() -> None:
    """Follow what the installed packages ask for, from pyproject.toml on."""
    seen, waiting = set(), [(name, ()) for name in wanted()]
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen or BROUGHT_BY_TORCH.match(name):
            continue
        seen.add((name, extras))
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            pytest.skip(f"{name} is not installed here, so what it needs is not known")
        for requirement in map(Requirement, needs):
            if _applies(requirement.marker, extras):
                waiting.append((canonicalize_name(requirement.name), tuple(sorted(requirement.extras))))
    missing = sorted({name for name, _ in seen} - set(pins()) - {"setuptools"})
    assert missing == [], f"not in requirements.lock: {', '.join(missing)}; run `make venv lock`"


def _applies(marker: Marker | None, extras: tuple[str, ...]) -> bool:
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def dry_run(*arguments: str) -> str:
    done = subprocess.run(["make", "-n", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("target", ["demo", "test", "lint"])
def test_a_fresh_clone_gets_its_environment_first(target: str, tmp_path: Path) -> None:
    printed = dry_run(f"VENV={tmp_path / 'none'}", target)
    assert printed.index("-m venv") < printed.index("requirements.lock") < printed.index("--editable") < printed.rindex("-m ")


def test_make_says_which_python_is_needed(tmp_path: Path) -> None:
    done = subprocess.run(["make", "-C", str(ROOT), f"VENV={tmp_path / 'none'}", "PYTHON=", "venv"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "No Python 3.11 or newer was found" in done.stderr


def test_make_test_runs_the_slow_tests_too() -> None:
    assert 'pytest -m ""' in dry_run("test")


def test_ci_runs_the_tests_last_and_keeps_their_status() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert script.rstrip().splitlines()[-1] == "exec make test"
