"""Does the first cell find everything, complete a bare hosted machine, and say what is missing?"""

import ast
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from bare_machine import first_cell, make_zip, run_cell

from segkit import environment, installs
from segkit import kit as kit_module
from segkit.checkpoint_files import find_checkpoints
from segkit.checkpoints import read_state_dict
from segkit.environment import EnvironmentFault, Kit, missing_packages, prepare, split_of, work_folder
from segkit.facades import find_root

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def in_the_sample(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Each test starts in an empty folder, with the sample as data; prepare() may change the folder."""
    monkeypatch.setenv("SEGKIT_DATA", "sample")
    monkeypatch.delenv("SEGKIT_QUICK", raising=False)
    monkeypatch.chdir(tmp_path)


def test_proof_names_versions_device_data_code_and_folder(capsys):
    kit = prepare(REPO)
    out = capsys.readouterr().out
    for word in (torch.__version__.split("+")[0], "device", "split sample (24 train, 4 val, 4 test)", str(REPO / "segkit")):
        assert word in out
    assert out.count("[ok]") == 6
    assert kit.split == "sample" and not kit.quick


@pytest.mark.parametrize(("gpu", "mode", "told"), [(False, "", True), (False, "1", False), (True, "", False)])
def test_who_has_no_gpu_is_told_how_to_train_all_the_same(gpu, mode, told, monkeypatch):
    """Notebooks speak of quick mode, and START_HERE alone of how to switch it on."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setenv("SEGKIT_QUICK", mode)
    notes = prepare(REPO, quiet=True).notes
    assert any("%env SEGKIT_QUICK=1" in note for note in notes) == told


def test_a_notebook_keeps_the_memory_of_its_networks(monkeypatch):
    asked = []
    monkeypatch.setattr("segkit.malloc.keep_memory", lambda: asked.append("kept"))
    prepare(REPO, quiet=True)
    assert asked == ["kept"]


def test_another_segkit_is_refused(tmp_path):
    with pytest.raises(EnvironmentFault, match="Another segkit was imported: expected .*, got .*Restart"):
        prepare(tmp_path)


def test_quick_mode_takes_few_pictures_of_bounded_size(monkeypatch):
    monkeypatch.setenv("SEGKIT_QUICK", "1")
    kit = prepare(REPO, quiet=True)
    counts = [len(kit.dataset(part, right_read_label)) for part in ("train", "val", "test")]
    assert counts == [24, 4, 4] and len(kit.dataset("train", right_read_label, small=True)) == 12
    whole, small = (kit.dataset("train", right_read_label, small=small)[7] for small in (False, True))
    assert tuple(whole[1].shape) == (277, 303) and tuple(small[0].shape) == (3, 160, 160)
    high = torch.zeros(3, 900, 500)
    assert tuple(kit_module._Middle(320)(high, high[0])[0].shape) == (3, 320, 320), "photographs are larger than the sample's"


def test_what_quick_mode_keeps_is_found_by_the_next_notebook_and_never_handed_in(tmp_path):
    kit = Kit(tmp_path, tmp_path, "sample", "cpu", quick=True)
    assert kit.checkpoint("fcn32s") is None and kit.trained("fcn32s_scratch") is None
    model = torch.nn.Conv2d(1, 1, 1)
    kit.runs.joinpath("fcn32s").mkdir(parents=True)
    (kit.runs / "fcn32s" / "resume.pt").touch()
    for name in ("fcn32s", "fcn32s_scratch", "fcn16s"):
        kit.keep(name, model)
        assert torch.allclose(read_state_dict(kit.trained(name))["weight"].float(), model.weight, atol=1e-3)
    assert kit.checkpoint("fcn32s") == kit.trained("fcn32s") and not list(tmp_path.rglob("resume.pt"))
    assert find_checkpoints(tmp_path, ["fcn32s", "fcn8s"]) == {}
    assert Kit(tmp_path, tmp_path, "sample", "cpu", quick=False).checkpoint("fcn32s") is None


# ipython/ipython#11184: %env takes what follows as it stands
@pytest.mark.parametrize(("written", "quick"), [
    ("1", True), ('"1"', True), ("'1'  ", True), ("1  # laptop", True), ("true", True),
    ("", False), ("0", False), ('"0"', False), ("0  # on the GPU", False), ("False", False), ("off", False), ("no", False),
])  # fmt: skip
def test_quick_mode_is_on_or_off_as_it_was_meant(written, quick, monkeypatch):
    monkeypatch.setenv("SEGKIT_QUICK", written)
    assert prepare(REPO, quiet=True).quick is quick


@pytest.mark.parametrize("written", ['"{}"', "'{}'", " {} ", '"$PLACE/my pictures #1"', "~/my pictures #1"])
def test_a_path_in_quotes_or_with_names_in_it_is_found_and_handed_on(written, tmp_path, monkeypatch):
    place = tmp_path / "my pictures #1"
    shutil.copytree(REPO / "data" / "facades" / "sample", place)
    monkeypatch.setenv("PLACE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("SEGKIT_DATA", written.format(place))
    assert prepare(REPO, quiet=True).root == place
    assert find_root() == place  # as any other code of the notebook asks


def test_the_stand_in_for_vgg16_is_always_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("segkit.vgg.find_vgg16", lambda: None)
    kit = Kit(tmp_path, tmp_path, "sample", "cpu", quick=True)
    first, second = (network for network, _ in (kit.vgg16(), (torch.rand(3), kit.vgg16())[1]))
    assert torch.equal(first.features[28].weight, second.features[28].weight)
    assert "this is no head start" in capsys.readouterr().out


def right_read_label(path):
    import numpy as np
    from PIL import Image

    ids = torch.from_numpy(np.array(Image.open(path), dtype=np.int64))
    return torch.where(ids == 0, 255, ids - 1)


def test_full_mode_takes_whole_pictures_of_the_whole_part():
    kit = prepare(REPO, quiet=True)
    dataset = kit.dataset("val", right_read_label)
    assert len(dataset) == 4 and max(dataset[0][1].shape) > 160
    assert tuple(kit.dataset("val", right_read_label, small=True, first=1)[0][1].shape) == (160, 160)


def test_own_checkpoint_comes_before_a_published_one(tmp_path):
    kit = Kit(tmp_path, tmp_path, "sample", "cpu", quick=False)
    assert kit.checkpoint("fcn8s") is None
    for folder in ("published", "checkpoints"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "fcn8s.safetensors").touch()
        assert kit.checkpoint("fcn8s").parent.name == folder
        assert (kit.checkpoint("fcn8s", published=False) is None) == (folder == "published")


def test_without_weights_or_gpu_the_full_recipe_is_refused_in_words(tmp_path, capsys):
    kit = Kit(tmp_path, tmp_path, "sample", "cpu", quick=False)
    assert not kit.can_train(pretrained=False) and "ImageNet weights" in capsys.readouterr().out
    assert not kit.can_train(pretrained=True) and "no GPU" in capsys.readouterr().out
    assert Kit(tmp_path, tmp_path, "sample", "cuda", quick=False).can_train(pretrained=True)


@pytest.mark.parametrize(
    ("files", "split"),
    [
        (["base/cmp_s0001.jpg"], "sample"),
        (["base/cmp_b0001.jpg"], "base"),
        (["base/cmp_b0001.jpg", "extended/cmp_x0001.jpg"], "course"),
    ],
)
def test_split_follows_from_the_data_that_is_there(files, split, tmp_path):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    assert split_of(tmp_path) == split


def test_work_folder_is_where_the_notebook_lies_or_the_unpacked_kit(tmp_path, monkeypatch):
    (tmp_path / "fcn" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "fcn" / "deep")
    assert work_folder(tmp_path / "fcn") == (tmp_path / "fcn" / "deep").resolve()
    monkeypatch.chdir(tmp_path)
    assert work_folder(tmp_path / "fcn") == (tmp_path / "fcn").resolve()


# googlecolab/colabtools#1172: a copy goes into another folder, under another name in every language
@pytest.mark.parametrize("where", [
    "1_data.ipynb", "drive/Colab Notebooks/1_data.ipynb", "drive/Colab Notebooks/Copy of 1_data.ipynb",
    "drive/Colab Notebooks/Kopie von 1_data.ipynb", "1_data (1).ipynb",
])  # fmt: skip
def test_a_copy_of_a_notebook_outside_the_work_folder_is_named(where, tmp_path, monkeypatch, capsys):
    """On a hosted machine: the copy that was uploaded beside the zip, or that the drive keeps or made."""
    work = tmp_path / "drive" / "fcn"
    for path in (work / "1_data.ipynb", tmp_path / where):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "other.ipynb").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "work_folder", lambda home: work)
    monkeypatch.setattr(environment, "_STARTED", {})
    prepare(REPO, quiet=True)
    prepare(REPO)  # the first cell is run again, in the work folder
    out = capsys.readouterr().out
    assert f"[!!] a copy          {(tmp_path / where).resolve()}: not looked at" in out and "other.ipynb" not in out
    (tmp_path / where).unlink()
    prepare(REPO)
    assert "[!!]" not in capsys.readouterr().out


