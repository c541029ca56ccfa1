"""Which names a top-level statement binds, needs and changes: the facts on which slicing rests."""

import ast
import re
import symtable
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "Needs",
    "aliases",
    "binds_anything",
    "bound_names",
    "called_names",
    "changed_names",
    "decorated_class",
    "decorating_calls",
    "downloads",
    "filled_by",
    "filling_calls",
    "is_unfinished",
    "needs",
    "read_file",
    "run_file",
    "sets_path",
    "star_modules",
    "taken_name",
]  # fmt: skip

COMPREHENSIONS = {"listcomp", "setcomp", "dictcomp", "genexpr"}
LOOPS = (ast.For, ast.AsyncFor, ast.While)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
COMPOUND = (*LOOPS, ast.If, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match)
WORK = re.compile(r"(?i)(^|_)(train|fit|backward|step|zero_grad|savefig|plot|imshow|show|evaluate|summary)(_|$)")
ARCHITECTURE = re.compile(r"vgg|resnet|alexnet|densenet|mobilenet|inception|googlenet|squeezenet|fcn|deeplab|efficientnet|get_model")
# names of library functions that fill or reorder their argument: np.put, random.shuffle, nn.init.zeros_
FILLS = re.compile(r"put|put_along_axis|place|putmask|copyto|fill_diagonal|shuffle|insort(_left|_right)?|heap\w+|[a-z]\w*_")
PART = re.compile(r"add_|setdefault$|get$")  # methods that give a part of their object
PATHS = {("path", "sys"), ("chdir", "os"), ("addsitedir", "site")}


@dataclass(frozen=True)
class Needs:
    """Global names a statement uses: at once (``now``), or when a function it defines is called (``later``)."""

    now: frozenset[str]
    later: frozenset[str]


def _target_names(target: ast.expr) -> list[str]:
    if isinstance(target, ast.Name):
        return [target.id]
    if isinstance(target, (ast.Tuple, ast.List)):
        return [name for element in target.elts for name in _target_names(element)]
    return _target_names(target.value) if isinstance(target, ast.Starred) else []


def trains(statement: ast.stmt) -> bool:
    """Whether a statement calls something named like a training step, a display or a whole run: such a loop is not run."""
    calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
    return any(WORK.search(getattr(called, "attr", getattr(called, "id", ""))) for called in calls)


def _steps(statement: ast.stmt) -> list[ast.stmt]:
    """A statement and those nested in its blocks, in order. Loops that train are skipped, since they are not run."""
    steps: list[ast.stmt] = []
    pending = [(statement, False)]
    while pending:  # without recursion: a chain of a thousand elif is nested a thousand levels deep
        step, looked_at = pending.pop()
        loop = isinstance(step, LOOPS)
        if loop and not looked_at and trains(step):
            continue
        steps.append(step)
        if isinstance(step, COMPOUND):
            blocks = [getattr(step, "body", []), getattr(step, "orelse", []), getattr(step, "finalbody", [])]
            blocks += [part.body for part in (*getattr(step, "handlers", []), *getattr(step, "cases", []))]
            pending += reversed([(inner, looked_at or loop) for block in blocks for inner in block])
    return steps


