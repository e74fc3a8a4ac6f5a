"""Small heads of every kind, with a text tower of one block, for tests of training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from tests.pipeline.planted import AUDIO_SPEC, CLASSES, CONFIG, SPEC
from vadpipe.config import RunConfig, TrainConfig, run_config
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.text_tower import TextTower

DIM = 32
TEXT = torch.randn(len(CLASSES), DIM, generator=torch.Generator().manual_seed(0))
INPUTS = HeadInputs(SPEC.dim, TEXT)

_SMALL: dict[str, dict[str, Any]] = {
    "lec_vad": {"dim": DIM, "heads": 4, "memory_blocks": 1, "dropout": 0.0},
    "vadclip": {"dim": DIM, "layers": 1},
    "avadclip": {"dim": DIM, "layers": 1, "audio_dropout": 0.0},
    "avadclip_student": {"dim": DIM},
}


def small_tower() -> TextTower:
    """A random text tower of one block, seeded."""
    generator = torch.Generator().manual_seed(5)
    shapes = {name: value.shape for name, value in TextTower(DIM, 1, 2, 64, 77, DIM).state_dict().items()}
    state = {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return TextTower.from_state(state, heads=2)


def small_inputs() -> HeadInputs:
    """What every head can be built from: both streams, tokens and a tower."""
    tokens = torch.zeros(len(CLASSES), 77, dtype=torch.int64)
    for row in range(len(CLASSES)):
        tokens[row, :4] = torch.tensor([62, 5 + row, 9, 63])  # start, two tokens of the name, end: the largest number
    return HeadInputs(SPEC.dim, TEXT, AUDIO_SPEC.dim, tokens, small_tower())


def small_config(head: str, train: TrainConfig | None = None, **model: Any) -> RunConfig:
    """Settings of a small head without dropout, so that cutting a batch up changes no random number."""
    audio = {"audio_stream": AUDIO_SPEC.stream} if head == "avadclip" or model.get("modality") == "audio" else {}
    config = run_config({"head": head, "stream": SPEC.stream, "model": {**_SMALL[head], **model}, **audio})
    return replace(config, train=train or replace(CONFIG.train, average=0.0))
