"""One view of a student's work: define, call, build, describe, forward.

``LocalSubject`` runs the work in this process: in a notebook, in a test, or inside the grader's worker. The grader's judge
talks to the same methods over a pipe. A check written against them does not know which of the two it has.
"""

import contextlib
import importlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from segkit.gradients import SmallTraining, gradients_of
from segkit.layers import Layer, describe
from segkit.notebooks import Program, Unrunnable, execute
from segkit.outputs import MAPS, output_array, scores_within
from segkit.precision import choose_precision, lay_out
from segkit.student_errors import CAUSE, StudentError, as_student_error, check_forward, check_signature, device_cause
from segkit.tracing import Step, trace
from segkit.values import bound_method, holds_array, plain, wants_tensors

__all__ = ["CAUSE", "LocalSubject", "StudentError", "Subject", "WeightFile", "as_student_error"]

Values = str | Sequence | np.ndarray
"""What ``load`` gives a parameter: a tensor's name in the weight file, a place in that file (first element, shape), or an array."""


class Subject(Protocol):
    """What a check may ask of a student's work. Handles are small strings that name objects of the worker."""

    def define(self, program: Program) -> None: ...
    def call(self, name: str, *args: Any, **kwargs: Any) -> Any: ...
    def method(self, handle: str, name: str, *args: Any) -> Any: ...
    def build(self, name: str, *args: Any, meta: bool = False, module: bool = True, **kwargs: Any) -> str: ...
    def carrier(self, layers: Sequence[Layer], like: str = "") -> str: ...
    def describe(self, handle: str) -> list[Layer]: ...
    def trace(self, handle: str) -> list[Step]: ...
    def shapes(self, handle: str) -> dict[str, tuple[int, ...]]: ...
    def load(self, handle: str, source: Mapping[str, Values], zero: Sequence[str] = ()) -> None: ...
    def sample(self, handle: str, indices: Mapping[str, Any]) -> dict[str, NDArray]: ...
    def change(self, handle: str, key: str, index: int, value: float) -> None: ...
    def forward(
        self, handle: str, x: NDArray, train: bool = False, seed: int = 0, skip: Sequence[str] = (), within: bool = False
    ) -> NDArray: ...
    def maps(self, handle: str, x: NDArray, names: Sequence[str]) -> dict[str, NDArray]: ...
    def gradients(
        self, name: str, *args: Any, wrt: Sequence[int] = (0,), parameters: Sequence[str] = (), train: bool = False, **kwargs: Any
    ) -> dict[str, Any]: ...
    def take_steps(
        self,
        name: str,
        calls: Sequence[Sequence[Any]],
        layers: Sequence[Layer],
        weights: Mapping[str, NDArray],
        sgd: Mapping[str, Any],
        training: bool = False,
    ) -> list[dict[str, Any]]: ...
    def load_checkpoint(self, handle: str, file: str, extra: bool = False) -> list[str]: ...
    def predict(self, handle: str, x: NDArray, precision: str = "float32", kind: str = "labels") -> NDArray: ...
    def peak_bytes(self) -> int: ...
    def probe(self) -> None: ...
    def forget(self, handle: str) -> None: ...


class WeightFile:
    """Named float32 tensors in one flat file, mapped into memory and shared between processes until written to.

    Args:
        path: The file: all tensors one after the other.
        index: Name -> (first element, shape).
    """

    def __init__(self, path: Path, index: Mapping[str, tuple[int, Sequence[int]]]) -> None:
        self.path, self.index = path, dict(index)
        size = path.stat().st_size // 4
        self._flat = torch.from_file(str(path), shared=False, size=size, dtype=torch.float32)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.at(*self.index[name])

    def at(self, first: int, shape: Sequence[int]) -> torch.Tensor:
        """The tensor of a shape that begins at an element of the file, whatever names say."""
        return self._flat[first : first + math.prod(shape)].view(*shape)


