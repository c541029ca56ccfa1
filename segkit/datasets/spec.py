"""What the kit has to know about a data set, in one value: ``DatasetSpec``."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segkit.pictures import LABELS, PHOTOGRAPHS, find_picture, names_in
from segkit.transforms import IGNORE_INDEX

__all__ = ["PARTS", "DataError", "DatasetSpec", "as_meant", "data_folder"]

PARTS = ("train", "val", "test")


class DataError(ValueError):
    """A picture, a label or a data folder is not what it must be; the text says what to do about it."""


def data_folder() -> Path:
    """The folder ``data/`` of the kit (per data set: split lists, sample; beside them what was downloaded).

    It lies beside the package; where the package was installed elsewhere, the working folder and the folders
    above it are tried, so that a notebook in ``notebooks/fcn`` finds it too.

    Raises:
        DataError: nowhere a ``data/`` with split lists.
    """
    beside = Path(__file__).resolve().parents[2]
    here = Path.cwd()
    for parent in (beside, here, *here.parents):
        if any((parent / "data").glob("*/splits")):
            return parent / "data"
    raise DataError(
        f"The folder data/ with the split lists was not found: looked beside the package ({beside}), "
        f"in {here} and above. Unpack the kit again, or start Python in the folder that holds data/."
    )


def as_meant(value: str) -> str:
    """A variable's value as it was meant: ``%env`` of a notebook, and ``set`` of Windows, leave the quotes around it, and names in it."""
    value = os.path.expandvars(value).strip()
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


