"""Names that reach a definition in ways other than a plain import or assignment, as in the kernel after Restart and run all."""

import json
import math
import os
import sys
from pathlib import Path

import pytest

from segkit.notebooks import Cell, Document, Program, Unrunnable, Workbook, at_home, execute, open_folder, student_traceback

CELLS = {"answer": "answer"}


@pytest.fixture(autouse=True)
def _own_modules_forgotten():
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("helpers", "models", "pkg", "deep", "layers", "settings"):
            del sys.modules[name]
    sys.path[:] = path


def work(folder: Path, cells: list[str], files: dict[str, str] | None = None, name: str = "a.ipynb") -> Workbook:
    """A hand-in: one notebook and further files."""
    content = {"cells": [{"cell_type": "code", "metadata": {}, "source": cell} for cell in cells], "nbformat": 4}
    for path, text in {name: json.dumps(content), **(files or {})}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return open_folder(folder, CELLS)


def run(workbook: Workbook, folder: Path, name: str = "answer"):
    """What the worker does: it gets the program as data and an empty folder, never the hand-in itself."""
    program = Program.from_json(json.loads(json.dumps(workbook.program(workbook.find(name)).to_json())))
    root = folder / "worker"
    for path, source in program.modules.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(source)
    (root / program.folder).mkdir(parents=True, exist_ok=True)
    with at_home(root, program):
        return execute(program)[name]


BOOM = "raise RuntimeError('this cell must not run')"
ANSWER = "def answer():\n    return value()"
VALUE = "def value():\n    return 42\n"
NET = "class Net:\n    def answer(self):\n        return value()\n"


@pytest.mark.parametrize(("cells", "files"), [
    (["from helpers import *", ANSWER], {"helpers.py": VALUE}),
    (["from math import *", "def answer():\n    return floor(42.5)"], {}),
    (["from math import *\nfrom helpers import *", "def answer():\n    return floor(value())"], {"helpers.py": VALUE}),
    (["from pkg.deep import *", ANSWER], {"pkg/__init__.py": "", "pkg/deep.py": "from .layers import *\n", "pkg/layers.py": VALUE}),
    (["def value():\n    return 1", "from helpers import *", ANSWER], {"helpers.py": VALUE}),  # the later one hides the earlier
    (["from helpers import *", "def value():\n    return 42", ANSWER], {"helpers.py": "def value():\n    return 1\n"}),
    (["floor = None", "from math import *", "def answer():\n    return floor(42.5)"], {}),
    (["%run helpers.py", ANSWER], {"helpers.py": VALUE + BOOM}),
    (["%run -i helpers", ANSWER], {"helpers.py": VALUE}),
    (["%run ./helpers.ipynb", ANSWER], {"helpers.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": VALUE}]})}),
    (["value = lambda: 1", "%run helpers.py", ANSWER], {"helpers.py": VALUE}),
    (["get_ipython().run_line_magic('run', 'helpers.py')", ANSWER], {"helpers.py": VALUE}),
    (["exec(open('helpers.py').read())", ANSWER], {"helpers.py": VALUE}),
    (["import nbimporter\nfrom helpers import value", ANSWER],
     {"helpers.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": VALUE}, {"cell_type": "code", "source": BOOM}]})}),
    (["%pylab inline", "def answer():\n    return int(array([40, 2]).sum() + np.zeros(1)[0])"], {}),
    (["%load_ext autoreload\n%autoreload 2\n%matplotlib inline", "def answer():\n    return 42"], {}),
    (["%%writefile models.py\n" + VALUE, "from models import value", ANSWER], {}),
    (["%%writefile models.py\nN = 42", "%%writefile -a models.py\ndef value():\n    return N", "from models import *", ANSWER], {}),
    (["%%writefile models.py\n" + VALUE, "from models import value", ANSWER], {"models.py": "def value():\n    return 1\n"}),
    (["%%file pkg/models.py\nfrom .layers import value", "from pkg.models import value", ANSWER],
     {"pkg/layers.py": VALUE, "pkg/__init__.py": ""}),
    (["import sys\nsys.path.append('src')", "from helpers import value", ANSWER], {"src/helpers.py": VALUE}),
    (["import sys, os\nsys.path.insert(0, os.path.join(os.getcwd(), 'src'))", "from helpers import value", ANSWER],
     {"src/helpers.py": VALUE}),
    (["import sys\nif 'src' not in sys.path:\n    sys.path.append('src')", "import helpers", "def answer():\n    return helpers.value()"],
     {"src/helpers.py": VALUE}),
    (["import os\nos.chdir('src')", "import sys\nsys.path.append('.')\nfrom helpers import value", ANSWER], {"src/helpers.py": VALUE}),
    (["import sys\nsys.path.append('src')", "def answer():\n    from helpers import value\n    return value()"], {"src/helpers.py": VALUE}),
])  # fmt: skip
def test_names_of_other_files_are_there(tmp_path, cells, files):
    assert run(work(tmp_path, [BOOM, *cells, BOOM], files), tmp_path)() == 42


