"""Repositories of a roster: the newest commit of each as files, and nothing of what else a student's repository could do."""

import datetime
import os
import subprocess
from pathlib import Path

import pytest
from downloads import by_name, content

from autograder.handins.bulk import git
from autograder.handins.bulk.git import RepositoryError, fetch_commit, is_address
from autograder.handins.bulk.known import know
from autograder.handins.bulk.repositories import read_repositories
from autograder.handins.bulk.unpacking import BulkError, Problem

WHEN = "2026-03-14T22:10:05+00:00"


def run(folder, *arguments, text=None):
    quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_AUTHOR_DATE": WHEN, "GIT_COMMITTER_DATE": WHEN, "HOME": str(folder)}
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@x", "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(
        command, cwd=folder, env=os.environ | quiet, input=text, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    def make(name, files, message="work"):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        if not (folder / ".git").exists():
            run(folder, "init", "-q", "-b", "main")
        for file, text in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)
        run(folder, "add", "-A")
        run(folder, "commit", "-q", "--allow-empty", "-m", message)
        return folder

    return make


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in Path(folder).rglob("*") if path.is_file()}


def test_the_newest_commit_of_each_address_or_folder_is_its_students(tmp_path, repository):
    """Columns as GitHub Classroom exports them; the starter's address is nobody's hand-in."""
    ada = repository("ada", {"1_data.ipynb": "old"})
    repository("ada", {"1_data.ipynb": "new", "src/net.py": "x = 1"}, "again")
    (ada / "not_committed.py").write_text("x")
    bare = tmp_path / "björn.git"
    run(tmp_path, "clone", "-q", "--bare", str(repository("b", {"1_data.ipynb": "björn"})), str(bare))
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "1_data.ipynb").write_text("no repository, a folder")
    (tmp_path / "roster.csv").write_text(
        '"assignment_name","starter_code_url","github_username","roster_identifier","student_repository_url"\n'
        f'"fcn","https://github.com/course/starter","ada","4711","{ada.as_uri()}"\n"fcn","x","bjoern","4712","björn.git"\n'
        f'"fcn","x","chiara","4713","plain"\n"fcn","x","dora","4714",""\n"fcn","x","eve","4715","{bare.as_uri()}"\n'
    )
    known = know(tmp_path / "roster.csv", due="2026-03-14T21:10:05")
    said = []
    for _ in range(2):
        handins, notes = read_repositories(known, tmp_path, tmp_path / "out", said.append)
        assert {one.name: content(one.path) for one in handins} == {
            "ada": {"1_data.ipynb": "new", "src/net.py": "x = 1"}, "bjoern": {"1_data.ipynb": "björn"},
            "chiara": {"1_data.ipynb": "no repository, a folder"}, "eve": {"1_data.ipynb": "björn"},
        }  # fmt: skip
    found = by_name(handins)
    assert (found["ada"].submitted, found["ada"].lateness) == (WHEN, "1 h") and found["chiara"].submitted == ""
    assert "1 of the roster have no repository: dora" in notes and f"fetching {ada.as_uri()}" in said
    assert not [note for note in notes if isinstance(note, Problem)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ada", "bjoern", "chiara", "eve"]


def test_who_shares_a_repository_hands_in_together(tmp_path, repository):
    repository("work", {"1_data.ipynb": "ours"})
    (tmp_path / "roster.csv").write_text("login,repo\nada,work\nben,work\n")
    handins, _ = read_repositories(know(tmp_path / "roster.csv"), tmp_path, tmp_path / "out", print)
    assert [(one.name, content(one.path), one.notes[0]) for one in handins] == [
        ("ada", {"1_data.ipynb": "ours"}, "handed in together with ben"), ("ben", {"1_data.ipynb": "ours"}, "handed in together with ada"),
    ]  # fmt: skip


def test_nothing_of_a_repository_runs_and_what_is_no_plain_file_is_named(tmp_path, repository, monkeypatch):
    """A filter and hooks that this user has set, a link, a submodule, a large file elsewhere."""
    trap = tmp_path / "trap"
    config = tmp_path / "config"
    for filter_ in ("smudge", "clean", "process"):
        run(tmp_path, "config", "--file", str(config), f"filter.trap.{filter_}", f"touch {trap}; cat")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (hooks / hook).write_text(f"#!/bin/sh\ntouch {trap}\n")
        (hooks / hook).chmod(0o755)
    run(tmp_path, "config", "--file", str(config), "core.hooksPath", str(hooks))
    other = repository("other", {"secret.py": "x"})
    work = repository(
        "work", {"a.py": "a", ".gitattributes": "* filter=trap\na.py export-ignore\n", ".lfsconfig": "[lfs]\nurl = http://x\n"}
    )
    (work / "link.py").symlink_to("/etc/passwd")
    run(work, "submodule", "add", "-q", str(other), "sub")
    repository("work", {"net.pth": "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"})
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as in a hook of the instructor's own
    _, notes = fetch_commit(str(work), tmp_path / "out")
    assert sorted(files_of(tmp_path / "out")) == [".gitattributes", ".gitmodules", ".lfsconfig", "a.py", "net.pth"]
    assert (tmp_path / "out" / "a.py").read_text() == "a" and not trap.exists()
    assert all(isinstance(note, Problem) for note in notes) and notes == [
        "left out: 'link.py' is a link", "left out: 'sub' is a submodule",
        "left out: 'net.pth' is kept in Git LFS, which is not fetched",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["../evil.py", ".git/config", "a/.GIT/hooks/x", "/evil.py"])
def test_a_tree_with_names_that_lead_elsewhere_costs_those_files_only(tmp_path, repository, name):
    """git itself refuses to make such a tree; a student's tool may not."""
    work = repository("work", {"a.py": "a"})
    blob = run(work, "hash-object", "-w", "--stdin", text="evil")

    def tree(parts):
        if len(parts) == 1:
            entry = f"100644 {parts[0]}".encode() + b"\0" + bytes.fromhex(blob)
        else:
            entry = f"40000 {parts[0]}".encode() + b"\0" + bytes.fromhex(tree(parts[1:]))
        path = tmp_path / "tree"
        path.write_bytes(entry)
        return run(work, "hash-object", "-t", "tree", "--literally", "-w", str(path))

    commit = run(work, "commit-tree", tree(name.split("/") if not name.startswith("/") else ["/evil.py"]), "-m", "x")
    run(work, "update-ref", "refs/heads/main", commit)
    try:
        _, notes = fetch_commit(str(work), tmp_path / "deep" / "out")
    except RepositoryError as error:
        assert "git" in str(error)
    else:
        assert files_of(tmp_path / "deep" / "out") == {} and "has a name that no file may have" in notes[0]
    assert not list(tmp_path.rglob("evil.py"))


def test_a_setting_that_turns_an_address_into_a_command_runs_nothing(tmp_path, monkeypatch):
    config, trap = tmp_path / "config", tmp_path / "trap"
    run(tmp_path, "config", "--file", str(config), f"url.ext::touch {trap} .insteadOf", "https://example.invalid/")
    run(tmp_path, "config", "--file", str(config), "protocol.ext.allow", "always")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    with pytest.raises(RepositoryError, match="transport 'ext' not allowed"):
        fetch_commit("https://example.invalid/x.git", tmp_path / "out")
    assert not trap.exists()


@pytest.mark.parametrize("address", [
    "--upload-pack=touch /tmp/x", "ext::sh -c touch% /tmp/x", "-oProxyCommand=x", "http://example.org/x.git", "git://example.org/x.git",
    "fd::17", "ftp://example.org/x", "nowhere", "user@host::x", "file::/etc",
])  # fmt: skip
def test_an_address_that_is_no_plain_one_is_refused_before_git_sees_it(tmp_path, address, monkeypatch):
    monkeypatch.setattr(git, "_git", None)
    with pytest.raises(RepositoryError, match="expected an address with https://, ssh:// or file://, or a folder, found"):
        fetch_commit(address, tmp_path / "out")
    assert not is_address(address)


@pytest.mark.parametrize("address", ["https://github.com/a/b", "ssh://git@host/a.git", "git@github.com:a/b.git", "file:///srv/a.git"])
def test_addresses_that_people_use_are_addresses(address):
    assert is_address(address)


def test_too_large_too_slow_and_absent_repositories_cost_their_student_only(tmp_path, repository, monkeypatch):
    repository("ada", {"a.py": "a"})
    repository("big", {"net.bin": "0" * 300_000})
    (tmp_path / "roster.csv").write_text("login,repo\nada,ada\nben,big\ncleo,file:///nowhere/at/all\ndora,-x\n")
    known = know(tmp_path / "roster.csv")
    monkeypatch.setattr(git.fetch_commit, "__defaults__", (60, 200_000))
    handins, notes = read_repositories(known, tmp_path, tmp_path / "out", print)
    assert [one.name for one in handins] == ["ada"]
    problems = {note.partition(":")[0]: note for note in notes if isinstance(note, Problem)}
    assert "expected at most 20000 files and 200000 bytes, found 1 files with 300000 bytes" in problems["ben"]
    assert "git clone failed: " in problems["cleo"] and "expected an address with" in problems["dora"] and len(problems) == 3
    with pytest.raises(RepositoryError, match=r"git took more than 0\.001 seconds"):
        fetch_commit(str(tmp_path / "ada"), tmp_path / "x", seconds=0.001)


def test_what_was_fetched_before_is_graded_where_the_network_is_gone(tmp_path, repository):
    work = repository("work", {"a.py": "a"})
    (tmp_path / "roster.csv").write_text("login,repo\nada,work\n")
    known = know(tmp_path / "roster.csv")
    read_repositories(known, tmp_path, tmp_path / "out", print)
    work.rename(tmp_path / "moved")
    (handin,), _ = read_repositories(known, tmp_path, tmp_path / "out", print)
    assert content(handin.path) == {"a.py": "a"}
    assert isinstance(handin.notes[0], Problem) and "What was fetched before is graded" in handin.notes[0]
    with pytest.raises(BulkError, match="No repository could be fetched"):
        read_repositories(known, tmp_path, tmp_path / "elsewhere", print)


def test_the_time_is_the_commits(tmp_path, repository):
    submitted, _ = fetch_commit(repository("work", {"a.py": "a"}).as_uri(), tmp_path / "out")
    assert submitted == datetime.datetime(2026, 3, 14, 22, 10, 5, tzinfo=datetime.UTC)
