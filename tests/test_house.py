"""Duties of the whole tree that a count can hold."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = [path for room in ("corekit", "projects") for path in sorted((ROOT / room).rglob("*.py"))]
LEAST_NODES = 20  # of a body's syntax tree: less is a call or two, such as a pass-through


class Shape(ast.NodeTransformer):
    """Names become v0, v1, ... in order of appearance, and every constant one and the same."""

    def __init__(self) -> None:
        self.numbers: dict[str, str] = {}

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.numbers.setdefault(node.id, f"v{len(self.numbers)}"), node.ctx)

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.Constant(0)


def bodies(path: Path) -> list[tuple[str, ast.Module]]:
    """(where, body without docstring) of every function and method of a file."""
    code = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            code.append((where, ast.Module(body=body, type_ignores=[])))
    return code


def same_shape(paths: list[Path]) -> list[list[str]]:
    """Groups of functions whose bodies differ in names and constants alone."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        for where, body in bodies(path):
            if sum(1 for _ in ast.walk(body)) >= LEAST_NODES:
                groups[ast.dump(Shape().visit(body))].append(where)
    return [group for group in groups.values() if len(group) > 1]


def test_few_functions_are_another_one_with_other_names() -> None:
    groups = same_shape(CODE)
    assert sum(map(len, groups)) <= 6, groups


def test_copies_are_found(tmp_path: Path) -> None:
    text = '''
def one(width, depth):
    """One."""
    rows = [width * number + 3 for number in range(depth)]
    return sum(rows) / len(rows)
def other(size, count):
    """Another."""
    values = [size * at + 4 for at in range(count)]
    return sum(values) / len(values)
'''
    file = ROOT / "corekit" / "registry.py"
    assert same_shape([file]) == []
    renamed = [
        ast.dump(Shape().visit(ast.Module(body=node.body[1:], type_ignores=[])))
        for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)
    ]
    assert renamed[0] == renamed[1]