def test_only_what_is_missing_is_installed_and_torch_is_pinned(monkeypatch, capsys):
    seen = {}

    def pip(command, **_):
        seen["command"] = command
        seen["pins"] = Path(command[command.index("--constraint") + 1]).read_text(encoding="utf-8")
        monkeypatch.setitem(installs.NEEDED, "no_such_package", "x")
        installs.NEEDED.pop("no_such_package")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setitem(installs.NEEDED, "no_such_package", "no-such-package>=1")
    assert missing_packages() == ["no-such-package>=1"]
    monkeypatch.setattr(installs.subprocess, "run", pip)
    installs.install(missing_packages())
    assert seen["command"][-1] == "no-such-package>=1" and "torch" not in seen["command"]
    assert f"torch=={installs.metadata.version('torch')}" in seen["pins"].splitlines()
    assert "installing what is missing" in capsys.readouterr().out


def test_without_a_network_the_missing_package_is_named(monkeypatch):
    def pip(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "ERROR: no network\n")

    monkeypatch.setitem(installs.NEEDED, "no_such_package", "no-such-package>=1")
    monkeypatch.setattr(installs.subprocess, "run", pip)
    with pytest.raises(EnvironmentFault, match="no-such-package>=1.*no network.*by hand"):
        installs.install(missing_packages())


