"""Token ids as transformers' Grounding DINO wants them: those of BERT, which its code names."""

import torch
import torch.nn.functional as F
from torch import Tensor

START, END, PERIOD, QUESTION = 101, 102, 1012, 1029  # [CLS] [SEP] . ?
FIRST_FREE = QUESTION + 1  # the first id beyond them


def prompt(text: Tensor, start_token: int | None, end_token: int, offset: int) -> Tensor:
    """Start, the words, a period, end, and zeros: one phrase a row, int64 [B, L + 1 or L + 2].

    Args:
        text: int64 [B, L], words up to the first ``end_token``.
        start_token: what each row begins with; None: nothing.
        end_token: an id that each row has.
        offset: added to the ids of words.
    """
    if start_token is None:
        text = F.pad(text, (1, 0))
    text = F.pad(text, (0, 1))
    place = torch.arange(text.shape[1], device=text.device)
    stop = 1 + (text[:, 1:] == end_token).int().argmax(1, keepdim=True)
    ids = torch.where(place < stop, text + offset, 0)
    ids = torch.where(place == stop, PERIOD, ids)
    ids = torch.where(place == stop + 1, END, ids)
    return torch.where(place == 0, START, ids)


def is_word(ids: Tensor) -> Tensor:
    """Which tokens of a prompt are words of the phrase, bool [B, L]."""
    marks = torch.tensor([0, START, END, PERIOD, QUESTION], device=ids.device)
    return ~torch.isin(ids, marks)
