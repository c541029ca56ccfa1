"""A round of every fuzz target, and each bug that fuzzing found, kept as a case of its own."""

import contextlib
import io
import itertools
import json
import mmap
import os
import struct
import time
import tracemalloc
import zipfile
from pathlib import Path

import pytest
import torch

from autograder.gradebook.copying import collect_folder
from autograder.gradebook.repair import Unreadable, repair
from autograder.handins.submission import read_submission
from autograder.sandbox import wire
from autograder.sandbox.client import RemoteSubject, WorkerSettings
from autograder.sandbox.wire import WireError, read_message
from segkit.checkpoints import CheckpointError, load_checkpoint, read_state_dict, save_checkpoint
from segkit.notebooks import Workbook, read_document
from segkit.notebooks.reading import DocumentError, python_source
from segkit.subject import StudentError

from .messages import sent, talker
from .notebooks import TINY_RUBRIC, damaged_notebook, tiny, tiny_notebooks
from .running import run_cases, run_round
from .targets import TARGETS

SEED = os.environ.get("SEGKIT_FUZZ_SEED", "1")  # of a run; or the name of one round, which is replayed
SECONDS = float(os.environ.get("SEGKIT_FUZZ_SECONDS", 0))  # for all targets together; a round of each is always run


# ------------------------------------------------------------------------------------------------------------------- rounds
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_readers_keep_their_promises_whatever_they_are_given(target):
    check, cases, share = TARGETS[target]
    if ":" in SEED and not SEED.startswith(f"{target}:"):
        pytest.skip(f"only {SEED} is replayed")
    until = time.monotonic() + SECONDS * share
    for number in itertools.count():
        failed = run_round(check, SEED if ":" in SEED else f"{target}:{SEED}:{number}", cases)
        assert not failed, failed.encode("utf-8", "backslashreplace").decode()
        if ":" in SEED or time.monotonic() > until:
            break
    print(f"{target}: {number + 1} rounds of {cases} cases")


# ------------------------------------------------------------------------------------------------------ the fuzzing itself
def test_most_drawn_notebooks_are_damaged_and_many_can_still_be_read(tmp_path):
    intact, read, drawn = tiny_notebooks()["1_double.ipynb"], 0, set()

    def draw(rng):
        nonlocal read
        data = damaged_notebook(rng, intact)
        drawn.add(data)
        (tmp_path / "a.ipynb").write_bytes(data)
        with contextlib.suppress(DocumentError):
            read += Workbook([read_document(tmp_path / "a.ipynb")], {"double": "double"}).find("double") is not None

    run_cases(draw, "any:1:0", 100)
    assert len(drawn) > 80 and 30 < read < 95, (len(drawn), read)


def _dies(rng, folder):
    if rng.random() > 0.5:
        os.kill(os.getpid(), 9)


def _breaks_a_promise(rng, folder):
    number = rng.randrange(10**6)
    assert number < 500, f"promised less than 500, gave {number}"


def _hangs(rng, folder):
    while True:
        try:  # noqa: SIM105 - as such a reader would be written
            time.sleep(1)
        except Exception:  # a reader that catches everything must not catch the end of its time
            pass


