"""Builds the bundle that a student hands in, verifies it as the grader will read it, and writes a receipt."""

import calendar
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from segkit import __version__
from segkit.assignment import facts as assignment_facts
from segkit.atomic import disk_is_full, replacing
from segkit.checkpoint_files import find_checkpoint, layer_words
from segkit.handin import Item, Work, inspect_work, own_files
from segkit.notebooks import open_folder
from segkit.trying import Outcome, run_trials

__all__ = ["WARN_BYTES", "Submission", "SubmitError", "build_submission"]

WARN_BYTES = 100 * 10**6  # the usual upload limit of learning platforms
CHECKPOINTS = ("fcn32s", "fcn8s")

CANNOT_READ = "Close other programs that use it; if it lies in a cloud alone (OneDrive, iCloud), have it kept on this device"
UNREADABLE = re.compile(r"(.+?\.ipynb): (?:no readable notebook|cannot be read)")
NO_TEXT = re.compile(r"[\ud800-\udfff]")  # in a file's name: bytes that are no UTF-8, which no zip can hold


class _Silent:
    """A progress bar that shows nothing."""

    def update(self) -> None:
        """One more is done."""

    def set_description(self, text: str) -> None:
        """What is being done."""


def silent_bar(**options: Any) -> AbstractContextManager[Any]:
    """Return a bar for callers that show none."""
    return nullcontext(_Silent())


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
        visible: Whether the assignment has visible checks at all.
        faults: Problems that prevent the grader from reading something; the bundle should not be handed in like this.
        notes: Further remarks.
    """

    path: Path
    receipt: Path
    work: Work
    hashes: dict[str, str]
    size: int
    visible: bool
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def unfinished(self) -> list[Item]:
        """What is to be done yet, see :attr:`segkit.handin.Work.unfinished`."""
        return self.work.unfinished


def build_submission(
    folder: Path, out: Path, *, code_only: bool = False, where: str = "", fast: bool = False,
    say: Callable[[str], None] = lambda text: None, bar: Callable[..., Any] = silent_bar,
) -> Submission:  # fmt: skip
    """Build and verify a bundle, and run the visible checks on what is in it.

    Args:
        folder: The folder with the notebooks.
        out: The zip to write; an older one is replaced when the new one is complete.
        code_only: Leave the checkpoints out and name them by hash in ``checkpoints.json``.
        where: With ``code_only``: where the checkpoints lie, for the grader to read.
        fast: Leave the visible checks out.
        say: Receives one line per slow step.
        bar: Makes the progress bar of the checks: called with ``total`` and ``desc``, as ``segkit.progress.bar`` is.

    Returns:
        The bundle, with all faults found; it is written even if there are some.

    Raises:
        SubmitError: The folder holds no notebook and no script, or nothing can be written beside ``out``.
        DiskFullError: No space was left; an older bundle is untouched.
    """
    folder = folder.resolve()
    files, facts = work_files(folder), assignment_facts(folder)
    with _workshop(out.resolve()) as workshop:
        stage = workshop / "stage"
        unreadable = copy_files(folder, files, stage)
        models = _add_checkpoints(folder, stage, facts, code_only, where, say)
        hashes = _write_zip(out, stage)
        inside = workshop / "inside"
        work = _read_back(out, hashes, facts, inside)
        work.faults = named_once(folder, [*unreadable, *work.faults])
        work.items |= {item.need: item for item, _ in models.values()}
        if not fast:
            checkpoints = {name: path for name, (item, path) in models.items() if path is not None and item.state == "ready"}
            work.outcomes = run_checks(work, checkpoints, facts, inside, bar)
    built = Submission(out, out.with_name(f"{out.stem}-receipt.txt"), work, hashes, out.stat().st_size, bool(facts.get("visible")))
    failed = [f"{check}: {outcome.text}" for check, outcome in work.outcomes.items() if outcome.state == "failed"]
    built.faults = [*work.faults, *(item.text for item in work.items.values() if item.state == "fault"), *failed]
    built.notes = [*work.notes, *_copied_models(folder, facts)]
    with replacing(built.receipt) as partial:
        partial.write_text(receipt_text(built), encoding="utf-8", errors="backslashreplace")
    return built


def work_files(folder: Path) -> list[Path]:
    """What a student wrote in a folder, see :func:`segkit.handin.own_files`, and the small texts that this reads.

    Raises:
        SubmitError: There is no notebook and no script.
    """
    files = own_files(folder)
    if not files:
        raise SubmitError(f"{folder}: expected your notebooks here, found none. Name their folder: --folder FOLDER")
    return [*files, *map(Path, open_folder(folder).texts_named())]


@contextmanager
def _workshop(out: Path) -> Iterator[Path]:
    """A temporary folder beside the bundle, on whose disk there must be room for the models; always removed.

    Raises:
        SubmitError: Nothing can be written there.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = tempfile.TemporaryDirectory(prefix=".submit-", dir=out.parent, ignore_cleanup_errors=True)
    except OSError as error:
        if disk_is_full(error):
            raise
        place = out.parent.resolve()
        other = next((folder for folder in (Path.home(), Path(tempfile.gettempdir())) if os.access(folder, os.W_OK)), Path("FOLDER"))
        raise SubmitError(
            f"{place}: nothing can be written here ({error.strerror or error}), so no hand-in was built. Your work was only read. Name a "
            f'file in a folder of your own: python -m segkit submit --out "{other / out.name}"'
        ) from error
    with temporary as folder:
        yield Path(folder)


