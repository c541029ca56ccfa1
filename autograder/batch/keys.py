"""The conditions under which a result is valid, and what changed when it is no longer valid."""

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import segkit
from autograder.handins.submission import Submission
from autograder.judge.kit import digest_of, kit_digest
from autograder.judge.run import Run

__all__ = ["changed", "run_key", "submission_key"]

# field of a key -> the words for a change of it
REASONS = {
    "submission": "submission changed", "elsewhere": "submission changed", "rubric": "rubric changed", "checks": "kit changed",
    "kit": "kit changed", "seed": "seed changed", "data": "data changed", "isolation": "isolation changed",
    "device": "device changed", "only": "other checks asked for", "limits": "time limit changed",
    "retraining": "retraining changed", "predictions": "predictions changed",
}  # fmt: skip
NO_CHECKS = ("corpus", "release")


def run_key(run: Run) -> dict[str, str]:
    """The part of a key that all submissions of a run share. It holds only hashes and names, nothing of the secret."""
    settings, folder = run.settings, run.assignment.folder
    overrides = json.dumps(dict(settings.overrides), sort_keys=True, default=str)
    own = [path for path in folder.rglob("*.py") if path.relative_to(folder).parts[0] not in NO_CHECKS]
    return {
        "rubric": hashlib.sha256((_rules(folder / "rubric.toml") + overrides).encode()).hexdigest(),
        "checks": digest_of(folder, own),
        "kit": f"{segkit.__version__} {kit_digest(run.assignment)}",
        "seed": run.seeds.name,
        "data": run.data.digest if run.data else "",
        "isolation": run.isolation,
        "device": f"cuda {run.gate_precision}" if run.uses_gpu else "cpu" + (" bfloat16" if run.gate_precision != "float32" else ""),
        "retraining": repr(settings.retraining),
        "only": ",".join(settings.only),
        "limits": f"{settings.seconds:g} s, {settings.total_seconds:g} s in all, {settings.gate_seconds:g} s for a gate",
        "predictions": _listing(settings.predictions) if settings.predictions else "",
    }


def _rules(rubric: Path) -> str:
    """What a rubric says, but for when the work is due: that stands beside results, in no result."""
    content = tomllib.loads(rubric.read_text(encoding="utf-8"))
    return json.dumps({name: value for name, value in content.items() if name != "due"}, default=str)


def submission_key(submission: Submission) -> dict[str, str]:
    """The part of a key that is a submission's own: its hash, and which named checkpoints were not found."""
    elsewhere = [name for name, checkpoint in sorted(submission.checkpoints.items()) if checkpoint.path is None]
    return {"submission": submission.sha256, "elsewhere": ",".join(elsewhere)}


def _listing(folder: Path) -> str:
    """Hash of what lies in a folder, without reading gigabytes of predictions: names, sizes and times."""
    files = [(path.relative_to(folder).as_posix(), path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    listed = [(name, status.st_size, status.st_mtime_ns) for name, status in files]
    return hashlib.sha256(repr(listed).encode("utf-8", "surrogateescape")).hexdigest()


def changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two keys, in words; empty if the older result is still valid."""
    return list(dict.fromkeys(words for field, words in REASONS.items() if old.get(field) != new.get(field)))
