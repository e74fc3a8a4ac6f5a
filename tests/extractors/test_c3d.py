"""C3D: no public value is at hand, so the network is said a second time, and its pieces are checked by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vadpipe.errors import UsageError
from vadpipe.extractors import c3d
from vadpipe.extractors.c3d import C3DNetwork, encoder, prepare

LAYERS = ["conv1", "P122", "conv2", "P", "conv3a", "conv3b", "P", "conv4a", "conv4b", "P", "conv5a", "conv5b", "P011"]
POOLS = {"P122": ((1, 2, 2), (0, 0, 0)), "P": ((2, 2, 2), (0, 0, 0)), "P011": ((2, 2, 2), (0, 1, 1))}


def said_again(x: Tensor, state: dict[str, Tensor]) -> Tensor:
    """As in the paper's figure 3, from the parameters alone."""
    for layer in LAYERS:
        if layer in POOLS:
            size, padding = POOLS[layer]
            x = F.max_pool3d(x, size, padding=padding)
        else:
            x = F.relu(F.conv3d(x, state[f"{layer}.weight"], state[f"{layer}.bias"], padding=1))
    return F.relu(F.linear(x.reshape(len(x), -1), state["fc6.weight"], state["fc6.bias"]))


def test_the_network_said_again_gives_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = C3DNetwork()
    state = {
        name: torch.empty(value.shape).uniform_(-1, 1, generator=generator) * (6 / value[0].numel()) ** 0.5
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(state, assign=True)
    pixels = 60 * torch.randn((1, 3, 16, 112, 112), generator=generator)
    with torch.inference_mode():
        got, expected = network(pixels), said_again(pixels, state)
    assert got.shape == (1, 4096)
    assert 0.2 < float((got > 0).float().mean()) < 0.8
    torch.testing.assert_close(got, expected, rtol=0.0, atol=1e-4 * float(expected.max()))


def test_names_and_shapes_are_those_of_the_circulated_file() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in C3DNetwork().state_dict().items()}
    convolutions = ["conv1", "conv2", "conv3a", "conv3b", "conv4a", "conv4b", "conv5a", "conv5b"]
    assert list(shapes) == [f"{layer}.{kind}" for layer in [*convolutions, "fc6"] for kind in ("weight", "bias")]
    assert shapes["conv4a.weight"] == (512, 256, 3, 3, 3)
    assert shapes["fc6.weight"] == (4096, 8192)


def test_later_layers_of_a_file_are_left_out() -> None:
    assert all(name.startswith(c3d.NETWORK.left_out) for name in ("fc7.weight", "fc7.bias", "fc8.weight", "fc8.bias"))


def test_the_last_pooling_pads_on_every_side() -> None:
    """7 x 7 -> 4 x 4: the corners see one value, the edges two, the rest four; the two frames become one."""
    values = torch.arange(98.0).view(1, 1, 2, 7, 7)
    got = c3d._POOLS["conv5b"](values)
    assert got.shape == (1, 1, 1, 4, 4)
    last = values[0, 0, 1]
    assert got[0, 0, 0, 0].tolist() == [last[0, 0], last[0, 2], last[0, 4], last[0, 6]]
    assert got[0, 0, 0, 1, 1] == last[2, 2]
    assert got[0, 0, 0, 3, 3] == last[6, 6]


def test_pixels_are_blue_first_less_the_mean() -> None:
    snippet = torch.zeros((1, 2, 1, 1, 3), dtype=torch.uint8)
    snippet[0, 1, 0, 0] = torch.tensor([101, 98, 255])  # red, green, blue
    got = prepare(snippet)
    assert got.shape == (1, 3, 2, 1, 1)
    torch.testing.assert_close(got[0, :, 0, 0, 0], torch.tensor([-90.25, -97.66, -101.41]))
    torch.testing.assert_close(got[0, :, 1, 0, 0], torch.tensor([164.75, 0.34, -0.41]))


def test_the_specification_says_which_mean_it_was() -> None:
    network = c3d.NETWORK
    assert (network.model, network.dim, network.geometry) == ("c3d-sports1m-channel-mean", 4096, "128x171-center112")


def test_it_has_no_crops() -> None:
    with pytest.raises(UsageError, match="c3d has the centre crop only"):
        encoder(weights="random", crops="10")
