"""The results page: ``python docs/make_results.py --data CMP_ROOT --plan gpu`` (without a GPU: ``--plan cpu``).

Trains the networks on real facades by the commands that anybody would give, scores each on the test facades, and writes
``docs/results.md`` with its pictures: curves, masks of three times in the training, IoU by class. Nothing is drawn but what the
commands left behind, and every table names the command that made it. What is there already is not made again: a stopped run
goes on by the same command.
"""

import argparse
import json
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from make_pictures import shrink
from matplotlib.figure import Figure

from segkit.facades import CLASSES, find_root, label_path, split_names
from segkit.plots import label_maps, read_stages
from segkit.reference import confusion_matrix, read_label, scores
from segkit.training.live import spread

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURES = ROOT / "docs" / "results.md", ROOT / "docs" / "pictures"
RECORDED = ROOT / "data" / "facades" / "recorded"  # what notebooks show where there is no GPU
SATELLITE = "# Results on drawn land"  # where the part of make_satellite_results.py begins
SHOWN = 8  # test facades that each network answers on the way
STARTS = {"pretrained": "pretrained on the facades", "scratch": "from scratch", "longer": "trained on"}
TITLES = {"fcn32s": "FCN-32s", "fcn16s": "FCN-16s", "fcn8s": "FCN-8s"}


@dataclass(frozen=True)
class Plan:
    """What a machine has the time for.

    Attributes:
        pretrain: options of ``segkit pretrain``.
        train: options of ``segkit train`` for the networks that begin with the pretrained trunk.
        longer: the same for FCN-8s, which then learns on; none where it has had enough.
        scratch: the same for the one from scratch, whose fresh layers take larger steps.
        evaluate: options of every ``segkit evaluate``.
        about: a sentence for the page.
    """

    pretrain: tuple[str, ...]
    train: tuple[str, ...]
    longer: tuple[str, ...]
    scratch: tuple[str, ...]
    evaluate: tuple[str, ...]
    about: str


def windows(epochs: int, *more: str) -> tuple[str, ...]:
    """Options of a training that two cores have the time for: windows of pictures made smaller, one a step."""
    return (
        "--recipe", "fast", "--epochs", str(epochs), "--batch-size", "1", "--set", "learning_rate=1e-4", "--set", "crop=288",
        "--set", "scale=0.6,1.0", "--set", "warmup=20", *more, "--set", "precision=bfloat16",
    )  # fmt: skip


PLANS = {
    "gpu": Plan(
        (), ("--recipe", "fast"), (), ("--recipe", "fast"), (), "The fast recipe as it stands: whole pictures, 25 epochs a network.",
    ),
    "cpu": Plan(
        ("--epochs", "10", "--batch-size", "4", "--learning-rate", "5e-4", "--precision", "bfloat16"),
        windows(3), windows(7, "--set", "jitter=0.3"),
        ("--recipe", "fast", "--epochs", "3", "--batch-size", "3", "--set", "crop=288", "--set", "scale=0.7,1.3",
         "--set", "warmup=20", "--set", "precision=bfloat16"),
        ("--precision", "bfloat16"),
        "What two cores have the time for in two and a half hours, other work beside them: an hour of pretraining, then three epochs of "
        "windows of 288 pixels a network. Whole pictures and 25 epochs on a GPU (`--plan gpu`) are what the recipe is made for.",
    ),
    "try": Plan(
        ("--epochs", "1", "--patches", "1", "--side", "32", "--batch-size", "8"),
        *3 * (("--recipe", "fast", "--epochs", "1", "--set", "crop=32"),), (), "A try of this script on the sample.",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Trained:
    """One network of the page.

    Attributes:
        start: ``scratch``, ``pretrained``, or ``longer``: pretrained, and trained on.
        model: its short name.
        folder: what ``segkit train`` wrote; the scores lie in ``test/`` below it.
    """

    start: str
    model: str
    folder: Path

    @property
    def title(self) -> str:
        return f"{TITLES[self.model]}, {STARTS[self.start]}"

    @property
    def short_title(self) -> str:
        return TITLES[self.model] + ("" if self.start == "pretrained" else f" {STARTS[self.start]}")

    def read(self, name: str) -> dict:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))