@pytest.mark.parametrize("cells", [
    ["cfg = {'pad': 1}", "cfg.update(pad=42)", "def answer():\n    return cfg['pad']"],
    ["cfg = {'pad': 1, 'x': 0}", "cfg['pad'] = 42\ndel cfg['x']", "def answer():\n    return cfg['pad'] * (len(cfg) == 1)"],
    ["import argparse\nparser = argparse.ArgumentParser()", "parser.add_argument('--pad', type=int, default=42)",
     "args = parser.parse_args()", "def answer():\n    return args.pad"],
    ["import argparse\np = argparse.ArgumentParser()\np.add_argument('--pad', type=int, default=1)\np.add_argument('-f')",
     "args, _ = p.parse_known_args()", "args.pad = 42", "def answer():\n    return args.pad"],
    ["class Cfg: pass", "setattr(Cfg, 'pad', 42)", "def answer():\n    return Cfg.pad"],
    ["class Cfg: pass\ncfg = Cfg()", "vars(cfg).update(pad=42)", "def answer():\n    return cfg.pad"],
    ["sizes = []", "for size in (20, 22):\n    sizes.append(size)", "def answer():\n    return sum(sizes)"],
    ["sizes = []", "sizes.append(20)\nsizes.extend([22])", "SIZES = tuple(sizes)", "def answer():\n    return sum(SIZES)"],
    ["table = {}", "for name in ('a', 'b'):\n    if name == 'b':\n        table[name] = 42", "def answer():\n    return table['b']"],
    ["for n in range(43):\n    last = n", "def answer():\n    return last"],
    ["with open(__import__('os').devnull) as f:\n    text = f.read()", "def answer():\n    return 42 + len(text)"],
    ["if (n := 42) > 1:\n    pass", "def answer():\n    return n"],
    ["import no_such_module_here, math", "def answer():\n    return math.floor(42.5)"],
    ["from math import floor, no_such_thing", "def answer():\n    return floor(42.5)"],
    ["if __name__ == '__main__':\n    pad = 42", "def answer():\n    return pad"],
    ["losses = []", f"for x in range(3):\n    {BOOM}\n    optimizer.step()\n    losses.append(x)",
     "def answer():\n    return 42 + len(losses)"],
    ["import torch\nmodel = torch.nn.Linear(1, 1)", f"model.fit({BOOM[6:]})", "def answer():\n    return 42 if model else 0"],
    ["class Cfg: pass\ncfg = Cfg()", "def configure(c):\n    c.pad = 42", "configure(cfg)", "def answer():\n    return cfg.pad"],
    ["cfg = {}", "def inner(d):\n    d.update(pad=42)\ndef outer(n, into):\n    inner(into)", "outer(1, into=cfg)",
     "def answer():\n    return cfg['pad']"],
    ["cfg = {'a': {}}", "def fill(part, n):\n    part['pad'] = n\n    return part", "kept = fill(cfg['a'], 42)",
     "def answer():\n    return cfg['a']['pad']"],
    ["TABLE = [0]", "def fill():\n    TABLE[0] = 42", "fill()", "def answer():\n    return TABLE[0]"],
    ["PAD = 1", "def choose():\n    global PAD\n    PAD = 42", "choose()", "def answer():\n    return PAD"],
    ["import numpy as np\ntable = np.zeros(3)", "np.put(table, [1], [42])", "def answer():\n    return int(table[1])"],
    ["import random\norder = [1, 2, 3, 4, 5, 6, 7, 8]", "rng = random.Random(1)", "rng.shuffle(order)",
     "def answer():\n    return 42 if order != sorted(order) else 0"],
    ["import torch\nweight = torch.zeros(1)", "torch.nn.init.constant_(weight, 42)", "def answer():\n    return int(weight)"],
    ["cfg = [42]", "def again(c):\n    again(c)", "again(cfg)", "def answer():\n    return cfg[0]"],
    ["def get_cfg(kept={}):\n    return kept", "def extend(c):\n    c['pad'] = 42", "extend(get_cfg())",
     "def answer():\n    return get_cfg()['pad']"],
])  # fmt: skip
def test_statements_that_change_a_needed_name_belong_to_it(tmp_path, cells):
    assert run(work(tmp_path, [BOOM, *cells, BOOM]), tmp_path)() == 42


