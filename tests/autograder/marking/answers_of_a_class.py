"""A class that wrote to two questions: sentences that students write, put together by a seed, with the marks that they are worth."""

import base64
import io
import json
import random
from pathlib import Path
from types import SimpleNamespace

from fake_class import fake_result
from PIL import Image, ImageDraw

from autograder.course.assignment import open_assignment
from autograder.marking.pictures import keep_pictures

__all__ = ["marking_class", "worth"]

DATA = [
    "The first reason is **data**: 500 pictures for 134 million weights are far too few.",
    "There are only 500 images, but the net has about 134 million parameters, so from scratch it overfits.",
    "Reason 1: the data set is tiny compared with the number of parameters (134 M).",
]
EDGES = [
    "Second, the low level features (edges, corners, textures) of ImageNet are useful for facades as well.",
    "Also, conv1 and conv2 already know edges, and windows and sills consist of edges.",
    "2) VGG has seen a million natural photos, its filters for edges transfer to buildings.",
]
EVIDENCE = [
    "My training loss fell to 1.4, but the validation mIoU stayed at 0.13: it learns by heart.",
    "One can see it in the picture of `conv1_1`: pretrained filters are edges, from scratch they still look like noise.",
    "An experiment: freeze the trunk and train only $score$; this already gives more than 0.13.",
]
WRONG = [
    "It simply trains longer, 25 epochs instead of 5, so it must be better.",
    "Because the initial loss is lower with pretraining.",
    "VGG knows facades, because ImageNet has labels of facades.",
]
NUMBERS = [
    "| | accuracy | mIoU |\n| --- | --- | --- |\n| FCN-32s | 0.710 | 0.440 |\n| FCN-8s | 0.726 | 0.493 |\n\n"
    "Sills gain 0.11, cornices 0.09, background nothing.",
    "FCN-32s has mIoU 0.440, FCN-8s 0.493 on the validation pictures; sill and cornice gain most, facade hardly.",
]
PICTURE = "In the picture the windows of FCN-32s are round blobs, FCN-8s separates them:\n\n![windows](attachment:windows.png)"
STRIDE = [
    "FCN-32s gives one score per 32 x 32 pixels and interpolates; a sill of 10 pixels is averaged away. "
    "The skips from pool4 and pool3 bring where.",
    "Because of the stride: 32 against 8. Skips add the place, the head adds the class; large classes lose only their borders.",
]
SHORT = ["I think pretraining is good because it is better.", "dont know", "FCN-8s is deeper and has more parameters, so it is better."]


def _first(draw: random.Random) -> tuple[str, list[str]]:
    kind = draw.choice(["all", "all", "all", "one", "reasons", "wrong", "short", "none"])
    if kind == "none":
        return "", []
    if kind == "short":
        return draw.choice(SHORT), []
    if kind == "wrong":
        return draw.choice(WRONG) + " " + draw.choice(WRONG), []
    data, edges, evidence = draw.choice(DATA), draw.choice(EDGES), draw.choice(EVIDENCE)
    if kind == "one":
        return f"{data}\n\n{evidence}", ["half named", "half tied", "half evidence", "clarity"]
    if kind == "reasons":
        return f"{data}\n\n{edges}", ["named", "tied", "clarity"]
    return f"{data}\n\n{edges}\n\n- {evidence}\n- {draw.choice(EVIDENCE)}", ["named", "tied", "evidence", "clarity"]


def _second(draw: random.Random) -> tuple[str, list[str]]:
    kind = draw.choice(["all", "all", "all", "no picture", "numbers", "short", "none"])
    if kind == "none":
        return "YOUR ANSWER HERE", []
    if kind == "short":
        return draw.choice(SHORT), []
    numbers, stride = draw.choice(NUMBERS), draw.choice(STRIDE)
    if kind == "numbers":
        return numbers, ["numbers"]
    if kind == "no picture":
        return f"{numbers}\n\n{stride}", ["numbers", "explanation"]
    return f"{numbers}\n\n{PICTURE}\n\n{stride}", ["numbers", "pictures", "explanation"]


def _drawing(number: int) -> bytes:
    picture = Image.new("RGB", (420, 240), (205, 175, 140))
    draw = ImageDraw.Draw(picture)
    for x in range(20, 400, 70):
        for y in range(20, 220, 70):
            draw.ellipse((x, y, x + 40, y + 46), fill=(70, 80, 95)) if x < 200 else draw.rectangle(
                (x, y, x + 30, y + 40), fill=(70, 80, 90 + number)
            )
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def marking_class(folder: Path, count: int, seed: int = 7) -> Path:
    """Write results and answers of a class, as `grade` leaves them; the pictures come out of notebooks."""
    draw, rubric = random.Random(seed), open_assignment("fcn").rubric
    for number in range(count):
        name = f"student{number:02}"
        result = fake_result(name)
        checks = [one for one in result["checks"] if not one["id"].startswith("question")]
        checks += [
            {"id": check.id, "points": None, "max_points": check.points, "status": "needs_manual", "cause": None, "measured": None,
             "message": "Graded by a person, with the mark scheme.", "seconds": None}
            for check in rubric.checks.values() if check.id.startswith("question")
        ]  # fmt: skip
        tops = [
            sum(one["max_points"] for one in checks if manual is None or (one["status"] == "needs_manual") == manual)
            for manual in (None, True, False)
        ]
        result |= {"checks": checks, "max_score": tops[0], "needs_manual": tops[1], "score": tops[2]}
        (folder / name).mkdir(parents=True)
        (folder / name / "result.json").write_text(json.dumps(result))
        texts = {"question_1": _first(draw)[0], "question_2": _second(draw)[0]}
        _write_answers(folder / name, texts, number)
        wanted = {check: rubric.checks[check] for check in texts}
        document = SimpleNamespace(
            name="5_questions.ipynb", texts={check: [(place, text)] for place, (check, text) in enumerate(texts.items(), 1)}
        )
        keep_pictures(folder / name, SimpleNamespace(workbook=SimpleNamespace(documents=[document]), folder=folder / name), wanted)
        (folder / name / "5_questions.ipynb").unlink()
    return folder


def _write_answers(folder: Path, texts: dict[str, str], number: int) -> None:
    stub = ("", "YOUR ANSWER HERE")
    answers = [
        {"check": check, "texts": [] if text in stub else [{"where": "5_questions.ipynb, cell 5", "text": text}],
         "note": "No answer was written: 5_questions.ipynb, cell 5." if text in stub else ""}
        for check, text in texts.items()
    ]  # fmt: skip
    (folder / "answers.json").write_text(json.dumps(answers))
    attachments = {"windows.png": {"image/png": base64.b64encode(_drawing(number)).decode()}}
    cells = [{"cell_type": "markdown", "metadata": {}, "source": text, "attachments": attachments} for text in texts.values()]
    (folder / "5_questions.ipynb").write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}))


def worth(text: str) -> list[str]:
    """The criteria that an answer of this class meets, as a marker sees them; ``half NAME`` for half of one."""
    has = [any(one in text for one in sentences) for sentences in (DATA, EDGES, EVIDENCE, NUMBERS, [PICTURE], STRIDE)]
    data, edges, evidence, numbers, picture, stride = has
    if data and edges:
        return ["named", "tied", *(["evidence"] if evidence else []), "clarity"]
    if data:
        return ["half named", "half tied", "half evidence", "clarity"]
    found = {"numbers": numbers, "pictures": picture, "explanation": stride}
    return [name for name, met in found.items() if met]
