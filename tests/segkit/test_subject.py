"""A student's work in this process: calls with plain values, networks without memory, errors at the student's own line."""

import ast
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from segkit.checkpoints import save_checkpoint
from segkit.layers import Layer
from segkit.notebooks import Chunk, Program
from segkit.subject import LocalSubject, StudentError, WeightFile, plain


class Net(nn.Module):
    def __init__(self, n_class: int = 2) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, n_class, 1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.drop(self.conv(x))


@pytest.fixture
def subject(tmp_path: Path) -> LocalSubject:
    values = np.arange(1, 13, dtype=np.float32)
    (tmp_path / "weights.bin").write_bytes(values.tobytes())
    subject = LocalSubject(
        tmp_path, WeightFile(tmp_path / "weights.bin", {"w": (0, [2, 3, 1, 1]), "b": (6, [2]), "wide": (0, [4, 3, 1, 1])})
    )
    subject.adopt("Net", Net)
    return subject


def define(subject: LocalSubject, source: str, name: str = "f") -> None:
    subject.define(Program(name, "a.ipynb, cell 1", (Chunk("a.ipynb, cell 1", source, tuple(range(len(ast.parse(source).body)))),)))


# --------------------------------------------------------------------------------------------------------------- calls
def test_arguments_are_copies_and_results_are_plain(subject):
    define(subject, "def f(x):\n    x += 1\n    return x, 'text', None, True")
    x = np.zeros(2)
    found = subject.call("f", x)
    assert found[0].tolist() == [1, 1] and found[1:] == ["text", None, True] and x.tolist() == [0, 0]


@pytest.mark.parametrize("body", ["x.long().sum().item()", "x.dim()", "x.unsqueeze(0).size(0) + x.numel() - 1"])
def test_a_function_that_wants_tensors_gets_tensors(subject, body):
    define(subject, f"def f(x):\n    return {body}")
    assert isinstance(subject.call("f", np.array([1, 0])), int)


def test_bytes_arrive_as_the_path_of_a_file(subject):
    define(subject, "def f(path):\n    return open(path, 'rb').read().decode() + type(path).__name__")
    assert subject.call("f", b"content") == "contentstr"


def test_the_generator_of_torch_is_left_as_it_was(subject):
    define(subject, "def f():\n    import torch\n    torch.manual_seed(3)\n    return torch.rand(1)")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    subject.call("f")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("value", "found"), [
    (np.float32(2.5), 2.5), (np.int8(3), 3), (np.bool_(True), True), ((1, [2]), [1, [2]]), ({1: 2}, {"1": 2}), (1j, {"type": "complex"}),
    (object, {"type": "type"}), (b"x", {"type": "bytes"}), (type("Five", (int,), {})(5), {"type": "Five"}),
    (np.array(["a"]), {"type": "ndarray of <U1"}), (range(3), {"type": "range"}),
])  # fmt: skip
def test_plain_values(value, found):
    assert plain(value) == found


def test_tensors_become_arrays_of_their_own():
    tensor = torch.ones(2, requires_grad=True)
    assert isinstance(plain(tensor), np.ndarray) and plain(torch.ones(2, dtype=torch.bfloat16)).dtype == np.float32
    assert plain([torch.ones(1).int()])[0].dtype == np.int32


def test_endless_nesting_ends():
    value: list = []
    value.append(value)
    assert "type" in str(plain(value))


@pytest.mark.parametrize(("body", "cause", "words"), [
    ("raise ValueError('no')", "code.raises", "a.ipynb, cell 1, line 2, in f:  raise ValueError('no')\nValueError: no"),
    ("import sys; sys.exit()", "code.exit", "called sys.exit"), ("raise NotImplementedError", "code.unfinished", "not finished"),
    ("raise MemoryError", "code.memory", "ran out of memory"), ("return f()", "code.raises", "RecursionError"),
    ("raise type('Own', (BaseException,), {'__str__': lambda self: 1 / 0})", "code.raises", "cannot be shown"),
    ("raise StopIteration", "code.raises", "StopIteration"), ("raise GeneratorExit", "code.raises", "GeneratorExit"),
])  # fmt: skip
def test_whatever_a_students_code_raises_is_a_student_error(subject, body, cause, words):
    define(subject, f"def f():\n    {body}")
    with pytest.raises(StudentError) as caught:
        subject.call("f")
    assert caught.value.cause == cause and words in str(caught.value)


