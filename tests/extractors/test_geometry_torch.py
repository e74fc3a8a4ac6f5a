"""The geometries on tensors: the same pictures as Pillow's, to within two grey levels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.extractors.test_geometry import picture
from vadpipe.errors import UsageError
from vadpipe.extractors import geometry, geometry_torch


def both(rgb: NDArray[np.uint8], name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """What torch and Pillow make of one frame, as (h, w, 3) int64."""
    got = geometry_torch.apply(torch.from_numpy(rgb.copy())[None], name)[0].numpy()
    return got.astype(np.int64), geometry.apply(rgb, name).astype(np.int64)


def test_there_is_one_for_each() -> None:
    assert set(geometry_torch.GEOMETRIES) == set(geometry.GEOMETRIES)


# noise is the hardest picture there is; 225 x 227 leaves half pixels, 224 x 398 needs no resize on the short side,
# and 501 x 333 and 845 x 234 are so tall that Pillow 13 by itself takes the height first
@pytest.mark.parametrize("name", sorted(geometry.GEOMETRIES))
@pytest.mark.parametrize(
    ("height", "width"),
    [(360, 640), (240, 320), (225, 227), (224, 398), (256, 340), (128, 171), (501, 333), (845, 234), (7, 5), (1, 1)],
)
def test_pictures_are_pillows_to_within_two_levels(height: int, width: int, name: str) -> None:
    got, expected = both(picture(height, width), name)
    assert got.shape == expected.shape
    difference = np.abs(got - expected)
    assert difference.max() <= 2
    assert difference.mean() < 0.4


@pytest.mark.parametrize("name", sorted(geometry.GEOMETRIES))
def test_a_frame_is_cut_at_the_same_place(name: str) -> None:
    """A ramp of one grey level in two pixels: an offset that is off by one pixel would shift the mean by 0.3."""
    ramp = np.clip(np.arange(480) // 2, 0, 255).astype(np.uint8)
    rgb = np.repeat(np.broadcast_to(ramp, (270, 480))[:, :, None], 3, axis=2)
    got, expected = both(rgb, name)
    assert abs(got.mean() - expected.mean()) < 0.1


def test_a_batch_is_its_frames() -> None:
    frames = torch.from_numpy(np.stack([picture(90, 120), picture(90, 120)[::-1], picture(90, 120)[:, ::-1]]))
    batch = geometry_torch.apply(frames, "short224-center224")
    assert batch.shape == (3, 224, 224, 3)
    assert batch.is_contiguous()
    for frame, got in zip(frames, batch, strict=True):
        assert torch.equal(geometry_torch.apply(frame[None], "short224-center224")[0], got)
    assert geometry_torch.apply(frames[:0], "short224-center224").shape == (0, 224, 224, 3)


@pytest.mark.parametrize(("height", "width"), [(3, 2000), (2000, 3)])
def test_a_strip_is_left_to_pillow(height: int, width: int) -> None:
    """Resized as a whole it would have 149333 x 224 pixels, 400 MB as a tensor."""
    got, expected = both(picture(height, width), "short224-center224")
    np.testing.assert_array_equal(got, expected)


def test_what_the_feature_specification_says() -> None:
    assert geometry_torch.interpolation("short224-center224") == "torch-bicubic-antialias"
    assert geometry_torch.interpolation("short256-center224") == "torch-bilinear-antialias"
    assert geometry_torch.interpolation("full") == ""
    for name in geometry.GEOMETRIES:
        mode = geometry.interpolation(name).split("-")[1] if geometry.interpolation(name) else ""
        assert geometry_torch.GEOMETRIES[name].mode == mode


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="got 'short1', expected one of 128x171-center112, "):
        geometry_torch.interpolation("short1")


@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 4, 4, 1), (1, 0, 4, 3)])
def test_anything_but_8_bit_rgb_frames_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        geometry_torch.apply(torch.zeros(shape, dtype=torch.uint8), "full")
    with pytest.raises(ValueError, match="expected uint8"):
        geometry_torch.apply(torch.zeros(1, 4, 4, 3), "full")
