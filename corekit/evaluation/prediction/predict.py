"""Predictions of a trained model for pictures, written as files."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from inspect import signature
from itertools import count
from pathlib import Path

import torch
from PIL import Image

from corekit.checkpoint.load import config_of, load
from corekit.data.datasets.base import BadSampleError, dataset_info
from corekit.data.image_grid import Picture
from corekit.data.loading.whole_picture import WholePicture
from corekit.data.transforms.decode import FORMATS, decode_image
from corekit.data.transforms.preprocess import Preprocess
from corekit.errors import CorekitError
from corekit.evaluation.base import EvalModel
from corekit.evaluation.detection.objects import Paste
from corekit.evaluation.generation.captioning import Captioning
from corekit.evaluation.generation.replies import Generator
from corekit.evaluation.prediction.answers import MOST_TOKENS, Answers
from corekit.evaluation.prediction.kinds import Captions, Labels, Objects, PixelClasses, Predictor
from corekit.files import replacing, write_bytes, write_text
from corekit.models.multimodal.multimodal import Conversational
from corekit.recipes.schema import RunConfig

log = logging.getLogger(__name__)
SUFFIXES = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
EVALUATORS = ("detection", "segmentation")  # which say how pictures are resized


def predict(folder: Path, pictures: Sequence[Path], out: Path, captions: Sequence[str] = (),
            threshold: float = 0.5, questions: Sequence[str] = ()) -> int:
    """Write what a model says of pictures: for each a JSON file, and the picture with it drawn.

    A model that detects gives objects, one that segments the class of each pixel (and a PNG of
    their numbers), one that reads conversations answers, one with a text tower scores of
    ``captions``, another one classes. They are named as in the recipe beside the weights.

    Args:
        folder: a run, a checkpoint or a model folder.
        pictures: files, or folders of them.
        out: the folder to write, which holds nothing yet.
        captions: what a model with a text tower is asked about.
        threshold: the least score of an object, or of a class of which a picture may have several.
        questions: what a model that reads conversations is asked; none: it gives a caption.

    Returns:
        how many pictures there are results of.

    Raises:
        CorekitError: before anything is written, or, when all others are done, a picture cannot be
            read.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CorekitError(f"{out} is there already; name a folder that is not")
    files = [file for path in pictures for file in _files(path)]
    predictor = make_predictor(folder, captions, threshold, questions)
    unreadable = 0
    for file, name in zip(files, _free_names(files)):
        try:
            image = decode_image(file.read_bytes(), str(file)).convert("RGB")
        except (OSError, BadSampleError) as error:
            unreadable += 1
            log.warning("%s", error.message if isinstance(error, BadSampleError) else
                        f"{file} cannot be read: {error.strerror}")
            continue
        _write(out / name, file, image, predictor)
    if unreadable:
        raise CorekitError(f"{unreadable:,} of {len(files):,} pictures could not be read")
    return len(files)


@torch.no_grad()
def _write(target: Path, file: Path, image: Image.Image, predictor: Predictor) -> None:
    """Write the files of one picture, whose names begin alike."""
    prediction = predictor(image)
    content = {"picture": str(file), "width": image.width, "height": image.height,
               **prediction.content}
    for suffix, extra in prediction.files.items():
        write_bytes(_named(target, suffix), extra)
    _save(_named(target, ".jpg"), prediction.drawn)
    write_text(_named(target, ".json"), json.dumps(content, indent=2) + "\n")


def make_predictor(folder: Path, captions: Sequence[str], threshold: float,
                   questions: Sequence[str] = ()) -> Predictor:
    """What predicts with a trained model; a CorekitError where it can say nothing of pictures."""
    model, preprocess, tokenizer = load(folder)
    config = config_of(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    eval_model = EvalModel(model.to(device), preprocess, tokenizer, device, nullcontext)
    reads_text = hasattr(model, "encode_text")
    if captions and not reads_text:
        raise CorekitError(f"model '{config.model.name}' has no text tower (encode_text): leave "
                           "--captions out")
    if questions and not isinstance(model, Conversational):
        raise CorekitError(f"model '{config.model.name}' reads no conversations (generate): leave "
                           "--ask out")
    if isinstance(model, Conversational):
        generator = Generator(eval_model, "predict", MOST_TOKENS, blind=False)
        caption = str(signature(Captioning).parameters["prompt"].default)
        return Answers(generator, questions or [caption])
    resize, paste = _resizing(config, preprocess)
    if hasattr(model, "detect"):
        return Objects(eval_model, resize, _class_names(config), threshold, paste)
    if hasattr(model, "segment"):
        return PixelClasses(eval_model, resize, _class_names(config, "segmentation_names"))
    if reads_text:
        if not captions:
            raise CorekitError(f"model '{config.model.name}' compares pictures with captions: type "
                               "--captions 'a red apple' 'a house' ...")
        return Captions.of(eval_model, captions)
    independent = any(loss.name == "binary_cross_entropy" for loss in config.loss)
    return Labels(eval_model, _class_names(config), threshold, independent)


def _resizing(config: RunConfig, preprocess: Preprocess) -> tuple[WholePicture, Paste]:
    """How the recipe's evaluator resizes pictures, and at which size it pastes masks."""
    arguments = next((each.arguments for each in config.evaluators if each.name in EVALUATORS), {})
    resize = WholePicture(arguments.get("size") or preprocess.size, preprocess.interpolation,
                          arguments.get("keep_aspect", True), arguments.get("longest"))
    return resize, arguments.get("paste", "own")


def _class_names(config: RunConfig, attribute: str = "class_names") -> Sequence[str]:
    """Those of the recipe's data sets, of the first that is there and has any."""
    entries = [config.data.dataset, *(each.inner("dataset") for each in config.evaluators)]
    for entry in filter(None, entries):
        try:
            dataset = entry.build("dataset", root=config.data.root)
        except CorekitError as error:  # its files are elsewhere
            log.warning("dataset '%s', which names the classes, is not there: %s", entry.name,
                        error)
            continue
        names: Sequence[str] = getattr(dataset, attribute, dataset_info(dataset).class_names)
        if names:
            return names
    return ()


def _files(path: Path) -> list[Path]:
    """The pictures at a path; a CorekitError where there are none."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not files:
        raise CorekitError(f"{path} holds no pictures")
    return files


def _free_names(files: Sequence[Path]) -> Iterator[str]:
    """A name for each file: its own without the suffix, and a number where another has it."""
    taken: set[str] = set()
    for file in files:
        numbered = (f"{file.stem}_{number}" for number in count(2))
        name = file.stem
        while name in taken:
            name = next(numbered)
        taken.add(name)
        yield name


def _named(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _save(path: Path, picture: Picture) -> None:
    with replacing(path) as writing:
        Image.fromarray(picture).save(writing, "JPEG", quality=95, subsampling=0)