def test_an_unknown_name_is_missing_and_the_machine_is_out_of_reach(subject):
    for name in ("nothing", "os:system", "builtins:eval", "subprocess:run"):
        with pytest.raises(StudentError, match="is not defined") as caught:
            subject.call(name, "true")
        assert caught.value.cause == "code.missing"


# ------------------------------------------------------------------------------------------------------------ networks
def test_a_network_on_the_meta_device_takes_hidden_weights_and_gives_their_scores(subject):
    handle = subject.build("Net", meta=True)
    assert subject.shapes(handle) == {"conv.weight": (2, 3, 1, 1), "conv.bias": (2,)}
    subject.load(handle, {"conv.weight": "w", "conv.bias": "b"})
    x = np.ones((1, 3, 1, 2), np.float32)
    assert subject.forward(handle, x)[0, :, 0, 0].tolist() == [6 + 7, 15 + 8]
    assert subject.describe(handle)[0] == Layer("conv", "Conv2d", {
        "in_channels": 3, "out_channels": 2, "kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "groups": 1,
         "bias": True})  # fmt: skip


def test_parameters_take_a_place_of_the_weight_file_or_an_array(subject):
    handle = subject.build("Net")
    subject.load(handle, {"conv.weight": [1, [2, 3, 1, 1]], "conv.bias": np.float32([9, -1])})
    look = subject.sample(handle, {"conv.weight": None, "conv.bias": None})
    assert look["conv.weight"].reshape(-1).tolist() == [2, 3, 4, 5, 6, 7] and look["conv.bias"].tolist() == [9, -1]


def test_two_networks_of_the_same_weights_share_nothing_that_is_written_to(subject):
    one, two = subject.build("Net", meta=True), subject.build("Net", meta=True)
    for handle in (one, two):
        subject.load(handle, {"conv.weight": "w", "conv.bias": "b"})
    subject.change(one, "conv.weight", 4, 100.0)
    look = {"conv.weight": np.array([0, 4]), "conv.bias": None}
    assert subject.sample(one, look)["conv.weight"].tolist() == [1, 100]
    assert subject.sample(two, look)["conv.weight"].tolist() == [1, 5] and subject.sample(two, look)["conv.bias"].tolist() == [7, 8]


def test_weights_of_another_size_are_cut_or_filled_with_zeros(subject):
    wide, narrow = subject.build("Net", 4), subject.build("Net", 1)
    subject.load(wide, {"conv.weight": "w"}, zero=["conv.bias"])
    subject.load(narrow, {"conv.weight": "wide"})
    assert subject.sample(wide, {"conv.weight": None})["conv.weight"].tolist() == [1, 2, 3, 4, 5, 6] + [0] * 6
    assert subject.sample(narrow, {"conv.weight": None})["conv.weight"].tolist() == [1, 2, 3]
    assert subject.sample(wide, {"conv.bias": None})["conv.bias"].tolist() == [0] * 4


def test_dropout_follows_the_mode_and_the_seed(subject):
    handle, x = subject.build("Net"), np.ones((1, 3, 8, 8), np.float32)
    assert np.array_equal(subject.forward(handle, x, seed=1), subject.forward(handle, x, seed=2))
    one, two = (subject.forward(handle, x, train=True, seed=s) for s in (1, 2))
    assert not np.array_equal(one, two) and np.array_equal(one, subject.forward(handle, x, train=True, seed=1))


@pytest.mark.parametrize(("result", "cause", "words"), [
    ("None", "forward.type", "got NoneType"), ("(x, x)", "forward.type", "got tuple"), ("x.numpy()", "forward.type", "got ndarray"),
    ("x.expand(20000, 3, 100, 100)", "shape.size", "expected an output of the image's size"), ("x.nothing", "code.raises", "nothing"),
])  # fmt: skip
def test_what_forward_must_not_return(subject, result, cause, words):
    subject.adopt("f", type("f", (nn.Module,), {"forward": eval(f"lambda self, x: {result}")}))
    handle = subject.build("f")
    with pytest.raises(StudentError) as caught:
        subject.forward(handle, np.ones((1, 3, 100, 100), np.float32))
    assert caught.value.cause == cause and words in str(caught.value)


