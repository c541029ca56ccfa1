"""Grading in two places: what `predict` hands over gives the points of a direct run, and nothing else gives any."""

import gzip
import hashlib
import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner
from tiny import DOUBLE, NET, SECRET, TINY, open_run, weights, write_submission

from autograder.assignments.fcn.prepare import open_data, open_pictures
from autograder.cli import main
from autograder.course.assignment import open_assignment
from autograder.handins.submission import read_submission
from autograder.judge.gates import grained
from autograder.judge.grade import grade_path
from autograder.judge.predictions.bundle import BundleError, Gate, Reply, read_bundle, writing
from autograder.judge.predictions.handover import Replay, facts_of
from autograder.sandbox.client import GraderFault, RemoteSubject
from segkit.checkpoints import save_checkpoint

GATE = "net.accuracy"


@pytest.fixture
def no_worker(monkeypatch):
    """Whoever starts a worker has lost."""

    def refuse(*_):
        raise GraderFault("a worker was started")

    monkeypatch.setattr(RemoteSubject, "_start", refuse)


# --- the gate alone, with a bundle made by hand


def picture_hash(image):
    image = np.ascontiguousarray(image)
    return hashlib.sha256(f"{image.dtype} {image.shape}\n".encode() + image.tobytes()).hexdigest()


def mirrored(run, name):
    return run.seeds.digest("mirror", name)[0] & 1


class Hand:
    """A submission, its run, and a bundle with perfect predictions that a test may spoil before it is graded."""

    def __init__(self, tmp_path, net=NET):
        self.folder = write_submission(tmp_path / "alice", net=net, checkpoint=weights())
        self.out = tmp_path / "handed"
        self.tmp_path = tmp_path
        with open_run(tmp_path / "x", only=(GATE,)) as run:
            submission = read_submission(self.folder, "alice", run.rubric)
            self.facts = facts_of(run, submission)
            maps = {}
            for name in run.data.names:
                image, label = grained(run, name, run.data.image(name)), run.data.label(name)
                maps[name] = (picture_hash(image[:, :, ::-1] if mirrored(run, name) else image), label.astype(np.uint8))
            network = submission.workbook.program(submission.workbook.find("DotNet")).digest
            self.gate = {"network": network, "sha256": submission.checkpoints["dots"].sha256, "pictures": maps}

    def check(self, gates=None, name="alice", **facts):
        with writing(self.out / name, {**self.facts, **facts}) as writer:
            for key, gate in (gates or {("DotNet", "dots"): Gate(**self.gate)}).items():
                writer.gate(*key, gate)
        return self.grade()

    def grade(self, **more):
        with open_run(self.tmp_path / "y", **{"only": (GATE,), "predictions": self.out} | more) as run:
            self.result = grade_path(run, self.folder, "alice")
        (check,) = self.result["checks"]
        return check


@pytest.fixture
def hand(tmp_path, no_worker):
    return Hand(tmp_path)


def test_handed_over_predictions_earn_the_gate_without_a_worker(hand):
    check = hand.check(isolation="landlock", device="cuda", device_name="NVIDIA H200")
    assert (check["points"], check["status"]) == (3.0, "earned")
    assert (hand.result["isolation"], hand.result["device"]) == ("landlock", "cuda")
    assert hand.result["notes"] == ["Graded from predictions: the code ran elsewhere (landlock, NVIDIA H200)."]


def test_weights_that_were_not_there_are_noted_where_points_are_given_too(tmp_path, no_worker):
    hand = Hand(tmp_path, NET.replace("self.conv = ", "self.start = torch.load('start.pth')\n        self.conv = "))
    assert hand.check()["status"] == "earned"
    assert [n for n in hand.result["notes"] if "start.pth is not there where work is graded" in n], hand.result["notes"]


