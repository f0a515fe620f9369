"""Answers made in batches with cached keys and values, against teacher forcing one by one.

    python tools/check_generation.py MODEL_FOLDER [--questions 500] [--batch-size 64]

MODEL_FOLDER is a run or a model folder of model `multimodal` that was trained on drawn scenes, such
as aimv2/multimodal_quickstart's. Each answer is put behind its question, and the model is run once
over both: every token of the answer has to be the most probable one given those before it. Exits
with 0 where that is so for all questions. Prints what both take, too.
"""

import sys
import time
from pathlib import Path

import timing
import torch
from torch import Tensor

import corekit
from corekit.data.conversations.messages import Message
from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.datasets.openmoji.questions import OpenMojiQuestions
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.models.multimodal.multimodal import Multimodal

TOKENS = 16  # of an answer


def main() -> int:
    parser = timing.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=64)
    args = parser.parse_args()
    model, preprocess, tokenizer = corekit.load(args.folder)
    assert isinstance(model, Multimodal)
    assert isinstance(tokenizer, ChatTokenizer)
    asked = [(preprocess.normalize(preprocess.tiles_of(sample["pictures"][0])),
              tokenizer.prompt([Message("user", sample["question"])], [1]))
             for sample in questions(args.questions)]
    with torch.no_grad():
        begin = time.perf_counter()
        answers = [answer for first in range(0, len(asked), args.batch_size)
                   for answer in generated(model, asked[first:first + args.batch_size],
                                           tokenizer.end_tokens)]
        cached = time.perf_counter() - begin
        begin = time.perf_counter()
        same = sum(is_most_probable(model, pixels, prompt, answer)
                   for (pixels, prompt), answer in zip(asked, answers, strict=True))
        forced = time.perf_counter() - begin
    print(f"{same} of {len(asked)} answers are those of teacher forcing, "
          f"{len(set(map(str, answers)))} different ones; in batches of {args.batch_size} "
          f"{cached:.1f} s, checked one by one {forced:.1f} s")
    return 0 if same == len(asked) else 1


def questions(count: int) -> list[Sample]:
    """Questions about scenes that no training draws."""
    source, found = OpenMojiQuestions(count, split="validation", singly=True), list[Sample]()
    for handle in source.read(0, 0, int(source.shard_sizes[0])):
        try:
            found.append(source.decode(handle))
        except BadSampleError:  # a scene without such a question
            continue
    return found[:count]


def generated(model: Multimodal, asked: list[tuple[Tensor, Tensor]],
              end_tokens: frozenset[int]) -> list[list[int]]:
    """The answers to a batch."""
    lengths = torch.tensor([0, *(len(prompt) for _, prompt in asked)])
    return model.generate(torch.cat([pixels for pixels, _ in asked]),
                          torch.arange(len(asked) + 1), torch.cat([ids for _, ids in asked]),
                          lengths.cumsum(0), TOKENS, end_tokens)


def is_most_probable(model: Multimodal, pixels: Tensor, prompt: Tensor,
                     answer: list[int]) -> bool:
    """Whether each token of an answer is, given those before it."""
    ids = torch.cat([prompt, torch.tensor(answer)])
    logits = model(pixels, torch.tensor([0, len(pixels)]), ids, torch.tensor([0, len(ids)]))
    best: list[int] = logits["text_logits"].dense()[len(prompt):].argmax(1).tolist()
    return best == answer


if __name__ == "__main__":
    sys.exit(main())
