"""The marking room's server: who may ask, what is kept, what two persons do to each other."""

import asyncio
import json

import httpx
import pytest
from answers_of_a_class import marking_class

from autograder.course.assignment import open_assignment
from autograder.marking import marked, read_marks
from autograder.marking.app import MOST_BYTES, room_app
from autograder.marking.keeping import Keeper, write_rubric_criteria
from autograder.marking.room import Question, Room

HOSTILE = "<img src=x onerror=alert(1)> [a](javascript:x) <b onclick=y>b</b>"
QUESTIONS = {name: Question(name, name, 12.0, "**Scheme** <script>alert(1)</script>") for name in ("question_1", "question_2")}


@pytest.fixture
def graded(tmp_path):
    folder = marking_class(tmp_path / "graded", 6)
    write_rubric_criteria(folder, open_assignment("fcn").rubric)
    return folder


class Web:
    """What a browser asks, without a network."""

    def __init__(self, app, headers):
        self.app, self.headers = app, headers

    def ask(self, method, path, **more):
        async def asked():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=self.headers) as client:
                return await client.request(method, path, **more)

        return asyncio.run(asked())

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, **more):
        return self.ask("POST", path, **more)


class Person:
    """Somebody with a room of their own."""

    def __init__(self, graded, name):
        self.graded, self.room = graded, Room(graded, QUESTIONS, Keeper(graded, name))
        self.web = Web(room_app(self.room, "secret"), {"Authorization": "Bearer secret"})

    def state(self, check="question_1"):
        return self.web.get(f"/api/state/{check}").json()

    def mark(self, number, check="question_1", see=True, **mark):
        others = self.state(check)["answers"][number]["others"] if see else []
        saw = {one["by"]: one["when"] for one in others}
        return self.web.post("/api/mark", json={"check": check, "number": number, "mark": mark or None, "saw": saw})

    def student(self, number, check="question_1"):
        return self.room.sheets(check)[number].student


@pytest.fixture
def ada(graded):
    return Person(graded, "ada")


@pytest.fixture
def bob(graded):
    return Person(graded, "bob")


def points(graded, student, check="question_1"):
    found = marked(graded, {student: json.loads((graded / student / "result.json").read_text())})
    return next(c["points"] for c in found.results[student]["checks"] if c["id"] == check)


# ----------------------------------------------------------------------------------------------------------- who may ask
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer"}, {"Authorization": "Bearer secrets"}, {"Cookie": "token=secret"}])
@pytest.mark.parametrize("path", ["/api/class", "/api/state/question_1", "/api/answer/question_1/0"])
def test_without_the_token_nothing_of_the_class_is_shown(ada, path, headers):
    web = Web(ada.web.app, headers)
    assert web.get(path).status_code == 403
    assert web.post("/api/mark", json={"check": "question_1", "number": 0, "mark": {"criteria": []}}).status_code == 403
    assert not (ada.graded / "marks" / "ada.toml").exists()


def test_another_name_for_this_machine_is_refused(ada):
    assert ada.web.get("/api/class", headers={"Host": "attacker.example"}).status_code == 400


def test_the_page_runs_its_own_script_and_loads_nothing_from_elsewhere(ada):
    page = Web(ada.web.app, {}).get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy and "http" not in policy
    for path in ("/", "/room.js", "/room.css", "/style.css"):
        text = ada.web.get(path).text
        assert "http://" not in text and "https://" not in text and " style=" not in text and " on" + "click=" not in text


def test_no_name_of_a_student_reaches_the_page(ada):
    replies = [ada.web.get("/api/class").text]
    for check in QUESTIONS:
        replies.append(ada.web.get(f"/api/state/{check}").text)
        replies += [ada.web.get(f"/api/answer/{check}/{number}").text for number in range(6)]
    ada.mark(0, criteria=["named"])
    assert not [text for text in [*replies, json.dumps(ada.state())] if "student0" in text]


