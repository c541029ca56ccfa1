"""The networks of ``satellite`` with an eighth of the channels, for a processor: ``segkit train --model docs/light_networks.py:FCN8s``.

They are those of the reference, made light by ``lighten`` of notebook 1, with fresh weights in all layers.
"""

from pathlib import Path

from segkit.notebooks import taking
from segkit.reference import satellite

NOTEBOOKS = Path("notebooks") / "satellite"
SHARE = 8


def light(network):
    """A class of the reference, of which each network has an eighth of the channels."""

    class Light(network):
        def __init__(self, n_class=7):
            super().__init__(n_class)
            taking.take("lighten", NOTEBOOKS)(self, SHARE)

    return Light


FCN32s, FCN16s, FCN8s = (light(network) for network in (satellite.FCN32s, satellite.FCN16s, satellite.FCN8s))
