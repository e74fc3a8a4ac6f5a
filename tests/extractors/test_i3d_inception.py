"""Inception-I3D against the golden value of the public implementation, and which files it takes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.golden import golden_weights
from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors import create
from vadpipe.extractors.compute import cpu_computes_bfloat16
from vadpipe.extractors.i3d_inception import InceptionI3D, Unit3D, encoder, prepare
from vadpipe.extractors.snippets import SnippetEncoder

DATA = Path(__file__).parent.parent / "data"
HEAD = {"conv3d_0c_1x1.conv3d.weight": (400, 1024, 1, 1, 1), "conv3d_0c_1x1.conv3d.bias": (400,)}


def released_shapes() -> dict[str, tuple[int, ...]]:
    """Every parameter of the released file: the network's, counters included, and the classifier's."""
    with torch.device("meta"):
        network = InceptionI3D()
    return {name: tuple(value.shape) for name, value in network.state_dict().items()} | HEAD


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("i3d") / "i3d_rgb.safetensors"
    save_file(golden_weights(released_shapes()), path)
    yield path
    path.unlink()  # 50 MB


@pytest.fixture(scope="module")
def golden() -> NDArray[np.float32]:
    with np.load(DATA / "i3d_inception_golden.npz") as file:
        return np.asarray(file["feature"])


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """(1, 3, 16, 224, 224) in -1 … 1."""
    drawn = np.random.default_rng([zlib.crc32(b"i3d.input"), 1]).standard_normal((1, 3, 16, 224, 224))
    return torch.from_numpy(np.clip(0.3 * drawn, -1, 1).astype(np.float32))


def test_the_released_file_has_344_names() -> None:
    """57 units with a convolution and five values of a norm each, and the classifier's two."""
    assert len(released_shapes()) == 57 * 6 + 2


def test_the_feature_is_that_of_the_public_implementation(
    weights_file: Path, golden: NDArray[np.float32], pixels: torch.Tensor
) -> None:
    made = create("i3d-inception", weights=str(weights_file))
    assert isinstance(made, SnippetEncoder)
    got = made.features(pixels).numpy()
    assert got.shape == golden.shape == (1, 1024)
    assert np.abs(got - golden).max() / np.abs(golden).max() < 1e-5


def test_bfloat16_is_close(weights_file: Path, golden: NDArray[np.float32], pixels: torch.Tensor) -> None:
    if not cpu_computes_bfloat16():
        with pytest.raises(UsageError, match="use float32"):
            encoder(weights=str(weights_file), dtype="bfloat16")
        return
    got = encoder(weights=str(weights_file), dtype="bfloat16").features(pixels).numpy()
    assert got.dtype == np.float32
    assert (got * golden).sum() / (np.linalg.norm(got) * np.linalg.norm(golden)) > 0.9999
    assert np.abs(got - golden).max() / np.abs(golden).max() > 1e-4  # it was not float32 under another name


def test_another_file_is_refused_with_its_differences(tmp_path: Path) -> None:
    save_file({"conv3d_1a_7x7.conv3d.weight": np.zeros((64, 2, 7, 7, 7), np.float32)}, tmp_path / "flow.safetensors")
    with pytest.raises(WeightsError, match=r"flow\.safetensors does not fit the network, 285 differences: .*missing"):
        encoder(weights=str(tmp_path / "flow.safetensors"))


def test_pixels_become_minus_one_to_one() -> None:
    snippet = torch.zeros((1, 2, 1, 1, 3), dtype=torch.uint8)
    snippet[0, 0, 0, 0] = torch.tensor([0, 51, 255])
    got = prepare(snippet)
    assert got.shape == (1, 3, 2, 1, 1)
    torch.testing.assert_close(got[0, :, 0, 0, 0], torch.tensor([-1.0, -0.6, 1.0]))
    torch.testing.assert_close(got[0, :, 1, 0, 0], torch.tensor([-1.0, -1.0, -1.0]))


@pytest.mark.parametrize(
    ("stride", "expected"),
    [(1, [3.0, 6.0, 9.0, 12.0, 15.0, 18.0, 21.0, 15.0]), (2, [6.0, 12.0, 18.0, 15.0])],
)
def test_padding_puts_the_smaller_half_in_front(stride: int, expected: list[float]) -> None:
    """Three ones along time on 1 … 8: stride 1 pads one on both sides; stride 2 none in front, one behind."""
    unit = Unit3D(1, 1, 3, stride).eval()
    with torch.no_grad():
        unit.conv3d.weight.zero_()
        unit.conv3d.weight[0, 0, :, 1, 1] = 1.0
        line = torch.arange(1.0, 9.0).view(1, 1, 8, 1, 1).expand(1, 1, 8, 4, 4)
        got = unit(line)[0, 0, :, 0, 0]
    torch.testing.assert_close(got, torch.tensor(expected), rtol=1e-4, atol=0.0)
