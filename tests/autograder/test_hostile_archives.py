"""Archives and weights that claim to hold more than a reader should believe: each costs its own student, no memory and no other's grade."""

import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path

import pytest
from tiny import TINY, weights, write_submission

from autograder.batch.grading import _checkpoints
from autograder.course.rubric import read_rubric
from autograder.handins.archives import ArchiveError, Budget, kind_of, unpack
from autograder.handins.submission import read_submission
from segkit.checkpoint_files import MOST_AT_ONCE, find_checkpoints

ENTRY = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"


def of_many_files(path: Path, size: int) -> Path:
    """A zip with a table of contents of about this size, in which one file stands again and again."""
    count, start = size // len(ENTRY), b"PK\3\4" + b"\0" * 26
    end = len(start) + count * len(ENTRY)
    tail = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, count * len(ENTRY), len(start))
    tail += struct.pack("<4sLQL", b"PK\6\7", 0, end, 1)
    tail += struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(start + count * ENTRY + tail)
    return path


def of_the_future(path: Path) -> Path:
    """A zip that says it needs a version of the format that there is not."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as bundle:
        bundle.writestr("checkpoints/fcn32s.pth", "w")
    content = bytearray(held.getvalue())
    content[content.find(b"PK\1\2") + 6] = 99
    path.write_bytes(content)
    return path


def taken(work) -> float:
    """The most memory that something took on its way, in MiB."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 2**20
    finally:
        tracemalloc.stop()


def test_a_table_of_contents_without_end_is_not_read(tmp_path):
    path = of_many_files(tmp_path / "a.zip", 3 * MOST_AT_ONCE)

    def read() -> None:
        assert kind_of(path) == ""
        assert _checkpoints(path, ["fcn32s"]) == 0
        with pytest.raises(ArchiveError, match="table of contents of more than 8 MiB"):
            unpack(path, tmp_path, Budget(), "a.zip")

    assert taken(read) < 40


def test_a_zip_of_twice_as_many_files_as_may_be_is_still_refused_by_their_number(tmp_path):
    with pytest.raises(ArchiveError, match="at most 20000 files"):
        unpack(of_many_files(tmp_path / "a.zip", 40_000 * len(ENTRY)), tmp_path, Budget(), "a.zip")


@pytest.mark.parametrize("text", [b"X" + struct.pack("<I", 300 * 2**20), b"V", b"\x8d" + struct.pack("<Q", 300 * 2**20)])
def test_names_in_a_pickle_without_end_are_not_read(tmp_path, text):
    with (tmp_path / "weights.pth").open("wb") as file:
        file.write(b"\x80\x02" + text + b".")
        file.truncate(301 * 2**20)  # a hole: it takes no room
    assert taken(lambda: find_checkpoints(tmp_path, ["fcn32s", "fcn8s"], lambda: {"fcn32s": frozenset("a")})) < 40


def test_a_zip_of_another_version_does_not_stop_the_class(tmp_path):
    assert _checkpoints(of_the_future(tmp_path / "a.zip"), ["fcn32s"]) == 0


def test_folders_too_deep_to_be_named_are_left_out(tmp_path):
    folder = write_submission(tmp_path, checkpoint=weights())
    below = os.open(folder, os.O_RDONLY)
    for _ in range(25):  # 5000 bytes
        os.mkdir("d" * 200, dir_fd=below)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=below)
        for name in ("a.ipynb", "a.py", "a.json", "checkpoints.json", "dots.safetensors", "a.zip"):
            os.close(os.open(name, os.O_CREAT, dir_fd=inner))
        os.close(below)
        below = inner
    os.close(below)
    found = read_submission(folder, "deep", read_rubric(TINY / "rubric.toml"))
    assert found.workbook.find("double") is not None and found.checkpoints["dots"].path == folder / "checkpoints" / "dots.safetensors"
