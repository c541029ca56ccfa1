"""What the worker of a gate runs in the place of a student's code, behind the text of the module of an assignment's references.

A reference whose layers stand where the student's stand, with their hyper-parameters, so that a checkpoint fits.
"""

from torch import nn

ABOVE = dict(globals())  # the class below may get the name of one of the references


class GateNetwork(nn.Module):
    """A reference under other names.

    Args:
        reference: Its name.
        n_class: Number of classes.
        settings: Name of a layer of the reference -> hyper-parameters.
        paths: Name of a layer of the reference with parameters -> name in the student's network.
        side: Where pictures are sheets of small ones, to be classified: their side in pixels; 0 otherwise.
    """

    def __init__(self, reference: str, n_class: int, settings: dict, paths: dict, side: int = 0) -> None:
        super().__init__()
        model = ABOVE[reference](n_class)
        for name, path in paths.items():
            values = {key: tuple(value) if isinstance(value, list) else value for key, value in settings[name].items()}
            model.set_submodule(name, layer := type(model.get_submodule(name))(**values))
            *folders, last = path.split(".")
            owner: nn.Module = self
            for folder in folders:
                if folder not in owner._modules:
                    owner.add_module(folder, nn.Module())
                owner = owner.get_submodule(folder)
            owner.add_module(last, layer)
        self._held, self._side = (model.eval(),), side  # a tuple: its own names are in no checkpoint

    def forward(self, x):
        """Score every pixel: (N, 3, H, W) to (N, n_class, H, W); those of a small picture alike."""
        if not self._side:
            return self._held[0](x)
        n, side = len(x), self._side
        small = x.unfold(2, side, side).unfold(3, side, side).permute(0, 2, 3, 1, 4, 5)  # (N, h, w, 3, side, side)
        scores = self._held[0](small.reshape(-1, 3, side, side)).view(n, *small.shape[1:3], -1).permute(0, 3, 1, 2)
        return scores.repeat_interleave(side, 2).repeat_interleave(side, 3)