def _bound_by(step: ast.stmt) -> list[str]:
    """Names that a statement itself binds, without those of its blocks."""
    if isinstance(step, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [step.name]
    if isinstance(step, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in step.names if alias.name != "*"]
    if isinstance(step, (ast.With, ast.AsyncWith)):
        return [name for item in step.items if item.optional_vars for name in _target_names(item.optional_vars)]
    if isinstance(step, (ast.For, ast.AsyncFor)):
        return _target_names(step.target)
    names = []
    if isinstance(step, ast.Match):  # `case {"pad": pad}` binds pad
        patterns = [node for case in step.cases for node in ast.walk(case.pattern)]
        names = [name for node in patterns if (name := getattr(node, "rest", None) or getattr(node, "name", None))]
    elif isinstance(step, ast.Assign):
        names = [name for target in step.targets for name in _target_names(target)]
    elif isinstance(step, (ast.AnnAssign, ast.AugAssign)) and step.value is not None:
        names = _target_names(step.target)
    expression = getattr(step, "test", getattr(step, "value", None))
    if isinstance(expression, ast.expr):
        names += [node.target.id for node in ast.walk(expression) if isinstance(node, ast.NamedExpr)]
    return names


def bound_names(statement: ast.stmt) -> list[str]:
    """Names that a statement binds by definition, import or assignment, also in its blocks; not those of loops that train."""
    return [name for step in _steps(statement) for name in _bound_by(step)]


def _root(target: ast.expr | None) -> str | None:
    """The name at the beginning of ``name.a[0].b``, if there is more than the name."""
    inner = target
    while isinstance(inner, (ast.Attribute, ast.Subscript, ast.Call)):
        inner = inner.func if isinstance(inner, ast.Call) else inner.value
    return inner.id if inner is not target and isinstance(inner, ast.Name) else None


def changed_names(statement: ast.stmt) -> list[str]:
    """Names whose object a statement changes by an attribute or item: ``FCN32s.forward = forward`` changes FCN32s."""
    names: list[str | None] = []
    for step in _steps(statement):
        if isinstance(step, (ast.Assign, ast.Delete)):
            names += [_root(target) for target in step.targets]
        elif isinstance(step, (ast.AugAssign, ast.AnnAssign)):
            names.append(_root(step.target))
        for call in _calls(step):
            called, arguments = getattr(call.func, "id", None), call.args
            if called in ("setattr", "delattr") and arguments and isinstance(arguments[0], (ast.Name, ast.Attribute)):
                names.append(getattr(arguments[0], "id", None) or _root(arguments[0]))
    return [name for name in names if name]


def _calls(step: ast.stmt) -> list[ast.Call]:
    """Calls that a simple step makes itself, the outermost first: of ``a = [p.add(x) for x in f()]`` those of ``p.add`` and ``f``."""
    found: list[ast.Call] = []
    pending: list[ast.AST] = [step] if isinstance(step, (ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Assert)) else []
    while pending:
        node = pending.pop()
        found += [node] if isinstance(node, ast.Call) else []
        pending += [] if isinstance(node, ast.Lambda) else ast.iter_child_nodes(node)
    return found


def called_names(statement: ast.stmt, kept: bool = True) -> list[str]:
    """Names of which a statement calls a method: ``cfg.update(pad=100)``, ``old = cfg.pop("pad")``, ``@registry.add`` above a definition.

    Of a module it changes nothing. A call whose result is kept does not count in a loop or without ``kept``, nor one on what another
    call gave.
    """
    names = []
    for step in _steps(statement):
        if trains(step) and not isinstance(step, DEFINITIONS):
            continue
        alone = step.value if isinstance(step, ast.Expr) else None
        calls = _calls(step) if alone is not None or (kept and not isinstance(statement, LOOPS)) else []
        for called in [call.func for call in calls] + [getattr(d, "func", d) for d in getattr(step, "decorator_list", [])]:
            root, inner = _root(called), getattr(called, "value", None)
            if root == "vars" and isinstance(inner, ast.Call) and inner.args:  # vars(cfg).update(...)
                root = getattr(inner.args[0], "id", None)
            elif isinstance(called, ast.Name):
                continue
            elif called is not getattr(alone, "func", None) and any(isinstance(node, ast.Call) for node in ast.walk(called)):
                continue  # Net(12).forward(x)
            names += [root] if root else []
    return names


def aliases(statement: ast.stmt) -> list[tuple[str, str]]:
    """Pairs of a name and another one for its object or a part of it: ``part = cfg["a"]``, ``group = parser.add_argument_group("net")``."""
    pairs = []
    for step in _steps(statement):
        value = step.value if isinstance(step, ast.Assign) else None
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute):
            value = value.func.value if PART.match(value.func.attr) else None
        while isinstance(value, (ast.Attribute, ast.Subscript)):
            value = value.value
        if isinstance(value, ast.Name):
            pairs += [(value.id, target) for target in _bound_by(step)]
    return pairs


def filling_calls(statement: ast.stmt) -> list[ast.Call]:
    """Calls that stand as a step of their own, or whose result is kept: ``configure(cfg)``, ``np.put(table, ids, values)``."""
    steps = [step for step in _steps(statement) if isinstance(step, (ast.Expr, ast.Assign)) and not trains(step)]
    return [step.value for step in steps if isinstance(step.value, ast.Call)]


def decorating_calls(statement: ast.stmt) -> list[ast.Call]:
    """The calls that decorators are: ``@register`` above ``def crop`` is ``register(crop)``."""
    given = [(d, ast.Name(step.name)) for step in _steps(statement) if isinstance(step, DEFINITIONS) for d in step.decorator_list]
    return [decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [name], []) for decorator, name in given]


