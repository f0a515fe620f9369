"""``corekit convert``: weights in other people's layouts to model folders, and back."""

import argparse
from pathlib import Path

from corekit.errors import CorekitError
from corekit.printable import printable


def add_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add it to ``corekit``."""
    convert = commands.add_parser(
        "convert", help="published weights to a model folder, or a model folder to another layout",
        description="Make a model folder of a file of published weights, whatever its layout; or "
                    "write a run or model folder in another layout, with --to. Files are read "
                    "without unpickling anything but tensors.")
    convert.add_argument(
        "source", type=Path,
        help=".pt, .pth, .bin or .safetensors, or a folder of transformers' Llava; a run or model "
             "folder with --to, --fuse")
    convert.add_argument(
        "target", type=Path,
        help="the model folder to write; with --to: the file, or Llava's folder")
    convert.add_argument("--model", metavar="NAME",
                         help="the model, where the keys do not tell (corekit list models)")
    convert.add_argument("--to", metavar="LAYOUT",
                         help="write a run or model folder in this layout, such as open_clip")
    convert.add_argument("--fuse", action="store_true",
                         help="fold branches and norms, as corekit.reparameterize does")
    convert.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> None:
    from corekit.checkpoint.convert import convert_in, convert_out

    if options.to is not None:
        if options.fuse or options.model is not None:
            raise CorekitError("--to writes the model that a folder holds, as it is: leave --model "
                               "and --fuse out")
        name, remarks = convert_out(options.source, options.target, options.to)
        print("\n".join([f"{options.target}: {name} in the layout {options.to}", *remarks]))
        return
    name, notes = convert_in(options.source, options.target, options.model, options.fuse)
    print("\n".join([f"{options.target}: {name}", *map(printable, notes)]))
