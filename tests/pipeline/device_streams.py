"""Encoders that a test's worker processes build; a module of its own, because they import it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.pipeline.mean_colour import MeanColour
from vadpipe.errors import UsageError


class Failing(MeanColour):
    """Ends its process, or raises, at the first batch."""

    def encode(self, items: Any) -> NDArray[np.float32]:
        if self.stream == "dying":
            os._exit(7)
        raise UsageError("not on this device")


def build(device: str, kind: str = "") -> list[MeanColour]:
    """Two streams, or one that fails in the way ``kind``."""
    assert device == "cpu"
    return [Failing(stream=kind)] if kind else [MeanColour(), MeanColour(frames=16, stream="snippets")]
