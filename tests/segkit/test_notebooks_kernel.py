"""What a kernel does for a definition besides plain statements: decorators that act, kept results, names from nowhere, display."""

import unicodedata

import pytest

from segkit.notebooks import Unrunnable, open_folder
from tests.segkit.test_notebooks_names import ANSWER, BOOM, VALUE, _own_modules_forgotten, run, work  # noqa: F401

REGISTER = "KNOWN = {}\ndef register(f):\n    KNOWN[f.__name__] = f\n    return f"
NAMED = "KNOWN = {}\ndef register(name):\n    def keep(f):\n        KNOWN[name] = f\n        return f\n    return keep"
REGISTRY = "class Registry:\n    def __init__(self):\n        self.known = {}\n    def add(self, f):\n        self.known[f.__name__] = f\n"
ADD = "def add_to_class(owner):\n    def add(f):\n        setattr(owner, f.__name__, f)\n    return add"
PATCH = "def patch(f):\n    setattr(f.__annotations__['self'], f.__name__, f)"
PARSER = "import argparse\nparser = argparse.ArgumentParser()"
PAD = "def answer():\n    return PAD"


@pytest.mark.parametrize("cells", [
    [REGISTER, f"@register\n{VALUE}", "def answer():\n    return KNOWN['value']()"],
    [REGISTER, "@register\nclass Crop:\n    pad = 42", "def answer():\n    return KNOWN['Crop'].pad"],
    [NAMED, f"@register('crop')\n{VALUE}", "def answer():\n    return KNOWN['crop']()"],
    [REGISTRY + "crops = Registry()", f"@crops.add\n{VALUE}", "def answer():\n    return crops.known['value']()"],
    [ADD, "class Net:\n    pass", "@add_to_class(Net)\ndef pad(self):\n    return 42", "def answer():\n    return Net().pad()"],
    [PATCH, "class Net:\n    pass", "@patch\ndef pad(self: Net):\n    return 42", "def answer():\n    return Net().pad()"],
    ["from functools import singledispatch", "@singledispatch\ndef pad(x):\n    return 1", "@pad.register(int)\ndef _(x):\n    return 42",
     "def answer():\n    return pad(1)"],
])  # fmt: skip
def test_what_a_decorator_does_beside_its_function_is_done(tmp_path, cells):
    assert run(work(tmp_path, [BOOM, *cells, BOOM]), tmp_path)() == 42


@pytest.mark.parametrize("cells", [
    [PARSER, "kept = parser.add_argument('--pad', type=int, default=42)", "args = parser.parse_args([])",
     "def answer():\n    return args.pad"],
    [PARSER, "group = parser.add_argument_group('net')\ngroup.add_argument('--pad', type=int, default=42)", "args = parser.parse_args([])",
     "def answer():\n    return args.pad"],
    ["cfg = {}", "old = cfg.setdefault('pad', 42)", "def answer():\n    return cfg['pad']"],
    ["sizes = []", "_ = [sizes.append(size) for size in (20, 22)]", "def answer():\n    return sum(sizes)"],
    ["class Cfg: pass", "[setattr(Cfg, name, value) for name, value in {'pad': 42}.items()]", "def answer():\n    return Cfg.pad"],
    ["sizes = []", "assert sizes.append(42) is None", "def answer():\n    return sizes[0]"],
    ["cfg = {'net': {}}", "net = cfg['net']\nnet['pad'] = 42", "def answer():\n    return cfg['net']['pad']"],
])  # fmt: skip
def test_a_call_is_made_where_its_result_is_kept_and_by_another_name_too(tmp_path, cells):
    assert run(work(tmp_path, [BOOM, *cells, BOOM]), tmp_path)() == 42


@pytest.mark.parametrize("cells", [
    ["match 1 > 0:\n    case True:\n        PAD = 42\n    case _:\n        PAD = 1", PAD],
    ["match {'pad': 42, 'x': 1}:\n    case {'pad': PAD, **rest}:\n        pass", "def answer():\n    return PAD + len(rest) - 1"],
    ["try:\n    PAD = 42\nexcept* ValueError:\n    PAD = 1", PAD],
    ["async def fetch():\n    return 42", "PAD = await fetch()", PAD],
    ["def choose():\n    global PAD\n    PAD = 42", "choose()", PAD],
    ["cfg = {'PAD': 42}", "globals().update(cfg)", PAD],
    ["for name, value in {'PAD': 42}.items():\n    globals()[name] = value", PAD],
    ["exec('PAD = 42')", PAD],
    ["def build():\n    return 42", "%time PAD = build()", PAD],
    ["files = !ls data", "def answer():\n    return 42 + len(files)"],
    ["def answer():\n    display('a table')\n    return 42"],
])  # fmt: skip
def test_names_are_bound_as_a_kernel_binds_them(tmp_path, cells):
    assert run(work(tmp_path, [*cells, BOOM]), tmp_path)() == 42


