"""What a model that reads conversations says of one picture."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from corekit.data.conversations.messages import Message
from corekit.data.drawing import draw_lines
from corekit.evaluation.generation.replies import Generator
from corekit.evaluation.prediction.kinds import Prediction

MOST_TOKENS = 64  # of an answer
COLUMNS = 44  # letters of a line on a picture


@dataclass(frozen=True)
class Answers:
    """Answers to questions, each in a conversation of its own."""

    generator: Generator
    questions: Sequence[str]

    def __call__(self, image: Image.Image) -> Prediction:
        tiles = self.generator.eval_model.preprocess.tiles_of(image)
        count = len(self.questions)
        replies = self.generator({
            "key": self.questions, "pictures": [[tiles]] * count,
            "messages": [[Message("user", question)] for question in self.questions]})
        answers = [{"question": question, "answer": replies.get(number)}
                   for number, question in enumerate(self.questions)]
        lines = [(line, number) for number, each in enumerate(answers)
                 for line in textwrap.wrap(f"{each['question']} {each['answer']}", COLUMNS)]
        drawn = draw_lines(np.asarray(image), [line for line, _ in lines],
                           [number for _, number in lines])
        return Prediction({"answers": answers}, drawn)