def decorated_class(statement: ast.stmt) -> list[str]:
    """Classes that a decorator is told of: ``@add_to_class(Net)``, or ``@patch`` above ``def forward(self: Net, x)``."""
    found: list[ast.expr | None] = []
    for step in _steps(statement):
        if isinstance(step, ast.FunctionDef) and step.decorator_list:
            found += [node for decorator in step.decorator_list if isinstance(decorator, ast.Call) for node in decorator.args]
            found += [argument.annotation for argument in step.args.args[:1] if argument.arg == "self"]
    return [node.id for node in found if isinstance(node, ast.Name)]


def filled_by(call: ast.Call, function: "Filled | None") -> list[str]:
    """Names whose object a call fills.

    Args:
        call: One of ``filling_calls``.
        function: What is known of the student's own function of that name; None: it is a library's.
    """
    called = getattr(call.func, "attr", getattr(call.func, "id", ""))
    given: list[tuple[int | str | None, ast.expr]] = [*enumerate(call.args), *((keyword.arg, keyword.value) for keyword in call.keywords)]
    if function is None:
        arguments = [value for _, value in given] if FILLS.fullmatch(called) else []
    else:
        arguments = [value for key, value in given if key in function.arguments]
    names = [value.id if isinstance(value, ast.Name) else _root(value) for value in arguments if not _is_new(value)]
    return [name for name in names if name] + sorted(function.others if function else ())


def _is_new(value: ast.expr) -> bool:
    """Whether a value is an object just made: ``light(Net(12))`` changes no class, while ``extend(get_cfg())`` may change settings."""
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id[:1].isupper()


@dataclass(frozen=True)
class Filled:
    """What a function fills when it is called: arguments, by position and by name, and names of its module."""

    arguments: frozenset[int | str] = frozenset()
    others: frozenset[str] = frozenset()


def filled_in(function: ast.FunctionDef, known: Callable[[ast.Call], Filled | None]) -> Filled:
    """Find what a function fills, by its text. A function that trains fills nothing, since it is not run.

    Args:
        function: The function.
        known: What the functions that it calls fill.
    """
    if trains(function) or downloads(function):
        return Filled()
    taken = function.args
    places = [argument.arg for argument in (*taken.posonlyargs, *taken.args)]
    own = {*places, *(argument.arg for argument in taken.kwonlyargs)}
    inner = [node for node in ast.walk(function) if isinstance(node, ast.FunctionDef) and node is not function]
    changed: set[str] = set()
    local: set[str] = set()
    kept: set[str] = set()
    local.update(argument.arg for node in inner for argument in (*node.args.args, *node.args.kwonlyargs))
    for statement in (s for node in (function, *inner) for s in node.body):
        changed.update(changed_names(statement), called_names(statement, kept=False))
        for call in filling_calls(statement):
            changed.update(filled_by(call, known(call)))
        local.update(bound_names(statement))
        kept.update(name for node in ast.walk(statement) if isinstance(node, ast.Global) for name in node.names)
    arguments = {name for name in own & changed if name not in local}
    numbers = {number for number, name in enumerate(places) if name in arguments}
    return Filled(frozenset(arguments | numbers), frozenset(((changed - local) | (local & kept)) - own))


