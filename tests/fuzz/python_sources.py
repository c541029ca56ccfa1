"""Damage to Python cells: what students type, what editors and translators leave, what overflows a parser."""

import random

__all__ = ["mutate_source"]


def _line(source: str, rng: random.Random, text: str) -> str:
    lines = source.split("\n")
    lines.insert(rng.randrange(len(lines) + 1), text)
    return "\n".join(lines)


MAGICS = (
    "%matplotlib inline", "%%time", "%%bash", "%%html\n<b>", "!pip install torch", "?double", "double??", "files = !ls", "%cd ..  \\",
    "    %timeit f(x)",
    "x = %who_ls", "%", "!", "?", "!echo \\\n  more", "%%capture out", "get_ipython().system('ls')",
)  # fmt: skip
STATEMENTS = (
    "from os.path import *", "from __future__ import annotations", "from __future__ import braces", "import helper",
    "double = take('double')",
    "DotNet = take(\"double\")", "double = take('DotNet')", "async def f():\n    await g()", "(y := 5)",
    "@property\ndef double(x): return x",
    "@undefined.decorator(3)\ndef g(): ...", "return 5", "yield", "break", "nonlocal x", "global double", "del double", "double: int",
    "double += 1",
    "double.x.y[0] = 3", "a, *b = c", "[a, (b, *double)] = c", "for double in []: pass", "with open(double) as double: pass",
    "try:\n    import torch\nexcept ImportError:\n    torch = None", "if x:\n    double = 1\nelif y:\n    double = 2", "class double: pass",
    "lambda double: 0", "f\"{f'{double}'}\"", "match x:\n    case double: pass", "type X = int",
    "def double(values):\n    raise NotImplementedError()",
    "double = double", "class A(A): pass", "def a(): b()\ndef b(): a()\na()", "print('x'", "x = [", "'''", '"""', "def",
    "\tx = 1\n        y = 2", "\f", "\x1a",
    "\\", "# -*- coding: rot13 -*-", "\u2028x = 1", "x = 1\u00a0+ 1", "ｄｏｕｂｌｅ = 3", "données = 'é'", "x = '\ud800'", "<<<<<<< HEAD",
    "exit()", "raise SystemExit",
    "0777", "1_000_", "1if 1else 2", "x = 10**10", "$", "`x`", "print 'hello'", "exec 'x'", "DotNet.forward = double",
    "import numpy as np, sys as double",
)  # fmt: skip


def _deep(rng: random.Random) -> str:
    """Something that nests or goes on beyond what parsers are made for."""
    n = rng.choice([90, 250, 1200, 4000, 30_000])
    return rng.choice([
        lambda: "(" * n + ")" * n, lambda: "[" * n, lambda: "x = " + "-" * n + "1", lambda: "x = " + "not " * n + "1",
        lambda: "a" + ".b" * n,
        lambda: "a" + "()" * n, lambda: "a" + "[0]" * n, lambda: "x = " + "lambda: " * n + "1", lambda: "x = " + "1+" * n + "1",
        lambda: "x = " + "1 if 1 else " * n + "1", lambda: "=".join(["x"] * n) + "=1", lambda: "x = " + "{1:" * n,
        lambda: "x = " + "f(" * n + ")" * n,
        lambda: "if a: pass\n" + "elif a: pass\n" * n, lambda: "x = " + "'a' " * n, lambda: "x = '" + "a" * n * 20 + "'",
        lambda: "".join(" " * i + "if a:\n" for i in range(min(n, 99))) + " " * 99 + "double = 1",
        lambda: "".join(" " * i + "def f():\n" for i in range(min(n, 90))) + " " * 99 + "return double",
        lambda: "\n".join(f"def f{i}(): return f{i + 1}()" for i in range(min(n, 2500))) + "\ndef double(values): return f0()",
        lambda: "s0 = 1\n" + "\n".join(f"s{i + 1} = s{i}" for i in range(min(n, 2500))) + f"\nDotNet = s{min(n, 2500)}",
        lambda: "x = 0\n" + "x = x + 1\n" * min(n, 2500) + "double = x", lambda: " " * n + "(", lambda: "x" + " ," * n + "=",
        lambda: "\n" * n,
        lambda: "!ls\n" * min(n, 12_000) + "x = (", lambda: "%time x\n" * min(n, 12_000), lambda: "async " * n,
        lambda: "@a\n" * n + "def double(): pass",
        lambda: "x = " + "(yield " * n, lambda: "with " + "(a, " * n, lambda: "x" + ": int" * n, lambda: "del " + "(" * n + "x",
        lambda: "a" * n + "?" * n,
        lambda: "x = f'" + "{a!r:{" * n, lambda: "#" * n, lambda: ";" * n, lambda: "x" + ";x" * n, lambda: "\\\n" * n,
        lambda: "try: pass\n" + "except A: double = 1\n" * n, lambda: "from a import (" + "b, " * n + ")", lambda: "class A" + "(A" * n,
        lambda: "def double(" + "".join(f"a{i}=0, " for i in range(n)) + "): return a0", lambda: "x = [" + "for x in " * n,
        lambda: "1 < " * n + "1",
        lambda: "a, = " * n + "b", lambda: "*" * n + "a", lambda: "x = {" + "**a, " * n + "}", lambda: "match x:\n case " + "[" * n,
        lambda: "~" * n + "1",
        lambda: "def double(v):\n" + "    v = v\n" * n + "    return v", lambda: "A" + "[A" * n + "]" * n, lambda: "await " * n + "x",
        lambda: "?\n" * min(n, 12_000),
    ])()  # fmt: skip


def mutate_source(rng: random.Random, source: str) -> str:
    """Return a damaged copy of a cell's source."""
    kind = rng.randrange(14)
    if kind <= 1 and source:
        place = rng.randrange(len(source))
        return source[:place] + rng.choice("()[]{}:'\"\\\t\n#@=.,%!?\0\u200b\u00e9") + source[place:]
    if kind == 2 and source:
        place = rng.randrange(len(source))
        return source[:place] + source[place + rng.choice([1, 1, 5, 60]) :]
    if kind == 3:
        return rng.choice([source.replace("    ", "\t"), source.replace("    ", "  ", 1), source.replace("    ", "\u00a0   "),
                           source.replace("\n", "\r\n"), source.replace("'", "\u2019").replace('"', "\u201c")])  # fmt: skip
    if kind <= 5:
        return _line(source, rng, rng.choice(MAGICS))
    if kind == 6:
        return rng.choice(MAGICS) + "\n" + source
    if kind <= 9:
        return _line(source, rng, rng.choice(STATEMENTS))
    if kind == 10:
        return _line(source, rng, _deep(rng))
    if kind == 11:
        return source + "\n" + rng.choice(STATEMENTS) + "\n" + rng.choice(STATEMENTS)
    if kind == 12:
        lines = source.split("\n")
        rng.shuffle(lines)
        return "\n".join(lines)
    return "\n".join(f"    {line}" for line in source.split("\n")) if rng.random() > 0.5 else source * rng.choice([0, 2, 30])
