"""Questions about pictures, from the files that each benchmark is published in."""

from collections.abc import Callable
from posixpath import splitext

from corekit.data.datasets.base import Sample
from corekit.data.datasets.dense.pictures import PROBED, Handle, Pictures
from corekit.data.datasets.questions.annotations import AnnotationFiles, Question, Questions
from corekit.data.datasets.questions.answers import (
    chartqa,
    docvqa,
    gqa,
    infovqa,
    lines,
    okvqa,
    textvqa,
    vqav2,
)
from corekit.data.datasets.questions.captions import coco_captions, nocaps, textcaps
from corekit.data.datasets.questions.choices import mme, scienceqa, seed
from corekit.data.shards.members import decode_sample
from corekit.data.transforms.decode import decode_image
from corekit.errors import CorekitError
from corekit.registry import register

FORMS: dict[str, Callable[[AnnotationFiles, str], Questions]] = {
    "vqav2": vqav2, "okvqa": okvqa, "textvqa": textvqa, "gqa": gqa, "docvqa": docvqa,
    "infovqa": infovqa, "chartqa": chartqa, "scienceqa": scienceqa, "mme": mme, "seed": seed,
    "coco_captions": coco_captions, "nocaps": nocaps, "textcaps": textcaps, "questions": lines}


@register("dataset", "vqav2", "VQAv2: questions about COCO's pictures, ten answers each.",
          form="vqav2", split="val2014")
@register("dataset", "okvqa", "OKVQA: questions about COCO's pictures that need knowledge.",
          form="okvqa", split="val2014")
@register("dataset", "textvqa", "TextVQA: questions about text in pictures, ten answers each.",
          form="textvqa", split="val")
@register("dataset", "gqa", "GQA: questions made of scene graphs.",
          form="gqa", split="testdev_balanced")
@register("dataset", "docvqa", "DocVQA: questions about scanned pages.", form="docvqa", split="val")
@register("dataset", "infovqa", "InfographicVQA: questions about infographics.",
          form="infovqa", split="val")
@register("dataset", "chartqa", "ChartQA: questions about charts.", form="chartqa", split="test")
@register("dataset", "scienceqa", "ScienceQA: choices, of which those with a picture.",
          form="scienceqa", split="test")
@register("dataset", "mme", "MME: two questions about each picture, yes and no.",
          form="mme", split="mme")
@register("dataset", "seed", "SEED-Bench: choices about single pictures.",
          form="seed", split="SEED-Bench")
@register("dataset", "coco_captions", "COCO's captions in Karpathy's splits.",
          form="coco_captions", split="test")
@register("dataset", "nocaps", "NoCaps: ten captions of pictures from Open Images.",
          form="nocaps", split="val")
@register("dataset", "textcaps", "TextCaps: captions that read the text in pictures.",
          form="textcaps", split="val")
@register("dataset", "questions", "Questions of one's own: SPLIT.jsonl beside pictures.",
          form="questions", split="questions")
class QuestionPictures(Pictures):
    """A benchmark of questions or captions, in its official annotation files.

    A sample has ``pictures``, ``question`` ('' where captions are asked for), ``answers``, a list
    that is empty where a split keeps them secret, ``question_id`` and ``category``. A picture that
    is not there or damaged makes a bad sample.

    Args:
        root: the folder or URL of the annotation files, beside the pictures in their folders as
            they are published; ``data.root`` where the recipe gives none. None: no samples, as a
            dry run needs it.
        split: as the names of the files have it.
        form: the benchmark.

    Raises:
        CorekitError: a file is missing, cut off or of another form, or no picture is there.
    """

    stored = ()

    def __init__(self, root: str | None, split: str, *, form: str) -> None:
        super().__init__(root, ("pictures", "question", "answers", "question_id", "category"),
                         form if split == form else f"{form}_{split}")
        self.questions: list[Question] = []
        if root is None:
            return
        files = AnnotationFiles(self.storage)
        try:
            self.questions, folders = FORMS[form](files, split)
            for each in self.questions:
                _check_text(*each.pictures, each.question, *each.answers, each.category)
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise CorekitError(f"{files.where} is not as files of '{form}' are: "
                               f"{type(error).__name__}: {error}") from None
        if not self.questions:
            raise CorekitError(f"{files.where} has no questions of '{form}'")
        names = [name for each in self.questions[:PROBED] for name in each.pictures]
        folder = self.folder_of(names, folders)
        if names and not any(self.storage.is_file(folder + name) for name in names):
            raise CorekitError(f"{self.storage.root} holds none of the pictures, such as "
                               f"{names[0]}: they lie in {' or '.join(filter(None, folders))}")
        self.number([{str(place): folder + name for place, name in enumerate(each.pictures)}
                     for each in self.questions], files.digest.hexdigest())

    def key(self, number: int) -> str:
        """The key of a sample: the name of its first picture, and its question's number."""
        names, question = self.files[number], self.questions[number]
        return "_".join([*(splitext(names[place])[0] for place in [*names][:1]),
                         str(question.question_id)])

    def decode(self, handle: Handle) -> Sample:
        """One question with its pictures."""
        raw, number = handle
        sample = decode_sample(raw, {}, {})
        pictures = [decode_image(content, f"{raw.where}: {raw.key}")
                    for content in raw.members.values()]
        question = self.questions[number]
        return {**sample, "pictures": pictures, "question": question.question,
                "answers": [*question.answers], "question_id": question.question_id,
                "category": question.category}


def _check_text(*values: object) -> None:
    if not all(isinstance(value, str) for value in values):
        raise TypeError("a name, a question or an answer is no text")
