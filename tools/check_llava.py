"""Write a trained model as transformers' Llava, ask both the same questions, and compare all.

    python tools/check_llava.py MODEL_FOLDER [--questions 50] [--threads 2]

MODEL_FOLDER is a run or a model folder of a model `multimodal` whose recipe evaluates on questions,
such as aimv2/multimodal_quickstart's. Tokens and pixels are transformers' own, from its processor;
logits are compared on the same pixels, where a difference in the last bit would grow; given the
same tokens of the picture too, they are the same bits, but for a model with adapters, whose folder
has them merged. Exits with 0 where logits agree to 1e-6 of the largest one, and all words are the
same.
"""

import contextlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import timing
import torch
from PIL import Image
from torch import Tensor

from corekit.checkpoint.convert import convert_out
from corekit.checkpoint.load import config_of, load
from corekit.data.datasets.base import BadSampleError, Sample
from corekit.data.tokenizers.chat import ChatTokenizer
from corekit.errors import CorekitError
from corekit.evaluation.generation.prompts import Prompted
from corekit.models.multimodal.multimodal import Multimodal

TOKENS = 16  # of an answer
FINE = 1e-6  # of the largest logit


class Answer(NamedTuple):
    """What a program makes of a question."""

    ids: Tensor  # int64 [L], -1 at the places of a picture
    pixels: Tensor  # [t, 3, S, S]
    words: list[int]


def main() -> int:
    parser = timing.parser(__doc__, questions=50, threads=2)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        target = Path(name) / "llava"
        _, notes = convert_out(args.folder, target, "transformers")
        print("\n".join(notes))
        return compare(args.folder, target, questions(args.folder, args.questions))


def questions(folder: Path, count: int) -> list[Sample]:
    """Conversations up to the answer, of the first evaluator that asks any."""
    for each in config_of(folder).evaluators:
        entry = each.inner("dataset")
        dataset = entry.build("dataset") if entry else None
        if dataset is not None and "question" in dataset.fields:
            return [*islice(readable(Prompted(dataset, each.arguments.get("prompt") or "")), count)]
    raise CorekitError(f"the recipe of {folder} has no evaluator of questions")


def readable(source: Prompted) -> Iterator[Sample]:
    """The samples of a data set, without those that it leaves out."""
    for shard, size in enumerate(source.shard_sizes):
        for number in range(size):
            with contextlib.suppress(BadSampleError):
                yield source.decode(source.read(shard, number, 1)[0])


def compare(folder: Path, target: Path, samples: list[Sample]) -> int:
    """Print the figures; 1 where something is not as it should be."""
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model, preprocess, tokenizer = load(folder)
    assert isinstance(model, Multimodal)
    assert isinstance(tokenizer, ChatTokenizer)
    llava: Any = LlavaForConditionalGeneration.from_pretrained(target)
    from_pretrained: Callable[..., Any] = AutoProcessor.from_pretrained
    processors = {backend: from_pretrained(target, backend=backend)
                  for backend in ("pil", "torchvision")}
    equal, largest = Counter[str](), dict.fromkeys(("logits", *processors), 0.0)
    for sample in samples:
        images = [image.convert("RGB") for image in sample["pictures"]]
        tiles = torch.cat([preprocess.tiles_of(image) for image in images])
        pixels, ids = preprocess.normalize(tiles), tokenizer.prompt(sample["messages"],
                                                                    [1] * len(images))
        batch = (pixels, torch.tensor([0, len(tiles)]), ids, torch.tensor([0, len(ids)]))
        words = model.generate(*batch, max_new_tokens=TOKENS, end_tokens=tokenizer.end_tokens)[0]
        for name, processor in processors.items():
            other = answered(llava, processor, sample, images)
            equal[f"token ids, {name}"] += torch.equal(ids, other.ids)
            equal[f"words, {name}"] += words == other.words
            difference = float((other.pixels - pixels).abs().max())
            largest[name] = max(largest[name], difference)
        logits = model(*batch)["text_logits"].dense()[1:]
        inputs = {"input_ids": ids.where(ids >= 0, llava.config.image_token_index)[None],
                  "pixel_values": pixels}
        others = llava(**inputs).logits[0, :-1, :logits.shape[1]]
        largest["logits"] = max(largest["logits"],
                                float((others - logits).abs().max() / logits.abs().max()))
        tokens = llava.model.vision_tower(pixels, output_hidden_states=True).hidden_states
        layer = llava.config.vision_feature_layer
        with patch.object(model, "encode_tokens", return_value=tokens[layer]):
            same = model(*batch)["text_logits"].dense()[1:]
        equal["logits to the bit, given the same tokens"] += torch.equal(same, others)
    for name, count in equal.items():
        print(f"{name}: the same in {count} of {len(samples)}")
    print(f"logits: at most {largest['logits']:.1e} of the largest apart")
    for name in processors:
        print(f"pixels, {name}: at most {largest[name]:.1e} apart")
    fine = equal["words, pil"] == equal["token ids, pil"] == len(samples)
    return 0 if fine and largest["logits"] <= FINE else 1


def answered(llava: Any, processor: Any, sample: Sample, images: list[Image.Image]) -> Answer:
    """What transformers makes of a conversation, by its own means alone."""
    messages = [message._asdict() for message in sample["messages"]]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    inputs = processor(images=images, text=text, return_tensors="pt")
    output = llava.generate(**inputs, max_new_tokens=TOKENS)[0]
    ids = inputs["input_ids"][0]
    return Answer(ids.where(ids != llava.config.image_token_index, -1), inputs["pixel_values"],
                  output[len(ids):].tolist())


if __name__ == "__main__":
    raise SystemExit(main())