def test_a_python_of_the_system_sends_to_an_environment(monkeypatch):
    """The last line that pip says there is a hint to read a standard (jupyter/jupyter#727)."""

    def pip(command, **_):
        said = "error: externally-managed-environment\n\n× This environment is externally managed\nhint: See PEP 668.\n"
        return subprocess.CompletedProcess(command, 1, "", said)

    monkeypatch.setitem(installs.NEEDED, "no_such_package", "no-such-package>=1")
    monkeypatch.setattr(installs.subprocess, "run", pip)
    with pytest.raises(EnvironmentFault, match="no-such-package>=1.*belongs to the system.*environment of its own") as caught:
        installs.install(missing_packages())
    assert "network" not in str(caught.value) and "PEP" not in str(caught.value)


def not_installed_because(monkeypatch, said: str) -> str:
    monkeypatch.setitem(installs.NEEDED, "no_such_package", "no-such-package>=1")
    monkeypatch.setattr(installs.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", said))
    with pytest.raises(EnvironmentFault) as caught:
        installs.install(missing_packages())
    return str(caught.value)


# astral-sh/uv#7173
def test_an_environment_without_pip_is_told_how_uv_installs(monkeypatch):
    told = not_installed_because(monkeypatch, f"{sys.executable}: No module named pip\n")
    assert f'uv pip install --python "{sys.executable}" "no-such-package>=1"' in told and "network" not in told


# openvinotoolkit/openvino_notebooks#218: the last line that pip says is about versions
@pytest.mark.parametrize("said", [
    "WARNING: Retrying (Retry(total=4)) after connection broken by 'ProxyError('Cannot connect to proxy.')': /simple/no-such-package/\n",
    "Could not fetch URL https://an.index/simple/pip/: (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]\n",
])  # fmt: skip
def test_an_index_that_pip_cannot_reach_is_no_missing_version(said, monkeypatch):
    told = not_installed_because(monkeypatch, said + "ERROR: No matching distribution found for no-such-package>=1\n")
    assert "pip reached no package index" in told and "proxy" in told and "No matching distribution" not in told


# jupyter/notebook#7522, mindverse/Second-Me#32: an old Anaconda, the last PyTorch for Macs with an Intel processor
def test_packages_older_than_the_oldest_that_works_are_named(monkeypatch):
    versions = {"torch": "2.2.2", "pillow": "9.5.0", "click": "8.1", "numpy": "2.4.0rc1", "tqdm": "4.66.0.post1", "nbformat": "5.10"}
    monkeypatch.setattr(installs.metadata, "version", lambda name: versions.get(name, "99"))
    assert installs.outdated_packages() == ["torch 2.2.2 (torch>=2.11)", "pillow 9.5.0 (pillow>=10.0)"]
    (note,) = [note for note in prepare(REPO, quiet=True).notes if "older than" in note]
    assert "torch 2.2.2 (torch>=2.11), pillow 9.5.0" in note and "START_HERE" in note


def test_bounds_are_those_of_the_project():
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*installs.NEEDED.values(), *installs.KEPT.values()} == set(project["dependencies"])
    assert installs.outdated_packages() == []


