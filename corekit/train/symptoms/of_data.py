"""Signs in a batch, on the CPU: values that are all alike, pixels out of range, wasted tokens."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

import torch
from torch import Tensor

from corekit.data.fields import Field
from corekit.data.tokenizers.base import Tokenizer
from corekit.printable import printable
from corekit.train.symptoms.symptom import Symptom

FEWEST = 32  # samples that a share is taken of
ALIKE = 0.5  # share of one value among all that is too much
REPEATS = 16  # samples with each value, on average, that are too many
CUT, PADDED, ONE_TOKEN = 0.2, 0.85, 0.5  # shares of captions, of positions, of tokens
CONTEXT = "data.tokenizer.context_length (and the model's)"
LEAST_SPREAD, LARGEST = 0.02, 20.0  # of the numbers that a model sees of pictures


def alike(noun: str, counts: Counter[Hashable], look: str) -> Symptom | None:
    """Captions or pictures that do not differ; ``look`` says how to see some."""
    samples = counts.total()
    if samples < FEWEST:
        return None
    value, most = counts.most_common(1)[0]
    if most < ALIKE * samples and len(counts) > samples / REPEATS:
        return None
    shown = f" ('{printable(value[:60])}')" if isinstance(value, str) else ""
    seen = (f"{most:,} of {samples:,} {noun}s are the same one{shown}" if most >= ALIKE * samples
            else f"{samples:,} {noun}s are only {len(counts):,} different ones")
    return Symptom(f"same_{noun}", f"{seen}: a model cannot tell by its {noun} which sample it has "
                   f"before it. Probably the {noun} is read from the wrong place, or one was "
                   f"copied into every sample. {look}")


def one_class(noun: str, counts: Counter[Hashable], look: str) -> Symptom | None:
    """Labels of a single class."""
    if counts.total() < 2 * FEWEST or len(counts) > 1:
        return None
    value = next(iter(counts))
    shown = f"class {value}" if isinstance(value, int) else "the same"
    return Symptom("one_class", f"all of the first {counts.total():,} {noun}s are {shown}: a model "
                   "that always answers so is right, and learns nothing else. Either the labels "
                   "are wrong, or the shards hold one class after the other: mix their samples, "
                   f"or read more shards side by side with a larger data.streams. {look}")


def off_by_one(counts: Counter[Hashable], look: str) -> Symptom | None:
    """Labels that seem to count from 1."""
    numbers, samples = {value for value in counts if isinstance(value, int)}, counts.total()
    least, largest = min(numbers, default=0), max(numbers, default=0)
    few_missing = largest - len(numbers) <= largest / 50
    if least != 1 or largest < 2 or samples < 10 * (largest + 1) or not few_missing:
        return None
    return Symptom("labels_off_by_one", f"the first {samples:,} labels are 1 to {largest}, and "
                   "none is 0: they probably count from 1, while classes are numbered from 0, so "
                   "that each is called by the name of the next one. Write the labels anew, each "
                   f"less by 1. {look}")


def values_symptoms(field: Field, counts: Counter[Hashable], look: str
                    ) -> Iterator[Symptom | None]:
    """Of all that was seen of a field whose values should differ."""
    if field.is_class:
        yield one_class(field.noun, counts, look)
        yield off_by_one(counts, look)
    else:
        yield alike(field.noun, counts, look)


def cut_captions(captions: Sequence[str], tokenizer: Tokenizer, length: int | None,
                 key: str) -> Symptom | None:
    """Captions whose last word never reaches the model; ``key`` sets the tokens of a caption."""
    shortened = [caption.rpartition(" ")[0] for caption in captions]
    pairs = [(whole, short) for whole, short in zip(captions, shortened) if short.strip()]
    if len(captions) < FEWEST or not pairs:
        return None
    whole, short = tokenizer([text for texts in zip(*pairs) for text in texts]).chunk(2)
    cut = int((whole == short).all(1).sum())
    if cut < CUT * len(captions):
        return None
    return Symptom("captions_cut", f"{cut:,} of {len(captions):,} captions are longer than the "
                   f"{length or whole.shape[1]} tokens that the model reads, and their ends are "
                   f"cut off: what is said there cannot be learnt. Set {key} to more, or shorten "
                   "the captions", explains=False)


def padding(tokens: Tensor, key: str) -> Symptom | None:
    """Captions int64 [n, L] that are mostly padding."""
    used, length = _used(tokens), tokens.shape[1]
    padded, longest = 1 - float(used.float().mean()) / length, int(used.max())
    if len(tokens) < FEWEST or padded < PADDED or longest > length / 2:
        return None
    return Symptom("tokens_padded", f"{padded:.0%} of the {length} positions of captions are "
                   f"padding, and none of {len(tokens)} captions needs more than {longest}: the "
                   f"text tower mostly computes on nothing. Set {key} to about {longest}",
                   explains=False)


def one_token(tokens: Tensor, captions: Sequence[str]) -> Symptom | None:
    """Different captions, int64 [n, L], of which most tokens are one and the same."""
    tokens = tokens[list({caption: row for row, caption in enumerate(captions)}.values())]
    position = torch.arange(tokens.shape[1])
    inner = tokens[(position > 0) & (position < _used(tokens)[:, None] - 2)]  # without the ends
    counts = torch.bincount(inner)
    if len(tokens) < FEWEST or len(inner) < FEWEST or counts.max() <= ONE_TOKEN * len(inner):
        return None
    return Symptom("one_token", f"{int(counts.max()) / len(inner):.0%} of the tokens of captions "
                   f"are one and the same, {int(counts.argmax())}: probably one that stands for "
                   "all that the tokenizer does not know. Choose another data.tokenizer, made for "
                   "the language and the script of these captions")


def _used(tokens: Tensor) -> Tensor:
    """How many positions each caption takes, int64 [n]; the rest repeats what the row ends with."""
    differs = (tokens != tokens[:, -1:]).int()
    repeated = (differs.flip(1).cummax(1).values == 0).sum(1)
    return (tokens.shape[1] - repeated + 1).clamp(max=tokens.shape[1])


def odd_pixels(pictures: Sequence[Tensor], are_bytes: bool) -> Symptom | None:
    """Pictures as the model sees them, float [3, H, W], whose numbers are no pixels'."""
    spread = float(torch.stack([picture.std((1, 2)).mean() for picture in pictures]).mean())
    least = min(float(picture.min()) for picture in pictures)
    most = max(float(picture.max()) for picture in pictures)
    if spread == 0 or (spread > LEAST_SPREAD and max(-least, most) < LARGEST):  # 0: of one colour
        return None
    cause = ("data.preprocess.mean and std are probably meant for pixels from 0 to 255: they are "
             "of pixels from 0 to 1, so divide both by 255" if are_bytes else
             "the data set or the transform probably scales pixels already, and data.preprocess "
             "does it once more: give pictures as bytes, uint8 from 0 to 255")
    return Symptom("odd_pixels", f"the numbers that the model sees of pictures lie between "
                   f"{least:.3g} and {most:.3g} with a standard deviation of {spread:.2g} in a "
                   f"picture, where 0.1 to 1 is usual: {cause}")