def sets_path(statement: ast.stmt) -> bool:
    """Whether a statement says where imports look: ``sys.path.append("src")``, ``os.chdir("src")``, ``%cd src``."""
    for step in _steps(statement):
        if isinstance(step, (*COMPOUND, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for node in ast.walk(step):
            if isinstance(node, ast.Attribute) and (node.attr, getattr(node.value, "id", "")) in PATHS:
                return True
        if magic(step, "cd"):
            return True
    return False


def magic(statement: ast.stmt, name: str) -> str | None:
    """The argument of ``get_ipython().run_line_magic(name, argument)``, as reading a notebook writes ``%run helpers.py``."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("run_line_magic", "magic"):
        words = " ".join(a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)).split()
        if len(words) > 1 and words[0] == name:
            return words[1].strip("'\"")
    return None


def run_file(statement: ast.stmt) -> str | None:
    """The script or notebook that a statement runs here: ``%run helpers.py``, or ``exec(open("helpers.py").read())``."""
    found = magic(statement, "run")
    call = statement.value if isinstance(statement, ast.Expr) else None
    if found or not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "exec":
        return found
    opened = [node for node in ast.walk(call) if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("open", "Path")]
    names = [node.args[0].value for node in opened if node.args and isinstance(node.args[0], ast.Constant)]
    return next((name for name in names if isinstance(name, str)), None)


def _collect(table: symtable.SymbolTable, deferred: bool, now: set[str], later: set[str]) -> None:
    module = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() and (module or symbol.is_global()):
            (later if deferred else now).add(symbol.get_name())
    for child in table.get_children():
        function = child.get_type() == "function" and child.get_name() not in COMPREHENSIONS
        _collect(child, deferred or function, now, later)


def needs(statement: ast.stmt) -> Needs:
    """Global names a statement uses; local variables of functions of the same name do not count."""
    try:
        now: set[str] = set()
        later: set[str] = set()
        _collect(symtable.symtable(ast.unparse(statement), "statement", "exec"), False, now, later)
    except (SyntaxError, RecursionError, ValueError, MemoryError):
        return Needs(frozenset(), frozenset())
    if isinstance(statement, ast.AugAssign):
        now.update(_target_names(statement.target))
    return Needs(frozenset(now), frozenset(later))


def taken_name(statement: ast.stmt) -> str | None:
    """The name ``X`` in ``Y = take("X")``: work that comes from another notebook."""
    value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign)) else None
    if not isinstance(value, ast.Call) or not value.args or not isinstance(value.args[0], ast.Constant):
        return None
    called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", None)
    argument = value.args[0].value
    return argument if called == "take" and isinstance(argument, str) else None


def _raises_unfinished(statement: ast.stmt) -> bool:
    if not isinstance(statement, ast.Raise) or statement.exc is None:
        return False
    raised = statement.exc.func if isinstance(statement.exc, ast.Call) else statement.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def is_unfinished(statement: ast.stmt) -> bool:
    """Whether a function or class still holds the release's stub: ``raise NotImplementedError()`` as a plain step."""
    for node in ast.walk(statement):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            for step in node.body:
                if isinstance(step, ast.Return):
                    break  # a forgotten stub behind the answer is never reached
                if _raises_unfinished(step):
                    return True
    return _raises_unfinished(statement)


def binds_anything(statement: ast.stmt, by: tuple[str, ...]) -> bool:
    """Whether a statement may bind names that it does not say, by a call of one of these: ``globals().update(cfg)``, ``exec(text)``."""
    steps = [step for step in _steps(statement) if isinstance(step, (ast.Expr, ast.Assign))]
    names = [node.func for step in steps for node in ast.walk(step) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return any(name.id in by for name in names)


def star_modules(statement: ast.stmt) -> list[str]:
    """Modules of ``from ... import *`` in a statement; relative ones begin with their dots."""
    imports = [step for step in _steps(statement) if isinstance(step, ast.ImportFrom)]
    return ["." * step.level + (step.module or "") for step in imports if any(alias.name == "*" for alias in step.names)]


def downloads(statement: ast.stmt) -> list[ast.Call]:
    """Calls that fetch or read weights: ``vgg16(pretrained=True)``, ``resnet18(weights="DEFAULT")``, ``torch.hub.load(...)``."""
    found = []
    for node in ast.walk(statement):
        if isinstance(node, ast.Call):
            called, holder = getattr(node.func, "attr", getattr(node.func, "id", "")), getattr(node.func, "value", None)
            asked = any(k.arg in ("pretrained", "weights") and not (isinstance(k.value, ast.Constant) and not k.value.value)
                        for k in node.keywords)  # fmt: skip
            of_hub = called == "load" and "hub" in (getattr(holder, "attr", ""), getattr(holder, "id", ""))
            if (asked and ARCHITECTURE.match(called)) or of_hub or read_file(node) or called in ("load_state_dict_from_url", "load_url"):
                found.append(node)
    return found


def read_file(call: ast.Call) -> str | None:
    """The file that ``torch.load(file)`` reads, as the code says it."""
    source = call.args[0] if call.args else None
    if source is None or (getattr(call.func, "attr", ""), getattr(getattr(call.func, "value", None), "id", "")) != ("load", "torch"):
        return None
    try:
        return source.value if isinstance(source, ast.Constant) and isinstance(source.value, str) else ast.unparse(source)
    except (RecursionError, ValueError, MemoryError):  # a sum of a thousand terms, a number of thousands of digits
        return "a file"
