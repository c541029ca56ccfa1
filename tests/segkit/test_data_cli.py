"""`python -m segkit data`: what it prints, and its exit status."""

import dataclasses
from pathlib import Path

import facade_files
import pytest
from click.testing import CliRunner

from segkit.cli import main
from segkit.datasets import satellite


def run(*words: str):
    return CliRunner().invoke(main, ["data", *words])


def test_help_names_the_three_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert all(word in result.output for word in ("fetch", "verify", "sample"))


def test_verify_prints_the_survey_and_succeeds_on_the_sample() -> None:
    result = run("verify", "--data", "sample", "--quiet")
    assert result.exit_code == 0
    assert "readable pairs    base 32" in result.output and "all in order" in result.output


def test_verify_fails_on_a_fault_and_names_the_file(tmp_path: Path, monkeypatch) -> None:
    files = facade_files.make_files()
    facade_files.shrink_database(monkeypatch, files)
    del files["base/cmp_b0003.png"]
    facade_files.lay_out(tmp_path, files)
    result = run("verify", "--data", str(tmp_path), "--quiet")
    assert result.exit_code == 1
    assert "base/cmp_b0003.png: missing" in result.output and "1 fault(s) found" in result.output


def test_verify_of_nowhere_is_answered_without_a_traceback(tmp_path: Path) -> None:
    result = run("verify", "--data", str(tmp_path / "nowhere"))
    assert result.exit_code == 1 and "No such folder" in result.output
    assert "Traceback" not in result.output


def test_a_data_set_that_cannot_be_verified_says_so_and_where_its_form_is_described(monkeypatch):
    monkeypatch.setattr(satellite, "SPEC", dataclasses.replace(satellite.SPEC, verify=None))
    done = run("verify", "--dataset", "satellite", "--data", "sample")
    assert done.exit_code == 1 and "There is no verifier of Satellite land cover yet" in done.output
    assert "data/satellite/README.md" in done.output and isinstance(done.exception, SystemExit)


def test_student_edition_says_why_verify_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "segkit.datasets.facades.verifying", None)
    result = run("verify", "--data", "sample")
    assert result.exit_code == 1 and "student edition" in result.output


def test_sample_draws_as_many_as_asked_and_verify_accepts_them(tmp_path: Path) -> None:
    result = run("sample", "--out", str(tmp_path), "--count", "3", "--seed", "7")
    assert result.exit_code == 0 and "cmp_s0001 to cmp_s0003" in result.output
    assert len(list((tmp_path / "base").glob("*.xml"))) == 3
    assert run("verify", "--data", str(tmp_path), "--quiet").exit_code == 0


def test_fetch_without_a_network_says_what_to_do(tmp_path: Path) -> None:
    result = run("fetch", "--out", str(tmp_path), "--part", "base", "--from", "http://127.0.0.1:9/")
    assert result.exit_code == 1
    assert "Could not download CMP_facade_DB_base.zip" in result.output
    assert str(tmp_path / "CMP_facade_DB_base.zip") in result.output.replace("\n", "")
    assert "Traceback" not in result.output


@pytest.mark.parametrize("part", ["base", "extended"])
def test_fetch_takes_archives_that_lie_there(tmp_path: Path, monkeypatch, part: str) -> None:
    files = facade_files.make_files()
    facade_files.shrink_database(monkeypatch, files)
    (tmp_path / f"CMP_facade_DB_{part}.zip").write_bytes(facade_files.zipped(files, part))
    result = run("fetch", "--out", str(tmp_path), "--part", part, "--from", "http://127.0.0.1:9/")
    assert result.exit_code == 0 and "pictures with labels" in result.output
    assert len(list((tmp_path / part).iterdir())) == 3 * len(facade_files.NAMES[part])
