"""Seeded values for untrained encoders (tests, the demo), the same bits on every machine."""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def random_values(name: str, shape: tuple[int, ...], std: float, seed: int) -> NDArray[np.float32]:
    """Uniform values of ``shape``, mean 0 and standard deviation ``std``; same bits on every machine and version.

    Integers straight from a bit generator, whose stream numpy guarantees, then one exact scaling: samplers of normal
    values go through logarithms, which differ between processors. The name takes part, so order does not matter.
    """
    raw = np.random.PCG64([zlib.crc32(name.encode()), seed]).random_raw(math.prod(shape))
    steps = (raw >> np.uint64(40)).astype(np.float32)  # 24 bits: exact in float32
    unit = steps * np.float32(2.0**-23) - np.float32(1.0)
    return (unit * np.float32(std * math.sqrt(3.0))).reshape(shape)


def mirrored_values(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Weights (outputs, inputs, …) of a layer that a ReLU follows, such that an untrained network tells pictures apart.

    Outputs 2i and 2i + 1 have opposite signs, and so have inputs 2i and 2i + 1: a layer hands on both halves of its
    values, and the next one puts them together again (Balduzzi et al. 2017, looks-linear initialisation). Independent
    values would do worse: what a ReLU gives is positive on the average, the same for every picture, and that part grows
    from layer to layer until all pictures look alike. An odd number of inputs has independent values.
    """
    values = random_values(name, shape, math.sqrt(2.0 / math.prod(shape[1:])), seed)
    if shape[1] % 2 == 0:
        values[:, 1::2] = -values[:, ::2]
    values[1::2] = -values[::2]
    return values


def state_sha256(state: Iterable[tuple[str, NDArray[np.float32]]]) -> str:
    """One digest over names, shapes and values, in the order of the names, hexadecimal."""
    digest = hashlib.sha256()
    for name, values in sorted(state, key=lambda item: item[0]):
        digest.update(f"{name} {values.shape} {values.dtype.str}\n".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
