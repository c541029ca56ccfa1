"""Evaluating FCN-8s on full-size facades: ``python benchmarks/evaluation.py --data CMP_ROOT [--small]``.

In each round: the loop of the course as a student writes it (one image after the other, the prediction copied to the host, a
NumPy metric per image), and ``segkit.evaluation.evaluate`` with the reference's counting function, which a GPU runs by itself,
with a student's, and on a GPU in bfloat16. Their counts are compared to the integer. Then the metrics alone, over the same
label maps, against torchmetrics and scikit-learn where they can be imported, and the share of each step in the time (on a GPU
between events in its queue, so that nothing waits). Figures are held against measured limits: the rates of large matrix
products, in float32 as convolutions compute it, and copying. Prints tables, writes JSON.
"""

import argparse
import importlib
import os
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from limits import (
    Stopwatch,
    float32_of_convolutions,
    limit_rows,
    machine,
    machine_limits,
    middle_ratio,
    paired,
    print_table,
    write_json,
)
from networks import flop_per_image, network
from torch import nn
from torch.utils.data import DataLoader

from segkit.evaluation import Evaluation, best_device, evaluate
from segkit.facades import FacadeDataset, find_root, split_names
from segkit.reference import confusion_matrix, read_label, scores
from segkit.training.batches import Batch, collate
from segkit.training.loading import normalised, send
from segkit.training.measuring import PIXELS_AT_ONCE, batches_of_one_size
from segkit.training.sources import read_pairs
from segkit.training.steps import segmentation_loss

ROOT = Path(__file__).resolve().parents[1]
N = 12
PLAIN, HALF = "plain loop of the course", "kit, bfloat16"


# -- whole evaluations --------------------------------------------------------------------------------


def plain_loop(model: nn.Module, data: FacadeDataset, device: torch.device) -> np.ndarray:
    """As a student writes it; returns the counts of the whole set."""
    criterion, hist, total = nn.CrossEntropyLoss(ignore_index=255), np.zeros((N, N), dtype=np.int64), 0.0
    model.eval()
    with torch.no_grad():
        for image, label in DataLoader(data, batch_size=1):
            image, label = image.to(device), label.to(device)
            output = model(image)
            total += criterion(output, label).item()
            pred, gt = output.argmax(1).cpu().numpy(), label.cpu().numpy()
            keep = gt != 255
            hist += np.bincount(N * gt[keep] + pred[keep], minlength=N * N).reshape(N, N)
    scores(hist)
    return hist


def students_counting(pred: torch.Tensor, gt: torch.Tensor, n_class: int) -> np.ndarray:
    """The same function without what counts on a device."""
    return confusion_matrix(pred, gt, n_class)


def whole_ways(model: nn.Module, data: FacadeDataset, device: torch.device, found: dict) -> dict[str, Callable[[], object]]:
    """Name -> one evaluation; what it found goes to ``found``."""
    kit = partial(evaluate, model, data, scores=scores, device=device, progress=False, bootstrap=0)
    calls: dict[str, Callable[[], object]] = {
        PLAIN: lambda: plain_loop(model, data, device),
        "kit": lambda: kit(confusion_matrix=confusion_matrix),
        "kit, a student's counting": lambda: kit(confusion_matrix=students_counting),
    }
    if device.type == "cuda":
        calls[HALF] = lambda: kit(confusion_matrix=confusion_matrix, precision="bfloat16")
    return {name: lambda name=name, call=call: found.update({name: call()}) for name, call in calls.items()}