@pytest.mark.parametrize(("cls", "cause", "words"), [
    (type("A", (nn.Module,), {"__init__": lambda self, classes=3: None}), "code.signature", "Expected `def __init__(self, n_class=12)`"),
    (lambda n_class: 5, "code.type", "expected an nn.Module, but got int"),
    (type("B", (nn.Module,), {"__init__": lambda self, n_class: 1 / 0}), "code.raises", "ZeroDivisionError"),
])  # fmt: skip
def test_a_class_of_another_kind_is_named(subject, cls, cause, words):
    subject.adopt("Other", cls)
    with pytest.raises(StudentError) as caught:
        subject.build("Other", n_class=5)
    assert caught.value.cause == cause and words in str(caught.value)


def test_a_carrier_has_just_the_layers_that_were_named(subject):
    handle = subject.carrier(subject.describe(subject.build("Net")))
    assert subject.shapes(handle) == {"conv.weight": (2, 3, 1, 1), "conv.bias": (2,)}


@pytest.mark.parametrize("meta", [True, False])
def test_arrays_are_loaded_where_an_assignment_wrote_no_weights(tmp_path, meta):
    subject = LocalSubject(tmp_path)
    subject.adopt("Net", Net)
    handle = subject.build("Net", meta=meta)
    weight = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)
    subject.load(handle, {"conv.weight": weight, "conv.bias": np.array([10, 20], np.float32)})
    x = np.ones((1, 3, 2, 2), np.float32)
    assert np.array_equal(subject.forward(handle, x)[0, :, 0, 0], [0 + 1 + 2 + 10, 3 + 4 + 5 + 20])


# --------------------------------------------------------------------------------------------------------- checkpoints
@pytest.mark.parametrize(("meta", "dtype"), [(True, None), (False, None), (True, torch.float16), (False, torch.bfloat16)])
def test_a_checkpoint_is_loaded_and_predicts_label_maps(tmp_path, subject, meta, dtype):
    state = {"conv.weight": torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None], "conv.bias": torch.zeros(2)}
    subject.checkpoints = {"net": save_checkpoint(tmp_path / "net.safetensors", state, dtype)}
    handle = subject.build("Net", meta=meta)
    subject.load_checkpoint(handle, "net")
    x = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    found = subject.predict(handle, x)
    assert found.dtype == np.uint8 and np.array_equal(found, (x[1] > x[0]).astype(np.uint8))


def test_a_checkpoint_that_does_not_fit_is_the_students_fault(tmp_path, subject):
    (tmp_path / "net.pth").write_bytes(io.BytesIO(b"rubbish").getvalue())
    subject.checkpoints = {"net": tmp_path / "net.pth"}
    with pytest.raises(StudentError) as caught:
        subject.load_checkpoint(subject.build("Net"), "net")
    assert caught.value.cause == "checkpoint.unreadable"


def test_a_checkpoint_of_other_layers_is_named_without_the_folders_of_this_machine(tmp_path, subject):
    subject.checkpoints = {"net": save_checkpoint(tmp_path / "net.safetensors", {"conv.weight": torch.zeros(5, 3, 1, 1)})}
    with pytest.raises(StudentError, match=r"^net.safetensors does not fit Net:") as caught:
        subject.load_checkpoint(subject.build("Net"), "net")
    assert str(tmp_path) not in str(caught.value)


def test_an_output_of_another_size_is_no_prediction(subject):
    subject.adopt("Half", type("Half", (nn.Module,), {"forward": lambda self, x: x[..., ::2]}))
    with pytest.raises(StudentError, match=r"expected logits of shape \(1, n_class, 4, 6\), but got \(1, 3, 4, 3\)") as caught:
        subject.predict(subject.build("Half"), np.ones((3, 4, 6), np.float32))
    assert caught.value.cause == "shape.size"


def test_a_class_with_a_load_state_dict_of_its_own_is_filled(tmp_path, subject):
    class Own(Net):
        def load_state_dict(self, state_dict, strict=True):
            return super().load_state_dict(state_dict, strict)

    save_checkpoint(tmp_path / "own.safetensors", Own())
    subject.adopt("Own", Own)
    subject.checkpoints["own"] = tmp_path / "own.safetensors"
    with pytest.raises(StudentError, match="Loading the checkpoint failed"):  # on the meta device torch wants assign=True
        subject.load_checkpoint(subject.build("Own", meta=True), "own")
    handle = subject.build("Own")
    subject.load_checkpoint(handle, "own")
    assert subject.predict(handle, np.zeros((3, 2, 2), np.float32)).shape == (2, 2)


