"""Wiring by argument name: who reads which entry, and one sentence where an entry is missing."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from corekit.errors import CorekitError
from corekit.recipes.schema import ModelConfig

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Wiring:
    """A callable with the names it reads.

    Args:
        label: what messages call it.
        function: called with keyword arguments.
        reads: parameter -> name of the entry it gets.
        required: the parameters without a default.
    """

    label: str
    function: Callable[..., Any]
    reads: Mapping[str, str]
    required: frozenset[str]

    @classmethod
    def of(cls, label: str, function: Callable[...,
                                               Any], signature_of: Callable[..., Any] | None = None,
           rename: Mapping[str, str] | None = None, ignore: Iterable[str] = ()) -> "Wiring":
        """Read a callable's parameter names.

        Args:
            label: what messages call it.
            function: the callable.
            signature_of: where its signature stands, if not on itself (a module's ``forward``).
            rename: parameter -> entry, where they are called differently.
            ignore: parameters that are no entries.

        Raises:
            CorekitError: ``rename`` names a parameter it does not have.
        """
        parameters = [
            parameter
            for parameter in inspect.signature(signature_of or function).parameters.values()
            if parameter.kind not in (parameter.VAR_POSITIONAL,
                                      parameter.VAR_KEYWORD) and parameter.name not in ignore
        ]
        names = [parameter.name for parameter in parameters]
        unknown = set(rename or ()) - set(names)
        if unknown:
            raise CorekitError(f"{label} has no input '{sorted(unknown)[0]}'; its inputs are "
                               f"{', '.join(names)}")
        return cls(
            label, function, {name: (rename or {}).get(name, name) for name in names},
            frozenset(parameter.name for parameter in parameters
                      if parameter.default is parameter.empty))

    def pick(self, values: Values) -> dict[str, Any]:
        """The keyword arguments it gets out of these values; those with a default may be absent."""
        return {parameter: values[name] for parameter, name in self.reads.items() if name in values}

    def __call__(self, values: Values, **more: Any) -> Any:
        return self.function(**self.pick(values), **more)

    def missing(self, names: Iterable[str]) -> list[str]:
        """The entries it cannot do without that are not among these names."""
        known = set(names)
        return [
            name for parameter, name in self.reads.items()
            if parameter in self.required and name not in known
        ]

    def defaulted(self, names: Iterable[str]) -> list[str]:
        """The parameters left at their defaults because no entry of that name is there."""
        known = set(names)
        return [parameter for parameter, name in self.reads.items() if name not in known]


def model_wiring(config: ModelConfig, module: nn.Module) -> Wiring:
    """How batch entries reach a model's ``forward``."""
    return Wiring.of(f"model `{config.name}`", module, module.forward, config.inputs)


def rename_outputs(outputs: Any, names: Mapping[str, str] | str | None) -> dict[str, Any]:
    """A model's outputs under corekit's names.

    Args:
        outputs: a dict, or a single tensor.
        names: its name for a single tensor, or model's name -> corekit's name; None: as they are.
    """
    if isinstance(outputs, dict):
        table = {} if names is None or isinstance(names, str) else names
        return {table.get(name, name): value for name, value in outputs.items()}
    if not isinstance(names, str):
        raise CorekitError("the model gives a single tensor, not a dict: say what it is with "
                           "model.outputs, "
                           "as in model.outputs=logits")
    return {names: outputs}


def check(consumer: Wiring, givers: Mapping[str, Iterable[str]]) -> None:
    """Raise a CorekitError where a consumer needs what none of the givers gives."""
    missing = consumer.missing(name for names in givers.values() for name in names)
    if missing:
        offered = "; ".join(f"{giver} gives {', '.join(sorted(names)) or 'nothing'}"
                            for giver, names in givers.items())
        raise CorekitError(f"{consumer.label} needs {', '.join(f'`{name}`' for name in missing)}; "
                           f"{offered}")