@pytest.mark.parametrize("statement", ["small = light(Net())", "light(Net())", "light(net=Net())"])
def test_a_function_that_changes_a_new_object_changes_nothing_of_its_class(tmp_path, statement):
    cells = ["class Net:\n    k = 42", "def light(net):\n    net.k = 1\n    return net", statement, "def answer():\n    return Net.k"]
    book = work(tmp_path, cells)
    assert statement not in [chunk.source for chunk in book.program(book.find("answer")).chunks]


@pytest.mark.parametrize("statement", [
    "print(cfg)", "show(cfg)", "evaluate(cfg, loader)", "main(cfg)", "run(cfg)", "look(cfg)", "new = copied(cfg)", "check_settings(cfg)",
    "fetch(cfg)", "plt.plot(cfg)", "rename(cfg)",
])  # fmt: skip
def test_calls_that_do_not_fill_a_needed_name_are_not_run(tmp_path, statement):
    helpers = (
        "def main(c):\n    run(c)\n"
        "def run(c):\n    c['epochs'] = 3\n    for epoch in range(3):\n        loss.backward()\n"
        "def look(c):\n    print(c)\n    return len(c)\n"
        "def copied(c):\n    c = dict(c)\n    c['n'] = 1\n    return c\n"
        "def fetch(c):\n    c['net'] = torchvision.models.vgg16(pretrained=True)\n"
        "def rename(c):\n    c = {}\n    c['n'] = 2\n"
    )
    book = work(tmp_path, ["cfg = {'n': 42}", helpers, statement, "def answer():\n    return cfg['n']"])
    assert statement not in [chunk.source for chunk in book.program(book.find("answer")).chunks]


def test_an_imported_function_that_fills_a_needed_name_is_called(tmp_path):
    files = {"settings.py": "def course_values(c):\n    c['pad'] = 42\n"}
    cells = ["cfg = {}", "import settings", "settings.course_values(cfg)", "def answer():\n    return cfg['pad']"]
    assert run(work(tmp_path, cells, files), tmp_path)() == 42


def test_the_folder_of_the_notebook_is_imported_from_before_the_hand_in(tmp_path):
    files = {"hw/helpers.py": VALUE, "helpers.py": "def value():\n    return 1\n"}
    assert run(work(tmp_path, ["from helpers import value", ANSWER], files, "hw/a.ipynb"), tmp_path)() == 42
    assert Path.cwd() != tmp_path / "worker" / "hw" and os.path.isabs(sys.path[-1])


def test_a_helper_of_the_hand_in_serves_a_notebook_one_folder_down(tmp_path):
    assert run(work(tmp_path, ["import sys\nsys.path.append('..')", "from helpers import value", ANSWER],
                    {"helpers.py": VALUE}, "hw/a.ipynb"), tmp_path)() == 42  # fmt: skip


@pytest.mark.parametrize(("cells", "words"), [
    (["import no_such_cv", "def answer():\n    return no_such_cv.x"], ["cell 1, line 1", "no_such_cv is not installed where"]),
    (["w = open('weights.bin')", "x = w.read()", "def answer():\n    return x"],
     ["cell 1, line 1", "'weights.bin': it is not there where"]),
    (["import os\nw = open(os.path.join(os.getcwd(), 'ids.csv'))", "def answer():\n    return w"],
     ["directory: 'ids.csv': it is not there"]),
    (["import numpy as np\nw = np.loadtxt('ids.csv')", "def answer():\n    return w"],
     ["ids.csv not found: it is not there where work is graded"]),
    (["from no_such_cv import *", "def answer():\n    return resize(1)"], ["cell 1, line 1", "no_such_cv is not installed"]),
    (["n = 1 / 0", "m = n + 1", "def answer():\n    return m"], ["cell 1, line 1", "ZeroDivisionError"]),
])  # fmt: skip
def test_what_failed_is_told_where_its_name_is_missed(tmp_path, cells, words):
    answer = run(work(tmp_path, cells), tmp_path)
    with pytest.raises(NameError) as caught:
        answer()
    told = student_traceback(caught.value)
    assert all(word in told for word in words) and "NameError" not in told


def test_a_statement_that_would_have_filled_what_is_missed_is_told(tmp_path):
    cells = ["cfg = {}", "def fill(c):\n    c['pad'] = int(open('pad.txt').read())", "fill(cfg)", "def answer():\n    return cfg['pad']"]
    answer = run(work(tmp_path, cells), tmp_path)
    with pytest.raises(KeyError) as caught:
        answer()
    told = student_traceback(caught.value)
    assert "KeyError: 'pad'\nThis failed before, and may be why:\n" in told and "cell 3, line 1" in told and "pad.txt" in told


