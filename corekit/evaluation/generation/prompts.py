"""Questions as a language model is asked them: with a prompt, and answered examples before them."""

from collections import Counter

import numpy as np

from corekit.data.conversations.messages import PICTURE, Message
from corekit.data.datasets.base import BadSampleError, Sample, Source, declared
from corekit.errors import CorekitError
from corekit.seeds import numpy_generator

SPARE = 16  # examples that are drawn beyond those needed, in case some cannot be read
Handle = tuple[int, object]  # the number of a sample, and the data set's own handle of it


class Prompted:
    """A data set of questions whose samples are conversations up to the answer; a Source.

    A sample has ``messages``, and in ``pictures`` those of the examples before its own. Examples
    are questions of another data set with their answers, each turn with its own pictures; they
    depend on the seed and the number of the question alone.

    Args:
        source: the questions.
        prompt: what is written below each question.
        examples: where examples come from; None: there are none.
        shots: examples before each question.
        seed: of the draw.

    Raises:
        CorekitError: shots without examples, or fewer examples than shots.
    """

    def __init__(self, source: Source, prompt: str, examples: Source | None = None,
                 shots: int = 0, seed: int = 0) -> None:
        self.source, self.prompt, self.shots, self.seed = source, prompt, shots, seed
        self.examples = examples
        self.fields = {**declared(source.fields), "messages": "messages"}
        self.shard_sizes, self.fingerprint = source.shard_sizes, source.fingerprint
        self.starts = np.concatenate([[0], np.cumsum(source.shard_sizes)])
        sizes = np.zeros(0, dtype=np.int64) if examples is None else examples.shard_sizes
        self.example_starts = np.concatenate([[0], np.cumsum(sizes)])
        # a dry run has no samples
        if shots and (examples is None or (self.starts[-1] and self.example_starts[-1] < shots)):
            raise CorekitError(f"shots={shots} needs a shots_dataset with as many questions, such "
                               "as the training split")

    def read(self, shard: int, first: int, count: int) -> list[Handle]:
        """The handles of neighbouring questions, with their numbers."""
        handles = self.source.read(shard, first, count)
        return [*enumerate(handles, int(self.starts[shard]) + first)]

    def decode(self, handle: Handle) -> Sample:
        """One conversation."""
        number, of_source = handle
        sample = self.source.decode(of_source)
        messages: list[Message] = []
        examples = self._examples_of(number)
        for example in examples:
            answers: list[str] = example["answers"]
            answer = Counter(answers).most_common(1)[0][0]
            messages += [self._question(example), Message("assistant", answer)]
        pictures = [picture for each in [*examples, sample] for picture in each["pictures"]]
        return {**sample, "messages": [*messages, self._question(sample)], "pictures": pictures}

    def _question(self, sample: Sample) -> Message:
        places = f"{PICTURE}\n" * len(sample["pictures"])
        lines = filter(None, [sample["question"], self.prompt])
        return Message("user", places + "\n".join(lines))

    def _examples_of(self, number: int) -> list[Sample]:
        if not self.shots:
            return []
        assert self.examples is not None
        total = int(self.example_starts[-1])
        generator = numpy_generator(self.seed, "shots", number)
        drawn = generator.choice(total, min(total, self.shots + SPARE), replace=False)
        examples: list[Sample] = []
        for place in drawn.tolist():
            shard = int(np.searchsorted(self.example_starts, place, side="right")) - 1
            first = place - int(self.example_starts[shard])
            try:
                example = self.examples.decode(self.examples.read(shard, first, 1)[0])
                for picture in example["pictures"]:
                    picture.load()
            except BadSampleError:
                continue
            if example["answers"]:
                examples.append(example)
            if len(examples) == self.shots:
                return examples
        raise BadSampleError("shots", f"{self.shots} examples are needed, and of {len(drawn)} that "
                             f"were drawn {len(examples)} can be read and have an answer")
