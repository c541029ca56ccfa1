"""Spreadsheet and terminal table: right columns, empty where there are no points, harmless whatever the names are."""

import csv

import pytest
from fake_class import CHECKS, HOSTILE, TITLES, fake_class, fake_result, set_check

from autograder.report import cause_label, first_fault, format_table, write_summary
from autograder.report.labels import clean_text, shift_words


def read(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_columns_are_those_of_the_contract(tmp_path):
    path = write_summary(fake_class(), tmp_path)
    assert path == tmp_path / "summary.csv"
    head = path.read_text(encoding="utf-8-sig").splitlines()[0]
    assert head.split(",") == ["name", "score", "max_score", "needs_manual", "first_fault", *CHECKS]


def test_an_empty_class_still_has_its_columns(tmp_path):
    path = write_summary([], tmp_path, check_ids=CHECKS)
    assert path.read_text(encoding="utf-8-sig") == f"name,score,max_score,needs_manual,first_fault,{','.join(CHECKS)}\n"


def test_points_that_are_open_are_empty_and_never_zero(tmp_path):
    result = set_check(fake_result("alice"), "fcn8s.miou", None, status="could_not_grade", message="no data")
    row = read(write_summary([result], tmp_path))[0]
    assert (row["question_1"], row["question_2"], row["fcn8s.miou"]) == ("", "", "")
    assert (row["score"], row["max_score"], row["needs_manual"]) == ("64", "100", "30")
    assert row["first_fault"] == "fcn8s.miou: no data"


def test_lost_points_are_zero_and_half_points_are_kept(tmp_path):
    result = set_check(set_check(fake_result("alice"), "scores", 0), "fcn8s.layers", 5.5)
    row = read(write_summary([result], tmp_path))[0]
    assert (row["scores"], row["fcn8s.layers"], row["score"]) == ("0", "5.5", "65.5")


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0", " =1", "\u00a0+1", "\uff1d1+1"])
def test_a_name_cannot_be_a_formula(tmp_path, name):
    row = read(write_summary([fake_result(name)], tmp_path))[0]
    assert row["name"] == "'" + name


@pytest.mark.parametrize("name", ['quote " and, comma', "two\nlines", "李小龙", "a;b", HOSTILE])
def test_other_names_survive_the_spreadsheet(tmp_path, name):
    assert read(write_summary([fake_result(name)], tmp_path))[0]["name"] == name


def test_a_name_with_undecodable_bytes_is_written(tmp_path):
    name = b"alice-\xff".decode("utf-8", "surrogateescape")
    assert read(write_summary([fake_result(name)], tmp_path))[0]["name"] == r"alice-\udcff"


def test_no_half_written_file_is_left_when_the_folder_cannot_be_written(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    write_summary([fake_result("alice")], tmp_path)
    before = (tmp_path / "summary.csv").read_bytes()
    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"Could not write .*summary\.csv: No space left on device\. Free some space"):
        write_summary([fake_result("bob")], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.csv"]
    assert (tmp_path / "summary.csv").read_bytes() == before


def test_first_fault_is_the_first_in_rubric_order():
    result = fake_result("alice")
    set_check(result, "fcn8s.crop", 4, message="later")
    set_check(result, "scores", 1, message="\n  IoU is a recall.\nmore")
    assert first_fault(result) == "scores: IoU is a recall."


def test_first_fault_passes_over_what_a_person_grades():
    assert first_fault(fake_result("alice")) == ""


def test_first_fault_without_a_message_says_the_status():
    assert first_fault(set_check(fake_result("alice"), "scores", 0)) == "scores: not earned"


def test_table_has_one_line_per_submission():
    results = [fake_result("ada"), set_check(fake_result("ben"), "scores", 1, message="IoU is a recall.\nmore")]
    assert format_table(results, width=80).splitlines() == [
        "name    points  first thing that went wrong",
        "----  --------  ---------------------------",
        "ada   70 of 70  -",
        "ben   67 of 70  scores: IoU is a recall.",
        "",
        "30 points more are given by hand.",
    ]


def test_table_tells_a_bonus_from_the_points_that_a_person_gives():
    result = fake_result("ada")
    waiting = next(check for check in result["checks"] if check["status"] == "needs_manual")
    waiting["bonus"] = True  # as where the last question counts on top
    assert format_table([result]).splitlines()[-2:] == [
        f"{30 - waiting['max_points']:g} points more are given by hand.",
        f"A bonus of up to {waiting['max_points']:g} points on top is given by hand.",
    ]


def test_table_counts_open_points_as_open():
    result = set_check(fake_result("alice"), "fcn8s.miou", None, status="could_not_grade", message="no data")
    table = format_table([result])
    assert "64 of 64" in table
    assert "1 submission has checks that could not be graded; their points are open, not lost." in table


def test_table_keeps_to_the_width_also_with_wide_letters():
    lines = format_table(fake_class(), width=70).splitlines()
    wide = next(line for line in lines if line.startswith("李小龙"))
    plain = next(line for line in lines if line.startswith("ada"))
    assert max(len(line) for line in lines[:-2]) <= 70
    assert wide.index(" of ") == plain.index(" of ") - 3, "three letters take six columns"


def test_table_cannot_write_to_the_terminal():
    name = "al\x1b[2Jice\x1b]0;title\x07\u202egnp\rX"
    table = format_table([set_check(fake_result(name), "scores", 0, message="\x1b[31mred\x1b[0m \x9b1m")])
    assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(table)
    assert "scores: red" in table


def test_table_of_nobody():
    assert format_table([]) == "No submissions."


@pytest.mark.parametrize(
    ("dy", "dx", "words"),
    [
        (1, 0, "one row too low"),
        (-1, 0, "one row too high"),
        (0, 1, "one column too far right"),
        (0, -2, "2 columns too far left"),
        (3, -1, "3 rows too low, one column too far left"),
        (0, 0, ""),
        (None, None, ""),
        ("a", True, ""),
    ],
)
def test_shifts_in_words(dy, dx, words):
    assert shift_words(dy, dx) == words


@pytest.mark.parametrize(
    ("cause", "measured", "title", "label"),
    [
        ("crop.shift", {"dy": 1, "dx": 0}, "output moved by ({dy}, {dx})", "output moved by (1, 0)"),
        ("crop.shift", {"dy": 1, "dx": 0}, "output {shift}", "output one row too low"),
        ("crop.shift", {}, "output {shift}", "output moved"),
        ("crop.shift", {"dy": 1}, "output moved by ({dy}, {dx})", "output moved by (1, ?)"),
        ("crop.shift", None, "output moved by ({dy}, {dx})", "output moved by (?, ?)"),
        ("miou", {"miou": None}, "mIoU {miou:.2f}", "mIoU ?"),
        ("miou", {"miou": "none"}, "mIoU {miou:.2f}", "mIoU none"),
        ("miou", {"miou": 0.351}, "mIoU {miou:.2f}", "mIoU 0.35"),
        ("crop", {"pool4": {"dy": 2}}, "pool4 {pool4[dy]}, pool3 {pool3[dy]}", "pool4 2, pool3 ?"),
        ("crop", {"dy": 2}, "a brace too many {dy", "a brace too many {dy"),
        (None, {"dy": 2}, "unused", ""),
    ],
)
def test_cause_labels(cause, measured, title, label):
    assert cause_label(cause, measured, {str(cause): title}) == label


def test_a_cause_without_a_title_keeps_its_code():
    assert cause_label("layer.name", {"found": "x"}, TITLES | {"layer.name": "{found}"}) == "x"
    assert cause_label("layer.other", {"found": "x"}, TITLES) == "layer.other"
    assert cause_label("crop.other", {"dy": -1}, TITLES) == "crop.other: one row too high"


def test_cleaning_keeps_lines_and_letters():
    assert clean_text("a\r\n\tb é 李\x1b[1;31mred\x1b[0m\x00\ud800") == "a\n\tb é 李red\ufffd\ufffd"