def test_a_chain_of_functions_of_any_length_is_cut_out(tmp_path):
    chain = "".join(f"def f{n}(c):\n    f{n + 1}(c)\n" for n in range(2000))
    book = work(tmp_path, ["cfg = [42]", chain + "def f2000(c):\n    c.append(1)\n", "f0(cfg)", "def answer():\n    return cfg[0]"])
    assert book.program(book.find("answer")).chunks


def test_a_folder_that_a_kernel_does_not_import_from_is_added_by_who_asks_for_it(tmp_path):
    cells = ["import sys, pathlib\nroot = pathlib.Path.cwd().parent",
             "if str(root) not in sys.path:\n    sys.path += [str(root), str(root / 'src')]", "from helpers import value",
             ANSWER]  # fmt: skip
    assert run(work(tmp_path, cells, {"src/helpers.py": VALUE}, "hw/a.ipynb"), tmp_path)() == 42


def test_what_failed_is_told_where_the_definition_needs_it_at_once(tmp_path):
    with pytest.raises(Unrunnable) as caught:
        run(work(tmp_path, ["import no_such_cv", "N = no_such_cv.n", "def answer(n=N):\n    return n"]), tmp_path)
    assert "no_such_cv is not installed where work is graded" in str(caught.value) and "cell 1, line 1" in str(caught.value)


@pytest.mark.parametrize(
    "asked", ["import graphlib\nTOP = graphlib.top(1)", "from graphlib import top\nTOP = top(1)", "import graphlib.top as TOP"]
)
def test_a_script_that_another_module_hides_is_named(tmp_path, asked):
    """In a notebook it may have been found: a kernel looks in its folder first."""
    code = work(tmp_path, [asked, "def answer(top=TOP):\n    return top"], {"graphlib.py": "def top(x):\n    return x"})
    with pytest.raises(Unrunnable) as caught:
        run(code, tmp_path)
    assert "your graphlib.py is never imported, for Python or a package has a module of that name: rename it" in str(caught.value)


def test_methods_of_two_classes_do_not_overwrite_each_other(tmp_path):
    cells = ["class First:\n    def copy(self):\n        return 1", "class Second:\n    def copy(self):\n        return 2"]
    work(tmp_path, cells)
    workbook = open_folder(tmp_path, {"one": "First", "copy": "copy", "two": "Second"})
    assert workbook.find("copy").owner == "First"


def test_hostile_sources_are_read_in_linear_time(tmp_path):
    star = "from helpers import *\n" * 3000
    workbook = work(tmp_path, [star + "x.a.b()\n" * 3000, ANSWER], {"helpers.py": VALUE + "".join(f"n{i} = {i}\n" for i in range(3000))})
    program = workbook.program(workbook.find("answer"))
    assert program.modules and math.isfinite(len(program.chunks))


def test_an_import_that_is_had_for_what_it_does_comes_along():
    notebook = Document("nb/a.ipynb", [Cell("nb/a.ipynb", n, source) for n, source in enumerate(
        ["import setpath", "from tool import twice", "def answer():\n    return twice(21)"], 1)])  # fmt: skip
    scripts = [Document(name, [Cell(name, 0, source)]) for name, source in (
        ("nb/setpath.py", "import sys"), ("lib/tool.py", "def twice(x):\n    return 2 * x"))]  # fmt: skip
    book = Workbook([notebook, *scripts], {})
    program = book.program(book.find("answer"))
    assert "import setpath" in [chunk.source for chunk in program.chunks]


HUGE = f"0x{'f' * 6000}"  # Python reads it, and refuses to write it out in digits
LONG = "+".join(["'a'"] * 800)


@pytest.mark.parametrize("file", [HUGE, LONG, f"'a' + str({HUGE})"])
def test_code_that_cannot_be_written_out_is_read_all_the_same(tmp_path, file):
    unused = f"import torch\ndef unused():\n    return torch.load({file})\nunused()"
    workbook = work(tmp_path, [unused, VALUE, ANSWER])
    assert run(workbook, tmp_path)() == 42
    weights = f"import torch\ndef weights():\n    return torch.load({file})\nWEIGHTS = weights()"
    program = workbook.program(workbook.find("answer"))
    again = work(tmp_path, [weights, f"def answer():\n    return WEIGHTS, {file}"])
    assert again.program(again.find("answer")).digest not in (program.digest, "")
