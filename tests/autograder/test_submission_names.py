"""Every submission gets a name of its own, by which its student is known."""

import os
from pathlib import Path

import pytest

from autograder.handins.submission import submission_names


def names(*paths: str) -> list[str]:
    found = submission_names([Path(path) for path in paths], "fcn")
    return [found[Path(path)] for path in paths]


@pytest.mark.parametrize(("paths", "expected"), [
    (["/in/alice", "/in/bob"], ["alice", "bob"]),
    (["/in/alice.zip", "/in/Bob Müller.zip"], ["alice", "Bob Müller"]),
    (["/submitted/alice/fcn", "/submitted/bob/fcn"], ["alice", "bob"]),
    (["/submitted/alice/fcn"], ["alice"]),
    (["/submitted/alice/fcn.zip"], ["alice"]),
    (["/in/alice/work", "/in/bob/work", "/in/carol"], ["alice", "bob", "carol"]),
    (["/in/alice/v1.2", "/in/bob/v1.3"], ["v1.2", "v1.3"]),
])  # fmt: skip
def test_names_follow_the_files(paths, expected):
    assert names(*paths) == expected


def test_a_parent_of_the_same_name_does_not_hide_who_it_is():
    found = names("/in/alice", "/in/alice.zip")
    assert len(set(found)) == 2 and all(name.startswith("alice") for name in found)


def test_names_stay_different_whatever_collides():
    paths = ["/a/x/fcn", "/b/x/fcn", "/c/x", "/d/x.zip", "/e/x_2", "/f/d"]
    found = names(*paths)
    assert len(set(found)) == len(paths)


@pytest.mark.parametrize("name", ["summary.csv", "index.html", ".gates"])
def test_a_name_never_takes_the_place_of_a_file_of_the_class(name):
    assert names(f"/in/{name}")[0] != name


def test_no_name_leads_out_of_the_folder():
    assert "/" not in names("/in/a\\b")[0] and "\\" not in names("/in/a\\b")[0]


def test_a_name_that_is_no_utf8_can_be_printed_and_written():
    """What a zip with Latin-1 names leaves on the disk."""
    paths = [os.fsdecode(b"/in/M\xfcller"), os.fsdecode(b"/in/M\xf6ller.zip"), "/in/M_ller", "/in/Müller", "/in/\ud800"]
    found = names(*paths)
    assert found == ["M_ller", "M_ller_2", "M_ller_2_2", "Müller", "_"]
    assert [name.encode().decode() for name in found] == found


def test_a_parent_that_is_no_utf8_gives_a_name_too():
    assert names(os.fsdecode(b"/submitted/M\xfcller/fcn"), os.fsdecode(b"/submitted/M\xf6ller/fcn")) == ["M_ller", "M_ller_2"]


def test_a_name_holds_no_control_characters():
    assert names("/in/a\nb\x1b[31m\x9b\x7f") == ["a_b_[31m__"]


def test_a_name_cannot_turn_around_what_stands_beside_it():
    assert names("/in/\u202eecila", "/in/bob\u2066", "/in/eve\u2028mallory") == ["_ecila", "bob_", "eve_mallory"]