def copy_files(folder: Path, files: list[Path], stage: Path) -> list[str]:
    """Copy files of a student's folder, with their times; returns one line for each that cannot be read."""
    unreadable = []
    for name in files:
        target = stage / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(folder / name, target)
            shutil.copystat(folder / name, target)
        except OSError as error:
            if disk_is_full(error):
                raise
            target.unlink(missing_ok=True)
            why = error.strerror or str(error)
            unreadable.append(f"{name.as_posix()}: cannot be read ({why}) and is not in the bundle. {CANNOT_READ}")
    return unreadable


def run_checks(
    work: Work, checkpoints: dict[str, Path], facts: dict[str, Any], folder: Path, bar: Callable[..., Any] = silent_bar,
    told: Callable[[str, Outcome], None] = lambda check, outcome: None,
) -> dict[str, Outcome]:  # fmt: skip
    """Run the visible checks of all that is there; Ctrl-C leaves out those that are not done.

    Args:
        work: A student's work.
        checkpoints: Name of a network -> file.
        facts: Content of ``assignment.json``.
        folder: Where the checks stand: a copy of the hand-in.
        bar: Makes the progress bar; it names the check that is running.
        told: Receives the id and outcome of each check when it is done.

    Returns:
        Check id -> outcome, for each check that can be run.
    """
    trials, found = work.trials(checkpoints, facts), {}
    if not trials:
        return {}
    names = [trial.check for trial in trials]
    with bar(total=len(trials), desc=f"running {names[0]}", unit=" checks") as shown:

        def note(check: str, outcome: Outcome) -> None:
            found[check] = outcome
            shown.update()
            shown.set_description(next((f"running {name}" for name in names if name not in found), "all checks"))
            told(check, outcome)

        try:
            run_trials(trials, work.definitions(), folder, note)
        except KeyboardInterrupt:
            found = {trial.check: Outcome("untested", "stopped by Ctrl-C") for trial in trials} | found
        except OSError as error:
            why = f"the checks could not be started ({error.strerror or error})"
            found = {trial.check: Outcome("untested", why) for trial in trials} | found
    return found


def named_once(folder: Path, faults: list[str]) -> list[str]:
    """Faults without "is not in the folder" of a notebook that is there, be it unreadable or left out; and what can be done about it.

    Args:
        folder: The folder with the notebooks.
        faults: What was wrong with them.
    """
    unreadable = {found[1] for fault in faults if (found := UNREADABLE.match(fault))}
    told = []
    for fault in faults:
        name = fault.partition(": ")[0]
        if name in unreadable and fault.startswith(f"{name}: expected this notebook"):
            continue
        if fault.startswith(f"{name}: expected this notebook") and (place := _left_out(folder, name)):
            fault = f"{name}: {place}"
        kept = (folder / name).parent / ".ipynb_checkpoints" / f"{Path(name).stem}-checkpoint.ipynb"
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            when = datetime.fromtimestamp(kept.stat().st_mtime).astimezone()
            if name in unreadable and json.loads(kept.read_text(encoding="utf-8"))["cells"]:
                fault += f" Jupyter kept its state of {when:%Y-%m-%d %H:%M}: copy {kept.relative_to(folder).as_posix()} over it."
        told.append(fault)
    return told


def _left_out(folder: Path, name: str) -> str:
    """Why a notebook that lies in the folder, or in a folder in it, is not handed in; empty where there is none."""
    if (folder / name).is_symlink():
        return "a link, and links are not handed in: copy the notebook itself into this folder"
    places = sorted(place.relative_to(folder).as_posix() for place in folder.glob(f"*/{name}"))
    return f"{places[0]} is not handed in, for that folder holds no work of yours: move it up, into {folder}" if places else ""


