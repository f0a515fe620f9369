"""``corekit export``: trained models as files for other programs to run."""

import argparse
import os
from pathlib import Path


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to ``corekit``."""
    export = commands.add_parser(
        "export", help="a trained model as ONNX or torch.export files",
        description="Write the towers of a run or model folder, fused and in fp32, as a file each, "
                    "and check what they give against the model. Beside them go recipe.yaml, "
                    "preprocess.json and export.json, which says what they take and give.")
    export.add_argument("source", type=Path, metavar="MODEL_FOLDER",
                        help="a run, a checkpoint or a model folder")
    export.add_argument(
        "target", type=Path, metavar="OUT", nargs="?",
        help="the folder to write; without it MODEL_FOLDER_onnx or MODEL_FOLDER_torch")
    export.add_argument("--format", choices=("onnx", "torch"), default="onnx",
                        help="onnx (without it), or torch: the .pt2 of torch.export")
    export.add_argument("--batch", type=int, metavar="N",
                        help="samples the files take at a time; without it any number")
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> None:
    from corekit.export.export import export_model

    target = options.target or Path(f"{os.path.normpath(options.source)}_{options.format}")
    differences = export_model(options.source, target, options.format, options.batch)
    for name, difference in differences.items():
        size = sum(path.stat().st_size for path in target.glob(f"{name}*"))
        print(f"{target / name}: {size / 1e6:,.1f} MB, within {difference:.1e} of the model")