class LocalSubject:
    """A student's work in this process.

    Args:
        scratch: Folder for files that calls need.
        weights: Tensors that ``load`` may name.
        checkpoints: Name -> path of checkpoint files that ``load_checkpoint`` may name.
        device: Where ``predict`` runs.
        construction: Makes a context in which networks are constructed.
    """

    def __init__(
        self, scratch: Path, weights: WeightFile | None = None, checkpoints: Mapping[str, Path] | None = None,
        device: str = "cpu", construction: Callable[[], AbstractContextManager] = contextlib.nullcontext,
    ) -> None:  # fmt: skip
        self._construction = construction
        self.scratch, self.weights = Path(scratch), weights
        self.checkpoints, self.device = dict(checkpoints or {}), device
        self._objects: dict[str, Any] = {}
        self._names: dict[str, Any] = {}
        self._count = 0

    # ------------------------------------------------------------------------------------------------ code
    def define(self, program: Program) -> None:
        """Run a definition; ``call`` and ``build`` then know its name."""
        with as_student_error(program.where), self._construction():
            try:
                self._names[program.name] = execute(program)[program.name]
            except Unrunnable as error:
                told = device_cause(error)
                text = f"{program.where} cannot be run{f': {told}' if told else '.'}\n{error}"
                raise StudentError(text, "code.device" if told else "code.raises") from None

    def adopt(self, name: str, value: Any) -> None:
        """Make an object of this process known under a name (a class or function of a notebook)."""
        self._names[name] = value

    def _named(self, name: str) -> Any:
        if name in self._names:
            return self._names[name]
        module, colon, attribute = name.partition(":")
        if colon and module.partition(".")[0] in ("torch", "torchvision"):
            return getattr(importlib.import_module(module), attribute)
        raise StudentError(f"{name} is not defined.", "code.missing")

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a function with plain values, arrays, files (``bytes``, as a path), folders (name -> ``bytes``) and handles.

        Arrays are given as NumPy arrays; a function that cannot work with those gets tensors.
        """
        function = self._named(name)
        with as_student_error(f"{name}()"), torch.random.fork_rng(devices=[]):
            check_signature(function, name, args, kwargs)
            return self._called(function, args, kwargs)

    def method(self, handle: str, name: str, *args: Any) -> Any:
        """Call a method of a built object, as ``call`` does (see ``segkit.values.bound_method``)."""
        with as_student_error(f"{name}()"):
            method = bound_method(self._objects[handle], name, args)
            check_signature(method, name, args, {})
            return self._called(method, args, {})

    def _called(self, function: Callable, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What a function returned, plain: called with arrays, and where it cannot work with those, with tensors."""
        try:
            return plain(function(*self._arguments(args), **self._named_arguments(kwargs)))
        except (AttributeError, TypeError, RuntimeError) as error:
            if not any(map(holds_array, (*args, *kwargs.values()))):
                raise
            first = error
        try:
            return plain(function(*self._arguments(args, tensors=True), **self._named_arguments(kwargs, tensors=True)))
        except StudentError:
            raise
        except Exception:
            if wants_tensors(first):
                raise
            raise first from None

    def _arguments(self, args: Sequence[Any], tensors: bool = False) -> list[Any]:
        return [self._argument(value, tensors) for value in args]

    def _named_arguments(self, kwargs: Mapping[str, Any], tensors: bool = False) -> dict[str, Any]:
        return {key: self._argument(value, tensors) for key, value in kwargs.items()}

    def _argument(self, value: Any, tensors: bool = False) -> Any:
        """What code gets for an argument of a check: copies, paths of files and folders, objects in the place of their handles."""
        if isinstance(value, bytes):
            path = self.scratch / f"input_{self._next()}.png"
            path.write_bytes(value)
            return str(path)
        if type(value) is dict:
            files = bool(value) and all(isinstance(item, bytes) for item in value.values())
            return self._folder(value) if files else self._named_arguments(value, tensors)
        if type(value) in (list, tuple):
            return type(value)(self._arguments(value, tensors))
        if isinstance(value, str) and value in self._objects:
            return self._objects[value]
        if isinstance(value, torch.Tensor):
            return value.clone()
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value.copy()) if tensors else value.copy()
        return value

    def _folder(self, files: Mapping[str, bytes]) -> str:
        folder = self.scratch / f"input_{self._next()}"
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return str(folder)

    # ------------------------------------------------------------------------------------------------ networks
    def build(self, name: str, *args: Any, meta: bool = False, module: bool = True, **kwargs: Any) -> str:
        """Construct a network, or with ``module=False`` an object of any class.

        On the meta device (no memory, no initialisation) where ``meta`` is set. Handles stand for their objects.
        """
        cls, args, kwargs = self._named(name), tuple(self._arguments(args)), self._named_arguments(kwargs)
        arguments = ", ".join([*map(_shown, args), *(f"{key}={_shown(value)}" for key, value in kwargs.items())])
        with as_student_error(name):
            check_signature(cls, name, args, kwargs)
        device = torch.device("meta") if meta else contextlib.nullcontext()
        with as_student_error(f"{name}({arguments})"), device, self._construction():
            model = cls(*args, **kwargs)
        if module and not isinstance(model, nn.Module):
            raise StudentError(f"{name}({arguments}): expected an nn.Module, but got {type(model).__name__}.", "code.type")
        return self._keep(model)

    def carrier(self, layers: Sequence[Layer], like: str = "") -> str:
        """Build a module with just these layers, uninitialised; with the methods of the class ``like``, which is not built."""
        model = nn.Module()
        for layer in layers:
            cls = getattr(nn, layer.kind)
            settings = dict(layer.settings)
            make: Callable = torch.nn.utils.skip_init if layer.kind != "MaxPool2d" else lambda cls, **kw: cls(**kw)
            model.add_module(layer.path, make(cls, **settings))
        if like:
            with as_student_error(like):
                model.__class__ = self._named(like)
        return self._keep(model)

    def describe(self, handle: str) -> list[Layer]:
        """List the layers of a network (see ``segkit.layers.describe``)."""
        with as_student_error("Looking through the layers"):
            return describe(self._model(handle))

    def trace(self, handle: str) -> list[Step]:
        """List layers and activations in the order in which they run (see ``segkit.tracing.trace``)."""
        with as_student_error("Looking at the order of the layers"):
            return trace(self._model(handle))

    def shapes(self, handle: str) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter, by its key."""
        return {key: tuple(value.shape) for key, value in self._parameters(handle).items()}

    def _parameters(self, handle: str) -> dict[str, nn.Parameter]:
        """The parameters of a network by their keys; torch asks the network's own, perhaps overridden, ``named_modules``."""
        with as_student_error("Looking through the parameters"):
            return dict(nn.Module.named_parameters(self._model(handle)))

    def _buffers(self, handle: str) -> dict[str, torch.Tensor]:
        with as_student_error("Looking through the buffers"):
            return dict(nn.Module.named_buffers(self._model(handle)))

    @torch.no_grad()
    def load(self, handle: str, source: Mapping[str, Values], zero: Sequence[str] = ()) -> None:
        """Give parameters and buffers the values of tensors of the weight file, or of arrays.

        A tensor smaller than its parameter fills the parameter's first channels, zero the rest; a larger one is cut. A
        parameter on the meta device gets a private copy, made page by page when it is written to.

        Args:
            handle: The network.
            source: Key of the parameter or buffer -> name in the weight file, place in it (first element, shape), or array.
            zero: Keys of parameters that become 0.
        """
        if self.weights is None and not all(isinstance(values, np.ndarray) for values in source.values()):
            raise RuntimeError("this subject has no weight file")
        model = self._model(handle)
        parameters = self._parameters(handle)
        tensors = parameters | self._buffers(handle)
        on_meta = any(tensors[key].is_meta for key in source)
        with _memory_for("weights"):
            private = WeightFile(self.weights.path, self.weights.index) if on_meta and self.weights else self.weights
        for key in zero:
            tensors[key].zero_()
        for key, values in source.items():
            if tensors[key].is_meta:
                self._give(model, key, _tensor(private, values), tensors[key].shape)
            else:
                self._fill(tensors[key], _tensor(self.weights, values))

    @staticmethod
    def _give(model: nn.Module, key: str, values: torch.Tensor, shape: torch.Size) -> None:
        """Put a tensor in the place of a parameter or buffer that has no memory yet."""
        path, _, leaf = key.rpartition(".")
        flat = values.reshape(-1)[: shape.numel()]
        owner = nn.Module.get_submodule(model, path)
        if leaf in owner._parameters:
            owner._parameters[leaf] = nn.Parameter(flat.view(shape), requires_grad=False)
        else:
            owner._buffers[leaf] = flat.view(shape)

    def _fill(self, parameter: torch.Tensor, values: torch.Tensor) -> None:
        if parameter.shape == values.shape:
            parameter.copy_(values)
        elif parameter.dim() == values.dim():
            window = tuple(slice(0, min(a, b)) for a, b in zip(parameter.shape, values.shape, strict=True))
            parameter.zero_()
            parameter[window] = values[window]
        else:
            parameter.copy_(values.reshape(parameter.shape))

    @torch.no_grad()
    def sample(self, handle: str, indices: Mapping[str, Any]) -> dict[str, NDArray]:
        """Read values of parameters.

        Args:
            handle: The network.
            indices: Key -> flat indices (int64 array), or None for the whole tensor.
        """
        parameters = self._parameters(handle)
        values = {}
        for key, wanted in indices.items():
            flat = parameters[key].detach().reshape(-1)
            if wanted is not None:
                wanted = torch.as_tensor(wanted)
                flat = flat[wanted[wanted < flat.numel()]]
            values[key] = flat.float().cpu().numpy().copy()
        return values

    @torch.no_grad()
    def change(self, handle: str, key: str, index: int, value: float) -> None:
        """Set one value of a parameter (to see whether another network changes with it)."""
        self._parameters(handle)[key].view(-1)[index] = value

    def forward(
        self, handle: str, x: NDArray, train: bool = False, seed: int = 0, skip: Sequence[str] = (), within: bool = False,
    ) -> NDArray:  # fmt: skip
        """Run a network.

        Args:
            handle: The network.
            x: Images ``(N, 3, H, W)``, float32.
            train: Whether in train mode.
            seed: Seed of torch's generator, for dropout.
            skip: Paths of layers that hand on what they get, as if they were not there.
            within: Whether to look for the scores in the dictionary, tuple or list that comes back in place of a tensor.

        Returns:
            Whatever tensor the network returns; integers stay integers.
        """
        output = self._run(handle, x, train, seed, skip)
        return output_array(scores_within(output) if within else output, type(self._model(handle)).__name__)

    def maps(self, handle: str, x: NDArray, names: Sequence[str]) -> dict[str, NDArray]:
        """Run a network that returns a dictionary of maps, in eval mode.

        Args:
            handle: The network.
            x: Images ``(N, 3, H, W)``, float32.
            names: The maps that it must give; others are left out.
        """
        output, name = self._run(handle, x), type(self._model(handle)).__name__
        missing = [key for key in names if key not in output] if isinstance(output, dict) else list(names)
        if missing:
            found = f"one without {', '.join(missing)}" if isinstance(output, dict) else type(output).__name__
            raise StudentError(f"{name}.forward: expected a dictionary with {', '.join(names)}, but got {found}.", "forward.type")
        return {key: output_array(output[key], f"{name}, map {key},") for key in names}

    def _run(self, handle: str, x: NDArray, train: bool = False, seed: int = 0, skip: Sequence[str] = ()) -> Any:
        model = self._model(handle)
        with (
            as_student_error(f"{type(model).__name__}.forward"),
            torch.random.fork_rng(devices=[]),
            _passed_over(model, skip),
        ):
            check_forward(model)
            torch.manual_seed(seed)
            nn.Module.train(model, train)
            with torch.inference_mode():
                return model(torch.from_numpy(np.ascontiguousarray(x)).clone())

    # ------------------------------------------------------------------------------------------------ gradients
    def gradients(
        self, name: str, *args: Any, wrt: Sequence[int] = (0,), parameters: Sequence[str] = (), train: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Call a function, or an object by its handle, with tensors, and differentiate the sum of all that it returns.

        Args:
            name: Of a criterion; or the handle of a criterion or network.
            *args, **kwargs: Its arguments, arrays as tensors.
            wrt, parameters: What to differentiate with respect to; what is returned, see ``segkit.gradients.gradients_of``.
            train: Whether a module is in train mode.
        """
        function = self._objects[name] if name in self._objects else self._named(name)
        name = type(function).__name__ if name in self._objects else name
        given, named = self._arguments(args, tensors=True), self._named_arguments(kwargs, tensors=True)
        with as_student_error(f"{name}()"), torch.random.fork_rng(devices=[]):
            check_signature(function, name, args, kwargs)
            torch.manual_seed(0)
            if isinstance(function, nn.Module):
                nn.Module.train(function, train)
            return gradients_of(function, given, named, wrt, parameters)

    def take_steps(
        self, name: str, calls: Sequence[Sequence[Any]], layers: Sequence[Layer], weights: Mapping[str, NDArray], sgd: Mapping[str, Any],
        training: bool = False,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Call a training step several times on one small network and its optimizer.

        Args:
            name: Of the function.
            calls: Arguments of each call, arrays as tensors. ``"@network"`` and ``"@optimizer"`` stand for those.
            layers, weights, sgd, training: See ``segkit.gradients.SmallTraining``.

        Returns:
            For each call what ``SmallTraining.after`` tells.
        """
        function = self._named(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            small = SmallTraining(layers, weights, sgd, training)
            self._objects |= {"@network": small.network, "@optimizer": small.optimizer}
            try:
                with as_student_error(f"{name}()"):
                    check_signature(function, name, tuple(calls[0]), {})
                    return [small.after(function, self._arguments(args, tensors=True)) for args in calls]
            finally:
                self.forget("@network")
                self.forget("@optimizer")

    # ------------------------------------------------------------------------------------------------ checkpoints
    def load_checkpoint(self, handle: str, file: str, extra: bool = False) -> list[str]:
        """Load a checkpoint into a network that may be on the meta device; moves the network to the device of ``predict``.

        Args:
            handle: The network.
            file: Name of the checkpoint.
            extra: Whether it may hold more tensors than the network has.

        Returns:
            Names of the tensors that the network does not have.
        """
        from segkit.checkpoints import CheckpointError, load_checkpoint

        unused: list[str] = []
        with as_student_error("Loading the checkpoint"):  # the class may have a load_state_dict of its own
            try:
                load_checkpoint(self._model(handle), self.checkpoints[file], unused=unused if extra else None)
            except CheckpointError as error:
                path = self.checkpoints[file]  # of this machine: its folders are nobody's business
                raise StudentError(str(error).replace(str(path), path.name), "checkpoint.unreadable") from None
        if _without_values(self._model(handle)):
            raise StudentError("The network has tensors that are not in the checkpoint and have no values.", "code.raises")
        with as_student_error("Moving the network to the device"):
            nn.Module.eval(self._model(handle)).to(self.device)
        return unused

    def predict(self, handle: str, x: NDArray, precision: str = "float32", kind: str = "labels") -> NDArray:
        """Predict label maps, or other maps of a picture's size.

        Args:
            handle: A network with its checkpoint.
            x: One image ``(3, H, W)``, float32, normalised; or several of one size ``(B, 3, H, W)``.
            precision: ``"float32"``, or ``"bfloat16"`` for convolutions in 16 bits.
            kind: ``"labels"``, ``"probabilities"`` or ``"instances"``.

        Returns:
            Maps of this kind (see ``segkit.outputs.MAPS``), without ``B`` for one image.
        """
        model = self._model(handle)
        images = torch.from_numpy(np.ascontiguousarray(x if x.ndim == 4 else x[None]))  # (B, 3, H, W)
        try:
            chosen = choose_precision(torch.device(self.device), precision)
        except ValueError as error:  # an older GPU would emulate it, slower than float32
            raise StudentError(str(error), "gate.precision") from None
        try:
            # what a GPU was asked may fail when its answer is read
            with as_student_error(f"{type(model).__name__}.forward"), torch.inference_mode(), chosen.autocast():
                check_forward(model)
                lay_out(model, chosen.layout)
                images = images.to(self.device)
                maps = MAPS[kind](nn.Module.eval(model)(images), images, type(model).__name__)
        except StudentError as error:
            if error.cause == "code.memory" and self.device == "cuda":
                torch.cuda.empty_cache()  # a smaller batch may find room
            raise
        return maps if x.ndim == 4 else maps[0]

    def probe(self) -> None:
        """Compute a small convolution where ``predict`` runs, and hold it against the CPU's.

        Raises:
            RuntimeError: The device fails, or finds something else.
        """
        generator = torch.Generator().manual_seed(0)
        x, weight = (torch.rand(shape, generator=generator) for shape in ((1, 3, 32, 32), (8, 3, 3, 3)))
        with torch.inference_mode():
            expected, found = nn.functional.conv2d(x, weight), nn.functional.conv2d(x.to(self.device), weight.to(self.device)).cpu()
        if not torch.allclose(found, expected, rtol=1e-3):
            raise RuntimeError(f"a small convolution on {self.device} is wrong by up to {(found - expected).abs().max():.3g}")

    def peak_bytes(self) -> int:
        """Most memory that was taken so far: of the GPU where there is one, else of this process; 0 where nobody counts it."""
        if self.device == "cuda":
            return torch.cuda.max_memory_reserved()
        try:
            found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        except OSError:
            return 0
        return int(found[1]) * 1024 if found else 0

    # ------------------------------------------------------------------------------------------------ handles
    def _next(self) -> int:
        self._count += 1
        return self._count

    def _keep(self, value: Any) -> str:
        handle = f"@object{self._next()}"
        self._objects[handle] = value
        return handle

    def _model(self, handle: str) -> nn.Module:
        return self._objects[handle]

    def model(self, handle: str) -> nn.Module:
        """The network itself."""
        return self._model(handle)

    def forget(self, handle: str) -> None:
        """Let go of an object and its memory."""
        self._objects.pop(handle, None)


def _shown(argument: Any) -> str:
    """An argument as an error names it; a module by its class alone."""
    return type(argument).__name__ if isinstance(argument, nn.Module) else repr(argument)[:200]


def _tensor(weights: WeightFile | None, values: Values) -> torch.Tensor:
    if isinstance(values, np.ndarray):
        return torch.from_numpy(values)
    assert weights is not None  # `load` has seen to it
    return weights[values] if isinstance(values, str) else weights.at(*values)


@contextlib.contextmanager
def _memory_for(what: str) -> Iterator[None]:
    """Say that a student's objects left no memory; torch's own error names a file of this machine."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("unable to mmap|allocate memory", str(error)):
            raise
        text = f"There is no memory left for {what} beside the objects that the code keeps. Does a network hold a second one?"
        raise StudentError(text, "code.memory") from None


@contextlib.contextmanager
def _passed_over(model: nn.Module, paths: Sequence[str]) -> Iterator[None]:
    """Let layers of a network hand on their input."""
    layers = [nn.Module.get_submodule(model, path) for path in paths]
    hooks = [nn.Module.register_forward_hook(layer, lambda _layer, inputs, _output: inputs[0]) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _without_values(model: nn.Module) -> bool:
    """Whether anything of a network is on the meta device: buffers that are not saved, tensors in plain attributes."""
    places = [place for module in nn.Module.modules(model) for place in (vars(module), module._parameters, module._buffers)]
    return any(isinstance(value, torch.Tensor) and value.is_meta for place in places for value in place.values())
