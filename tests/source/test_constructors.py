"""Constructors as the source tells them, against ``inspect.signature`` of the imported modules."""

import importlib
import inspect
import sys
from pathlib import Path

import pytest

from corekit.signatures import Signature
from corekit.source.constructors import read_signature
from corekit.source.modules import find_module, resolve

FILES = {
    "__init__": "from .base import Base as Reexported\nfrom .star import *\n",
    "base": '''
from dataclasses import dataclass, field
from typing import ClassVar, Generic, NamedTuple, Protocol, TypeVar
T = TypeVar("T")
class Base:
    """A base."""
    def __init__(self, width: int, depth: int = 3, *, bias: bool = False) -> None: ...
class Other:
    def __init__(self, other: str = "x") -> None: ...
class Root(Generic[T]):
    def __init__(self, root: int) -> None: ...
class Left(Root[int]): ...
class Right(Root[int]):
    def __init__(self, right: float = 0.5) -> None: ...
class Plain(Protocol): ...
class Pair(NamedTuple):
    first: int
    second: str = "b"
@dataclass
class Fields:
    width: int
    names: list[str] = field(default_factory=list)
    count: ClassVar[int] = 3
    hidden: int = field(init=False, default=2)
    last: int = field(kw_only=True, default=7)
@dataclass(init=False)
class WithoutInit(Base): ...
def function(a: int, b: str = "x", *, c: float) -> int: ...
Alias = Base
''',
    "star": "from .base import Left, Right\nclass Starred(Right): ...\n",
    "inherit": '''
import abc
from collections import OrderedDict
from dataclasses import KW_ONLY, dataclass
import package_of_a_test.base as b
import package_of_a_test.base
from . import base, Reexported, Starred
from .base import Alias, Base, Fields, Left, Other, Pair, Plain, Right, WithoutInit
try:
    from .nowhere import Missing
except ImportError:
    from .base import Other as Missing
class Same(Base): ...
class ByModule(b.Base): ...
class ByDottedModule(package_of_a_test.base.Base): ...
class ByPackage(base.Base): ...
class ByReexport(Reexported): ...
class ByStar(Starred): ...
class ByAlias(Alias): ...
class ByTry(Missing): ...
class Deep(Same): ...
class Deeper(Deep, abc.ABC): ...
class Diamond(Left, Right): ...
class Two(Plain, Other): ...
class Nothing(Plain): ...
class PairAgain(Pair): ...
@dataclass
class More(Fields):
    width: float = 1.0
    _: KW_ONLY
    extra: str = "e"
    another: int | None = None
class OfFields(Fields): ...
class NotItself(WithoutInit): ...
class Passing(Base):
    def __init__(self, own: int = 1, **others: object) -> None:
        super().__init__(**others)
class OutsideInPython(OrderedDict): ...
''',
}
CLASSES = [
    "Same", "ByModule", "ByDottedModule", "ByPackage", "ByReexport", "ByStar", "ByAlias", "ByTry",
    "Deep", "Deeper", "Diamond", "PairAgain", "More", "OfFields", "NotItself", "Passing"
]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose modules inherit from each other in every way."""
    folder = tmp_path / "package_of_a_test"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.startswith(folder.name)]:
        monkeypatch.delitem(sys.modules, name)
    return f"{folder.name}.inherit"


def read(package: str, name: str) -> Signature:
    module = find_module(package)
    assert module is not None
    definition = resolve(module, name)
    assert definition is not None
    return read_signature(definition)


@pytest.mark.parametrize("name", CLASSES)
def test_inherited_constructors_are_read_as_python_sees_them(package: str, name: str) -> None:
    signature = read(package, name)
    assert package not in sys.modules, "nothing is imported to read it"
    seen = inspect.signature(getattr(importlib.import_module(package), name)).parameters.values()
    named = [each for each in seen if each.kind is not each.VAR_KEYWORD]
    assert [(each.name, each.required, each.keyword_only) for each in signature.parameters] == [
        (each.name, each.default is each.empty, each.kind is each.KEYWORD_ONLY) for each in named]
    assert signature.open_ended == (len(named) < len(seen))


def test_a_protocol_takes_no_arguments_and_hides_none(package: str) -> None:
    """``inspect`` shows the placeholder that typing puts there until the class is first built."""
    assert read(package, "Nothing") == Signature(())
    assert read(package, "Two").names == ["other"]


def test_a_class_without_source_is_open_ended(package: str) -> None:
    assert read(package, "OutsideInPython").open_ended


def test_names_that_stand_for_no_class(package: str) -> None:
    module = find_module(package)
    assert module is not None
    assert resolve(module, "base.function") is not None
    assert resolve(module, "nobody") is None
    assert find_module("nobody.at_all") is None


def test_imports_in_a_circle_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "circle_a.py").write_text("from circle_b import X\n")
    (tmp_path / "circle_b.py").write_text("from circle_a import X\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = find_module("circle_a")
    assert module is not None
    assert resolve(module, "X") is None
