"""Networks without numbers: names and shapes of their tensors, for a look at a file that may not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_NUMBERS_ONLY = frozenset({"normal_", "uniform_", "normalize"})
"""What a network is begun with that changes no shape."""

_SCALED = frozenset({"mul", "__mul__", "__rmul__"})  # by a number


@contextmanager
def shapes_only() -> Iterator[None]:
    """Networks that are built inside lie on the meta device: they take no memory, however large they are."""
    with torch.device("meta"), _Unfilled():
        yield


class _Unfilled(TorchFunctionMode):
    """Leaves the meta device's tensors as they are where numbers would be drawn or scaled.

    torch has no kernels of its own for that there: it imports its compiler instead, which takes 3 s and 120 MB, sets a
    variable of the environment and leaves a folder in /tmp.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named, name = kwargs or {}, getattr(func, "__name__", "")
        if name in _NUMBERS_ONLY or (name in _SCALED and isinstance(args[1], int | float)):
            return args[0] if args else named.get("tensor", named.get("input"))
        if name == "linalg_vector_norm":  # of weight norm: a sum over the same dimensions has the same shape
            return torch.sum(*args, **named)
        return func(*args, **named)
