"""One step of gradient descent: optimizer, schedule, precision, and protection of the weights."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from segkit.precision import Precision
from segkit.training.recipes import TrainConfig

__all__ = ["Descent", "Diverged"]

NO_CLIPPING = 1e38
"""Norm to clip to where nothing is to be clipped. Not infinity: infinity / infinity would make the gradient NaN."""


class Diverged(ArithmeticError):
    """The loss of a batch, or its gradient, is NaN or infinite.

    Attributes:
        batch: number of the batch in the epoch.
        names: names of its images.
        taken: whether its step was taken nevertheless: the gradient of an infinite loss may be finite.
    """

    batch: int = 0
    names: Sequence[str] = ()
    taken: bool = False

    def at(self, batch: int, names: Sequence[str], taken: bool = False) -> "Diverged":
        """The same error, with the batch that it happened in."""
        self.batch, self.names, self.taken = batch, names, taken
        return self


class Descent:
    """Optimizer and schedule of one run.

    With ``read_every`` above 1 the program reads a loss only after its gradient was applied. The fused optimizers then check
    on the device: they skip the step if the gradient is not finite.

    Args:
        model: the network, where it will train.
        config: see :class:`segkit.training.TrainConfig`.
        precision: of the forward passes.
        steps: number of steps of the whole run, for ``poly``.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, precision: Precision, steps: int) -> None:
        self.config, self.precision = config, precision
        self.immediate = config.read_every == 1 and not precision.needs_scaling
        fused = not self.immediate and precision.device_type in ("cuda", "cpu")
        self.optimizer = _optimizer(model, config, fused)
        self.scheduler = _scheduler(self.optimizer, config, steps)
        if precision.needs_scaling:
            self.scaler = torch.amp.GradScaler(precision.device_type, enabled=fused)
        else:  # scale 1, for good: only to skip steps whose gradient is not finite
            self.scaler = torch.amp.GradScaler(precision.device_type, init_scale=1.0, growth_interval=2**30, enabled=fused)
        self.in_backward = False  # False while the optimizer itself is working
        self._total: Tensor | None = None  # loss of the batch
        self.stepped = False  # whether it ever came to the end of a step
        self._weights = [value for value in model.parameters() if value.requires_grad]

    @property
    def learning_rate(self) -> float:
        """The rate of the layers that have no factor of their own."""
        return float(self.optimizer.param_groups[0]["lr"])

    def begin(self) -> None:
        """Forget the gradient of the batch before."""
        self.optimizer.zero_grad(set_to_none=True)
        self.in_backward, self._total = True, None

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss; the losses of the pieces of a batch add up to its loss.

        Raises:
            Diverged: the loss is not finite, where it is looked at every step.
        """
        if self.immediate and not math.isfinite(value := loss.item()):
            raise Diverged(str(value))
        self.scaler.scale(loss).backward()
        self._total = loss.detach() if self._total is None else self._total + loss.detach()

    def step(self) -> tuple[Tensor, Tensor]:
        """Change the weights along the gradient, and the rate as the schedule says.

        Returns:
            Loss of the batch before the step, and the norm of its gradient; both on the device, unread.

        Raises:
            Diverged: the gradient is not finite, where it is looked at every step. The weights were not changed.
        """
        self.in_backward = False
        assert self._total is not None, "a batch has at least one piece"
        norm = self._clip()
        if self.immediate and not math.isfinite(length := norm.item()):
            raise Diverged(f"{self._total.item():.3f}, with a gradient of norm {length},")
        if self.scaler.is_enabled() or self.immediate or bool(norm.isfinite()):
            self._begin_momentum()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            self.stepped = True
        if self.config.schedule == "poly":
            self.scheduler.step()
        return self._total, norm

    def _clip(self) -> Tensor:
        self.scaler.unscale_(self.optimizer)
        if self.immediate and not self.config.clip:  # nothing to change: ``step`` reads the norm before it applies the gradient
            return nn.utils.get_total_norm([value.grad for value in self._weights if value.grad is not None])
        return nn.utils.clip_grad_norm_(self._weights, self.config.clip or NO_CLIPPING)

    def _begin_momentum(self) -> None:
        """Set momentum to zero before the first step: fused SGD does not initialise its buffer, and leaves it so when it skips the step."""
        for group in self.optimizer.param_groups:
            for value in group["params"] if group.get("momentum") else ():
                if value.grad is not None and self.optimizer.state[value].get("momentum_buffer") is None:
                    self.optimizer.state[value]["momentum_buffer"] = torch.zeros_like(value)

    def end_epoch(self, train_loss: float) -> None:
        """Give the loss of the epoch to a schedule that depends on it."""
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(train_loss)

    def hopeless(self) -> bool:
        """Whether float16's scale fell so far that no gradient can be finite any more."""
        return self.precision.needs_scaling and self.scaler.get_scale() < 2.0**-10

    def forget_first_step(self) -> None:
        """Drop the moments that a first step began: a step that ran out of memory may leave one of the two."""
        if not self.stepped:
            self.optimizer.state.clear()

    def let_go(self) -> None:
        """Give back the memory of gradients and moments, whoever still holds this object."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "scaled_for": self.precision.name,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` gave, also on another device or with another ``read_every``."""
        _load(self.optimizer, state["optimizer"])
        self.stepped = bool(self.optimizer.state)
        self.scheduler.load_state_dict(state["scheduler"])
        # another device may compute in another format, and then has its own scale
        if self.scaler.is_enabled() and state.get("scaler") and state["scaled_for"] == self.precision.name:
            self.scaler.load_state_dict(state["scaler"])


