"""SECURITY.md keeps its word: each test that it names is there, and nothing from outside becomes
code in a place that nobody thought of.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# what makes code, objects or processes of words or bytes, where it may stand
KNOWN = {
    ("corekit/checkpoint/training_state.py", "load"),  # one's own state
    ("corekit/checkpoint/convert.py", "load"),  # corekit.load
    ("corekit/evaluation/prediction/predict.py", "load"),  # the same
    ("corekit/export/export.py", "load"),  # the same
    ("corekit/export/files.py", "torch.export.load"),  # what was written a moment ago
    ("corekit/recipes/origin.py", "OmegaConf.load"),  # a recipe of a project
    ("corekit/source/entries.py", "importlib.import_module"),  # of a registered entry
    ("corekit/train/run_dir.py", "subprocess.run"),  # git describe
}
WORDS = {"__import__", "compile", "eval", "exec", "load", "loads"}
MODULES = {"OmegaConf", "dill", "export", "importlib", "jit", "marshal", "np", "os", "pickle",
           "runpy", "shelve", "shutil", "subprocess", "tarfile", "torch", "yaml", "zipfile"}
CALLS = {"Popen", "call", "check_output", "execvp", "extract", "extractall", "full_load",
         "import_module", "load", "loads", "popen", "run", "run_path", "system", "unpack_archive",
         "unsafe_load"}
SAFE = {"torch.load": "weights_only=True", "np.load": "allow_pickle=False"}


def makers(path: Path) -> Iterator[str]:
    """The calls of a file that make code, or objects of any class."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, (ast.Name, ast.Attribute)):
            continue
        name = ast.unparse(node.func)
        holder, _, last = name.rpartition(".")
        makes = holder.rpartition(".")[2] in MODULES and last in CALLS if holder else last in WORDS
        if makes and SAFE.get(name) not in map(ast.unparse, node.keywords):
            yield name


def test_nothing_from_outside_becomes_code() -> None:
    files = [*ROOT.glob("corekit/**/*.py"), *ROOT.glob("projects/**/*.py")]
    assert {(path.relative_to(ROOT).as_posix(), name)
            for path in files for name in makers(path)} == KNOWN


def test_every_test_that_it_names_is_there() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    for row in rows:
        (path, name), = re.findall(r"`(tests/\S+\.py)::(\w+)`", row)
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), row
    assert len(rows) > 10
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