@pytest.mark.parametrize("ask", [
    lambda s, h: s.shapes(h), lambda s, h: s.load(h, {"conv.weight": "w"}), lambda s, h: s.sample(h, {"conv.weight": None}),
    lambda s, h: s.change(h, "conv.weight", 0, 1.0),
])  # fmt: skip
def test_a_network_whose_own_listing_of_modules_fails_is_a_students_mistake(subject, ask):
    class Broken(Net):
        def named_modules(self, *args, **more):
            raise ValueError("not today")

    subject.adopt("Broken", Broken)
    with pytest.raises(StudentError, match="not today") as found:
        ask(subject, subject.build("Broken"))
    assert found.value.cause == "code.raises"


# -------------------------------------------------------------------------------------------------- causes by their name
@pytest.mark.skipif(torch.cuda.is_available(), reason="here the device is there")
@pytest.mark.parametrize("body", [
    "torch.as_tensor(x).cuda()", "torch.as_tensor(x).to('cuda')", "torch.zeros(2, device='cuda')", "torch.as_tensor(x).to('cuda:0')",
    "torch.cuda.FloatTensor(2)", "x.cuda()", "torch.nn.Linear(2, 2).cuda()", "torch.as_tensor(x).to(torch.device('mps'))",
    "torch.cuda.set_device(0)", "torch.cuda.current_device()", "torch.as_tensor(x).type(torch.cuda.FloatTensor)",
])  # fmt: skip
def test_a_device_written_into_the_code_is_named_with_its_line(subject, body):
    define(subject, f"import torch\ndef f(x):\n    return {body}")
    with pytest.raises(StudentError) as caught:
        subject.call("f", np.zeros(2, np.float32))
    assert caught.value.cause == "code.device" and "device hard-coded" in str(caught.value), caught.value
    assert f"a.ipynb, cell 1, line 3, in f:  return {body}" in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the device is there")
def test_a_device_in_a_network_is_named_wherever_it_stands(subject):
    subject.adopt("Built", type("Built", (Net,), {"__init__": lambda self: (Net.__init__(self), self.cuda())[0]}))
    subject.adopt("Run", type("Run", (Net,), {"forward": lambda self, x: Net.forward(self, x.cuda())}))
    for act in (lambda: subject.build("Built"), lambda: subject.build("Built", meta=True),
                lambda: subject.forward(subject.build("Run"), np.ones((1, 3, 4, 4), np.float32)),
                lambda: define(subject, "import torch\nf = torch.zeros(1).cuda()")):  # fmt: skip
        with pytest.raises(StudentError) as caught:
            act()
        assert caught.value.cause == "code.device"


@pytest.mark.parametrize(("source", "words"), [
    ("def f(gts, preds, n):\n    return 1", ["with 1 argument", "'preds'", "found `def f(gts, preds, n)`"]),
    ("def f():\n    return 1", ["too many positional arguments", "found `def f()`"]),
    ("def f(*, x):\n    return 1", ["found `def f(*, x)`"]),
    ("class f:\n    def __init__(self, a, b):\n        pass", ["found `f(a, b)`"]),
    ("f = lambda: 3", ["found `def f()`"]),
])  # fmt: skip
def test_a_function_of_other_arguments_is_named_with_both_signatures(subject, source, words):
    define(subject, source)
    with pytest.raises(StudentError) as caught:
        subject.call("f", np.zeros(2))
    assert caught.value.cause == "code.signature" and all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("source", [
    "def f(x, eps=1e-6, *, name=None):\n    return 1", "def f(*args, **more):\n    return 1", "f = lambda table: 1",
    "import functools\nf = functools.partial(lambda n, x: 1, 3)", "import functools\n@functools.lru_cache\ndef g():\n    return 1\n"
    "def f(x):\n    return g()", "class C:\n    def __call__(self, x):\n        return 1\nf = C()",
    # a decorator that gives an argument of its own
    "import functools\ndef given(g):\n    @functools.wraps(g)\n    def wrapper(x):\n        return g(x, 5)\n    return wrapper\n"
    "@given\ndef f(x, n):\n    return n - 4",
])  # fmt: skip
def test_whatever_can_be_called_is_called(subject, source):
    define(subject, source)
    assert subject.call("f", np.zeros(2)) == 1


