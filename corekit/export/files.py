"""One traced model as one file of ONNX or torch.export, written and run again."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from corekit.checkpoint.exported import OnnxProgram
from corekit.errors import CorekitError

Program = Callable[[Tensor], dict[str, Tensor]]
BATCH = "batch"  # what the first dimension is called where it is dynamic
NEEDED = ("onnx", "onnxscript", "onnxruntime")


def check_packages() -> None:
    """Raise a CorekitError where what writes and runs ONNX files is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise CorekitError(f"--format onnx needs {', '.join(missing)}: pip install "
                           "'corekit[export]'")


def trace(module: nn.Module, example: Tensor, dynamic: bool) -> ExportedProgram:
    """A module of one input as a graph for any batch or the example's, with only its weights."""
    shapes = ({0: Dim(BATCH, min=1)},) if dynamic else None
    program = torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    # drop the weights that no operation reads, such as the other tower's
    unused = {node.name: node for node in program.graph.find_nodes(op="placeholder")
              if not node.users}
    for spec in [each for each in program.graph_signature.input_specs if each.target is not None]:
        if spec.arg.name in unused:
            program.graph_signature.input_specs.remove(spec)
            program.graph.erase_node(unused[spec.arg.name])
            program.state_dict.pop(spec.target, None)
            program.constants.pop(spec.target, None)
    program.graph_module.recompile()
    return program


def write_torch(program: ExportedProgram, path: Path, entry: str, outputs: list[str],
                doc: str) -> Program:
    """Save with ``torch.export.save``, and load it again. Arguments as of :func:`write_onnx`."""
    torch.export.save(program, path)
    # it unpickles, but this file is our own of a moment ago
    loaded: Program = torch.export.load(path).module()
    return loaded


def write_onnx(program: ExportedProgram, path: Path, entry: str, outputs: list[str],
               doc: str) -> Program:
    """Write ONNX, with weights above 1.5 GB in ``PATH.data``, and load it in onnxruntime.

    ``entry`` and ``outputs`` name what it takes and gives; ``doc`` is what the file says of itself.
    """
    shapes = ({0: BATCH} if program.range_constraints else None,)
    onnx_program = torch.onnx.export(program, dynamo=True, input_names=[entry],
                                     output_names=outputs, dynamic_shapes=shapes, verbose=False)
    assert onnx_program is not None
    onnx_program.model.doc_string = doc
    onnx_program.save(path)
    return OnnxProgram(path)
