"""A class of forty made-up results, so that pages and tables can be tested and looked at without grading anything.

``python tests/autograder/fake_class.py OUT`` writes their pages to OUT.
"""

import copy
import hashlib
import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw

__all__ = ["CHECKS", "HOSTILE", "TITLES", "fake_class", "fake_pictures", "fake_result", "set_check"]

CHECKS = {
    "read_label": {"title": "Labels decoded from the palette index", "points": 4},
    "confusion_matrix": {"title": "Confusion matrix", "points": 4},
    "scores": {"title": "Pixel accuracy and IoU", "points": 4},
    "fcn32s.layers": {"title": "FCN-32s: layers", "points": 6},
    "fcn32s.shapes": {"title": "FCN-32s: output size", "points": 4},
    "fcn32s.crop": {"title": "FCN-32s: crop to the pixel", "points": 4},
    "fcn32s.forward": {"title": "FCN-32s: values of the forward pass", "points": 4},
    "pretraining.copy": {"title": "Copy of the VGG-16 weights", "points": 6},
    "pretraining.miou": {"title": "FCN-32s reaches the mIoU gate", "points": 6},
    "fcn8s.layers": {"title": "FCN-8s: layers", "points": 6},
    "fcn8s.shapes": {"title": "FCN-8s: output size", "points": 4},
    "fcn8s.crop": {"title": "FCN-8s: three crops", "points": 6},
    "fcn8s.forward": {"title": "FCN-8s: values of the forward pass", "points": 6},
    "fcn8s.miou": {"title": "FCN-8s reaches the mIoU gate", "points": 6},
    "question_1": {"title": "Question 1: why pretraining helps", "points": 15},
    "question_2": {"title": "Question 2: FCN-32s against FCN-8s", "points": 15},
}

TITLES = {
    "crop.shift": "output {shift}",
    "iou.recall": "IoU computed as recall",
    "layer.name": "a layer has another name",
    "layer.ceil_mode": "ceil_mode missing in the pools",
    "copy.alias": "copied weights are aliased",
    "miou.below": "mIoU under the gate",
    "stub": "cell not completed",
}

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">'

_FAULTS = {
    "shift": (
        "fcn32s.crop",
        2,
        "crop.shift",
        {"dy": 1, "dx": 0, "expected": 19, "found": 18},
        "The output is aligned in x, but one row too low.\nexpected  output[:, :, 19:19+H, 19:19+W]\n"
        "got       output[:, :, 18:18+H, 19:19+W]\nlikely    the row offset of the crop is off by one",
    ),
    "recall": (
        "scores",
        1,
        "iou.recall",
        {"expected": 0.3333, "found": 0.5},
        "IoU of class 1: expected 0.3333, got 0.5000.\nThat is the recall: diagonal / row sum.\n"
        "IoU = diagonal / (row sum + column sum - diagonal)",
    ),
    "name": (
        "fcn8s.layers",
        5.5,
        "layer.name",
        {"expected": "score_pool_4", "found": "score_pool4"},
        "Layer score_pool_4 not found; score_pool4 sits in its place.\nexpected  score_pool_4  Conv2d(512, 12, k1)\n"
        "got       score_pool4   Conv2d(512, 12, k1)",
    ),
    "ceil": (
        "fcn32s.layers",
        2,
        "layer.ceil_mode",
        {"expected": True, "found": False},
        "pool1 to pool5: expected ceil_mode=True, got ceil_mode=False.",
    ),
    "alias": (
        "pretraining.copy",
        0,
        "copy.alias",
        {"tensors": 30},
        "After the copy, changing the FCN changes VGG-16 as well: 30 tensors are shared.\n"
        "a.data = b.data makes two names of one memory; copy the values: a.data.copy_(b.data)",
    ),
    "gate": (
        "pretraining.miou",
        3,
        "miou.below",
        {"miou": 0.3512, "threshold": 0.4},
        "mIoU 0.351 on 48 test images; all 6 points from 0.400, none under 0.300.",
    ),
}


def fake_result(name: str, **changes: object) -> dict:
    """A result with all automatic points; ``changes`` replace its keys."""
    checks = []
    for check, entry in CHECKS.items():
        manual = check.startswith("question")
        checks.append(
            {
                "id": check,
                "points": None if manual else entry["points"],
                "max_points": entry["points"],
                "status": "needs_manual" if manual else "earned",
                "cause": None,
                "measured": None,
                "message": "Graded by a person, with the mark scheme." if manual else "As expected.",
                "seconds": None if manual else 0.7,
            }
        )
    result = {
        "schema": "segkit-result/1",
        "assignment": "fcn",
        "submission": name,
        "score": 70,
        "max_score": 100,
        "needs_manual": 30,
        "isolation": "bubblewrap",
        "kit_version": "0.1.0",
        "started": "2026-03-14T22:10:05+00:00",
        "seconds": 83.4,
        "seed": "a41f09",
        "device": "cpu",
        "data": {"source": "cmp_facade", "split": "base", "images": 48},
        "submission_sha256": hashlib.sha256(name.encode(errors="replace")).hexdigest(),
        "notes": [],
        "checks": checks,
    }
    return {**result, **changes}


def set_check(
    result: dict,
    check: str,
    points: float | None,
    cause: str | None = None,
    measured: dict | None = None,
    message: str = "",
    status: str | None = None,
) -> dict:
    """Change one check of a result in place, and its score with it."""
    entry = next(entry for entry in result["checks"] if entry["id"] == check)
    top = entry["max_points"]
    status = status or ("earned" if points == top else "partial" if points else "not_earned")
    entry.update(points=points, cause=cause, measured=measured, message=message, status=status)
    result["score"] = sum(entry["points"] or 0 for entry in result["checks"])
    return result


