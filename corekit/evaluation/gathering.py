"""Bytes of each sample, brought from all ranks to the first one, or to all of them."""

from collections.abc import Iterator, MutableMapping

import torch

from corekit.evaluation.base import EvalModel
from corekit.evaluation.features import everywhere

BLOCK = 2**24  # bytes of one exchange


def gathered(eval_model: EvalModel, total: int, own: MutableMapping[int, bytes],
             on_all_ranks: bool = False) -> Iterator[bytes]:
    """What the ranks have for each of ``total`` samples, in order; by default on the first rank.

    ``own`` has this rank's share by the samples' numbers, a number on one rank only. All ranks have
    to exhaust it. Other ranks hold no more than one exchange.
    """
    device = eval_model.device
    position = torch.tensor(list(own), dtype=torch.int64, device=device)
    length = torch.tensor([len(each) for each in own.values()], dtype=torch.int64, device=device)
    lengths: list[int] = everywhere(eval_model, total, position, length).tolist()
    first = 0
    while first < total:
        last, size = first + 1, lengths[first]
        while last < total and size + lengths[last] <= BLOCK:
            size += lengths[last]
            last += 1
        block = b"".join(own.pop(number, bytes(lengths[number])) for number in range(first, last))
        summed = _sum(eval_model, block)
        if on_all_ranks or eval_model.rank == 0:
            begin = 0
            for number in range(first, last):
                yield summed[begin:begin + lengths[number]]
                begin += lengths[number]
        first = last


def _sum(eval_model: EvalModel, block: bytes) -> bytes:
    if not block or eval_model.world == 1:
        return block
    tensor = torch.frombuffer(bytearray(block), dtype=torch.uint8).to(eval_model.device)
    return eval_model.sum(tensor).cpu().numpy().tobytes()