def test_points_follow_the_predictions_that_were_handed_over(hand):
    for name, (asked, found) in hand.gate["pictures"].items():
        hand.gate["pictures"][name] = (asked, 1 - found)
    assert hand.check()["points"] == 0.0


def spoiled(hand, **changes):
    return hand.check({("DotNet", "dots"): Gate(**hand.gate | changes)})


def one_picture(hand, change):
    name = "dots_2"
    return spoiled(hand, pictures={**hand.gate["pictures"], name: change(*hand.gate["pictures"][name])})


SPOILED = {
    "other code": (lambda h: spoiled(h, network="0" * 64), "with other code or another checkpoint"),
    "another checkpoint": (lambda h: spoiled(h, sha256="0" * 64), "with other code or another checkpoint"),
    "a picture is missing": (lambda h: spoiled(h, pictures={n: p for n, p in h.gate["pictures"].items() if n != "dots_2"}),
                             "no prediction of the picture dots_2"),
    "another picture": (lambda h: one_picture(h, lambda asked, found: ("0" * 64, found)), "another picture dots_2"),
    "a wrong shape": (lambda h: one_picture(h, lambda asked, found: (asked, found[:-1])), r"shape \(5, 9\), uint8.*\(6, 9\)"),
    "a wrong dtype": (lambda h: one_picture(h, lambda asked, found: (asked, found.astype(np.int64))), "int64, expected a label map"),
    "another gate": (lambda h: h.check({("DotNet", "other"): Gate(**h.gate)}), "no predictions of DotNet with the checkpoint dots"),
    "lost there": (lambda h: spoiled(h, lost="the worker cannot be started"), "the worker cannot be started"),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_predictions_of_anything_else_could_not_be_graded_and_say_what_to_do(hand, case):
    import re

    spoil, words = SPOILED[case]
    check = spoil(hand)
    assert (check["points"], check["status"], check["cause"]) == (None, "could_not_grade", "predictions.missing")
    assert re.search(words, check["message"]) and "Run `python -m autograder predict` again" in check["message"]


def test_a_picture_predicted_unmirrored_where_it_is_asked_mirrored_is_seen(hand, tmp_path):
    with open_run(tmp_path / "z") as run:
        name = next(name for name in run.data.names if mirrored(run, name))
        hand.gate["pictures"][name] = (picture_hash(grained(run, name, run.data.image(name))), hand.gate["pictures"][name][1])
    assert f"another picture {name} (other data, other mirroring" in hand.check()["message"]


def test_a_fault_of_the_students_code_costs_what_it_costs_in_a_direct_run(hand):
    check = spoiled(hand, pictures={}, fault=("no reply within 60 s: an endless loop, or far too slow?", "code.timeout"))
    assert (check["points"], check["status"], check["cause"]) == (0.0, "not_earned", "code.timeout")
    assert check["message"] == "no reply within 60 s: an endless loop, or far too slow?"


def test_a_cause_that_is_none_does_not_break_the_result(hand):
    for cause in ("<b>Not A Cause</b>", "a" * 41):
        assert spoiled(hand, fault=("x", cause))["cause"] == "code.raises"


@pytest.mark.parametrize(("key", "words"), [
    ("submission_sha256", "other files than those that are graded here"), ("seed", "another course secret"),
    ("kit_version", "another version of the kit"), ("settings", "another rubric"), ("assignment", "another assignment"),
])  # fmt: skip
def test_a_bundle_of_something_else_is_refused_as_a_whole(hand, key, words):
    check = hand.check(**{key: "something else"})
    assert (check["points"], check["cause"]) == (None, "predictions.missing")
    assert f"{words} ({key}: expected" in check["message"] and "on exactly these files" in check["message"]


def test_no_bundle_says_to_run_predict(hand):
    hand.out.mkdir()
    check = hand.grade()
    assert (check["points"], check["status"]) == (None, "could_not_grade")
    assert "expected alice/predictions.json in" in check["message"] and "python -m autograder predict SUBMISSION" in check["message"]


@pytest.mark.parametrize(("more", "shown"), [({}, True), ({"gate_data": "my own dots"}, False)])
def test_the_instructors_own_pictures_and_labels_are_not_shown_to_students(hand, more, shown):
    """A report shows pictures with their labels; those of the public test list are public."""
    hand.check()
    with open_run(hand.tmp_path / "z", only=(GATE,), predictions=hand.out, **more) as run:
        result = grade_path(run, hand.folder, "alice", hand.tmp_path / "shown")
    assert result["score"] == 3.0 and result["data"]["split"] == ("drawn" if shown else "own")
    assert (hand.tmp_path / "shown" / "pictures").exists() is shown


def test_labels_are_needed_where_points_are_given(hand):
    hand.check()
    check = hand.grade(data=None)
    assert check["points"] is None and "no test pictures to measure on" in check["message"]


def test_a_named_checkpoint_need_not_lie_where_points_are_given(hand):
    path = hand.folder / "checkpoints" / "dots.safetensors"
    named = {"dots": {"sha256": hand.gate["sha256"], "bytes": path.stat().st_size, "where": "my drive"}}
    (hand.folder / "checkpoints.json").write_text(json.dumps(named))
    path.unlink()
    assert hand.check()["points"] == 3.0
    named["dots"]["sha256"] = "0" * 64
    (hand.folder / "checkpoints.json").write_text(json.dumps(named))
    assert "other files than those" in hand.grade()["message"]


@pytest.mark.parametrize(("precision", "points"), [("float32", 3.0), ("bfloat16", None)])
def test_a_score_near_a_step_needs_predictions_in_float32(hand, monkeypatch, precision, points):
    """A gate near a step asks a second time, exactly; what was predicted in 16 bits is no answer to that."""
    real = Replay.gate
    monkeypatch.setattr(Replay, "gate", lambda self, *arguments: real(self, *arguments[:6], True))
    check = hand.check(precision=precision)
    assert check["points"] == points
    assert points or "predict --precision float32` again" in check["message"]


# --- the file itself


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    elif how == "end cut off":
        unpacked = gzip.decompress(content)
        path.write_bytes(gzip.compress(unpacked[: unpacked.rindex(b"SGK1")]))
    elif how == "a message less":
        unpacked = gzip.decompress(content)
        path.write_bytes(gzip.compress(unpacked[unpacked.rindex(b"SGK1") :]))
    elif how == "no gzip":
        path.write_bytes(b"text")
    elif how == "pickle":
        path.write_bytes(gzip.compress(b"\x80\x04cos\nsystem\n."))
    elif how == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    elif how == "gone":
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "flipped", "end cut off", "a message less", "no gzip", "pickle", "link", "gone"])
def test_damage_is_named_and_gives_no_points(hand, how):
    hand.check()
    damage(hand.out / "alice" / "answers.gz", how)
    check = hand.grade()
    assert check["points"] is None and "alice/answers.gz is damaged" in check["message"] and "predict" in check["message"]


