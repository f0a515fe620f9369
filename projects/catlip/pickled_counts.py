"""CoreNet's pickled vocabulary: an unpickler that makes dicts and calls nothing else."""

import io
import pickle
from collections.abc import Iterator

from corekit.errors import CorekitError

NOT = ("is no table of synsets, and no pickle of a plain dict from synsets to counts; nothing else "
       "is read from a pickle")
_MAPPINGS = {("collections", "Counter"), ("collections", "OrderedDict")}


def read_pickled_counts(content: bytes, path: object) -> Iterator[tuple[str, int]]:
    """The (str, int) entries of a pickled dict, Counter or OrderedDict; else a CorekitError."""
    try:
        counts: object = _CountsUnpickler(io.BytesIO(content)).load()
    except _RefusedError as error:
        raise CorekitError(f"{path} {NOT} ({error})") from None
    except Exception:  # broken bytes raise anything
        raise CorekitError(f"{path} {NOT}") from None
    if type(counts) is not dict or not all(
            type(key) is str and type(value) is int and 0 <= value < 2**63
            for key, value in counts.items()):
        raise CorekitError(f"{path} {NOT}")
    yield from counts.items()


class _RefusedError(Exception):
    pass


class _CountsUnpickler(pickle._Unpickler):
    """Refuses all names but the two mappings, which it makes as plain dicts.

    The unpickler in C would take 64 GiB for eight bytes that ask for it; this is the one in Python.
    """

    def find_class(self, module: str, name: str) -> type[dict[str, int]]:
        if (module, name) not in _MAPPINGS:
            raise _RefusedError(f"it names {f'{module}.{name}'[:80]!r}")
        return dict
