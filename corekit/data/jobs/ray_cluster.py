"""Work that is spread over a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from corekit.errors import CorekitError

T = TypeVar("T")


def in_ray(function: Callable[..., T], jobs: Sequence[tuple[object, ...]],
           workers: int) -> Iterator[T]:
    """``function(*job)`` of every job on a Ray cluster, as they finish, each on a GPU if possible.

    Raises:
        CorekitError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise CorekitError(
            "--ray needs Ray, which is not installed: pip install 'corekit[ray]'") from None
    ray.init(ignore_reinit_error=True)
    wants = {"num_cpus": 1, "num_gpus": 1 if ray.cluster_resources().get("GPU") else 0}
    remote = ray.remote(**wants)(function)
    waiting = [remote.remote(*job) for job in jobs]
    while waiting:
        done, waiting = ray.wait(waiting)
        yield from ray.get(done)