def checkpoint_of(folder: Path, name: str) -> Path | None:
    """The checkpoint file of a network, or None: the one that the grader would take."""
    others = assignment_facts(folder).get("checkpoints", CHECKPOINTS)
    return find_checkpoint(folder, name, others, lambda: layer_words(open_folder(folder), others))


def _add_checkpoints(
    folder: Path, stage: Path, facts: dict[str, Any], code_only: bool, where: str, say: Callable[[str], None]
) -> dict[str, tuple[Item, Path | None]]:
    """Put the checkpoints into the stage, in half precision, or their hashes. Name -> what to tell, and the file that counts."""
    items: dict[str, tuple[Item, Path | None]] = {}
    elsewhere = {}
    for name in facts.get("checkpoints", CHECKPOINTS):
        path, need = checkpoint_of(folder, name), f"checkpoint {name}"
        if path is None:
            items[name] = no_checkpoint(folder, name), None
        elif code_only:
            place = where or path.relative_to(folder).as_posix()
            elsewhere[name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size, "where": place}
            text = f"checkpoint of {name} named by its hash; the file itself must lie in: {place}"
            items[name] = Item(need, "ready", text), path
        else:
            say(f"converting {path.name} to half precision ...")
            target = stage / "checkpoints" / f"{name}.safetensors"
            items[name] = _add_half(path, target, name), target
    if elsewhere:
        (stage / "checkpoints.json").write_text(json.dumps(elsewhere, indent=2) + "\n", encoding="utf-8")
    return items


def no_checkpoint(folder: Path, name: str) -> Item:
    """What to tell of a network that has none."""
    text = f"no checkpoint of {name}: train it and save it as checkpoints/{name}.safetensors{_run_left_behind(folder, name)}"
    return Item(f"checkpoint {name}", "unfinished", text)


def _run_left_behind(folder: Path, name: str) -> str:
    """What to do with a run (see ``Kit.runs``) that has no checkpoint; empty where none left weights that can be read."""
    from segkit.checkpoints import CheckpointError, read_state_dict
    from segkit.history import History

    run = folder / "runs" / name
    try:
        if not (run / "best.safetensors").is_file():
            quick = (folder / "runs_quick" / name / "best.safetensors").is_file()
            return ". What quick mode trained, in runs_quick/, does not count: switch it off for that" if quick else ""
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
    with replacing(out) as partial, zipfile.ZipFile(partial, "w") as bundle:
        for path in sorted(p for p in stage.rglob("*") if p.is_file()):
            name = NO_TEXT.sub("_", path.relative_to(stage).as_posix())
            # the times of the files: of two copies of a notebook the grader takes the newer one
            info = zipfile.ZipInfo(name, max(time.gmtime(path.stat().st_mtime)[:6], (1980, 1, 1, 0, 0, 0)))
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if path.suffix == ".safetensors" else zipfile.ZIP_DEFLATED
            with open(path, "rb") as source, bundle.open(info, "w", force_zip64=True) as sink:
                shutil.copyfileobj(source, sink, 2**20)
            hashes[name] = sha256_of(path)
    return hashes


def _read_back(out: Path, hashes: dict[str, str], facts: dict, folder: Path) -> Work:
    """Unpack the finished zip into ``folder``, read it as the grader does, and compare what is in it with what was put in."""
    damaged = []
    with zipfile.ZipFile(out) as bundle:
        for name, expected in hashes.items():
            digest = hashlib.sha256()
            target = folder / name
            keep = not name.startswith("checkpoints/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with bundle.open(name) as source, open(target if keep else os.devnull, "wb") as sink:
                while chunk := source.read(2**20):
                    digest.update(chunk)
                    sink.write(chunk)
            if keep:
                saved = calendar.timegm((*bundle.getinfo(name).date_time, 0, 0, 0))
                os.utime(target, (saved, saved))
            if digest.hexdigest() != expected:
                damaged.append(f"{name}: what is in the zip is not what was put in; the disk may be faulty. Run it again")
    work = inspect_work(folder, facts)
    work.faults += damaged
    return work


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
        *(f"{outcome.state:<11}{check} {outcome.text}".rstrip() for check, outcome in built.work.outcomes.items()),
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


if __name__ == "__main__":  # python -m segkit.submit
    raise SystemExit("This is no command, and no hand-in was built. A space in the place of the dot makes it one: python -m segkit submit")
