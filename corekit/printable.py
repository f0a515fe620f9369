"""Text that came from outside as it is shown, and words that may be typed as they are printed."""

import logging
import re
import shlex

_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)  # what neither a shell nor Hydra wants in quotes


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


def override(key: str, value: object) -> str:
    """``key=value`` as it is typed into a shell, in quotes where Hydra or the shell needs them."""
    text = str(value)
    if _PLAIN.fullmatch(text):
        return f"{key}={text}"
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f'{key}="\'{escaped}\'"' if _is_safe(escaped) else shlex.quote(f"{key}='{escaped}'")


def _is_safe(text: str) -> bool:
    """Whether double quotes of a shell leave it as it is."""
    return not set(text) & set('"$`\\!')
