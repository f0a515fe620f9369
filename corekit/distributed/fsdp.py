"""Fully sharded training (FSDP2): ranks share parameters, gradients and optimizer state."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from corekit.distributed.process_group import ProcessGroup
from corekit.errors import CorekitError
from corekit.models.layer_list import all_layers

State = Mapping[str, Any]  # tensors and plain values, and mappings of them
NewState = dict[str, Any]  # the same, which torch may load into


def shard(model: nn.Module, group: ProcessGroup) -> nn.Module:
    """Share a model out over the ranks, in place: a layer at a time, and the rest together.

    Gradients are summed over ranks. A parameter without dimensions, which FSDP2 cannot cut, becomes
    one of one element that the module still sees as a scalar; ``to_files`` gives it back its shape.

    Raises:
        CorekitError: this torch cannot sum gradients.
    """
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise CorekitError("engine.parallel=fsdp needs torch 2.8 or newer, not "
                           f"{torch.__version__}; type engine.parallel=ddp")
    mesh = init_device_mesh(group.device.type, (group.world,))
    for module in model.modules():
        _widen_scalars(module)
    for layer in all_layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for sharded in _sharded(model):
        sharded.set_gradient_divide_factor(1.0)
        sharded.set_force_sum_reduction_for_comms(True)
        if hasattr(sharded, "set_reduce_scatter_unused_params"):  # newer than torch 2.8
            # what one rank's loss does not reach, another's may
            sharded.set_reduce_scatter_unused_params(True)
    return model


def unsharded_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Every parameter as the forward pass sees it; where it is shared out, a layer at a time."""
    layers: Sequence[FSDPModule | None] = _sharded(model) or [None]
    for layer in layers:
        if layer is not None:
            layer.unshard()
        yield from ((name, value) for name, value in model.named_parameters()
                    if not isinstance(value, DTensor))
        if layer is not None:
            layer.reshard()


def synchronised(model: nn.Module, last: bool) -> contextlib.AbstractContextManager[object]:
    """The backward pass of a micro-batch; gradients travel once a step, during the last one's."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    elif isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


@contextlib.contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """All parameters on every rank, so that ranks may run different numbers of forward passes."""
    for module in _sharded(model):
        module.unshard()
        module.set_reshard_after_forward(False, recurse=False)
    try:
        yield
    finally:
        for module in _sharded(model):
            outermost = module is model  # type: ignore[comparison-overlap]
            module.set_reshard_after_forward(not outermost, recurse=False)
            module.reshard()


def to_files(state: State, model: nn.Module) -> NewState:
    """A state dict as it is written: scalars are scalars, whatever the ranks that wrote it."""
    def scalar(value: Tensor, _: object) -> Tensor:
        return full(value).reshape(()) if value.dim() else value

    return _change(state, state, _scalar_names(model), scalar)


def from_files(state: State, like: State, model: nn.Module) -> NewState:
    """The result of ``to_files`` in the form of the state ``like`` that it was written from."""
    def as_before(value: Tensor, old: object) -> Tensor:
        assert isinstance(old, Tensor)
        reshaped = value.reshape(old.shape)
        if isinstance(old, DTensor):
            return distribute_tensor(reshaped, old.device_mesh, old.placements)
        return reshaped

    return _change(state, like, _scalar_names(model), as_before)


def local(tensor: Tensor) -> Tensor:
    """This rank's share of a tensor; the tensor itself where it is not shared out."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full_state(model: nn.Module, keep: bool) -> dict[str, Tensor]:
    """The model's state dict with whole tensors on the CPU; all ranks must ask for it together."""
    copies: dict[str, Tensor] = {}
    for name, value in to_files(model.state_dict(), model).items():
        gathered = full(value)
        if keep:
            copies[name] = gathered.detach().to("cpu", copy=True).contiguous()
    return copies


def is_sharded(model: nn.Module) -> bool:
    """Whether ranks hold a share of the model each."""
    return isinstance(model, FSDPModule)


def full(tensor: Tensor) -> Tensor:
    """The whole tensor on this rank; all ranks must ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _sharded(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _widen_scalars(module: nn.Module) -> None:
    scalars = {name: value for name, value in module.named_parameters(recurse=False)
               if value.dim() == 0}
    for name, value in scalars.items():
        module._parameters[name] = nn.Parameter(value.detach().reshape(1), value.requires_grad)
    if scalars:
        members = {**{name: _scalar(name) for name in scalars}, "widened_scalars": tuple(scalars)}
        cls = type(module)
        module.__class__ = type(cls.__name__, (cls,), members)


def _scalar(name: str) -> property:
    def as_scalar(module: nn.Module) -> Tensor:
        value = module._parameters[name]
        assert value is not None
        # FSDP2 looks for its own through this too
        return value if isinstance(value, DTensor) else value.reshape(())

    return property(as_scalar)


def _scalar_names(model: nn.Module) -> set[str]:
    return {f"{path}.{name}".lstrip(".") for path, module in model.named_modules()
            for name in getattr(module, "widened_scalars", ())}


def _change(state: State, other: State, names: set[str],
            change: Callable[[Tensor, object], Tensor], inside: bool = False) -> NewState:
    """The same nested mapping with some tensors changed.

    ``names`` are those of the tensors, or of mappings whose tensors are all changed; ``change``
    gets a tensor and the value at its place in ``other``, a mapping of the same form.
    """
    changed: NewState = {}
    for key, value in state.items():
        is_named = inside or key in names
        if isinstance(value, Mapping):
            changed[key] = _change(value, other[key], names, change, is_named)
        else:
            is_changed = isinstance(value, Tensor) and is_named
            changed[key] = change(value, other[key]) if is_changed else value
    return changed
