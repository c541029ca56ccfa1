"""What people do to code that is not theirs, so that it looks as if it were."""

import ast
import builtins

__all__ = ["disguised", "worked_over"]


def disguised(source: str) -> str:
    """Every name of one's own renamed, functions and methods in another order, other constants, no comments, other line breaks."""
    tree = ast.parse(source)
    own = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    own |= {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    own |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    new = {name: f"my_{number}" for number, name in enumerate(sorted(own - set(dir(builtins)) - {"__init__", "forward"}))}
    return ast.unparse(_Disguise(new).visit(tree))


class _Disguise(ast.NodeTransformer):
    def __init__(self, new):
        self.new = new

    def generic_visit(self, node):
        super().generic_visit(node)
        for field in ("id", "arg", "name", "attr"):
            if isinstance(text := getattr(node, field, None), str):
                setattr(node, field, self.new.get(text, text))
        if isinstance(node, ast.Constant) and type(node.value) is int:
            node.value += 3
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value += " of mine"
        if isinstance(node, (ast.ClassDef, ast.Module)) and sum(isinstance(part, ast.FunctionDef) for part in node.body) > 1:
            node.body.sort(key=lambda part: isinstance(part, ast.FunctionDef) and -ord(part.name[-1]))
        return node


def worked_over(source: str, every: int = 6) -> str:
    """Besides, a line of one's own after every so many lines."""
    lines = []
    for number, line in enumerate(disguised(source).split("\n"), start=1):
        lines.append(line)
        if number % every == 0 and line.strip() and not line.rstrip().endswith((":", ",", "(")):
            lines.append(f"{line[: len(line) - len(line.lstrip())]}print('so far', {number}, flush=True)")
    return "\n".join(lines)
