"""A list of BERT's pieces: its marks where transformers' Grounding DINO looks for them."""

from pathlib import Path

MARKS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}
PIECES = ("the", "red", "app", "##le", "left", "one", "a")  # ids from 1030 on


def write_wordpieces(path: Path) -> str:
    """Write the list; returns its path."""
    lines = [f"[unused{number}]" for number in range(1030)]
    for piece, number in MARKS.items():
        lines[number] = piece
    path.write_text("\n".join([*lines, *PIECES]), encoding="utf-8")
    return str(path)
