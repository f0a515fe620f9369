"""``corekit predict``: what a trained model says of pictures."""

import argparse
from pathlib import Path


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to ``corekit``."""
    predict = commands.add_parser(
        "predict", help="what a trained model says of pictures",
        description="Write, for each picture, NAME.json and NAME.jpg, the picture with it drawn on "
                    "it: objects, classes of pixels (their numbers as NAME.classes.png), classes, "
                    "how well captions fit, or answers.")
    predict.add_argument("source", type=Path, metavar="MODEL_FOLDER",
                         help="a run, a checkpoint or a model folder")
    predict.add_argument("pictures", type=Path, metavar="PICTURE", nargs="+",
                         help="files, or folders of them")
    predict.add_argument("--out", type=Path, required=True, metavar="FOLDER",
                         help="the folder to write, which is not there yet")
    predict.add_argument("--captions", nargs="+", default=[], metavar="CAPTION",
                         help="what a model with a text tower is asked about")
    predict.add_argument("--ask", nargs="+", default=[], metavar="QUESTION",
                         help="what a model that answers questions is asked, each for itself; a "
                         "caption without it")
    predict.add_argument("--threshold", type=float, default=0.5, metavar="SCORE",
                         help="least score of an object, or of a class of several; 0.5 without it")
    predict.set_defaults(run=_predict)


def _predict(options: argparse.Namespace) -> None:
    from corekit.evaluation.prediction.predict import predict

    count = predict(options.source, options.pictures, options.out, options.captions,
                    options.threshold, options.ask)
    print(f"{options.out}: {count:,} pictures")