def _hoards(rng, folder):
    kept = mmap.mmap(-1, 300 * 2**20)  # new pages, also where an earlier test left free memory with the process
    kept[::4096] = b"x" * (len(kept) // 4096)


def _keeps_its_promises(rng, folder):
    pass


def test_a_failed_case_is_shrunk_and_tells_how_to_replay_it():
    told = [run_round(_breaks_a_promise, "any:1:0", 50) for _ in range(2)]
    assert told[0] == told[1] and "promised less than 500, gave 500\n" in told[0]
    assert told[0].startswith("any:1:0: ") and "SEGKIT_FUZZ_SEED=any:1:0 python" in told[0] and "reproduce_failure" in told[0]


@pytest.mark.parametrize(("check", "words"), [
    (_dies, "the process died"), (_hangs, "no end after"), (_hoards, "MiB of memory"), (_keeps_its_promises, ""),
])  # fmt: skip
def test_deaths_hangs_and_hoarding_are_told(monkeypatch, check, words):
    monkeypatch.setattr("fuzz.running.WALL_SECONDS", 0.3 if check is _hangs else 60)
    monkeypatch.setattr("fuzz.running.CASE_MEGABYTES", 100)
    told = run_round(check, "any:1:0", 20)
    assert words in told and bool(told) == bool(words)


# --------------------------------------------------------------------------------------------------------- what was found
def workbook(source: str, path: Path) -> Workbook:
    return Workbook([read_document(tiny.notebook(path, tiny.cell(source, "double")))], {"double": "double"})


@pytest.mark.parametrize("sheet", [{"cells": 5}, {"cells": 2.5}, {"cells": True}, {"cells": {"a": 1}}, {}, 3])
def test_a_worksheet_without_a_list_of_cells_is_passed_over(sheet, tmp_path):
    cells = [{"cell_type": "code", "input": tiny.DOUBLE, "metadata": {"nbgrader": {"grade_id": "double"}}}]
    (tmp_path / "a.ipynb").write_text(json.dumps({"nbformat": 3, "worksheets": [sheet, {"cells": cells}]}))
    document = read_document(tmp_path / "a.ipynb")
    assert [cell.grade_id for cell in document.cells] == ["double"] and "format 3" in document.notes[0]
    assert [cell.source for cell in repair(tmp_path / "a.ipynb")[0].cells] == [tiny.DOUBLE]


@pytest.mark.parametrize("source", ["x = [\n" + "!ls\n" * 12_000, "!ls\n" * 12_000 + "x = (", "?\n" * 30_000,
    "x = (\n" + " " * 200_000 + "(",
                                    "a" + "?" * 200_000 + "(", "a, " * 100_000 + "("])  # fmt: skip
def test_magics_of_an_endless_cell_are_looked_for_in_bounded_time(source):
    started = time.process_time()
    python_source(source)
    assert time.process_time() - started < 5


def test_magics_after_a_complete_statement_are_dropped_and_those_inside_of_one_are_not():
    source = "x = ('''\n!a\n''',\n  3\n  % 2)\nif x:\n        y = [\n%z\n        ]\n    \n!b \\\n   c\n%d\n('\n"
    lines = python_source(source).split("\n")
    assert lines == [
        "x = ('''",
        "!a",
        "''',",
        "  3",
        "  % 2)",
        "if x:",
        "        y = [",
        "%z",
        "        ]",
        "    ",
        "pass",
        "",
        "pass",
        "('",
        "",
    ]


@pytest.mark.parametrize("level", ["2", None, [], -3, 10**9, 7, True])
def test_a_heading_of_any_level_is_text(level, tmp_path):
    (tmp_path / "a.ipynb").write_text(
        json.dumps({"worksheets": [{"cells": [{"cell_type": "heading", "level": level, "source": "Title"}]}]})
    )
    assert repair(tmp_path / "a.ipynb")[0].cells[0].source == "# Title"


@pytest.mark.parametrize("own", [{"grade_id": "\ud800"}, {"grade_id": "double", "\udfff": 1}, {"grade_id": "double",
    "points": float("nan")},
                                 {"grade_id": "double", "points": 10**400}, {"grade_id": "double", "more": [["\ud800"] * 3]}])  # fmt: skip
def test_collected_notebooks_can_be_written_whatever_stands_in_their_metadata(own, tmp_path):
    cell = tiny.cell(tiny.DOUBLE) | {"metadata": {"nbgrader": own}}
    tiny.notebook(tmp_path / "work" / "a.ipynb", cell)
    done = collect_folder(tmp_path / "work", tmp_path / "clean", {})
    [found] = json.loads((tmp_path / "clean" / "a.ipynb").read_text(encoding="utf-8"))["cells"]
    assert "".join(found["source"]) == tiny.DOUBLE and all(note.encode() for note in done.notes)


def test_an_output_that_cannot_be_written_is_left_out(tmp_path):
    texts = ["fine", "\ud800"]
    outputs = [{"output_type": "stream", "name": "stdout", "text": text} for text in texts]
    tiny.notebook(tmp_path / "work" / "a.ipynb", tiny.cell(tiny.DOUBLE) | {"outputs": outputs})
    collect_folder(tmp_path / "work", tmp_path / "clean", {})
    [found] = json.loads((tmp_path / "clean" / "a.ipynb").read_text(encoding="utf-8"))["cells"]
    assert ["".join(output["text"]) for output in found["outputs"]] == ["fine"] and "".join(found["source"]) == tiny.DOUBLE


@pytest.mark.parametrize("entry", [{"sha256": "\ud800x"}, {"sha256": ["x"]}, {"where": "\ud800"}, {"bytes": "x" * 10**5}, {"where": 3}, {}])
def test_any_entry_of_checkpoints_json_is_a_checkpoint_that_was_not_found(entry, tmp_path):
    tiny.write_submission(tmp_path / "work")
    (tmp_path / "work/checkpoints.json").write_text(json.dumps({"dots": entry}))
    for root in (None, tmp_path):
        found = read_submission(tmp_path / "work", "alice", TINY_RUBRIC, root).checkpoints["dots"]
        assert found.path is None and "named in checkpoints.json" in found.problem and len(found.problem.encode()) < 700


@pytest.mark.parametrize(("name", "words"), [("", None), ("x" * 300, "File name too long"), ("a/" * 3000 + "x", "File name too long"),
                                             ("1_double.ipynb/x", "File exists"), ("1_double.ipynb/x/y", "Not a directory"),
                                             ("checkpoints", None)])  # fmt: skip
def test_one_impossible_name_in_a_zip_costs_only_that_file(name, words, tmp_path):
    tiny.write_submission(tmp_path / "work", checkpoint=tiny.weights())
    with zipfile.ZipFile(tmp_path / "alice.zip", "w") as bundle:
        for path in sorted((tmp_path / "work").rglob("*.*")):
            bundle.write(path, path.relative_to(tmp_path / "work").as_posix())
        info = zipfile.ZipInfo("name" if name == "" else name)
        bundle.writestr(info, b"odd")
    if name == "":
        data = (tmp_path / "alice.zip").read_bytes()
        (tmp_path / "alice.zip").write_bytes(data.replace(b"name", b"\0ame"))
    found = read_submission(tmp_path / "alice.zip", "alice", TINY_RUBRIC)
    assert found.workbook.find("double") and found.workbook.find("DotNet") and "dots" in found.checkpoints
    assert words is None or any(words in note and "left out" in note and str(tmp_path) not in note for note in found.notes), found.notes
    found.close()


def test_a_zip_with_thousands_of_links_tells_so_in_a_few_notes(tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        bundle.writestr("1_double.ipynb", json.dumps(tiny_notebooks()["1_double.ipynb"]))
        for number in range(1000):
            bundle.writestr(f"../{number}", b"")
    (tmp_path / "alice.zip").write_bytes(stream.getvalue())
    found = read_submission(tmp_path / "alice.zip", "alice", TINY_RUBRIC)
    found.close()
    notes = [note for note in found.notes if "left out" in note]
    assert len(notes) == 21 and "980 more" in notes[-1]


def test_a_name_that_is_defined_thousands_of_times_is_told_in_one_short_note(tmp_path):
    found = workbook("double = 1\n" * 5000, tmp_path / "a.ipynb")
    assert found.find("double").index == 4999
    [note] = [note for note in found.notes if "5000 times" in note]
    assert len(note) < 500 and note.endswith(", ...)")


@pytest.mark.parametrize("chain", ["if a: double = 0\n" + "elif a: double = 1\n" * 700,
    "s0 = 1\n" + "".join(f"s{i + 1} = s{i}\n" for i in range(1500)) + "double = s1500",
                                   "".join(f"def f{i}(): return f{i + 1}()\n" for i in range(1500)) + "double = f0"])  # fmt: skip
def test_a_chain_of_thousands_of_definitions_is_followed(chain, tmp_path):
    found = workbook(chain, tmp_path / "a.ipynb")
    program = found.program(found.find("double"))
    wanted = len(found.documents[0].cells[0].parsed[0])
    assert sum(len(chunk.statements) for chunk in program.chunks) == wanted


def test_a_syntax_error_in_an_endless_line_or_with_odd_characters_is_told_shortly(tmp_path):
    for source in ("x = '" + "a" * 100_000, "x = (\ud800"):
        [error] = workbook(source, tmp_path / "a.ipynb").syntax_errors()
        assert len(error.encode("utf-8")) < 700 and "a.ipynb, cell 1" in error


def test_a_cell_of_an_endless_or_unprintable_type_is_told_shortly(tmp_path):
    for kind in ("x" * 10**5, "\ud800"):
        tiny.notebook(tmp_path / "a.ipynb", tiny.cell(tiny.DOUBLE, "double") | {"cell_type": kind})
        [note] = read_document(tmp_path / "a.ipynb", None, frozenset(["double"])).notes
        assert len(note.encode("utf-8")) < 200 and note.endswith("cell now; it was read as code")


def test_names_of_tensors_are_told_shortly(tmp_path):
    save_checkpoint(tmp_path / "a.pth", {"x" * 10**5: torch.zeros(1), "0.weight": torch.zeros(2, 2)})
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "a.pth")
    assert len(str(caught.value)) < 700 and "xxx..." in str(caught.value) and "missing (1): 0.bias" in str(caught.value)
    torch.save({"\ud800": 3}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError) as caught:
        read_state_dict(tmp_path / "b.pth")
    assert "b.pth" in str(caught.value).encode("utf-8").decode()


def test_a_type_of_endless_name_is_told_shortly(tmp_path):
    header = json.dumps({"w": {"dtype": "x" * 70_000, "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(CheckpointError, match="damaged or incomplete") as caught:
        read_state_dict(tmp_path / "a.safetensors")
    assert len(str(caught.value)) < 700


def test_what_collect_cannot_read_is_named(tmp_path):
    (tmp_path / "a\udcff.ipynb").write_bytes(b'{"cells": 3}')
    with pytest.raises(Unreadable, match="list of cells") as caught:
        repair(tmp_path / "a\udcff.ipynb")
    assert str(caught.value).encode("utf-8").startswith(b"a\\udcff.ipynb")


@pytest.mark.parametrize("item", [b"[]", b"{}"])
def test_a_message_of_millions_of_empty_lists_is_refused_before_it_takes_memory(item):
    text = b"[" + (item + b",") * 600_000 + b"1]"
    tracemalloc.start()
    try:
        with pytest.raises(WireError, match="too many values"):
            read_message(io.BytesIO(wire.HEADER.pack(wire.MAGIC, len(text), 0) + text))
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()


def test_a_worker_that_fails_without_a_word_or_with_a_flood_still_gives_a_short_reason(tmp_path, monkeypatch):
    for said in ("", "x" * 10**6):
        reply = {"ok": False, "fault": "student", "message": said, "number": 2}
        monkeypatch.setattr("autograder.sandbox.client.launch", talker(tmp_path / "answers", sent(reply)))
        with RemoteSubject(WorkerSettings("none", tmp_path)) as subject, pytest.raises(StudentError) as caught:
            subject.call("double")
        assert 0 < len(str(caught.value)) <= 8000
