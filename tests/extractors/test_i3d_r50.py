"""pytorchvideo's I3D ResNet-50 without its head."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

from vadpipe.errors import UsageError
from vadpipe.extractors import create, i3d_r50
from vadpipe.extractors.i3d_r50 import encoder, prepare


def whole_model() -> Any:
    with torch.device("meta"):
        return i3d_r50._build().eval()


def test_names_and_shapes_are_the_whole_models_without_its_classifier() -> None:
    """The published file is the whole model's state."""
    wanted = {name: tuple(value.shape) for name, value in whole_model().state_dict().items()}
    own = encoder(weights="random")._shapes
    others = {name for name in wanted.keys() - own.keys() if not name.endswith("num_batches_tracked")}
    assert others == {"blocks.6.proj.weight", "blocks.6.proj.bias"}
    assert own.items() <= wanted.items()
    assert all(name.startswith(i3d_r50.NETWORK.left_out) for name in others)


def test_the_row_is_what_the_whole_models_head_projects() -> None:
    """For the 8 frames that the model was made for: its head pools, drops out, projects."""
    whole = whole_model()
    network = encoder(weights="random")._module
    before_head = network_input = torch.empty((1, 3, 8, 224, 224), device="meta")
    for block in whole.blocks[:6]:
        before_head = block(before_head)
    assert before_head.shape == (1, 2048, 4, 7, 7)
    assert network(network_input).shape == (1, 2048)
    seen = torch.rand(before_head.shape, generator=torch.Generator().manual_seed(0))
    network.blocks = torch.nn.ModuleList()
    torch.testing.assert_close(network(seen), whole.blocks[6].pool(seen).flatten(1))


def test_pixels_are_normalised_with_one_mean_for_all_channels() -> None:
    snippet = torch.zeros((1, 2, 1, 1, 3), dtype=torch.uint8)
    snippet[0, 0, 0, 0] = torch.tensor([0, 51, 255])
    got = prepare(snippet)
    assert got.shape == (1, 3, 2, 1, 1)
    torch.testing.assert_close(got[0, :, 0, 0, 0], torch.tensor([-2.0, -0.25 / 0.225, 0.55 / 0.225]))


def test_without_pytorchvideo_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorchvideo.models.hub.resnet", None)
    with pytest.raises(UsageError, match=r"i3d-r50 needs pytorchvideo .*: install it with pip install 'vadpipe\[video"):
        create("i3d-r50", weights="random")


def test_its_transforms_are_never_imported() -> None:
    """They need a part of torchvision that is gone."""
    encoder(weights="random")
    assert "pytorchvideo.transforms" not in sys.modules
