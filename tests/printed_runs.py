"""The printed commands that are run, and what each must leave and say; those that are not run, and why.

The places in which they run are made by ``stand_ins``.
"""

import shutil
from dataclasses import dataclass, field

import weeks_commands
from printed import REPOSITORY, commands_of
from stand_ins import Place

__all__ = [
    "COURSE", "FACADES", "GRADER", "MAKE_RESULTS", "NOT_RUN", "PAGE", "RELEASE", "RESULTS", "RUN", "SATELLITE", "TRAINING", "WEEKS",
    "WRITING", "Run", "run_all",
]  # fmt: skip

SEGKIT, GRADER = "python -m segkit", "python -m autograder"
PAGE = REPOSITORY / "docs" / "assignments.md"  # prints a check, an entry of the exam and a whole assignment


@dataclass(frozen=True)
class Run:
    """A printed command that is run.

    Attributes:
        command: As it is printed.
        stand_ins: Placeholder of the text -> what stands there; a tuple: one run for each.
        leaves: Patterns of files that it must leave.
        says: Words that it must print.
        before: A shell command that prepares it.
    """

    command: str
    stand_ins: dict[str, str | tuple[str, ...]] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    says: str = ""
    before: str = ""

    def texts(self) -> list[str]:
        texts = [self.command]
        for old, new in self.stand_ins.items():
            assert old in self.command
            texts = [text.replace(old, one) for text in texts for one in ((new,) if isinstance(new, str) else new)]
        return texts


COURSE = [
    Run(f"{GRADER} release fcn --out build/release", leaves=("build/release/fcn/START_HERE.md", "build/release/fcn.zip")),
    Run(f"{GRADER} collect RAW/* --out submitted", leaves=("submitted/ada/fcn/*.ipynb", "submitted/bob/fcn/*.ipynb")),
    Run("nbgrader generate_assignment fcn", leaves=("release/fcn/1_double.ipynb",)),
    Run("nbgrader autograde fcn", leaves=("autograded/ada/fcn/*.ipynb", "autograded/bob/fcn/*.ipynb")),
    Run("nbgrader generate_feedback fcn", leaves=("feedback/ada/fcn/1_double.html",)),
    Run("nbgrader export", leaves=("grades.csv",)),
    Run("jupyter lab", {"jupyter lab": "jupyter lab --version"}),
    Run(f"{GRADER} grade submitted/* --out build/graded --data data/cmp_facade --jobs 2", says="2 graded", leaves=(
        "build/graded/index.html", "build/graded/ada/report.html", "build/graded/bob/result.json", "build/graded/summary.csv"),
        before="cp -r data/facades/sample data/cmp_facade"),
    Run(f"{GRADER} alike build/graded", says="to look at", leaves=("build/graded/alike.html", "build/graded/alike.csv")),
    Run(f"{GRADER} mark build/graded --pages --roster roster.csv", {"roster.csv": "class.csv"}, says="on the class page",
        leaves=("build/graded/people.csv",)),
    Run(f"{GRADER} export build/graded --to csv --manual COPY.csv", leaves=("build/graded/exports/csv/grades.csv",),
        before="sed 's/,$/,5/' build/graded/summary.csv > COPY.csv"),
    Run(f"{GRADER} export build/graded --to gradescope|classroom50|junit|csv",
        {"gradescope|classroom50|junit|csv": ("gradescope", "classroom50", "junit", "csv")}, says="2 results"),
    Run(f"{GRADER} export build/graded --to gradebook --db gradebook.db", says="2 results, gradebook"),
    Run(f"{GRADER} export build/graded --into GRADEBOOK.csv --roster roster.csv", {"roster.csv": "class.csv --manual COPY.csv"},
        leaves=("GRADEBOOK.filled.csv",), says="2 points in column 'Project fcn (77)' of canvas"),
    Run(f"{GRADER} export build/graded --into WORKSHEET.csv --feedback", {"--feedback": "--feedback --manual COPY.csv"},
        leaves=("WORKSHEET.filled.csv", "WORKSHEET.feedback.zip"), says="2 pages of feedback"),
    Run(f"{GRADER} export build/graded --to mail --roster roster.csv", {"roster.csv": "class.csv"},
        leaves=("build/graded/exports/mail/addresses.csv", "build/graded/exports/mail/ada/feedback.html")),
    Run(f'{GRADER} mark build/graded --change ada double 4 --reason "The sheet asked for the half."', {"double 4": "double 2"},
        says="ada, double: 2 points", leaves=("build/graded/marks/*.toml",)),
    Run(f"{GRADER} mark build/graded --take COPY.csv", says="taken from COPY.csv", before="printf 'name,question\\nada,5\\n' > COPY.csv"),
    Run(f"{GRADER} mark build/graded --take gradebook.db", says="taken from gradebook.db"),
    Run(f"{GRADER} mark build/graded --pages", says="Class page"),
    Run(f"{GRADER} viva build/graded --questions 3", {"--questions 3": "--questions 1"}, says="2 sheets",
        leaves=("build/graded/viva/questions.html", "build/graded/viva/answers/ada.html")),
    Run(f"{GRADER} gradescope-zip --out autograder.zip", leaves=("autograder.zip",)),
    Run(f"{GRADER} grade --bulk EXPORT.zip --roster roster.csv --out build/graded", {"build/graded": "build/graded --data drawn"},
        says="1 graded", leaves=("build/graded/handins.csv",)),
    Run(f"{GRADER} collect --bulk EXPORT.zip --roster roster.csv --out submitted", leaves=("submitted/4711/fcn/*.ipynb",), says="1 of 1"),
    Run(f"{GRADER} grade --roster roster.csv --out build/graded",
        {"roster.csv": "build/addresses.csv", "build/graded": "build/fetched --data drawn"},
        says="1 graded", leaves=("build/fetched/ada/report.html",),
        before="printf 'login,repository\\nada,../RAW/ada\\n' > build/addresses.csv"),
    Run(f'{GRADER} grade --bulk EXPORT.zip --roster roster.csv --due 2026-03-14T23:59 --penalty "10% per day" --out build/graded',
        {"build/graded": "build/late --data drawn"}, says="due 2026-03-14 23:59:00"),
    Run(f"{GRADER} grade ... --checkpoints drive/", {"...": "named/eve --data drawn --out build/named"}, says="10 of 10"),
    Run('rsync -am --include=\'*/\' --include=\'*.jpg\' --exclude=\'*\' "$CMP_ROOT"/ PICTURES/', leaves=("PICTURES/base/*.jpg",)),
    Run(f"{GRADER} predict SUBMISSION... --out handed --data PICTURES", {"SUBMISSION...": "RAW/*"},
        leaves=("handed/ada/predictions.json", "handed/bob/answers.gz"), before="mkdir -p PICTURES"),
    Run(f"{GRADER} grade SUBMISSION... --predictions handed --out graded --data CMP_ROOT", {"SUBMISSION...": "RAW/*"}, says="10 of 10"),
    Run(f'{GRADER} grade submission.zip --out graded --data "$CMP_ROOT" --require-isolation bubblewrap', says="10 of 10"),
]  # fmt: skip