def test_a_small_file_that_unpacks_to_any_size_is_refused(hand, monkeypatch):
    monkeypatch.setattr("autograder.judge.predictions.bundle.MAX_UNPACKED", 2**20)
    with writing(hand.out / "alice", hand.facts) as writer:
        writer.reply("0" * 64, Reply(np.zeros(2**22, np.uint8)))
    assert (hand.out / "alice" / "answers.gz").stat().st_size < 10_000
    with pytest.raises(BundleError, match="unpacks to more than"):
        read_bundle(hand.out / "alice")


@pytest.mark.parametrize("text", ["", "[]", '{"schema": "segkit-predictions/1"}', "[" * 100_000])
def test_facts_that_are_none_are_named(hand, text):
    hand.check()
    (hand.out / "alice" / "predictions.json").write_text(text)
    assert "predictions.json cannot be read" in hand.grade()["message"]


def test_answers_keep_their_values_to_the_bit(tmp_path, hand):
    values = {"a": np.float32([1 / 3, np.nan, -0.0]), "n": [None, True, 2**60, 0.1, float("inf")]}
    with writing(tmp_path / "b", hand.facts) as writer:
        writer.reply("q", Reply(values))
        writer.reply("r", Reply(None, ("it fell", "code.died"), True))
    found = read_bundle(tmp_path / "b").replies
    assert found["q"].value["a"].tobytes() == values["a"].tobytes() and found["q"].value["n"] == values["n"]
    assert found["r"] == Reply(None, ("it fell", "code.died"), True)