ENTERED = "import runpy, sys, types\n{}\nsys.argv = ['{}', 'check']\nrunpy.run_module('{}', run_name='__main__')"
FLAGS = "types.SimpleNamespace(**{n: getattr(sys.flags, n) for n in dir(sys.flags) if n[0] != '_' and n != 'safe_path'})"
OLD = f"sys.version_info, sys.version, sys.flags = (3, 9, 6), '3.9.6 (default)', {FLAGS}"


@pytest.mark.parametrize("name", ["segkit", "autograder"])
@pytest.mark.parametrize(
    ("python", "words"), [(OLD, "or newer, but this is 3.9.6"), ("sys.modules['click'] = None", "has no click")], ids=["old", "bare"]
)
def test_a_command_run_by_the_system_s_own_python_says_so_in_a_line(name, python, words):
    """macOS has 3.9 as `python3`, and none has the kit's requirements."""
    code = ENTERED.format(python, name, name)
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1, done.stderr
    assert words in done.stderr and sys.executable in done.stderr


def test_a_kit_unpacked_beside_the_notebook_is_known_by_the_assignment_s_name(tmp_path, monkeypatch):
    for name in ("fcn", "satellite"):
        (tmp_path / name / "segkit").mkdir(parents=True)
        (tmp_path / name / "segkit" / "environment.py").touch()
    monkeypatch.chdir(tmp_path)
    assert environment._nearest_kit("satellite") == tmp_path / "satellite" and environment._nearest_kit("roofs") is None


