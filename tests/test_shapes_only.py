"""Networks on the meta device: the shapes of real ones, nothing drawn, and torch as it was afterwards."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vadpipe.config import run_config
from vadpipe.models import HeadInputs
from vadpipe.models.heads import HEADS, build_head
from vadpipe.models.text_tower import TextTower
from vadpipe.shapes_only import shapes_only


def shapes(module: torch.nn.Module) -> dict[str, Any]:
    return {name: (value.shape, value.dtype) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", HEADS)
def test_heads_have_the_shapes_of_real_ones(name: str) -> None:
    config = run_config({"head": name, **({"audio_stream": "wav2clip"} if name == "avadclip" else {})})
    audio = 128 if name == "avadclip" else 0

    def build() -> torch.nn.Module:
        head: torch.nn.Module = build_head(config, HeadInputs(512, torch.zeros(7, config.model.dim), audio))
        return head

    with shapes_only():
        made = build()
    assert all(value.is_meta for value in made.state_dict().values())
    assert shapes(made) == shapes(build())


def test_a_text_tower_has_the_shapes_of_a_real_one() -> None:
    with shapes_only():
        made = TextTower(64, 2, 4, 100, 77, 32)
    assert shapes(made) == shapes(TextTower(64, 2, 4, 100, 77, 32))


def test_afterwards_numbers_are_drawn_again() -> None:
    with shapes_only():
        assert torch.nn.Linear(3, 4).weight.is_meta
    assert torch.nn.init.normal_(torch.zeros(100)).std() > 0.5
    torch.testing.assert_close(torch.nn.functional.normalize(torch.full((1, 4), 3.0)), torch.full((1, 4), 0.5))
