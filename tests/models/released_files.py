"""Files as VadCLIP's and AVadCLIP's authors released them: the same names and shapes, values of ``tests/golden.py``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tests.golden import golden_weights

DATA = Path(__file__).parents[1] / "data"
_BLOCKS = 12  # of CLIP's towers; their names stand once in the table, with a star for the number


def names(kind: str) -> dict[str, tuple[int, ...]]:
    """Every parameter's name and shape, in the order of the released file's format."""
    table = json.loads((DATA / "released_names.json").read_text())
    found = {name: tuple(shape) for name, shape in table[kind].items()}
    for name, shape in table["clipmodel"].items():
        for block in range(_BLOCKS if "*" in name else 1):
            found[name.replace("*", str(block))] = tuple(shape)
    return found


def blank(kind: str) -> dict[str, Tensor]:
    """A file's tensors, all zero, each one number in memory."""
    return {name: torch.zeros(1).expand(*shape) if shape else torch.zeros(()) for name, shape in names(kind).items()}


def golden(kind: str) -> dict[str, Tensor]:
    """A file's tensors with golden values; CLIP's image tower, which nobody reads, is left zero."""
    state = blank(kind)
    for name, value in state.items():
        if not name.startswith("clipmodel.visual."):
            state[name] = _golden(name, tuple(value.shape))
    return state


@cache
def _golden(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(golden_weights({name: shape})[name])