def test_answers_and_schemes_are_harmless(ada, graded):
    folder = graded / ada.student(0)
    answers = [
        {
            "check": "question_1",
            "texts": [{"where": "x", "text": HOSTILE}],
            "note": "",
        }
    ]
    (folder / "answers.json").write_text(json.dumps(answers))
    room = Person(graded, "bob")
    number = next(n for n in range(6) if room.student(n) == folder.name)
    html = room.web.get(f"/api/answer/question_1/{number}").json()["texts"][0]
    assert "<img" not in html and "onclick" not in html.replace("&", "") and "<b>b</b>" in html
    assert "<script" not in room.web.get("/api/class").json()["questions"][0]["scheme"]


def test_names_in_the_names_of_files_stay_on_the_server(ada, graded):
    folder = graded / ada.student(0)
    note = "No answer was written: 5_questions_lovelace.ipynb, cell 3."
    (folder / "answers.json").write_text(json.dumps([{"check": "question_1", "texts": [], "note": note}]))
    room = Person(graded, "bob")
    number = next(n for n in range(6) if room.student(n) == folder.name)
    assert room.web.get(f"/api/answer/question_1/{number}").json() == {"texts": [], "note": "No answer was written."}


def test_pictures_of_an_answer_come_with_it(ada):
    shown = [ada.web.get(f"/api/answer/question_2/{number}").json() for number in range(6)]
    with_picture = [one for one in shown if '<img src="data:image/png;base64,' in "".join(one["texts"])]
    assert with_picture and not any("It points to pictures" in one["note"] for one in with_picture)


# -------------------------------------------------------------------------------------------------------- what is kept
def test_every_key_is_on_the_disk_before_the_page_hears_of_it(ada, graded):
    for criteria, expected in ((["named"], 4), (["named", "tied"], 8), ([], 0)):
        assert ada.mark(1, criteria=criteria).json()["answers"][1]["points"] == expected
        assert points(graded, ada.student(1)) == expected
    ada.mark(1, criteria=["named"], half=["evidence"], adjust=-0.5, reason="too short", comment="Hm.\n")
    mark = read_marks(graded).marks(ada.student(1), "question_1")[0].what
    assert (mark.criteria, mark.half, mark.adjust, mark.reason, mark.comment) == (("named",), ("evidence",), -0.5, "too short", "Hm.")
    assert mark.when is not None and len(mark.of) == 16


def test_a_room_that_is_opened_again_goes_on(ada, graded):
    ada.mark(2, criteria=["named"])
    again = Person(graded, "ada")
    assert again.state() == ada.state()
    assert again.web.get("/api/class").json()["questions"][0]["done"] == 1


def test_a_mark_can_be_taken_back(ada, graded):
    ada.mark(0, criteria=["named"])
    assert ada.mark(0).json()["answers"][0]["points"] is None
    assert points(graded, ada.student(0)) is None


def test_a_comment_alone_is_kept_and_marks_nothing(ada):
    answer = ada.mark(0, comment="Please see me.").json()["answers"][0]
    assert (answer["points"], answer["mark"]["comment"], answer["mark"]["given"]) == (None, "Please see me.", False)


def test_a_criterion_that_changes_is_counted_anew_in_every_answer_that_has_it(ada, graded):
    ada.mark(0, criteria=["named", "clarity"])
    ada.mark(1, half=["named"], criteria=[])
    ada.mark(2, criteria=["clarity"])
    content = {"check": "question_1", "name": "named", "text": "two reasons are named", "points": 6, "saw": {}}
    state = ada.web.post("/api/criterion", json=content).json()
    assert [one["points"] for one in state["answers"][:3]] == [7, 3, 1]
    assert points(graded, ada.student(0)) == 7
    named = state["criteria"][0]
    assert (named["name"], named["text"], named["points"], named["of_rubric"]) == ("named", "two reasons are named", 6, True)


def test_a_new_criterion_changes_nothing_until_it_is_ticked(ada):
    ada.mark(0, criteria=["named"])
    before = ada.state()["answers"]
    content = {"check": "question_1", "name": "", "text": "Mentions Batch Size 1!", "points": -1, "saw": {}}
    state = ada.web.post("/api/criterion", json=content).json()
    assert state["answers"] == before
    assert state["criteria"][-1]["name"] == "mentions_batch_size" and not state["criteria"][-1]["of_rubric"]
    assert ada.mark(0, criteria=["named", "mentions_batch_size"]).json()["answers"][0]["points"] == 3


