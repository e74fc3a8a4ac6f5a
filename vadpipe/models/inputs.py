"""What a head is built from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True)
class HeadInputs:
    """What a head is built from, apart from its settings.

    video_dim, audio_dim
        Columns of the features; 0 for no audio.
    text (C+1, dim), tokens (C+1, 77)
        CLIP text features of the class prompts, ``normal`` first, and their tokens, for heads with a learned prompt.
    tower
        CLIP's text tower; None where a trained head is loaded to score only.
    """

    video_dim: int
    text: Tensor
    audio_dim: int = 0
    tokens: Tensor | None = None
    tower: Any = None
