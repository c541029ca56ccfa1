"""Commands of docs/weeks.md, for tests/printed_runs.py; tests/test_printed_course.py runs them in its small course after all others."""

from typing import Any

__all__ = ["FOREIGN", "LEAVES", "NOT_RUN", "RUN"]

GRADER = "python -m autograder"
# options of Dask, which tests/test_weeks_page.py holds, and of container engines
FOREIGN = {"--host", "--nthreads", "--memory-limit", "--resources", "--rm", "--env-file", "--volume", "--security-opt", "--privileged"}
LEAVES = {"inbox", "secret.env", "BACKUP", ".git"}
GRADED = "submitted/* --out build/graded --data data/cmp_facade"
WATCHED = f"{GRADER} watch /srv/course/inbox --out build/graded --data data/cmp_facade"
WHO = "-c user.name=a -c user.email=a@example.org"
RUN: list[dict[str, Any]] = [
    {
        "command": f"{WATCHED} --jobs 2",
        "stand_ins": {"/srv/course/inbox": "inbox", "--jobs 2": "--once --quiet 0"},
        "leaves": ("build/graded/watch.html",),
        "before": "cp -r submitted inbox",
    },
    {
        "command": f"{WATCHED} --once",
        "stand_ins": {"/srv/course/inbox": "inbox", "--once": "--once --quiet 0"},
        "says": "graded before, 0 left.",
    },
    {"command": f"{GRADER} grade {GRADED} --jobs 2 --regrade", "says": "nobody's points changed", "leaves": ("build/graded/regrade.csv",)},
    {
        "command": "python -c \"import secrets; print('SEGKIT_COURSE_SECRET=' + secrets.token_hex(32))\" > secret.env "
        "&& chmod 600 secret.env",
        "leaves": ("secret.env",),
    },
    {
        "command": "rsync -a --exclude .gates --exclude .handins --exclude .training build/graded/ BACKUP/graded/",
        "leaves": ("BACKUP/graded/journal.jsonl",),
    },
    {
        "command": f"{GRADER} grade submitted/* --out BACKUP/graded --data data/cmp_facade --jobs 2",
        "says": "were graded before, 0 left.",
        "leaves": ("BACKUP/graded/ada/report.html", "BACKUP/graded/summary.csv"),
        "before": "mkdir -p BACKUP && cp -r build/graded BACKUP && rm -r BACKUP/graded/ada BACKUP/graded/summary.csv",
    },
    {"command": "git tag term-2026", "before": f"git init -q . && git add README.md && git {WHO} commit -qm kit"},
    {"command": "git worktree add ../kit-term term-2026", "leaves": ("../kit-term/README.md",)},
    {"command": "git rev-parse HEAD"},
]

NOT_RUN = {
    f"{GRADER} grade {GRADED} --cluster tcp://HOST:8786": "needs a scheduler; tests/autograder/test_cluster.py has one",
    f"{GRADER} grade {GRADED} --cluster slurm:course --jobs 8": "needs Slurm; tests/autograder/test_cluster.py has a stand-in",
    f"{GRADER} watch": "names a command; with arguments it is run",
    "make venv": "needs a network",
    "pip install 'segkit[cluster]'": "needs a network",
    "python benchmarks/cluster.py": "measures for minutes; tests/benchmarks/test_cluster_overhead.py runs a small one",
}
