"""Builds the bundle that a student hands in, verifies it as the grader will read it, and writes a receipt."""

import hashlib
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from segkit import __version__
from segkit.atomic import replacing
from segkit.checkpoint_files import find_checkpoint, layer_words
from segkit.handin import Item, Work, assignment_facts, inspect_work, own_files
from segkit.notebooks import open_folder
from segkit.trying import try_checkpoint

__all__ = ["WARN_BYTES", "Submission", "SubmitError", "build_submission"]

WARN_BYTES = 100 * 10**6  # what learning platforms commonly take
CHECKPOINTS = ("fcn32s", "fcn8s")


class SubmitError(Exception):
    """There is nothing to hand in; the text says what to do."""


@dataclass
class Submission:
    """A bundle that was built.

    Attributes:
        path: The zip.
        receipt: The text file beside it.
        work: What the verification of the finished zip read.
        hashes: Name in the zip -> SHA-256.
        size: Bytes of the zip.
        faults: What keeps the grader from reading something; the bundle should not be handed in like this.
        notes: What is good to know.
    """

    path: Path
    receipt: Path
    work: Work
    hashes: dict[str, str]
    size: int
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def unfinished(self) -> list[Item]:
        """Stubs, unanswered questions and checkpoints that are not there."""
        return [item for item in self.work.items.values() if item.state == "unfinished"]


def build_submission(
    folder: Path, out: Path, *, code_only: bool = False, where: str = "", say: Callable[[str], None] = lambda text: None
) -> Submission:
    """Build and verify a bundle.

    Args:
        folder: The folder with the notebooks.
        out: The zip to write; an older one is replaced when the new one is complete.
        code_only: Leave the checkpoints out and name them by hash in ``checkpoints.json``.
        where: With ``code_only``: where the checkpoints lie, for the grader to read.
        say: Receives one line per slow step.

    Returns:
        The bundle, with all faults found; it is written even if there are some.

    Raises:
        SubmitError: The folder holds no notebook and no script.
        DiskFullError: No space was left; an older bundle is untouched.
    """
    folder = folder.resolve()
    files = own_files(folder)
    if not files:
        raise SubmitError(f"{folder}: expected your notebooks here, found none. Name their folder: --folder FOLDER")
    facts = assignment_facts(folder)
    with tempfile.TemporaryDirectory(prefix=".submit-", dir=_existing(out.parent)) as temporary:
        stage = Path(temporary)
        for name in files:
            (stage / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / name, stage / name)
            shutil.copystat(folder / name, stage / name)
        models = _add_checkpoints(folder, stage, facts, code_only, where, say)
        hashes = _write_zip(out, stage)
        work = _read_back(out, hashes, facts)
    for name, item in models.items():
        work.items[f"checkpoint {name}"] = item
    _try_checkpoints(work, folder, models, say)
    built = Submission(out, out.with_name(f"{out.stem}-receipt.txt"), work, hashes, out.stat().st_size)
    built.faults = [*work.faults, *(item.text for item in work.items.values() if item.state == "fault")]
    built.notes = [*work.notes, *_copied_models(folder, facts)]
    with replacing(built.receipt) as partial:
        partial.write_text(receipt_text(built), encoding="utf-8")
    return built


