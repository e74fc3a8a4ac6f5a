"""What is around every network, with a network of one line."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vadpipe.errors import UsageError
from vadpipe.extractors import Needs, geometry
from vadpipe.extractors.batches import crop_geometry, picture_rows, picture_spec

CPU = torch.device("cpu")
SEEN: list[int] = []


def corner_pixels(pictures: torch.Tensor) -> torch.Tensor:
    """(N, …, h, w, 3) -> (N, 3): the top left pixel of the last frame."""
    SEEN.append(len(pictures))
    return pictures.reshape(len(pictures), -1, *pictures.shape[-3:])[:, -1, 0, 0].float()


def random_items(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_the_network_always_sees_full_batches() -> None:
    SEEN.clear()
    items = random_items(5, 112, 112, 3)
    rows = picture_rows(items, Needs("128x171-center112"), 3, 2, CPU, corner_pixels)
    np.testing.assert_array_equal(rows, items[:, 0, 0])
    assert rows.dtype == np.float32
    assert SEEN == [2, 2, 2]


@pytest.mark.parametrize("name", ["stretch256x340-crop5", "clip-stretch256x340-crop10"])
@pytest.mark.parametrize("frames", [1, 2])
def test_crops_are_an_axis_in_the_order_of_the_geometry(name: str, frames: int) -> None:
    SEEN.clear()
    many = (frames,) if frames > 1 else ()
    items = random_items(3, *many, 256, 340, 3)
    rows = picture_rows(torch.from_numpy(items), Needs(name, frames), 3, 2, CPU, corner_pixels)
    crops = geometry.crops(name)
    assert rows.shape == (3, crops, 3)
    last = items if frames == 1 else items[:, -1]
    np.testing.assert_array_equal(rows[:, 0], last[:, 16, 58])
    np.testing.assert_array_equal(rows[:, 2], last[:, 0, 116])
    np.testing.assert_array_equal(rows[:, 3], last[:, 32, 0])
    if crops == 10:
        np.testing.assert_array_equal(rows[:, 5], last[:, 16, 58 + 223])
    assert set(SEEN) == {2}


def test_arrays_that_may_not_be_written_are_taken() -> None:
    items = random_items(2, 112, 112, 3)
    items.setflags(write=False)
    np.testing.assert_array_equal(
        picture_rows(items, Needs("128x171-center112"), 3, 4, CPU, corner_pixels), items[:, 0, 0]
    )


def test_frames_of_any_size_suit_no_network() -> None:
    with pytest.raises(ValueError, match="an encoder needs one"):
        picture_rows(random_items(1, 5, 5, 3), Needs("full"), 3, 1, CPU, corner_pixels)


def test_unknown_crops_are_refused() -> None:
    assert crop_geometry("center", "short224-center224") == "short224-center224"
    with pytest.raises(UsageError, match="crops: got '3', expected one of center, 5, 10"):
        crop_geometry("3", "short224-center224")


def test_resizing_on_a_gpu_is_another_specification() -> None:
    network = {"stream": "clip", "dim": 3, "model": "m", "weights": "w"}
    needs = Needs("short224-center224")
    cpu = picture_spec(needs, 16, "torchcodec", "1", "cpu", **network)
    cuda = picture_spec(needs, 16, "torchcodec", "1", "cuda", **network)
    assert set(cpu.differences(cuda)) == {"interpolation", "decode_device"}