RELEASE = [
    Run(f"{SEGKIT} check", says="4 checks: "),
    Run('!"{sys.executable}" -m segkit check', says="4 checks: "),
    Run(f"{SEGKIT} submit", leaves=("submission.zip", "*receipt*")),
    # --fast: the checks, which take longest, are run by the first alone
    Run(f'{SEGKIT} submit --code-only --where "drive/ada"', {"submit": "submit --fast"}, leaves=("submission.zip",)),
    Run('!"{sys.executable}" -m segkit submit', {"submit": "submit --fast"}, leaves=("submission.zip",), before="rm submission.zip"),
    Run(
        '!"{sys.executable}" -m segkit submit --code-only --where "shared drive/YOUR NAME"',
        {"submit": "submit --fast"},
        leaves=("submission.zip",),
    ),
    Run("python -m venv ../segkit-env", leaves=("../segkit-env/bin/activate",)),
    Run(". ../segkit-env/bin/activate", {"activate": 'activate && test "$VIRTUAL_ENV" -ef ../segkit-env'}),
    Run(
        "python -m ipykernel install --user --name segkit",
        {"--user": "--prefix kernels"},
        leaves=("kernels/share/jupyter/kernels/segkit/kernel.json",),
    ),
]

FACADES = [
    Run(
        'python -c "from segkit.datasets.facades.verifying import write_manifest; '
        "write_manifest('CMP_ROOT', 'data/facades/manifest.sha256')\""
    ),
    Run("cd CMP_ROOT && sha256sum -c .../data/facades/manifest.sha256", {"...": ".."}, says="base/cmp_b0378.xml: OK"),
    Run(f"{SEGKIT} data verify --data ROOT", says="all in order"),
    Run(f"{SEGKIT} data verify", says="all in order"),
    Run(
        f"{SEGKIT} data sample --out data/facades/sample",
        leaves=("data/facades/sample/base/cmp_s0032.png",),
        before="rm -r data/facades/sample",
    ),
]
SATELLITE = [
    Run(f"{SEGKIT} data verify --dataset satellite --data ROOT", {"ROOT": "data/satellite/sample"}, says="all in order"),
    Run(f"{SEGKIT} data sample --dataset satellite --out data/satellite/sample", before="rm -r data/satellite/sample"),
]