# pytorch/pytorch#129568, #133076, #157648
@pytest.mark.parametrize(("error", "system", "words"), [
    (OSError('[WinError 126] The module could not be found. Error loading "fbgemm.dll" or a dependency.'), "win32", "Redistributable"),
    (ImportError("DLL load failed while importing _C: The specified module could not be found."), "win32", "Redistributable"),
    (ImportError("libcudart.so.13: cannot open shared object file"), "linux", "install them again"),
    (RuntimeError("operator torchvision::nms does not exist"), "linux", "are no pair"),
    (RuntimeError("operator torchvision::nms does not exist"), "win32", "are no pair"),
])  # fmt: skip
def test_a_pytorch_that_is_there_and_cannot_be_loaded_is_not_said_to_be_missing(error, system, words, monkeypatch):
    def refuse(name):
        raise error

    monkeypatch.setattr(installs.importlib, "import_module", refuse)
    monkeypatch.setattr(installs.sys, "platform", system)
    with pytest.raises(EnvironmentFault, match=words) as caught:
        installs.import_torch()
    told = str(caught.value)
    assert str(error)[:20] in told and "cannot be loaded" in told and "not installed" not in told and "restart the kernel" in told


def test_a_python_without_pytorch_is_named(monkeypatch):
    monkeypatch.setattr(installs.importlib, "import_module", lambda name: __import__(f"no_{name}"))
    with pytest.raises(EnvironmentFault, match=f"PyTorch is not installed for {re.escape(sys.executable)}. Pick the kernel"):
        installs.import_torch()


def test_another_segkit_that_was_imported_before_is_refused(tmp_path):
    """As after the work folder was copied, and its notebook is opened in a kernel that runs."""
    make_zip(tmp_path / "fcn.zip")
    assert run_cell(tmp_path).returncode == 0
    shutil.move(tmp_path / "fcn", tmp_path / "other")
    shutil.copytree(tmp_path / "other", tmp_path / "fcn")
    code = f"import os, sys; sys.path.insert(0, {str(tmp_path / 'other')!r}); import segkit; os.chdir('fcn')\n{first_cell()}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Another segkit was imported" in done.stderr


def test_damaged_data_variable_is_not_papered_over(monkeypatch, tmp_path):
    monkeypatch.setenv("SEGKIT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(EnvironmentFault, match="No such folder"):
        prepare(REPO, quiet=True)


def test_a_python_that_is_too_old_is_named_before_anything_is_installed(monkeypatch):
    """Another Python's folder is no place for our packages, and what comes from its depths tells a student nothing."""
    monkeypatch.setattr(environment, "install", lambda wanted: pytest.fail("installed"))
    monkeypatch.setattr(installs, "OLDEST_PYTHON", (4, 2))
    running = re.escape(f"this is {platform.python_version()} ({sys.executable})")
    with pytest.raises(EnvironmentFault, match=f"Expected Python 4.2 or newer, but {running}.*pick its kernel"):
        prepare(REPO)


def test_a_python_that_is_too_old_gets_as_far_as_that():
    """Everything until the message is read by Python 3.8 as well, and no annotation is computed."""
    for name in ("__init__", "__main__", "lab", "environment", "installs"):
        tree = ast.parse((REPO / "segkit" / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 8))
        annotated = any(isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) for node in ast.walk(tree))
        assert not annotated or "from __future__ import annotations" in ast.unparse(tree)
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=" + ".".join(map(str, installs.OLDEST_PYTHON))


def test_a_notebook_shows_the_text_of_a_fault_and_none_of_the_kit_s_lines(monkeypatch, capsys, tmp_path):
    from IPython.core.interactiveshell import InteractiveShell

    monkeypatch.setenv("SEGKIT_DATA", str(tmp_path / "nowhere"))
    InteractiveShell().run_cell(f"from segkit.environment import prepare; prepare({str(REPO)!r})")
    shown = capsys.readouterr().out.strip().splitlines()
    assert len(shown) == 1 and shown[0].startswith(f"EnvironmentFault: No such folder: {tmp_path / 'nowhere'}.")


def test_copying_the_kit_is_enough(tmp_path):
    """Is the student edition's environment module free of the full kit?"""
    shutil.copytree(REPO / "segkit", tmp_path / "segkit", ignore=shutil.ignore_patterns("reference", "__pycache__"))
    code = "import sys; sys.path.insert(0, '.'); import segkit.environment as e; print(e.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert str(tmp_path) in done.stdout