@pytest.mark.parametrize(("content", "words"), [
    ({"number": 6, "mark": {"criteria": []}}, "There is no answer 6"), ({"number": "0", "mark": {"criteria": []}}, "no answer '0'"),
    ({"number": 0, "mark": {"criteria": ["nmaed"]}}, "There is no criterion 'nmaed'"),
    ({"number": 0, "mark": {"criteria": [], "adjust": 1}}, "reason"),
    ({"number": 0, "mark": {"criteria": [], "adjust": 0.3, "reason": "x"}}, "0.5"),
    ({"number": 0, "mark": {"criteria": [{}]}}, "no mark"), ({"number": 0, "mark": {"points": "7"}}, "points from 0 on"),
    ({"number": 0, "mark": {"criteria": []}, "saw": {"bob": "yesterday"}}, "cannot be kept"), ({"number": 0, "mark": []}, "mark and saw"),
    ({"check": "scores", "number": 0, "mark": {"criteria": []}}, "There is no question 'scores'"),
    ({"number": 0, "mark": {"comment": "x" * MOST_BYTES}}, "too much"),
])  # fmt: skip
def test_what_is_no_mark_is_refused_and_nothing_is_lost(ada, graded, content, words):
    ada.mark(0, criteria=["named"])
    before = (graded / "marks" / "ada.toml").read_bytes()
    reply = ada.web.post("/api/mark", json={"check": "question_1", **content})
    assert reply.status_code in (400, 409) and words in reply.json()["error"]
    assert (graded / "marks" / "ada.toml").read_bytes() == before


def test_a_file_that_was_broken_by_hand_is_named_and_left_alone(ada, graded):
    ada.mark(0, criteria=["named"])
    path = graded / "marks" / "ada.toml"
    path.write_text(path.read_text() + "[answers\n")
    broken = path.read_bytes()
    reply = ada.web.post("/api/mark", json={"check": "question_1", "number": 1, "mark": {"criteria": []}})
    assert reply.status_code == 409 and "ada.toml is no TOML" in reply.json()["error"] and path.read_bytes() == broken


# ------------------------------------------------------------------------------------------------------------ two persons
def test_two_persons_on_different_answers_lose_nothing(ada, bob):
    for number in range(6):
        (ada if number % 2 else bob).mark(number, criteria=["named"])
    assert [one["points"] for one in ada.state()["answers"]] == [4] * 6
    assert ada.state()["answers"][0]["mark"]["by"] == "bob"


def test_two_persons_on_one_answer_are_shown_both_and_it_stays_open(ada, bob, graded):
    ada.mark(0, criteria=["named"])
    answer = bob.mark(0, see=False, criteria=["tied", "evidence"]).json()["answers"][0]
    assert (answer["points"], answer["why"], answer["mark"]["by"]) == (None, "dispute", "bob")
    assert [(one["by"], one["sum"], one["holds"]) for one in answer["others"]] == [("ada", 4, True)]
    assert points(graded, ada.student(0)) is None
    answer = ada.mark(0, criteria=["tied", "evidence"]).json()["answers"][0]
    assert (answer["points"], answer["why"]) == (7, "")
    assert bob.state()["answers"][0]["points"] == 7


def test_who_changes_what_another_gave_knowingly_replaces_it(ada, bob):
    ada.mark(0, criteria=["named"])
    answer = bob.mark(0, criteria=["named", "clarity"]).json()["answers"][0]
    assert (answer["points"], answer["others"][0]["holds"]) == (5, False)
    assert ada.state()["answers"][0]["points"] == 5


def test_a_criterion_that_two_change_at_once_is_in_dispute_until_one_decides(ada, bob):
    ada.mark(0, criteria=["named"])
    for person, worth in ((ada, 5), (bob, 6)):
        person.web.post("/api/criterion", json={"check": "question_1", "name": "named", "text": "named", "points": worth, "saw": {}})
    state = ada.state()
    assert (state["answers"][0]["points"], state["answers"][0]["why"]) == (None, "criterion")
    saw = {one["by"]: one["when"] for one in state["criteria"][0]["said"]}
    assert sorted(saw) == ["ada", "bob"]
    content = {"check": "question_1", "name": "named", "text": "named", "points": 5, "saw": saw}
    assert ada.web.post("/api/criterion", json=content).json()["answers"][0]["points"] == 5