class Runner:
    """Runs commands of the kit one after the other, leaves out what is done, and remembers all for the page."""

    def __init__(self, out: Path, log: Mapping[str, float]) -> None:
        self.out, self.seconds = out, dict(log)
        self.commands: list[str] = []

    def __call__(self, done: Path, *command: object) -> None:
        """Run ``python -m segkit`` with a command, unless a file says that it was done."""
        words = [str(word) for word in command]
        text = shlex.join(["python", "-m", "segkit", *words])
        self.commands.append(text)
        if done.exists():
            return
        print(f"\n$ {text}", flush=True)
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "segkit", *words], check=True)
        self.seconds[text] = self.seconds.get(text, 0.0) + time.monotonic() - started
        (self.out / "seconds.json").write_text(json.dumps(self.seconds, indent=1), encoding="utf-8")


def make(out: Path, data: Sequence[str], split: str, plan: Plan, runner: Runner) -> tuple[list[Trained], list[Trained]]:
    """Pretrain, train and score; FCN-8s from scratch at once, and all three in stages with the pretrained trunk.

    Returns:
        The networks to be compared, and those that learned on.
    """
    where = ["--split", split, *data]
    vgg = out / "vgg"
    runner(vgg / "pretraining.json", "pretrain", *where, "--out", vgg, "--resume", *plan.pretrain)
    (weights,) = vgg.glob("vgg16_facades-*.pth")
    staged, scratch = out / "pretrained", out / "scratch"
    tests = split_names(split, "test")
    shown = ["--pictures", ",".join(tests[place] for place in spread(len(tests), SHOWN))]
    runner(staged / "gallery.png", "train", "--model", "fcn8s", "--staged", *where, "--weights", weights, "--out", staged, "--resume",
           *plan.train, *shown)  # fmt: skip
    runner(scratch / "gallery.png", "train", "--model", "fcn8s", *where, "--out", scratch, "--resume", *plan.scratch, *shown)
    found = [Trained("pretrained", name, staged if name == "fcn8s" else staged / name) for name in TITLES]
    found.append(Trained("scratch", "fcn8s", scratch))
    longer = [Trained("longer", "fcn8s", out / "longer")] if plan.longer else []
    for item in longer:
        runner(item.folder / "gallery.png", "train", "--model", item.model, *where, "--start-from", staged / "best.safetensors",
               "--out", item.folder, "--resume", *plan.longer, *shown)  # fmt: skip
    for item in [*found, *longer]:
        runner(item.folder / "test" / "metrics.json", "evaluate", "--model", item.model, "--checkpoint",
               item.folder / "best.safetensors", *where, "--out", item.folder / "test", *plan.evaluate)  # fmt: skip
    return found, longer


# -- pictures -----------------------------------------------------------------------------------------


def draw_curves(found: Sequence[Trained], path: Path) -> None:
    """Loss and mean IoU on the validation facades, all networks in one picture."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    loss, score = figure.subplots(1, 2)
    for item, colour in zip(found, ("#7a9cc6", "#3b6ea5", "#14355d", "#c26a2d"), strict=True):
        epochs = item.read("history.json")["epochs"]
        numbers = [epoch["epoch"] for epoch in epochs]
        loss.plot(numbers, [epoch["val_loss"] for epoch in epochs], color=colour, label=item.title)
        score.plot(numbers, [epoch["mean_iou"] for epoch in epochs], color=colour)
    for axes, title in ((loss, "cross entropy, validation facades"), (score, "mean IoU, validation facades")):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch (0: before training)", fontsize=9)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(axis="y", color="#dddddd")
        axes.spines[["top", "right"]].set_visible(False)
    loss.legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)


def draw_masks(found: Sequence[Trained], best: Trained, data: Path | None, pictures: Path) -> None:
    """Label maps side by side: those of all networks at the end, and of the best one over its epochs."""
    masks, root = read_stages(best.folder), find_root(data or "sample")
    names = sorted(next(iter(masks.values())))[:3]
    labels = {"label": [read_label(label_path(root, name)) for name in names]}
    ends = {item.short_title: read_stages(item.folder) for item in found}
    networks = {title: [masks[max(masks)][name] for name in names] for title, masks in ends.items()}
    label_maps(labels | networks, names).savefig(pictures / "results-networks.png", dpi=110)
    epochs = {f"epoch {epoch}": [masks[epoch][name] for name in names] for epoch in sorted(masks)}
    label_maps(labels | epochs, names).savefig(pictures / "results-stages.png", dpi=110)


# -- what students get --------------------------------------------------------------------------------


def record(found: Sequence[Trained], data: Path | None, split: str, plan: Plan, folder: Path) -> None:
    """Write what ``segkit.plots.recorded_runs`` reads: histories, scores, label maps of some test facades; no photograph, no weights."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    runs = {}
    for item in found:
        name = item.model if item.start == "pretrained" else f"{item.model}_{item.start}"
        (folder / name).mkdir()
        for file in ("history.json", "stages.npz"):
            shutil.copyfile(item.folder / file, folder / name / file)
        test = item.read("test/metrics.json")
        kept = ("mean_iou", "mean_iou_interval", "pixel_accuracy", "mean_accuracy", "iou", "images")
        runs[item.short_title] = {"folder": name, "test": {key: test[key] for key in kept}}
    about = (
        f"{len(split_names(split, 'train'))} facades to train, {len(split_names(split, 'val'))} to choose the epoch, {test['images']} to "
        f"test; made on {device_name()}. {plan.about} No ImageNet weights: the trunk learned from label maps of the training facades."
    )
    (folder / "recorded.json").write_text(json.dumps({"about": about, "runs": runs}, indent=1) + "\n", encoding="utf-8")
    root, names = find_root(data or "sample"), next(iter(read_stages(found[0].folder).values()))
    labels = {name: read_label(label_path(root, name)).numpy().astype(np.uint8) for name in names}
    np.savez_compressed(folder / "labels.npz", **labels)