def test_a_run_that_was_killed_leaves_no_bundle(tmp_path, hand):
    hand.check()
    with pytest.raises(KeyboardInterrupt), writing(hand.out / "alice", hand.facts):
        raise KeyboardInterrupt
    assert "There are no predictions of this submission" in hand.grade()["message"]


# --- both halves for real

SUBMISSIONS = {
    "right": {"checkpoint": weights()},
    "weak": {"checkpoint": weights(good=False), "double": "def double(values):\n    return values + 1\n"},
    "poor": {},
    "dies": {"checkpoint": weights(), "double": "import os\n\ndef double(values):\n    os._exit(0)\n"},
    "dies_later": {"checkpoint": weights(), "net": NET.replace("return self.conv(x)", "import os; os._exit(3)")},
    "raises": {"checkpoint": weights(), "net": NET.replace("super().__init__()", "super().__init__(); int(torch.ones(1)); 1 / 0")},
    "counts": {"checkpoint": weights(), "double": "N = []\n" + DOUBLE.replace("return", "N.append(1); print(N)\n    return len(N) *")},
    "broken": {"double": "def double(values:\n", "checkpoint": weights()},
}  # fmt: skip


def told(result):
    """What must be the same on every route."""
    keys = ("id", "points", "max_points", "status", "cause", "measured", "message")
    return result["score"], [{key: check[key] for key in keys} for check in result["checks"]]


@pytest.fixture(scope="module")
def class_of_all_kinds(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinds")
    folders = [write_submission(root / name, **work) for name, work in SUBMISSIONS.items()]
    named = write_submission(root / "named")
    save_checkpoint(root / "drive" / "dots.safetensors", weights())
    path = root / "drive" / "dots.safetensors"
    entry = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size, "where": "drive"}
    (named / "checkpoints.json").write_text(json.dumps({"dots": entry}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEGKIT_COURSE_SECRET", SECRET)
        command = ["predict", *map(str, [*folders, named]), "--out", str(root / "handed"), "--assignment", str(TINY), "--data", "drawn",
                   "--checkpoints", str(root / "drive"), "--device", "cpu"]  # fmt: skip
        outcome = CliRunner().invoke(main, command)
        again = CliRunner().invoke(main, command)
    with open_run(root / "direct", checkpoints=root / "drive") as run:
        direct = {path.name: grade_path(run, path, path.name) for path in [*folders, named]}
    return root, direct, outcome, again


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SUBMISSIONS, "named"])
def test_the_split_gives_the_points_of_the_direct_run(class_of_all_kinds, no_worker, name, tmp_path):
    root, direct, *_ = class_of_all_kinds
    with open_run(tmp_path, predictions=root / "handed") as run:  # without the drive: only its hash is needed here
        split = grade_path(run, root / name, name)
    assert told(split) == told(direct[name])


@pytest.mark.slow
def test_the_class_holds_every_kind_of_outcome(class_of_all_kinds):
    """Worked out by hand, so that both routes being wrong alike is noticed."""
    direct = class_of_all_kinds[1]
    assert {name: result["score"] for name, result in direct.items()} == {
        "right": 10, "weak": 4, "poor": 7, "dies": 6, "dies_later": 4, "raises": 4, "counts": 10, "broken": 6, "named": 10}  # fmt: skip


