"""corekit-train without the last part of compiling, code generation, which takes minutes and needs
a compiler.

What is captured, and where, is the same without it. A model must be captured whole.
"""

from typing import Any

from torch import nn

from corekit.cli import train

compile_module: Any = nn.Module.compile
compiled = []


def capture(module: nn.Module) -> None:
    compiled.append(module)
    compile_module(module, backend="aot_eager", fullgraph=True)


def main() -> None:
    nn.Module.compile = capture  # type: ignore[assignment, method-assign]
    train.main()
    assert len(compiled) == 1, compiled