# -- the page -----------------------------------------------------------------------------------------


def epochs_of(item: Trained) -> int:
    """How many epochs a network learned for."""
    return int(item.read("history.json")["epochs"][-1]["epoch"])


def scores_table(found: Sequence[Trained]) -> Iterator[str]:
    yield "| network | mean IoU | 95 % interval | pixel accuracy | mean accuracy | best epoch |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for item in found:
        metrics = item.read("test/metrics.json")
        low, high = metrics["mean_iou_interval"]
        yield (f"| {item.title} | {metrics['mean_iou']:.4f} | {low:.4f} .. {high:.4f} | {metrics['pixel_accuracy']:.4f} "
               f"| {metrics['mean_accuracy']:.4f} | {item.read('history.json')['best_epoch']} of {epochs_of(item)} |")  # fmt: skip


def classes_table(found: Sequence[Trained]) -> Iterator[str]:
    yield f"| class | {' | '.join(item.title for item in found)} |"
    yield f"| --- |{' --- |' * len(found)}"
    columns = [item.read("test/metrics.json")["iou"] for item in found]
    for name in CLASSES:
        values = ["absent" if column[name] is None else f"{column[name]:.3f}" for column in columns]
        yield f"| {name} | {' | '.join(values)} |"


def pretraining_table(record: Mapping) -> Iterator[str]:
    """What the pretrained trunk says of pictures that it never learned from."""
    yield "| largest class named | of held-out cells | one answer for all |"
    yield "| --- | --- | --- |"
    for name, (right, usual) in record["epochs"][-1]["held_out"].items():
        of = "32 px, by the hidden layers" if name == "hidden layers" else name
        yield f"| cells of {of} | {right:.3f} | {usual:.3f} |"


def out_folder(command: str) -> Path:
    """Where a command of the page writes to."""
    words = shlex.split(command)
    return Path(words[words.index("--out") + 1])


def device_name() -> str:
    """Whose figures these are."""
    if torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name()}"
    cores = torch.get_num_threads()
    return f"{cores} core{'s' if cores > 1 else ''} of a processor ({platform.machine()}), no GPU"


def always_facade(data: Path | None, split: str) -> float:
    """Mean IoU on the test facades of a network that knows one word."""
    root, hist = find_root(data or "sample"), np.zeros((len(CLASSES), len(CLASSES)), dtype=np.int64)
    for name in split_names(split, "test"):
        label = read_label(label_path(root, name))
        hist += confusion_matrix(np.full(label.shape, CLASSES.index("facade")), label, len(CLASSES))
    return scores(hist)[2]


