"""The layers of a model in order: units of sharding, recomputation and learning rates."""

from collections.abc import Sequence

from torch import nn

Lists = (nn.Sequential, nn.ModuleList)


def layers(module: nn.Module) -> list[nn.Module]:
    """The longest stack of at least two layers inside a module, in order, or none.

    A stack is an ``nn.Sequential`` or ``nn.ModuleList`` of modules that have modules of their own.
    An item that is or has such a list as a child is a stage: the layers of its lists stand in its
    place.
    """
    stacks = (_flat(each) for each in module.modules() if isinstance(each, Lists))
    longest: list[nn.Module] = max(stacks, key=len, default=[])
    return longest if len(longest) > 1 else []


def towers(model: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """(path, module) of the parts with a stack of layers each, such as the towers of a CLIP."""
    children = [(f"{path}{name}.", child) for name, child in model.named_children()
                if layers(child)]
    if len(children) > 1 and not any(isinstance(child, Lists) for _, child in children):
        return [tower for name, child in children for tower in towers(child, name)]
    return [(path, model)] if layers(model) else []


def all_layers(model: nn.Module) -> list[nn.Module]:
    """The layers of all towers."""
    return [layer for _, tower in towers(model) for layer in layers(tower)]


def depths(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Parameter name -> (its depth in its tower, that tower's layers + 1).

    What a tower has before its layers (stem, embeddings, class token, positions) is at depth 0, its
    n-th layer and what follows it at depth n, what follows the last one (norm, head) at layers + 1,
    as is what belongs to no tower. A tower may list in ``of_last_layer`` the modules that follow
    its last layer and count as part of it, and in ``before_layers`` those that come before its
    layers wherever they are in its list.
    """
    depth_of: dict[str, tuple[int, int]] = {}
    for path, tower in towers(model):
        stack = layers(tower)
        last = len(stack) + 1
        number_of = {id(value): number for number, layer in enumerate(stack, 1)
                     for value in layer.parameters()}
        own = set(dict(tower.named_parameters(recurse=False)))
        with_last: Sequence[str] = getattr(tower, "of_last_layer", ())
        before: Sequence[str] = getattr(tower, "before_layers", ())
        reached = 0
        for name, value in tower.named_parameters():
            reached = number_of.get(id(value), reached)
            number = last if reached == len(stack) and id(value) not in number_of else reached
            # torch lists a module's own parameters first, wherever forward uses them
            if name in own:
                number = last if "proj" in name else 0
            if name.split(".")[0] in with_last:
                number = len(stack)
            elif name.split(".")[0] in before:
                number = 0
            depth_of[path + name] = (number, last)
    return {name: depth_of.get(name, (1, 1)) for name, _ in model.named_parameters()}


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
