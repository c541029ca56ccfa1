"""The data sets of the kit, each described by one ``DatasetSpec``; nothing outside this room knows one from another."""

import importlib
import importlib.util

from segkit.datasets.pairs import PairDataset, demand_one_size, fit_label, fit_photograph
from segkit.datasets.registry import DATASETS, DEFAULT
from segkit.datasets.spec import DataError, DatasetSpec, data_folder

__all__ = [
    "DATASETS", "DEFAULT", "DataError", "DatasetSpec", "PairDataset", "data_folder", "dataset", "demand_one_size", "fit_label",
    "fit_photograph",
]  # fmt: skip


def dataset(name: str | None = None) -> DatasetSpec:
    """A data set by its name.

    Args:
        name: of the registry; None: that of the ``assignment.json`` of the working folder, or beside the package; where neither
            says anything, the facades.

    Raises:
        DataError: there is no such data set.
    """
    name = name or _of_the_assignment() or DEFAULT
    known = [one for one, module in DATASETS.items() if importlib.util.find_spec(module)]  # a release has its own alone
    if name not in known:
        raise DataError(f"Unknown data set {name!r}. Known: {', '.join(known)}.")
    return importlib.import_module(DATASETS[name]).SPEC


def _of_the_assignment() -> str | None:
    from segkit.assignment import AssignmentError, facts

    try:
        name = facts().get("dataset")
    except (AssignmentError, OSError):  # a damaged file is reported where its numbers are needed
        return None
    return name if isinstance(name, str) else None
