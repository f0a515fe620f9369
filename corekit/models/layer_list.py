"""The layers of a model in order: units of sharding, recomputation and learning rates."""

from torch import nn

Lists = (nn.Sequential, nn.ModuleList)


def layers(module: nn.Module) -> list[nn.Module]:
    """The longest stack of two and more layers inside a module, in order; empty without one.

    A stack is an ``nn.Sequential`` or ``nn.ModuleList`` of modules that have modules of their own.
    An item that is or has such a list as a child is a stage: the layers of its lists stand in its
    place.
    """
    stacks = (_flat(each) for each in module.modules() if isinstance(each, Lists))
    longest: list[nn.Module] = max(stacks, key=len, default=[])
    return longest if len(longest) > 1 else []


def towers(model: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """(path, module) of the parts with a stack each: a CLIP's two towers, or the model itself.

    A model whose other parts hold stacks of their own names its towers in ``towers``.
    """
    children = [(f"{path}{name}.", child) for name, child in model.named_children()
                if layers(child)]
    if named := getattr(model, "towers", ()):
        return [tower for name in named
                for tower in towers(model.get_submodule(name), f"{path}{name}.")]
    if len(children) > 1 and not any(isinstance(child, Lists) for _, child in children):
        return [tower for name, child in children for tower in towers(child, name)]
    return [(path, model)] if layers(model) else []


def all_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of all towers."""
    return [layer for _, tower in towers(model) for layer in layers(tower)]


def _flat(items: nn.Module) -> list[nn.Module]:
    """The layers of a list, of which an item may be a stage of several."""
    stack: list[nn.Module] = []
    for item in items.children():
        if not any(True for _ in item.children()):
            return []  # a list of plain operations is part of a layer
        lists = [child for child in item.children() if isinstance(child, Lists)]
        if isinstance(item, Lists):
            lists = [item]
        inside = [layer for inner in lists for layer in _flat(inner)]
        if not inside and isinstance(item, nn.ModuleList):
            return []  # nobody calls a list, so it is no layer
        stack += inside or [item]
    return stack