@dataclass(frozen=True, eq=False)
class DatasetSpec:
    """A data set: its classes, where its files lie, and what can be done with them.

    The kit's own part of it is ``data/<name>/``: ``splits/<split>/<part>.txt`` (names, one per line) and ``sample/``, drawn
    pictures in the data set's own file format. Decoding a label file is a student's task, so a spec has no reader of labels.

    Attributes:
        name: In the registry and of the folder below ``data/``.
        title: For people.
        pictures: What its pictures show, in the plural.
        citation: Whom to cite.
        classes: Names by training label.
        colours: RGB of pixels that do not count, then of each class (class k has row k + 1).
        stored: What the label files hold for them, in the same order.
        stored_as: What that is: ``"id"``, ``"colour"``.
        ignore_index: What ``read_label`` gives where a pixel does not count; items of a dataset have 255 there.
        size: (H, W) that pairs are brought to, photographs bilinearly and labels by the nearest pixel; None: as they are.
        home: Folder of the real pictures below ``data/``.
        variable: Environment variable that may name another root (or ``sample``).
        folders: Folders of a root; the first one must be there.
        stems: Name of a pair -> paths of photograph and label below the root, without their endings.
        photographs: Endings of photographs, in lower case.
        labels: Endings of label files.
        splits: Names of the split lists.
        split_of: Root -> the split whose lists fit what lies there.
        draw: ``draw(root, count=, seed=) -> names``: draws a sample.
        fetch: ``fetch(root, folders, home=None, check=True) -> lines``: downloads; None where nothing can be had without asking.
        verify: ``verify(root, progress=True) -> Survey``; raises ModuleNotFoundError in the student edition.
        networks: Classes of its assignment's networks, from coarse to fine; in lower case they are their short names.
        outputs: Of these networks; None: one for each class. One more is for pixels that do not count, and is never right.
        reader: Name of its assignment's function that decodes a label file.
        reference: Module that has all of these in the full kit.
    """

    name: str
    title: str
    pictures: str
    citation: str
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    stored: tuple[str, ...]
    home: str
    folders: tuple[str, ...]
    stems: Callable[[str], tuple[str, str]]
    splits: tuple[str, ...]
    split_of: Callable[[Path], str]
    draw: Callable[..., tuple[str, ...]]
    fetch: Callable[..., list[str]] | None = None
    verify: Callable[..., Any] | None = None
    stored_as: str = "id"
    ignore_index: int = IGNORE_INDEX
    size: tuple[int, int] | None = None
    variable: str = "SEGKIT_DATA"
    photographs: tuple[str, ...] = PHOTOGRAPHS
    labels: tuple[str, ...] = LABELS
    networks: tuple[str, ...] = ()
    outputs: int | None = None
    reader: str = "read_label"
    reference: str = "segkit.reference"

    @property
    def n_class(self) -> int:
        return len(self.classes)

    @functools.cached_property
    def palette(self) -> np.ndarray:
        """``colours`` as a read-only uint8 array (n_class + 1, 3)."""
        palette = np.array(self.colours, dtype=np.uint8)
        palette.setflags(write=False)
        return palette

    @property
    def folder(self) -> Path:
        """What the kit itself holds of this data set."""
        return data_folder() / self.name

    def find_root(self, data: str | os.PathLike | None = None) -> Path:
        """Find the root of the pictures: the folder that holds the first of ``folders``.

        Args:
            data: a folder; or ``"sample"`` for the drawn sample of the kit; or None: the environment variable
                if set (a folder or ``sample``), else the folder of the real pictures in ``data/``.

        Raises:
            DataError: there are no pictures at that place.
        """
        data = data if data is not None else as_meant(os.environ.get(self.variable, "")) or None
        first = self.folders[0]
        if data is None:
            root = data_folder() / self.home
            if not (root / first).is_dir():
                raise DataError(self._no_pictures(root / first))
            return root
        root = self.folder / "sample" if os.fspath(data) == "sample" else Path(data).expanduser()
        if (root / first).is_dir():
            return root
        example = self.image_path("", self.split_names(self.splits[0], "train")[0])
        if not root.is_dir():
            raise DataError(f"No such folder: {root}. Expected a folder that holds {example.as_posix()} and so on.")
        if names_in(root, self.photographs):
            if root.resolve().name in self.folders:
                raise DataError(f"{root} holds the pictures themselves: name the folder above it, {root.resolve().parent}.")
            folders = " or ".join(f"{folder}/" for folder in self.folders)
            raise DataError(f"{root} holds the pictures themselves: move them into a folder {folders} in it, and name {root} again.")
        advice = "; `python -m segkit data fetch --out FOLDER` downloads them" if self.fetch else ""
        raise DataError(f"{root} holds no folder {first}/. Expected {example.as_posix()}, {self.labels[0]} and so on{advice}.")

    def _no_pictures(self, place: Path) -> str:
        ways = [
            f"set {self.variable}=/path/to/{self.home}     to a folder that holds {self.folders[0]}/ (in a notebook:\n"
            f"                                             %env {self.variable}=/path/to/{self.home})",
            f"set {self.variable}=sample                  for the small drawn {self.pictures} that are in the kit",
        ]
        if self.fetch:
            ways.insert(0, f"python -m segkit data fetch             downloads the database to data/{self.home}")
        listed = "\n".join(f"  {number}. {way}" for number, way in enumerate(ways, 1))
        count = {2: "Two", 3: "Three"}[len(ways)]
        return f"No {self.pictures} found: expected {place}, which is not there. {count} ways to go on:\n{listed}"

    @functools.cache  # noqa: B019 - specs live as long as the program
    def split_names(self, split: str, part: str) -> tuple[str, ...]:
        """Names of one part of a split, in the fixed order of its list.

        Args:
            split: one of ``splits``.
            part: ``train``, ``val`` or ``test``.

        Raises:
            DataError: unknown split or part, or the list is missing.
        """
        if split not in self.splits or part not in PARTS:
            raise DataError(
                f"Unknown split or part: expected one of {', '.join(self.splits)} and one of {', '.join(PARTS)}, "
                f"found {split!r} and {part!r}."
            )
        file = self.folder / "splits" / split / f"{part}.txt"
        if not file.is_file():
            raise DataError(f"The split list {file} is missing. Unpack the kit again: the lists are part of it.")
        return tuple(file.read_text(encoding="utf-8").split())

    def image_path(self, root: str | os.PathLike, name: str) -> Path:
        """Path of the photograph ``name``, whatever the case of its ending."""
        return find_picture(Path(root) / self.stems(name)[0], self.photographs)

    def label_path(self, root: str | os.PathLike, name: str) -> Path:
        """Path of the label file ``name``."""
        return find_picture(Path(root) / self.stems(name)[1], self.labels)

    def names_for(self, n_class: int) -> list[str]:
        """Names of so many classes: those of the data set if it has as many, else their numbers."""
        if n_class in (self.n_class, self.outputs):
            return [*self.classes, "unknown"][:n_class]
        return [f"class {index}" for index in range(n_class)]