def agreement(found: dict, model: nn.Module, data: FacadeDataset, device: torch.device) -> dict[str, object]:
    """Pixels that each way counted elsewhere than the plain loop, at least; and how many tie within rounding."""
    hists = {name: result.hist if isinstance(result, Evaluation) else result for name, result in found.items()}
    moved = {name: int(abs(hist - hists[PLAIN]).sum()) // 2 for name, hist in hists.items()}
    ties = None
    if device.type != "cpu":
        ties = evaluate(
            model, data, confusion_matrix=confusion_matrix, scores=scores, device=device, progress=False, bootstrap=0, ties=True
        ).ties
    return {"pixels_counted_elsewhere": moved, "ties": ties, "mean_iou": {n: scores(h)[2] for n, h in hists.items()}}


# -- metrics alone ------------------------------------------------------------------------------------


def metric_ways(maps: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[dict[str, Callable[[], np.ndarray]], list[str]]:
    """Name -> counts of (prediction, label) pairs that lie on the device; and what could not be imported."""
    on_cpu = [(pred.cpu(), label.cpu()) for pred, label in maps]

    def course() -> np.ndarray:
        return sum(confusion_matrix(pred.cpu().numpy(), label.cpu().numpy(), N) for pred, label in maps)

    def device() -> np.ndarray:
        return torch.stack([confusion_matrix.on_device(pred, label, N) for pred, label in maps]).sum(0).cpu().numpy()

    ways, missing = {"copy and NumPy, per image": course, "kit, on the device": device}, []
    try:
        metric = importlib.import_module("torchmetrics.classification").MulticlassConfusionMatrix(N, ignore_index=255)
        metric = metric.to(maps[0][0].device)

        def torchmetrics() -> np.ndarray:
            metric.reset()
            for pred, label in maps:
                metric.update(pred, label)
            return metric.compute().cpu().numpy()

        ways["torchmetrics"] = torchmetrics
    except ImportError:
        missing.append("torchmetrics")
    try:
        count = importlib.import_module("sklearn.metrics").confusion_matrix

        def sklearn() -> np.ndarray:
            return sum(count(y[y != 255].numpy(), p[y != 255].numpy(), labels=range(N)) for p, y in on_cpu)

        ways["scikit-learn"] = sklearn
    except ImportError:
        missing.append("scikit-learn")
    return ways, missing


def label_maps(data: FacadeDataset, device: torch.device) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Labels, and predictions of which a quarter is wrong."""
    generator, maps = torch.Generator().manual_seed(0), []
    for index in range(len(data)):
        label = torch.from_numpy(data.decode(index)[1]).long()
        noise = torch.randint(0, N, label.shape, generator=generator)
        wrong = (torch.rand(label.shape, generator=generator) < 0.25) | (label == 255)
        maps.append((torch.where(wrong, noise, label).to(device), label.to(device)))
    return maps


# -- shares -------------------------------------------------------------------------------------------


def shares(data: FacadeDataset, device: torch.device, images: int) -> dict[str, float]:
    """Seconds of each step of evaluating full FCN-8s; decoding goes on beside the others otherwise, here before them."""
    model, pairs, gpu = network(1).to(device).eval(), read_pairs(data), device.type == "cuda"
    plan = batches_of_one_size(pairs.sizes[:images], images, PIXELS_AT_ONCE if gpu else 0)
    count = confusion_matrix.on_device if gpu else confusion_matrix
    decoding = Stopwatch(torch.device("cpu"))
    batches = [
        decoding.run("decode", lambda i=indices: collate([pairs.load(k) for k in i], [pairs.names[k] for k in i], pin=gpu))
        for indices in plan
    ]

    def evaluated(batches: list[Batch]) -> dict[str, float]:
        watch, counts = Stopwatch(device), []
        for batch in batches:
            image, label = watch.run("send", lambda b=batch: (normalised(b, device).contiguous(), send(b.labels, device).long()))
            logits = watch.run("forward", lambda x=image: model(x))
            watch.run("loss", lambda z=logits, y=label: [segmentation_loss(z[k : k + 1], y[k : k + 1]) for k in range(len(y))])
            counts += watch.run("classes and count", lambda z=logits, y=label: [
                count(p, t, N) for p, t in zip(z.max(1).indices, y, strict=True)])  # fmt: skip
        watch.run("read the counts", lambda: torch.stack(counts).cpu() if gpu else np.stack(counts))
        return watch.seconds()

    with torch.inference_mode():
        evaluated(batches if gpu else batches[:1])  # sets up libraries, not counted; on a GPU for each size
        return decoding.seconds() | evaluated(batches)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=os.environ.get("SEGKIT_CMP_ROOT", "sample"), help="CMP_ROOT with base/, or: sample")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "benchmarks" / "evaluation.json")
    parser.add_argument("--images", type=int, default=76, help="of the test list, and from its end on of the training list")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--divisor", type=int, default=1, help="all channels of FCN-8s divided by this, but for the shares")
    parser.add_argument("--small", action="store_true", help="4 images, a network of a quarter of the channels: for a CPU")
    options = parser.parse_args()
    if options.small:
        options.images, options.rounds, options.divisor = 4, 3, 4
    device, split = best_device(), "sample" if options.data == "sample" else "base"
    names = [*split_names(split, "test"), *split_names(split, "train")][: options.images]
    data = FacadeDataset(find_root(options.data), names=names, read_label=read_label)
    model, found = network(options.divisor).to(device).eval(), {}
    calls = whole_ways(model, data, device, found)
    paired(calls, 1, device)  # sets up libraries and fills the system's cache of files; not counted
    seconds = paired(calls, options.rounds, device)
    agreed = agreement(found, model, data, device)
    metrics, missing = metric_ways(label_maps(data, device))
    first, *others = (way() for way in metrics.values())
    wrong = [name for name, other in zip(list(metrics)[1:], others, strict=True) if not np.array_equal(first, other)]
    metric_seconds = paired(metrics, max(3, options.rounds), device)
    steps = shares(data, device, min(len(data), 2 if options.small else 16 if device.type == "cuda" else 4))
    report(options, data, device, seconds, agreed, metric_seconds, missing, wrong, steps)


def report(
    options: argparse.Namespace, data: FacadeDataset, device: torch.device, seconds: dict[str, list[float]], agreed: dict,
    metric_seconds: dict[str, list[float]], missing: list[str], wrong: list[str], steps: dict[str, float],
) -> None:  # fmt: skip
    """Tables and JSON."""
    flop, (limits, copied) = flop_per_image(data, options.divisor, training=False), machine_limits(device, ("float32", "bfloat16"))
    where = machine(device)["gpu"] or "the CPU"
    rates = {name: len(data) / statistics.median(values) for name, values in seconds.items()}
    reached = {name: rate * flop / limits["bfloat16" if name == HALF else "float32"] for name, rate in rates.items()}
    print_table(
        f"{len(data)} full-size images on {where}, median of {options.rounds} paired rounds",
        ("way", "images/s", "times plain", "GFLOP/s", "of the matrix rate", "pixels counted elsewhere"),
        [(n, rates[n], middle_ratio(seconds[PLAIN], seconds[n]), rates[n] * flop / 1e9, reached[n], agreed["pixels_counted_elsewhere"][n])
         for n in rates],
    )  # fmt: skip
    print(f"pixels whose two best logits tie within rounding: {agreed['ties'] if agreed['ties'] is not None else 'not counted on a CPU'}")
    plain = metric_seconds["copy and NumPy, per image"]
    print_table(
        f"metrics alone, label maps on {where}", ("way", "ms per image", "times NumPy", "same counts"),
        [(n, 1000 * statistics.median(values) / len(data), middle_ratio(plain, values), "no" if n in wrong else "yes")
         for n, values in metric_seconds.items()],
    )  # fmt: skip
    for name in missing:
        print(f"{name}: cannot be imported here, so it took no part")
    beside = sum(value for step, value in steps.items() if step != "decode")
    kits = steps["send"] + steps["classes and count"] + steps["read the counts"]
    print_table("steps of evaluating full FCN-8s, one after the other", ("step", "seconds", "share of all but decoding, %"), [
        *((step, value, "beside the network" if step == "decode" else 100 * value / beside) for step, value in steps.items()),
        ("metrics and transfers: sending, classes, counting, reading", kits, 100 * kits / beside),
    ])  # fmt: skip
    print_table("limits", ("what", "value"), [
        ("counted GFLOP of a forward pass per image", flop / 1e9),
        *limit_rows(device, limits, copied),
    ])  # fmt: skip
    write_json(options.out, {
        "machine": machine(device), "data": str(options.data), "images": len(data), "divisor": options.divisor, "seconds": seconds,
        "images_per_second": rates, "times_plain": {n: middle_ratio(seconds[PLAIN], values) for n, values in seconds.items()},
        **agreed, "metric_seconds": metric_seconds, "metrics_that_differ": wrong, "not_importable": missing, "step_seconds": steps,
        "share_of_metrics_and_transfers": kits / beside, "flop_per_image": flop, "matmul_flop_per_second": limits,
        "float32_computed_in": float32_of_convolutions(device), "share_of_matmul": reached, "copy_bytes_per_second": copied,
    })  # fmt: skip


if __name__ == "__main__":
    main()