def page(
    found: Sequence[Trained], longer: Sequence[Trained], data: Path | None, split: str, plan: Plan, runner: Runner, pictures: str
) -> str:
    """The text of ``docs/results.md``."""
    pretraining = json.loads((runner.out / "vgg" / "pretraining.json").read_text(encoding="utf-8"))
    test = found[0].read("test/metrics.json")
    lines = [
        "# Results on real facades", "",
        f"Made by `docs/make_results.py` on {datetime.now(UTC).date()}, {device_name()}, torch {torch.__version__}. {plan.about}", "",
        f"Split `{split}`: {len(split_names(split, 'train'))} facades to train, {len(split_names(split, 'val'))} to choose the epoch, "
        f"and the {test['images']} test facades of this page, at their original sizes. No weights were downloaded: *pretrained* means the "
        "trunk that `segkit pretrain` learned from label maps of the training facades. Always answering \"facade\" gives a mean IoU of "
        f"{always_facade(data, split):.3f} on them.", "",
        *scores_table([*found, *longer]), "",
        "FCN-16s and FCN-8s begin with the network before them, so that FCN-8s had three times the epochs of the one from scratch, "
        "whose options stand among the commands. With the same epochs, FCN-32s shows what the pretrained trunk brings."
        + "".join(
            f" Trained on, {TITLES[item.model]} began with the end of its pretrained namesake and learned for {epochs_of(item)} epochs "
            "more, with colours that change." for item in longer
        ), "",
        f"![Loss and mean IoU over the epochs]({pictures}/results-curves.png)", "",
        "## IoU by class", "", *classes_table([*found, *longer]), "",
        "## What the networks see", "",
        "Three test facades, which no network learned from. The photographs are not ours to show; with the database at hand "
        "`gallery.png` and `failures.png`, which each command leaves in its folder, show photograph, label, prediction and wrong "
        "pixels of test facades.", "",
        f"![Labels, and the predictions of the four networks]({pictures}/results-networks.png)", "",
        "## What FCN-8s saw while it learned", "",
        f"![Labels, and predictions after the first, the middle and the last epoch]({pictures}/results-stages.png)", "",
        "Labels: CMP Facade Database (Tyleček & Šára, *Spatial Pattern Templates for Recognition of Objects with Regular Structure*, "
        "GCPR 2013).", "",
        "## What pretraining learned", "", *pretraining_table(pretraining), "",
        "## The commands", "", "```", *runner.commands, "```", "",
        "| command | minutes |", "| --- | --- |",
        *(f"| `{' '.join(shlex.split(text)[3:6])}` into {out_folder(text).relative_to(runner.out)} | {runner.seconds[text] / 60:.1f} |"
          for text in runner.commands if text in runner.seconds),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="CMP_ROOT with base/; the sample needs none")
    parser.add_argument("--split", default="base", choices=("base", "course", "sample"))
    parser.add_argument("--plan", default="gpu", choices=tuple(PLANS))
    parser.add_argument("--out", type=Path, default=Path("build/results"), help="checkpoints, about 12 GB")
    parser.add_argument("--recorded", type=Path, default=RECORDED, help="folder of what notebooks show; under 3 MB")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page; its pictures go to pictures/ beside it")
    options = parser.parse_args()
    if options.data is None and options.split != "sample":
        parser.error("--data is needed for real facades: a folder that holds base/")
    options.out.mkdir(parents=True, exist_ok=True)
    log = options.out / "seconds.json"
    runner = Runner(options.out, json.loads(log.read_text(encoding="utf-8")) if log.is_file() else {})
    data = [] if options.data is None else ["--data", str(options.data)]
    plan = PLANS[options.plan]
    found, longer = make(options.out, data, options.split, plan, runner)
    pictures = options.page.parent / PICTURES.name
    pictures.mkdir(parents=True, exist_ok=True)
    record(found, options.data, options.split, plan, options.recorded)
    best = next(item for item in found if item.start == "pretrained" and item.model == "fcn8s")
    draw_curves(found, pictures / "results-curves.png")
    draw_masks(found, best, options.data, pictures)
    for name in ("curves", "networks", "stages"):
        shrink(pictures / f"results-{name}.png", 1000)
    text = page(found, longer, options.data, options.split, plan, runner, PICTURES.name)
    if options.page.is_file():
        _, begins, rest = options.page.read_text(encoding="utf-8").partition(SATELLITE)
        text += f"\n{begins}{rest}" if begins else ""
    options.page.write_text(text if options.data is None else text.replace(str(options.data), "CMP_ROOT"), encoding="utf-8")
    print("\n".join(scores_table([*found, *longer])))
    print(f"written: {options.page}")


if __name__ == "__main__":
    main()
