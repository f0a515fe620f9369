"""The layers of a model in order: units of sharding, recomputation and learning rates."""

from collections.abc import Sequence

from torch import nn

from corekit.models.layer_list import layers, towers


def depths(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Parameter name -> (its depth in its tower, that tower's layers + 1).

    What a tower has before its layers (stem, embeddings, class token, positions) is at depth 0, its
    n-th layer and what follows it at depth n, what follows the last one (norm, head) at layers + 1,
    as is what belongs to no tower. A tower may list in ``of_last_layer`` the modules that follow
    its last layer and count as part of it, and in ``before_layers`` those that come before its
    layers wherever they are in its list. A model around towers may list the latter, too.
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
    beside: Sequence[str] = getattr(model, "before_layers", ())
    deepest = max((last for _, last in depth_of.values()), default=1)
    return {name: depth_of.get(name, (0, deepest) if name.split(".")[0] in beside else (1, 1))
            for name, _ in model.named_parameters()}
