"""Wiring by argument name: each callable reads the entries that its parameters name."""

import inspect
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from corekit.errors import CorekitError
from corekit.linear_output import LinearOutput
from corekit.recipes.schema import ModelConfig

T = TypeVar("T", covariant=True)
Values = Mapping[str, Any]
Outputs = dict[str, Tensor | LinearOutput]


@dataclass(frozen=True)
class Wiring(Generic[T]):
    """A callable with the names it reads."""

    label: str  # what messages call it
    function: Callable[..., T]
    reads: Mapping[str, str]  # parameter -> name of the entry it gets
    required: frozenset[str]  # the parameters without a default

    @classmethod
    def of(cls, label: str, function: Callable[..., T],
           signature_of: Callable[..., object] | None = None,
           rename: Mapping[str, str] | None = None, ignore: Container[str] = ()) -> "Wiring[T]":
        """The wiring of a callable, from its parameter names.

        Args:
            label: what messages call it.
            function: called with keyword arguments.
            signature_of: where its signature stands, if not on itself (a module's ``forward``).
            rename: parameter -> entry, where they are called differently.
            ignore: parameters that are no entries.

        Raises:
            CorekitError: ``rename`` names a parameter it does not have.
        """
        signature = inspect.signature(signature_of or function)
        parameters = [parameter for parameter in signature.parameters.values()
                      if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
                      and parameter.name not in ignore]
        names = [parameter.name for parameter in parameters]
        renamed = dict(rename or {})
        unknown = sorted(set(renamed) - set(names))
        if unknown:
            raise CorekitError(f"{label} has no input '{unknown[0]}'; its inputs are "
                               f"{', '.join(names)}")
        required = frozenset(parameter.name for parameter in parameters
                             if parameter.default is parameter.empty)
        return cls(label, function, {name: renamed.get(name, name) for name in names}, required)

    def pick(self, values: Values) -> dict[str, object]:
        """The keyword arguments it gets out of these values; those with a default may be absent."""
        return {parameter: values[name] for parameter, name in self.reads.items() if name in values}

    def __call__(self, values: Values, **more: object) -> T:
        return self.function(**self.pick(values), **more)

    def missing(self, names: Iterable[str]) -> list[str]:
        """The entries it cannot do without that are not among these names."""
        present = set(names)
        return [name for parameter, name in self.reads.items()
                if parameter in self.required and name not in present]

    def defaulted(self, names: Iterable[str]) -> list[str]:
        """The parameters left at their defaults because no entry of that name is there."""
        present = set(names)
        return [parameter for parameter, name in self.reads.items() if name not in present]


def model_wiring(config: ModelConfig, module: nn.Module) -> Wiring[object]:
    """How batch entries reach a model's ``forward``."""
    return Wiring.of(f"model `{config.name}`", module, module.forward, config.inputs)


def rename_outputs(outputs: object, names: Mapping[str, str] | str | None) -> Outputs:
    """A model's outputs under corekit's names.

    Args:
        outputs: a dict, or a single tensor.
        names: its name for a single tensor, or model's name -> corekit's name; None: as they are.

    Raises:
        CorekitError: a single tensor has no name.
    """
    if isinstance(outputs, dict):
        table = names if isinstance(names, Mapping) else {}
        return {table.get(name, name): value for name, value in outputs.items()}
    if not isinstance(names, str):
        raise CorekitError("the model returns a single tensor, not a dict: name it with "
                           "model.outputs, as in model.outputs=logits")
    assert isinstance(outputs, Tensor | LinearOutput)
    return {names: outputs}


def check(consumer: Wiring[object], providers: Mapping[str, Iterable[str]]) -> None:
    """Raise a CorekitError where a consumer needs an entry that none of the providers gives."""
    missing = consumer.missing(name for names in providers.values() for name in names)
    if missing:
        offered = "; ".join(f"{provider} gives {', '.join(sorted(names)) or 'nothing'}"
                            for provider, names in providers.items())
        raise CorekitError(f"{consumer.label} needs {', '.join(f'`{name}`' for name in missing)}; "
                           f"{offered}")
