"""Seeds for every random draw, each a pure function of what the draw is for."""

import hashlib

import numpy as np


def derive_seed(*purpose: int | str) -> int:
    """A 63-bit seed for one purpose.

    Args:
        *purpose: what the draw is for, such as (seed, "augmentation", step, place in the batch).
            Different tuples give independent seeds; the same tuple gives the same seed on any
            machine.
    """
    digest = hashlib.blake2b(repr(purpose).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(*purpose: int | str) -> np.random.Generator:
    """numpy's generator for one purpose."""
    return np.random.Generator(np.random.Philox(key=derive_seed(*purpose)))