def _existing(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def checkpoint_of(folder: Path, name: str) -> Path | None:
    """The checkpoint file of a network, or None: the one that the grader would take."""
    others = assignment_facts(folder).get("checkpoints", CHECKPOINTS)
    return find_checkpoint(folder, name, others, lambda: layer_words(open_folder(folder), others))


def _add_checkpoints(
    folder: Path, stage: Path, facts: dict, code_only: bool, where: str, say: Callable[[str], None]
) -> dict[str, Item]:
    """Put the checkpoints into the stage, in half precision, or their hashes."""
    items, elsewhere = {}, {}
    for name in facts.get("checkpoints", CHECKPOINTS):
        path, need = checkpoint_of(folder, name), f"checkpoint {name}"
        if path is None:
            text = f"no checkpoint of {name}: train it and save it as checkpoints/{name}.safetensors{_run_left_behind(folder, name)}"
            items[name] = Item(need, "unfinished", text)
        elif code_only:
            place = where or path.relative_to(folder).as_posix()
            elsewhere[name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size, "where": place}
            text = f"checkpoint of {name} named by its hash; the file itself must lie in: {place}"
            items[name] = Item(need, "ready", text)
        else:
            say(f"converting {path.name} to half precision ...")
            items[name] = _add_half(path, stage / "checkpoints" / f"{name}.safetensors", name)
    if elsewhere:
        (stage / "checkpoints.json").write_text(json.dumps(elsewhere, indent=2) + "\n", encoding="utf-8")
    return items


def _run_left_behind(folder: Path, name: str) -> str:
    """What to do with a run in ``runs/`` (see ``Kit.runs``) that has no checkpoint; empty where none left weights that can be read."""
    from segkit.checkpoints import CheckpointError, read_state_dict
    from segkit.history import History

    run = folder / "runs" / name
    try:
        if not (run / "best.safetensors").is_file():
            return ""
        read_state_dict(run / "best.safetensors")
    except (CheckpointError, OSError):
        return ""
    try:
        history = History.load(run / "history.json")
        last, wanted = history.epochs[-1].epoch, history.config.get("epochs", "?")
        state = f"came to its end, epoch {last}" if last == wanted else f"stopped after epoch {last} of {wanted}"
    except (ValueError, IndexError, RecursionError):
        state = "stopped early"
    return f". The run in runs/{name} {state}: run its cell again, or copy runs/{name}/best.safetensors to checkpoints/{name}.safetensors"


def _add_half(path: Path, target: Path, name: str) -> Item:
    """Write a checkpoint in half precision; one whose weights are too large for it stays as it is."""
    import torch

    from segkit.checkpoints import CheckpointError, read_state_dict, save_checkpoint

    need = f"checkpoint {name}"
    try:
        state = read_state_dict(path)
        if not all(bool(torch.isfinite(value).all()) for value in state.values() if value.is_floating_point()):
            text = f"{path.name}: NaN or infinite weights. The training diverged; use an earlier checkpoint."
            return Item(need, "fault", text)
        limit = torch.finfo(torch.float16).max
        fits = all(float(v.abs().max()) <= limit for v in state.values() if v.is_floating_point() and v.numel())
        save_checkpoint(target, state, dtype=torch.float16 if fits else None)
    except CheckpointError as error:
        return Item(need, "fault", str(error))
    precision = "half precision" if fits else "as it was: its weights are too large for half precision"
    text = f"checkpoint of {name}, {len(state)} tensors, {precision}, {megabytes(target.stat().st_size)}"
    return Item(need, "ready", text)


def _write_zip(out: Path, stage: Path) -> dict[str, str]:
    """Pack the stage and return the hashes of its files."""
    hashes = {}
    with replacing(out) as partial:
        with zipfile.ZipFile(partial, "w") as bundle:
            for path in sorted(p for p in stage.rglob("*") if p.is_file()):
                name = path.relative_to(stage).as_posix()
                # the times of the files: of two copies of a notebook the grader takes the newer one
                info = zipfile.ZipInfo(name, max(time.localtime(path.stat().st_mtime)[:6], (1980, 1, 1, 0, 0, 0)))
                info.external_attr = 0o644 << 16
                info.compress_type = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
                with open(path, "rb") as source, bundle.open(info, "w", force_zip64=True) as sink:
                    shutil.copyfileobj(source, sink, 2**20)
                hashes[name] = sha256_of(path)
    return hashes


def _read_back(out: Path, hashes: dict[str, str], facts: dict) -> Work:
    """Read the finished zip, as the grader does, and compare what is in it with what was put in."""
    damaged = []
    with tempfile.TemporaryDirectory(prefix="segkit-") as temporary, zipfile.ZipFile(out) as bundle:
        for name, expected in hashes.items():
            digest = hashlib.sha256()
            target = Path(temporary) / name
            keep = not name.startswith("checkpoints/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with bundle.open(name) as source, open(target if keep else os.devnull, "wb") as sink:
                while chunk := source.read(2**20):
                    digest.update(chunk)
                    sink.write(chunk)
            if keep:
                saved = time.mktime((*bundle.getinfo(name).date_time, 0, 0, -1))
                os.utime(target, (saved, saved))
            if digest.hexdigest() != expected:
                damaged.append(f"{name}: what is in the zip is not what was put in; the disk may be faulty. Run it again")
        work = inspect_work(Path(temporary), facts)
    work.faults += damaged
    return work


def _try_checkpoints(work: Work, folder: Path, models: dict[str, Item], say: Callable[[str], None]) -> None:
    """Load each checkpoint into the student's own class: names and shapes of all tensors must fit."""
    for name, item in models.items():
        path, class_name = checkpoint_of(folder, name), work.workbook.cells.get(name)
        definition = work.workbook.find(class_name, name) if class_name else None
        if item.state != "ready" or path is None or definition is None or definition.unfinished:
            continue
        say(f"loading {path.name} into {class_name} ...")
        fault, text = try_checkpoint(work.workbook.program(definition), path)
        if fault:
            need = item.need if fault == "checkpoint" else name
            work.items[need] = Item(need, "fault", text)


def _copied_models(folder: Path, facts: dict) -> list[str]:
    """Whether a checkpoint is the published one."""
    notes = []
    for name in facts.get("checkpoints", CHECKPOINTS):
        own, published = checkpoint_of(folder, name), folder / "published" / f"{name}.safetensors"
        same_size = own and published.is_file() and own.stat().st_size == published.stat().st_size
        if own and same_size and sha256_of(own) == sha256_of(published):
            notes.append(f"checkpoints/{own.name} is the published model, not one of your own training")
    return notes


def receipt_text(built: Submission) -> str:
    """What the student keeps: when, what, and the hashes that prove it."""
    moment = datetime.now().astimezone().isoformat(timespec="seconds")
    lines = [
        f"segkit {__version__} receipt, {moment}",
        f"{built.path.name}  {megabytes(built.size)} ({built.size} bytes)",
        f"sha256 {sha256_of(built.path)}",
        "",
        *(f"{digest}  {name}" for name, digest in built.hashes.items()),
        "",
        *(f"{item.state:<11}{item.text}" for item in built.work.items.values()),
        *(f"fault      {fault}" for fault in built.work.faults),
        *(f"note       {note}" for note in built.notes),
    ]
    return "\n".join(lines) + "\n"


def megabytes(size: int) -> str:
    """A size in the unit that upload forms use."""
    return f"{size / 10**6:.1f} MB" if size >= 10**5 else f"{size / 1000:.1f} kB"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
