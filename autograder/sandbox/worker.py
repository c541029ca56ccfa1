"""The worker: runs one student's code behind a wall and answers the judge's questions. It knows no expected value.

Started as a script with three arguments: the descriptors of the pipe (read, write) and the path of a JSON file with its
settings. It imports the student edition of segkit, torch, and its neighbours.
"""

import contextlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.subject import LocalSubject


def quiet() -> None:
    """Send what student code prints to nowhere: the pipe has descriptors of its own."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)


def lay_out(modules: dict[str, str], folder: Path) -> None:
    """Lay out the student's own scripts, to be imported from."""
    for name, source in modules.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    if modules:
        importlib.invalidate_caches()


def forget_projects() -> None:
    """Leave only Python's own folders to import from: an editable install would let in the project, reference and all."""
    own = tuple({os.path.realpath(prefix) for prefix in (sys.prefix, sys.base_prefix)} | {sys.prefix, sys.base_prefix})
    sys.path[:] = [path for path in sys.path if path.startswith(own)]
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__module__", "").startswith("_frozen_importlib")]
    sys.path_hooks[:] = [hook for hook in sys.path_hooks if "editable" not in getattr(hook, "__module__", "")]
    sys.path_importer_cache.clear()


def load_neighbours(*names: str) -> None:
    """Import files beside this one by their paths: behind some walls the folder itself cannot be listed."""
    for name in names or ("wire", "lazy", "offline"):
        specification = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert specification is not None and specification.loader is not None  # so it is of a file whose name ends in .py
        sys.modules[name] = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(sys.modules[name])


def prepare(edition: str) -> None:
    """Import what most workers need, in the process that they are forked from."""
    forget_projects()
    sys.path.insert(0, edition)
    from segkit.malloc import keep_memory

    keep_memory(enough=0)  # the pictures of a gate, which starts its worker anew, are large: they would leave too many holes
    load_neighbours()
    import PIL.Image  # noqa: F401
    import torch
    import torchvision.models  # noqa: F401

    from segkit import checkpoints, layers, notebooks, subject, tracing, upsampling  # noqa: F401

    with torch.device("meta"):  # the first network on the meta device imports a good deal more
        weight = torch.nn.Conv2d(1, 1, 1).weight.data.zero_()
        torch.relu(torch.nn.functional.conv2d(weight, weight) + weight)  # and so does the first run there


def make_subject(settings: dict[str, Any]) -> "LocalSubject":
    import torch
    from lazy import lazy_weights
    from offline import undrawn_downloads

    from segkit.subject import LocalSubject, WeightFile

    torch.set_num_threads(settings["threads"])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    weights = WeightFile(Path(settings["weights"]), {}) if settings.get("weights") else None
    checkpoints = {name: Path(path) for name, path in settings["checkpoints"].items()}
    device = "cuda" if settings.get("gpu") and torch.cuda.is_available() else "cpu"
    weights_made = lazy_weights
    if settings.get("training"):  # begins with real weights, the same every time
        weights_made = contextlib.nullcontext
        torch.manual_seed(0)

    @contextlib.contextmanager
    def construction() -> Iterator[None]:
        with weights_made(), undrawn_downloads():
            yield

    return LocalSubject(Path(settings["scratch"]), weights, checkpoints, device, construction)


def operations(subject: Any, settings: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """The questions the judge may ask, by name: those of ``Subject``, and what the worker answers in another way."""
    import torch

    from segkit.layers import Layer
    from segkit.notebooks import Program, at_home
    from segkit.subject import Subject

    work = Path(settings["scratch"]) / "work"

    def define(program: dict[str, Any]) -> None:
        loaded = Program.from_json(program)
        (work / loaded.folder).mkdir(parents=True, exist_ok=True)
        lay_out(loaded.modules, work)
        with at_home(work, loaded, fresh=True):
            subject.define(loaded)
        os.chdir(work / loaded.folder)  # what is defined may read a text when it is called

    def predict(**asked: Any) -> Any:
        torch.set_num_threads(settings["predict_threads"])
        try:
            return subject.predict(**asked)
        finally:
            torch.set_num_threads(settings["threads"])

    def retrain(handle: str, time: float, how: dict[str, Any]) -> Any:
        load_neighbours("retraining")
        from retraining import retrain

        from segkit.subject import as_student_error

        torch.set_num_threads(settings["predict_threads"])
        with as_student_error("Training it again"):
            return retrain(subject.model(handle), Path(settings["training"]), seconds=time, device=subject.device,
                           out=Path(settings["scratch"]) / "retrained", **how)  # fmt: skip

    named = {name: by_name(getattr(subject, name)) for name in vars(Subject) if not name.startswith("_")}
    return named | {
        "define": define,
        "carrier": lambda layers, like: subject.carrier([Layer.from_json(layer) for layer in layers], like),
        "take_steps": lambda layers, **asked: subject.take_steps(layers=[Layer.from_json(layer) for layer in layers], **asked),
        "describe": lambda handle: [layer.to_json() for layer in subject.describe(handle)],
        "predict": predict,
        "retrain": retrain,
        "hello": lambda: {"device": subject.device},
    }


def by_name(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method that takes all of its arguments by their names, ``args`` and ``kwargs`` too."""
    signature = inspect.signature(method)

    def ask(**given: Any) -> Any:
        bound = inspect.BoundArguments(signature, given)
        return method(*bound.args, **bound.kwargs)

    return ask


def serve(requests: Any, replies: Any, verbs: dict[str, Callable[..., Any]]) -> None:
    """Reply to requests until the judge closes the pipe."""
    from wire import WireError, read_message, write_message

    from segkit.subject import StudentError

    while True:
        try:
            request = read_message(requests)
        except EOFError:
            return
        try:
            reply = {"ok": True, "value": verbs[request["do"]](**request["with"])}
        except StudentError as error:
            reply = {"ok": False, "fault": "student", "cause": error.cause, "message": str(error)[:8000]}
        except Exception as error:
            reply = {"ok": False, "fault": "grader", "message": f"{type(error).__name__}: {error}"[:8000]}
        number = {"number": request.get("number")}
        try:
            write_message(replies, reply | number)
        except WireError as error:
            write_message(replies, number | {"ok": False, "fault": "student", "cause": "code.type", "message": str(error)})


def main() -> None:
    read, write, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    forget_projects()
    sys.path.insert(0, settings["edition"])
    load_neighbours()
    os.chdir(settings["scratch"])
    subject = make_subject(settings)
    verbs = operations(subject, settings)
    quiet()
    sys.argv = ["ipykernel_launcher.py"]
    with os.fdopen(read, "rb") as requests, os.fdopen(write, "wb") as replies:
        serve(requests, replies, verbs)
    os._exit(0)


if __name__ == "__main__":
    main()