def test_a_type_error_from_the_inside_is_no_signature(subject):
    define(subject, "def g(a, b):\n    pass\ndef f(x):\n    return g(1)")
    with pytest.raises(StudentError, match="missing 1 required positional argument: 'b'") as caught:
        subject.call("f", np.zeros(2))
    assert caught.value.cause == "code.raises"


def test_what_is_no_function_at_all_is_named(subject):
    define(subject, "f = 3")
    with pytest.raises(StudentError, match="expected a function or class, but got int") as caught:
        subject.call("f", 1)
    assert caught.value.cause == "code.type"


def test_of_two_tries_the_first_error_is_told(subject):
    define(subject, "import torch\ndef f(x):\n    y = torch.from_numpy(x)\n    return y.reshape(7)")
    with pytest.raises(StudentError, match=r"line 4.*\n.*shape '\[7\]' is invalid"):
        subject.call("f", np.zeros(2))


def test_code_that_is_written_for_tensors_is_told_its_error_with_tensors(subject):
    define(subject, "def f(x):\n    return x.long().nothing()")
    with pytest.raises(StudentError, match="'Tensor' object has no attribute 'nothing'"):
        subject.call("f", np.zeros(2))


def test_what_torch_has_not_implemented_is_no_stub(subject):
    define(subject, "import torch\ndef f():\n    return torch.zeros(2, device='meta').to('cpu')")
    with pytest.raises(StudentError, match="meta tensor") as caught:
        subject.call("f")
    assert caught.value.cause == "code.raises"


@pytest.mark.parametrize(("forward", "found"), [
    (lambda self, x, size: self.conv(x), "`def forward(self, x, size)`"), (lambda self: 0, "`def forward(self)`"),
    (lambda self, x, *, size: self.conv(x), "`def forward(self, x, *, size)`"),
])  # fmt: skip
def test_a_forward_that_needs_more_than_the_images_is_named_with_both_signatures(subject, monkeypatch, forward, found):
    monkeypatch.setattr(Net, "forward", forward)
    images = np.zeros((1, 3, 8, 8), np.float32)
    for ask in (subject.forward, subject.predict):
        with pytest.raises(StudentError, match=r"Net.forward cannot be called with the images alone") as caught:
            ask(subject.build("Net"), images)
        assert caught.value.cause == "code.signature" and "Expected `def forward(self, x)`, found " + found in str(caught.value)


@pytest.mark.parametrize("forward", [lambda self, x, size=None: self.conv(x), lambda self, *x, **how: self.conv(*x)])
def test_a_forward_with_further_arguments_that_may_be_left_out_runs(subject, monkeypatch, forward):
    monkeypatch.setattr(Net, "forward", forward)
    assert subject.forward(subject.build("Net"), np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 2, 8, 8)


def test_a_network_with_its_own_way_to_be_called_is_called_that_way(subject, monkeypatch):
    monkeypatch.setattr(Net, "forward", lambda self, x, size: self.conv(x))
    monkeypatch.setattr(Net, "__call__", lambda self, x: self.forward(x, 8), raising=False)
    assert subject.forward(subject.build("Net"), np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 2, 8, 8)


@pytest.mark.parametrize(("body", "first"), [
    # the error of the retry with tensors would be another one, and nobody wrote tensors
    ("y = x.astype(float)\n    return y + {}", "unsupported operand type"),
    ("x = x.copy()\n    return len(x.shape, 3)", "len() takes exactly one argument"),
    ("return x.nonsense", "'numpy.ndarray' object has no attribute 'nonsense'"),
])  # fmt: skip
def test_the_first_error_is_told_and_not_that_of_the_retry(subject, body, first):
    define(subject, f"def f(x):\n    {body}")
    with pytest.raises(StudentError) as caught:
        subject.call("f", np.ones(3))
    assert first in str(caught.value) and "Tensor" not in str(caught.value)


def test_code_that_was_written_for_tensors_tells_the_error_that_it_has_with_them(subject):
    define(subject, "def f(x):\n    return x.long()[7]")
    with pytest.raises(StudentError, match="IndexError: index 7 is out of bounds"):
        subject.call("f", np.ones(3))
