"""A pickled mapping from strings to whole numbers, read as data: nothing is unpickled, looked up or
called.
"""

import pickletools
from collections.abc import Callable, Iterator
from typing import Any

from corekit.errors import CorekitError

NOT = "is no table of synsets, and no pickle of a plain dict from synsets to counts; nothing else is read from a pickle"
MAPPINGS = {"collections Counter", "collections OrderedDict"}
_MARK, _CLASS = object(), object()
_CONSTANTS = ("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE", "INT", "BININT",
              "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_IGNORED = ("PROTO", "FRAME", "STOP")


def read_pickled_counts(content: bytes, path: object) -> Iterator[tuple[str, int]]:
    """The entries of a pickled dict, ``Counter`` or ``OrderedDict`` of str -> int, in its order.

    Python's ``pickletools`` splits the bytes into operations; the few that such a mapping needs are
    followed here with strings, numbers, dicts and tuples of these as the only values, and any other
    ends it.

    Raises:
        CorekitError: it is something else, or broken.
    """
    machine = _Machine()
    try:
        for operation, argument, _ in pickletools.genops(content):
            machine.step(operation.name, argument)
        (found,) = machine.stack
    except (_RefusedError, ValueError, IndexError, KeyError, TypeError, OverflowError,
            MemoryError) as error:
        raise CorekitError(f"{path} {NOT}" +
                           (f" ({error})" if isinstance(error, _RefusedError) else "")) from None
    if not isinstance(found, dict) or not all(
            isinstance(key, str) and type(value) is int and 0 <= value < 2**63
            for key, value in found.items()):
        raise CorekitError(f"{path} {NOT}")
    yield from found.items()


class _RefusedError(Exception):
    pass


class _Machine:
    """The stack and the memo of a pickle; ``_CLASS`` stands for the two mappings, which are not
    looked up.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[int(argument)])
        elif name in ("SETITEM", "SETITEMS"):
            self._set_items(self._since_mark() if name ==
                            "SETITEMS" else [stack.pop(-2), stack.pop()])
        elif name == "REDUCE":
            given = stack.pop()
            if stack.pop() is not _CLASS or not isinstance(given, tuple) or len(given) > 1:
                raise _RefusedError("it calls something")
            stack.append(dict(*given))
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            named = argument if name == "GLOBAL" else f"{stack.pop(-2)} {stack.pop()}"
            if named not in MAPPINGS:
                raise _RefusedError(f"it names {str(named)[:80]!r}")
            stack.append(_CLASS)
        elif name in _PLAIN:
            _PLAIN[name](self)
        elif name not in _IGNORED:
            raise _RefusedError(f"it holds a {name}")

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict):
            raise _RefusedError("it sets items of something else")
        target.update(zip(items[::2], items[1::2], strict=True))

    def _since_mark(self) -> list[Any]:
        at = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[at + 1:]
        del self.stack[at:]
        return items

    def make_dict(self) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._set_items(items)

    def make_tuple(self) -> None:
        self.stack.append(tuple(self._since_mark()))

    def wrap(self) -> None:
        self.stack.append((self.stack.pop(),))


_PLAIN: dict[str, Callable[[_Machine], object]] = {
    "MARK": lambda machine: machine.stack.append(_MARK),
    "EMPTY_DICT": lambda machine: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine: machine.stack.append(()),
    "DICT": _Machine.make_dict,
    "TUPLE": _Machine.make_tuple,
    "TUPLE1": _Machine.wrap,
}