@pytest.mark.slow
def test_predict_says_what_it_did_and_asks_nobody_twice(class_of_all_kinds):
    _, _, outcome, again = class_of_all_kinds
    assert outcome.exit_code == again.exit_code == 0, outcome.output
    assert "right: net.accuracy: 4 of 4 pictures" in outcome.output and "9 submissions, 0 with something that" in outcome.output
    assert again.output.count("is there already") == 9


@pytest.mark.slow
def test_an_answer_stands_only_for_the_question_it_was_given_to(class_of_all_kinds, no_worker, tmp_path):
    """Another secret, other code, a check alone: no answer rather than somebody else's."""
    root, *_ = class_of_all_kinds
    changed = shutil.copytree(root / "right", tmp_path / "right")
    facts = json.loads((root / "handed" / "right" / "predictions.json").read_text())
    handed = shutil.copytree(root / "handed", tmp_path / "handed")
    (changed / "1_double.ipynb").write_text((changed / "1_double.ipynb").read_text().replace("* 2", "* 3"))
    with open_run(tmp_path / "a", predictions=handed) as run:
        assert "other files" in grade_path(run, changed, "right")["checks"][0]["message"]
        sha = read_submission(changed, "right", run.rubric).sha256
    for secret, folder in ((SECRET, changed), ("another secret, long enough", root / "right")):
        with open_run(tmp_path / "b", predictions=handed, secret=secret) as run:
            lie = {"submission_sha256": sha if folder == changed else facts["submission_sha256"], "seed": run.seeds.name}
            (handed / "right" / "predictions.json").write_text(json.dumps(facts | lie))
            checks = {check["id"]: check for check in grade_path(run, folder, "right")["checks"]}
        assert (checks["double"]["points"], checks["double"]["cause"]) == (None, "predictions.missing")
        assert "no answer to a question of this check" in checks["double"]["message"]


def test_pictures_of_facades_are_opened_without_their_labels(tmp_path):
    rubric = open_assignment("fcn").rubric
    sample = open_assignment("fcn").folder.parents[2] / "data" / "facades" / "sample" / "base"
    (tmp_path / "base").mkdir()
    for path in sample.glob("*.jpg"):
        shutil.copy(path, tmp_path / "base")
    found, whole = open_pictures(str(tmp_path), rubric, True), open_data(str(sample.parent), rubric, True)
    assert found.names == whole.names and len(found.names) == 32
    one = "cmp_s0029"
    assert found.label(one) is None
    assert np.array_equal(found.image(one), whole.image(one)) and np.array_equal(found.photo(one), whole.photo(one))
    with pytest.raises(LookupError, match="0 of 0 pairs are missing"):
        open_data(str(tmp_path), rubric, True)
    (tmp_path / "base" / "cmp_s0001.png").write_text("a label that nobody reads")
    assert open_pictures(str(tmp_path), rubric, True).digest == found.digest


@pytest.mark.slow
def test_the_commands_hand_over_a_class_and_score_it(tmp_path, monkeypatch, no_worker):
    monkeypatch.setenv("SEGKIT_COURSE_SECRET", SECRET)
    folder = write_submission(tmp_path / "alice", checkpoint=weights())
    options = ["--assignment", str(TINY), "--data", "drawn", "--device", "cpu"]
    outcome = CliRunner().invoke(main, ["predict", str(folder), "--out", str(tmp_path / "handed"), *options])
    assert outcome.exit_code == 1 and "a worker was started" in outcome.output, "that it could not ask must be seen"
    assert "Hand over" in outcome.output
    (tmp_path / "handed" / "alice" / "predictions.json").unlink()
    more = ["--predictions", str(tmp_path / "handed")]
    outcome = CliRunner().invoke(main, ["grade", str(folder), "--out", str(tmp_path / "out"), *options, *more])
    assert outcome.exit_code == 1 and "could not be graded" in outcome.output
