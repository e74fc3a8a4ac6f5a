"""CLIP's text tower: OpenAI's numbers, open_clip's numbers, and what makes it safe to share."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor

from tests.golden import golden_weights
from tests.models.released_files import DATA
from tests.pipeline.heads import small_tower
from vadpipe.errors import WeightsError
from vadpipe.models.text_tower import TextTower

TOKENS = torch.tensor([[60, 5, 9, 63, 0, 0], [60, 63, 0, 0, 0, 0]])


def test_it_gives_the_numbers_of_openais_code() -> None:
    shapes = {name: tuple(value.shape) for name, value in on_paper().items()}
    tower = TextTower.from_state({name: torch.from_numpy(v) for name, v in golden_weights(shapes).items()})
    with np.load(DATA / "clip_golden.npz") as stored:
        tokens, wanted = torch.from_numpy(stored["tokens"]).long(), stored["text_embedding"]
    got = tower.encode(tokens).numpy()
    assert np.abs(got - wanted).max() < 1e-5 * np.abs(wanted).max()


def on_paper() -> dict[str, Tensor]:
    with torch.device("meta"):
        return TextTower(512, 12, 8, 49408, 77, 512).state_dict()


def test_it_is_open_clips_encode_text() -> None:
    torch.manual_seed(0)
    network: Any = open_clip.CLIP(
        embed_dim=24,
        vision_cfg={"layers": 1, "width": 32, "head_width": 16, "image_size": 32, "patch_size": 16},
        text_cfg={"context_length": 6, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2},
        quick_gelu=True,
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        wanted = network.encode_text(TOKENS)
    tower = TextTower.from_state(network.state_dict(), heads=2)
    assert (tower.width, tower.dim) == (32, 24)
    torch.testing.assert_close(tower.encode(TOKENS), wanted, rtol=1e-5, atol=1e-5)


def test_positions_behind_the_end_token_do_not_matter() -> None:
    tower = small_tower()
    embedded, ends = torch.randn(2, 20, 32), torch.tensor([7, 3])
    torch.testing.assert_close(tower(embedded, ends), tower(embedded[:, :8], ends))


def test_it_is_frozen_shared_and_lets_gradients_through() -> None:
    tower = small_tower()
    assert copy.deepcopy(tower) is tower
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    embedded = torch.randn(2, 5, 32, requires_grad=True)
    torch.autograd.backward(tower(embedded, torch.tensor([4, 2])).sum())
    assert embedded.grad is not None
    assert embedded.grad[0].abs().sum() > 0
    assert embedded.grad[1, 3:].abs().sum() == 0  # behind the end


def test_it_computes_in_float32_under_autocast() -> None:
    tower, embedded, ends = small_tower(), torch.randn(2, 5, 32), torch.tensor([4, 4])
    with torch.autocast("cpu", torch.bfloat16):
        got = tower(embedded, ends)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, tower(embedded, ends), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["text_projection", "ln_final.weight", "transformer.resblocks.0.mlp.c_fc.weight"])
@pytest.mark.parametrize("value", [None, torch.zeros(3)])
def test_missing_or_unfit_values_are_named(name: str, value: Tensor | None) -> None:
    state = dict(small_tower().state_dict())
    if value is None:
        del state[name]
    else:
        state[name] = value
    with pytest.raises(WeightsError, match="text tower"):
        TextTower.from_state(state, heads=2)