def fake_class() -> list[dict]:
    """Forty results: perfect, each single mistake, several mistakes, untouched, hostile, not gradable."""
    names = [
        "ada",
        "ben",
        "chiara",
        "deniz",
        "emre",
        "fatima",
        "goran",
        "hana",
        "ivo",
        "jun",
        "katarzyna",
        "liam",
        "maya",
        "noor",
        "oskar",
        "priya",
        "quentin",
        "rosa",
        "sven",
        "tariq",
        "uma",
        "viktor",
        "wen",
        "ximena",
        "yusuf",
        "zoe",
        "anouk",
        "bilal",
        "carla",
        "dmitri",
        "elif",
        "farid",
        "greta",
        "hugo",
        "ines",
    ]
    mistakes = [
        [],
        ["shift"],
        ["recall"],
        [],
        ["name"],
        ["ceil", "gate"],
        ["shift", "recall"],
        [],
        ["alias"],
        ["gate"],
        ["shift"],
        ["recall", "alias", "gate"],
    ]
    results = []
    for index, name in enumerate(names):
        result = fake_result(name)
        for mistake in mistakes[index % len(mistakes)]:
            set_check(result, *_FAULTS[mistake][:2], *copy.deepcopy(_FAULTS[mistake][2:]))
        results.append(result)
    results[1]["notes"] = ["The checkpoint of fcn8s is identical to that of 1 other submission."]
    results[6]["notes"] = ["The checkpoint of fcn8s is identical to that of 1 other submission."]
    results[4]["notes"] = ["read_label was found twice; the last one in notebook order counts."]
    results[3]["submission_sha256"] = results[7]["submission_sha256"]
    return [*results, *_odd_ones()]


def _odd_ones() -> list[dict]:
    untouched = fake_result("untouched", seconds=2.1, data=None)
    for check in CHECKS:
        if not check.startswith("question"):
            set_check(
                untouched, check, 0, "stub", None, "The cell still holds `raise NotImplementedError()`.\nnotebook  2_fcn32s.ipynb, cell 9"
            )
    hostile = fake_result(f"mallory {HOSTILE}", notes=[HOSTILE])
    set_check(hostile, "read_label", 0, "crop.shift", {"dy": -2, "dx": 3}, f"{HOSTILE}\n\x1b[31m{HOSTILE}\x1b[0m")
    lost = fake_result("nadia with a rather long family name on a shared disk")
    for check in ("pretraining.miou", "fcn8s.miou"):
        set_check(
            lost,
            check,
            None,
            "checkpoint.not_found",
            {"sha256": "9f2c"},
            "checkpoints.json names a file that was not found below the checkpoint folder.",
            "could_not_grade",
        )
    crashed = set_check(fake_result("=cmd|' /C calc'!A0"), "fcn8s.forward", None, None, None, "The worker was killed.", "could_not_grade")
    set_check(crashed, "fcn8s.crop", 4, "crop.shift", {"dy": 0, "dx": -1}, "pool3: one column too far left.")
    empty = set_check(fake_result("李小龙"), "fcn8s.miou", 0, None, None, "")
    return [untouched, hostile, lost, crashed, empty]


def fake_pictures(folder: Path, count: int = 3) -> list[dict]:
    """Draw a few facades with label and prediction below ``folder`` and list them like ``pictures.json``."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    palette = [(0, 0, 170), (0, 0, 255), (0, 85, 255)]
    entries = []
    for index in range(count):
        paths = {kind: f"pictures/{index}_{kind}.{'jpg' if kind == 'image' else 'png'}" for kind in ("image", "label", "prediction")}
        for kind, path in paths.items():
            colours = [(170, 190, 215), (205, 175, 140), (70, 80, 95)] if kind == "image" else palette
            _draw(colours, moved=6 if kind == "prediction" else 0).save(folder / path)
        entries.append({"check": "fcn8s.miou", "name": f"cmp_s{index:04d}", **paths, "note": f"mIoU 0.5{index}"})
    entries[0]["legend"] = [
        {"name": name, "color": list(colour)} for name, colour in zip(["background", "facade", "window"], palette, strict=True)
    ]
    return entries


def _draw(colours: list[tuple[int, int, int]], moved: int) -> Image.Image:
    picture = Image.new("RGB", (180, 220), colours[0])
    draw = ImageDraw.Draw(picture)
    draw.rectangle((15, 30, 165, 220), fill=colours[1])
    for x in range(30, 150, 40):
        for y in range(45, 200, 45):
            draw.rectangle((x + moved, y + moved, x + 22, y + 28), fill=colours[2])
    return picture


def write_pages(out: Path) -> None:
    """Write everything that a graded class consists of, for a look at it."""
    from autograder.report import format_table, write_class_page, write_student_page, write_summary

    results = fake_class()
    for result in results:
        folder = out / result["submission"].replace("/", "_")
        pictures = fake_pictures(folder) if result["submission"] in ("ben", "fatima") else []
        write_student_page(result, folder, titles=TITLES, checks=CHECKS, pictures=pictures)
        (folder / "result.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    write_class_page(results, out, titles=TITLES, checks=CHECKS)
    write_summary(results, out)
    print(format_table(results))


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
