"""One layer of a specification, or of a network."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Layer"]


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Attributes:
        path: Its full name in the network, ``"features.conv1_1"``.
        kind: ``"Conv2d"``, ``"ConvTranspose2d"``, ``"MaxPool2d"``, or the class name of another layer with parameters.
        settings: Hyper-parameters by name; square pairs are given as one number.
        same_as: Path under which the same object was met before, or None.
    """

    path: str
    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    same_as: str | None = None

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition(".")[2]

    def to_json(self) -> dict:
        """Return plain data, as it crosses the pipe between judge and worker."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Layer":
        """Return the layer that ``to_json`` wrote."""
        return cls(str(content["path"]), str(content["kind"]), dict(content["settings"]), content.get("same_as"))