CHECKS = "autograder/assignments/fcn/checks"
PLAIN = "-p autograder.exam.pytest_plugin --submission notebooks/fcn --only-check"
WRITING = [
    Run(f"{GRADER} grade notebooks/fcn --only scores.small --out build/tried", says="2 of 2"),
    Run(f"python -m pytest -n 0 {PLAIN} scores.small {CHECKS}", says="1 passed"),
    Run(f"{GRADER} selftest fcn --only small-recall", says="2 entries, 0 surprises"),
    Run(f"{GRADER} selftest fcn --due", says="The grader's exam"),
    Run(f"{GRADER} new dots --like fcn", leaves=("notebooks/dots/1_first.ipynb",)),
    Run(f"{GRADER} grade notebooks/dots --assignment dots --out build/dots", says="6 points more are given by hand"),
    Run(f"{GRADER} selftest dots", says="5 entries, 0 surprises"),
    Run(f"{GRADER} release dots --out build/release", leaves=("build/release/dots/1_first.ipynb",), says="no surprise"),
]

ANY_RUN = "--model fcn8s --recipe fast --split base --data CMP_ROOT --out runs/8s"
TRAINING = [
    Run(f"{SEGKIT} train {ANY_RUN}", leaves=tuple(f"runs/8s/{name}" for name in (
        "best.safetensors", "history.json", "resume.pt", "curves.png", "stages.png", "gallery.png", "confusion.png"))),
    Run(f"{SEGKIT} train ... --resume", {"...": ANY_RUN}),
    Run(f"{SEGKIT} train ... --staged", {"...": f"{ANY_RUN}-staged"}, leaves=("runs/8s-staged/fcn16s/best.safetensors",)),
    Run(f"{SEGKIT} train ... --patience 5", {"...": f"{ANY_RUN}-patience"}),
    Run(f"{SEGKIT} train ... --set crop=512 --set scale=0.75,1.25 --set class_weights=median", {"...": f"{ANY_RUN}-set"}),
    Run(f"{SEGKIT} pretrain --split base --data CMP_ROOT --out runs/vgg", leaves=("runs/vgg/vgg16_facades-*.pth",)),
]  # fmt: skip

MAKE_RESULTS = Run("python docs/make_results.py --data CMP_ROOT --plan cpu", says="written:")
RESULTS = [printed.text for printed in commands_of(REPOSITORY / "docs" / "results.md")]  # run, and printed anew, by the command above

