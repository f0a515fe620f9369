"""Text that came from outside as it is shown, and words that may be typed as they are printed."""

import logging
import re
import shlex
from collections.abc import Sequence

_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)  # what neither a shell nor Hydra wants in quotes

_PLACE = re.compile(r"(\+{0,2}(?:run_dir|checkpoint|[\w.]+\.(?:root|path))=)(.*)", re.DOTALL)
# values that Hydra is to read; the comma of open_clip:NAME,FILE belongs to the name
_HYDRAS = re.compile(r"""null|['"].*['"]|.*\$\{.*|(?!open_clip:).*,.*|""", re.DOTALL)


def printable(text: str) -> str:
    """The text with escapes in place of control characters, line ends and halves of characters.

    So it moves no cursor of a terminal and forges no line of a log.
    """
    return "".join(char if char.isprintable() else char.encode(
        "unicode_escape", "surrogatepass").decode("ascii") for char in text)


class PrintableFormatter(logging.Formatter):
    """Messages in one line each, whatever was put into them."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        return printable(super().formatMessage(record))


def plain_places(words: Sequence[str]) -> list[str]:
    """The words of a command line with places in quotes, so that Hydra takes them as they are.

    Else ``run_dir=1e3`` would be the number 1000.0, and ``data.root=~/x`` no word at all. A comma
    stays what it is for Hydra, which says how to type it.
    """
    if {"-m", "--multirun"} & {*words}:
        return [*words]
    places = [(word, _PLACE.fullmatch(word)) for word in words]
    return [word if match is None or _HYDRAS.fullmatch(match[2]) else
            f"{match[1]}'{_escaped(match[2])}'" for word, match in places]


def _escaped(text: str) -> str:
    """The text inside Hydra's quotes; backslashes count only before a quote."""
    return re.sub(r"(\\*)('|$)", lambda match: 2 * match[1] + ("\\'" if match[2] else ""), text)


def override(key: str, value: object) -> str:
    """``key=value`` as it is typed into a shell, in quotes where Hydra or the shell needs them."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    escaped = _escaped(text)
    return f'{key}="\'{escaped}\'"' if _is_safe(escaped) else shlex.quote(f"{key}='{escaped}'")


def _is_safe(text: str) -> bool:
    """Whether double quotes of a shell leave it as it is."""
    return not set(text) & set('"$`\\!')