@pytest.mark.parametrize(("cells", "files"), [
    (["from settings import cfg\ncfg.update(pad=42)", "def answer():\n    return cfg['pad']"], {"settings.py": "cfg = {}\n"}),
    (["import settings\nsettings.choose(42)", "def answer():\n    return settings.PAD"],
     {"settings.py": "PAD = 1\ndef choose(pad):\n    global PAD\n    PAD = pad\n"}),
    (["helpers = __import__('helpers')", "def answer():\n    return helpers.value()"], {"helpers.py": VALUE}),
    (["import runpy\nspace = runpy.run_path('helpers.py')", "def answer():\n    return space['value']()"], {"helpers.py": VALUE}),
    (["with open('settings.py') as file:\n    exec(file.read())", PAD], {"settings.py": "PAD = 42\n"}),
    (["from models import Net as answer"], {"models.py": "def Net():\n    return 42\n"}),
    (["try:\n    from models import Net as answer\nexcept ImportError:\n    pass"], {"models.py": "def Net():\n    return 42\n"}),
    (["import größe", "def answer():\n    return größe.value()"], {unicodedata.normalize("NFD", "größe.py"): VALUE}),
    (["import sys\nsys.path.append('/content/drive/MyDrive/hw/src')", "from helpers import value", ANSWER], {"src/helpers.py": VALUE}),
    (["import os, sys\nHERE = '/home/me/hw'\nsys.path.append(os.path.join(HERE, 'src'))", "from helpers import value", ANSWER],
     {"src/helpers.py": VALUE}),
    (["%cd /content/hw/src\nfrom helpers import value\n%cd ..", ANSWER], {"src/helpers.py": VALUE}),
])  # fmt: skip
def test_scripts_are_found_in_all_the_ways_that_people_ask_for_them(tmp_path, cells, files):
    assert run(work(tmp_path, cells, files), tmp_path)() == 42


@pytest.mark.parametrize("name", ["a.py", "fcn-of-somebody/models/answer.py"])
def test_a_definition_in_a_notebook_counts_before_one_in_a_script_that_lies_beside_it(tmp_path, name):
    assert run(work(tmp_path, ["def answer():\n    return 42"], {name: "def answer():\n    return 1\n"}), tmp_path)() == 42


@pytest.mark.parametrize("statement", [
    "net = Net().to(device)", "out = Net(12).forward(x)", "for x in range(3):\n    y = cfg.copy()", "later = lambda: cfg.clear()",
    "@no_grad()\ndef look(net: Net):\n    return net",
])  # fmt: skip
def test_what_only_uses_a_needed_name_is_not_run(tmp_path, statement):
    book = work(tmp_path, ["cfg = {'n': 42}", "class Net:\n    pass", statement, "def answer():\n    return cfg['n'] if Net else 0"])
    assert statement not in [chunk.source for chunk in book.program(book.find("answer")).chunks]


def test_a_class_that_extends_the_one_of_another_notebook_has_it(tmp_path):
    first = {"b.ipynb": '{"cells": [{"cell_type": "code", "source": "class Net:\\n    pad = 42"}], "nbformat": 4}'}
    cells = ["class Net(Net):\n    pass", "def answer():\n    return Net().pad"]
    assert run(work(tmp_path, cells, first), tmp_path)() == 42


def test_a_function_that_calls_a_library_fills_nothing_of_it(tmp_path):
    cells = ["import math", "def answer():\n    n = math.floor(42.5)\n    return n", "seen = answer()"]
    book = work(tmp_path, cells)
    assert cells[2] not in [chunk.source for chunk in book.program(book.find("answer")).chunks]


# ---------------------------------------------------------------------------------------- texts that were handed in
READ = "import json\nwith open({name!r}) as file:\n    cfg = json.load(file)"


@pytest.mark.parametrize(("cells", "files"), [
    ([READ.format(name="config.json"), "def answer():\n    return cfg['pad']"], {"config.json": '{"pad": 42}'}),
    (["from pathlib import Path\npad = int((Path('settings') / 'pad.txt').read_text())", "def answer():\n    return pad"],
     {"settings/pad.txt": "42\n"}),
    (["root = '.'", READ.format(name="@").replace("'@'", "f'{root}/settings/config.json'"), "def answer():\n    return cfg['pad']"],
     {"settings/config.json": '{"pad": 42}'}),
    (["from helpers import value", ANSWER],
     {"helpers.py": "PAD = int(open('pad.cfg').read())\ndef value():\n    return PAD", "pad.cfg": "42"}),
])  # fmt: skip
def test_a_small_text_that_was_handed_in_is_read(tmp_path, cells, files):
    assert run(work(tmp_path, [BOOM, *cells, BOOM], files), tmp_path)() == 42


@pytest.mark.parametrize(("name", "text"), [
    ("other.json", "{}"), ("assignment.json", "{}"), ("config.bin", "{}"), ("data/config.json", "{}"), ("config.json", " " * 2**17),
])  # fmt: skip
def test_texts_that_no_code_names_or_that_are_large_or_of_the_kit_stay_behind(tmp_path, name, text):
    reads = [READ.format(name=file) for file in ("config.json", "assignment.json")]
    book = work(tmp_path, [*reads, "def answer():\n    return cfg"], {name: text})
    assert book.program(book.find("answer")).modules == {}


def test_a_text_that_is_no_text_is_no_trouble(tmp_path):
    book = work(tmp_path, [READ.format(name="config.json"), "def answer():\n    return cfg"])
    (tmp_path / "config.json").write_bytes(b"\xff\xfe\x00\x81")
    assert "config.json" not in open_folder(tmp_path).texts and book.texts == {}


def test_a_file_that_is_not_there_is_named_with_what_code_gets(tmp_path):
    with pytest.raises(Unrunnable, match=r"config\.json.*was not handed in|config\.json.*small texts"):
        run(work(tmp_path, ["answer = open('config.json').read()"]), tmp_path)