def _load(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load moments and rates; how this run computes, and how its weights lie in memory, stays."""
    own = ({name: group.get(name) for name in ("fused", "foreach")} for group in optimizer.param_groups)
    groups = [group | how for group, how in zip(state["param_groups"], own, strict=True)]
    optimizer.load_state_dict(state | {"param_groups": groups})
    for weights, values in optimizer.state.items():
        for name, value in values.items():
            # fused kernels go through memory, not through rows and columns
            if name != "step" and isinstance(value, Tensor) and value.shape == weights.shape:
                values[name] = torch.empty_like(weights, requires_grad=False).copy_(value)


def _optimizer(model: nn.Module, config: TrainConfig, wanted: bool) -> torch.optim.Optimizer:
    fused = True if wanted else None  # False would also forbid to take all tensors together, which a GPU is fast with
    if config.optimizer == "adam" and config.skip_scale == (1.0, 1.0):
        return torch.optim.Adam(model.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=fused)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, config.weight_decay): []}
    for name, value in model.named_parameters():
        groups.setdefault(_rate_and_decay(name, config), []).append(value)
    listed = [
        {"params": values, "lr": factor * config.learning_rate, "weight_decay": decay}
        for (factor, decay), values in groups.items()
        if values
    ]
    if config.optimizer == "adam":
        return torch.optim.Adam(listed, config.learning_rate, fused=fused)
    return torch.optim.SGD(listed, config.learning_rate, momentum=config.momentum, fused=fused)


def _rate_and_decay(name: str, config: TrainConfig) -> tuple[float, float]:
    """Factor of the learning rate, and weight decay, of a parameter."""
    layer = name.split(".")[-2] if "." in name else name
    power = 2 if config.optimizer == "sgd" else 1
    factor = dict(zip(("score_pool_4", "score_pool_3"), config.skip_scale, strict=True)).get(layer, 1.0) ** power
    if config.optimizer == "sgd" and name.endswith("bias"):
        return 2 * factor, 0.0
    return factor, config.weight_decay


def _scheduler(optimizer: torch.optim.Optimizer, config: TrainConfig, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=config.patience, min_lr=config.min_learning_rate)
    warmup = min(config.warmup, steps // 4)  # a short run must not spend itself on it

    def factor(step: int) -> float:
        warm = min(1.0, (step + 1) / warmup) if warmup else 1.0
        left: float = (1 - min(step, steps) / steps) ** 0.9
        return warm * left

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
