"""What the notebooks ask about the machine, and about what was made on it: data, folders, weights.

Only the standard library is imported at the top: the first cell imports this before the kit's requirements are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

    from segkit.datasets import DatasetSpec, PairDataset

__all__ = ["Kit"]


@dataclass(frozen=True)
class Kit:
    """What the notebooks ask about the machine.

    Attributes:
        work: Folder for everything you make: checkpoints, runs. Your notebooks lie here.
        root: Data root.
        split: Whichever the data root allows.
        device: ``"cuda"`` or ``"cpu"``.
        quick: True in quick mode (``SEGKIT_QUICK=1``): few images, and training in minutes.
        notes: What else there is to know.
        copies: Copies of the notebooks outside the work folder, where nobody looks.
    """

    work: Path
    root: Path
    split: str
    device: str
    quick: bool
    notes: list[str] = field(default_factory=list)
    copies: list[Path] = field(default_factory=list)

    @property
    def spec(self) -> DatasetSpec:
        """The assignment's data set."""
        from segkit.datasets import dataset

        return dataset()

    @property
    def runs(self) -> Path:
        """Where training writes. Quick mode has a folder of its own, where nothing is looked for that is handed in."""
        return self.work / ("runs_quick" if self.quick else "runs")

    def names(self, part: str) -> tuple[str, ...]:
        """Names of a part of the split; in quick mode the first of them, 24 to train and 4 to look at."""
        names = self.spec.split_names(self.split, part)
        return names[: 24 if part == "train" else 4] if self.quick else names

    def dataset(self, part: str, read_label: Callable, *, small: bool = False, first: int | None = None) -> PairDataset:
        """The pictures of a part, decoded with your ``read_label``.

        Args:
            part: ``train``, ``val`` or ``test``.
            read_label: Your function of notebook 1.
            small: Only the middle of each picture, 160 x 160 pixels, and in quick mode of 12 pictures: for steps of all layers. In quick
                mode it is otherwise 320 x 320 at the most.
            first: Only so many pictures.
        """
        from segkit.datasets import PairDataset

        transform = _Middle(160 if small else 320) if small or self.quick else None
        names = self.names(part)[: first or (12 if small and self.quick else None)]
        return PairDataset(self.spec, self.root, self.split, part, read_label=read_label, transform=transform, names=names)

    def vgg16(self) -> tuple[Module, bool]:
        """VGG-16, and whether it has its ImageNet weights; without them (no network, quick mode) it is random, always the same."""
        from segkit.vgg import VGGError, find_vgg16, load_vgg16, random_vgg16

        try:
            if self.quick and find_vgg16() is None:
                raise VGGError("quick mode downloads nothing")
            return load_vgg16(), True
        except VGGError as error:
            print(f"ImageNet weights are not at hand: {error}")
            print("Random numbers stand in for them: every step below is shown, but this is no head start.")
            return random_vgg16(), False  # always the same: notebook 4 compares networks that notebook 3 gave the same trunk

    def can_train(self, pretrained: bool) -> bool:
        """Whether the full recipe makes sense here; if not, says why."""
        if self.quick:
            return True
        if not pretrained:
            print("not trained: without ImageNet weights 25 epochs would be wasted. See the first picture for how to get them.")
            return False
        if self.device != "cuda":
            print("not trained: no GPU, it would take days. Train on a hosted machine and put the file into checkpoints/,")
            print("or look at the course's own model: unpack it to published/. SEGKIT_QUICK=1 trains a part of it in minutes.")
            return False
        return True

    def photographs(self, names: Iterable[str]) -> dict[str, Tensor] | None:
        """Photographs by name, FloatTensors (3, H, W) within 0..1; None where they are not on this machine."""
        from PIL import Image

        from segkit.pictures import open_photograph
        from segkit.transforms import to_tensor

        paths = {name: self.spec.image_path(self.root, name) for name in names}
        if not all(path.is_file() for path in paths.values()):
            return None
        return {name: to_tensor(Image.fromarray(open_photograph(path))) for name, path in paths.items()}

    def keep(self, name: str, model: Module) -> Path:
        """Keep the weights of a quick run, in half precision, for the notebooks that follow; see :meth:`trained`."""
        from torch import float16

        from segkit.checkpoints import save_checkpoint

        folder = self.runs / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "resume.pt").unlink(missing_ok=True)  # 1.5 GiB, and a quick run is sooner begun again than resumed
        return save_checkpoint(folder / "best.safetensors", model, float16)

    def trained(self, name: str) -> Path | None:
        """The weights that run ``name`` left in :attr:`runs`, or None."""
        path = self.runs / name / "best.safetensors"
        return path if path.is_file() else None

    def checkpoint(self, name: str, *, published: bool = True) -> Path | None:
        """A checkpoint of network ``name``: your own in ``checkpoints/``, else a published one in ``published/``.

        In quick mode it is what quick mode kept itself.

        Args:
            name: ``fcn32s`` or ``fcn8s``.
            published: Whether a published one will do.
        """
        if self.quick:
            return self.trained(name)
        folders = ("checkpoints", "published") if published else ("checkpoints",)
        places = [self.work / folder / f"{name}{ending}" for folder in folders for ending in (".safetensors", ".pth")]
        return next((path for path in places if path.is_file()), None)


class _Middle:
    """Cuts the same square out of the middle of image and label."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        top, left = (max(0, (size - self.side) // 2) for size in label.shape)
        window = (..., slice(top, top + self.side), slice(left, left + self.side))
        return image[window], label[window]