TESTS = "tests, which the suite runs"
NETWORK, GPU = "needs a network", "minutes with a GPU, hours without"
MINUTES = "measures for minutes, with the benchmark's own stand-ins"
NOT_RUN = {
    "make demo": "minutes: trains two checkpoints and grades a class of twelve; tests/autograder/test_demo.py holds its parts",
    "make demo ASSIGNMENT=satellite": "minutes: trains four networks and grades a class of eleven; the same tests hold its parts",
    "make test": "this is the suite that it runs",
    "make fuzz": "ten minutes; tests/fuzz runs a few cases of each kind",
    f"python -m pytest -n 0 --pdb {PLAIN} scores {CHECKS}": "the same is run without a debugger",
    "python -m pytest -n 0 -q tests/autograder/fcn": TESTS,
    "python -m pytest -n 0 -q tests/autograder/test_checking.py": TESTS,
    "pytest -q": TESTS,
    "make gpu": "needs a GPU; tests/benchmarks/test_first_gpu.py rehearses it",
    "make wheels": NETWORK,
    "python benchmarks/first_gpu.py --data CMP_ROOT --wheels build/wheels": GPU,
    "python benchmarks/first_gpu.py --train --data CMP_ROOT": GPU,
    "python benchmarks/first_gpu.py --device cpu --tiny": MINUTES,
    "make lock": "needs the environment that `make venv` installs",
    "make lint": "needs the environment that `make venv` installs",
    "make venv && . .venv/bin/activate": NETWORK,
    "apt install bubblewrap": NETWORK,
    "pip install jupyterlab -r requirements.txt": NETWORK,
    "conda create -n segkit python=3.12": NETWORK,
    "conda activate segkit": NETWORK,
    "..\\segkit-env\\Scripts\\activate": "needs Windows",
    f"{SEGKIT} data fetch": NETWORK,
    '!"{sys.executable}" -m segkit data fetch': NETWORK,
    f"{GRADER} selftest fcn --jobs 2": "minutes; tests/autograder/test_selftest_sample.py sits a part of it",
    f"{GRADER} selftest fcn --all": "an hour; tests/autograder/test_selftest_sample.py sits a part of it",
    f"{GRADER} selftest fcn --only NAME": "run with a name",
    f"{GRADER} grade notebooks/fcn --only scores --out build/tried": "the same is run with the page's own check",
    f"{GRADER} selftest fcn --only iou-recall": "the same is run with the page's own entry",
    f"{GRADER} mark build/graded": "serves until Ctrl+C; tests/autograder/marking/test_marking_in_browser.py marks a class with it",
    f"{GRADER} mark": "names a command; with arguments it is run",
    f"{GRADER} alike": "names a command; with arguments it is run",
    f"{GRADER} alike build/graded --training 12": "tests/autograder/alike/test_gaps.py gives it, for an assignment with a data set",
    f"{GRADER} grade": "names a command; with arguments it is run",
    f"{GRADER} grade submitted/* --assignment satellite --out build/graded --data data/dlcv_satellite": "the other assignment is run",
    f"{GRADER} viva": "names a command; with arguments it is run",
    "nbgrader autograde": "names a command; with arguments it is run",
    f"{SEGKIT} ...": "says how commands begin",
    '!"{sys.executable}" -m segkit ...': "says how commands begin",
    "python benchmarks/evaluation.py --data CMP_ROOT": GPU,
    "python benchmarks/training.py --data CMP_ROOT": GPU,
    "python benchmarks/training.py --data CMP_ROOT --whole": GPU,
    "python benchmarks/training.py --data CMP_ROOT --whole --precision float16 bfloat16 --memory-cap 15": GPU,
    "python benchmarks/training.py --data CMP_ROOT --budget 8 --precision float16 bfloat16 --memory-cap 15": GPU,
    "python benchmarks/training.py --data CMP_ROOT --pytorch-fcn DIR --torchvision-references DIR/references/segmentation": GPU,
    "python benchmarks/loading.py --data CMP_ROOT": MINUTES,
    "python benchmarks/gate.py --data CMP_ROOT": GPU,
    "python benchmarks/gate.py --data CMP_ROOT --jobs 4 --submissions 24": GPU,
    "python docs/make_results.py --data CMP_ROOT --plan gpu": GPU,
    "python benchmarks/grading.py --rounds 1 --stock 6": MINUTES,
    "python benchmarks/alike.py": MINUTES,
    "python benchmarks/told_times.py": MINUTES,
    "python benchmarks/gate.py --small": MINUTES,
    "python benchmarks/gate.py --data CMP_ROOT --precision bfloat16 --rounds 1": MINUTES,
    "python benchmarks/loading.py --small --data CMP_ROOT": MINUTES,
    "python benchmarks/training.py --small --data CMP_ROOT": MINUTES,
    "python benchmarks/evaluation.py --small --data CMP_ROOT": MINUTES,
}
WEEKS = [Run(**run) for run in weeks_commands.RUN]
NOT_RUN |= weeks_commands.NOT_RUN
RUN = [run.command for run in (*COURSE, *WEEKS, *RELEASE, *WRITING, *FACADES, *SATELLITE, *TRAINING, MAKE_RESULTS)] + RESULTS


def run_all(runs: list[Run], place: Place) -> None:
    """Run commands one after the other; what this machine lacks (bubblewrap, rsync) is no fault of a text."""
    from autograder.sandbox.isolation import available

    for run in runs:
        if run.before:
            place.must(run.before)
        for text in run.texts():
            if "require-isolation bubblewrap" in text and not available("bubblewrap"):
                place.must(text, status=2, says="bubblewrap")  # refused, as it should be
            elif shutil.which("rsync") or not text.startswith("rsync"):
                place.must(text, leaves=run.leaves, says=run.says)
