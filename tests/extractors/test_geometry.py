"""Resize and crop: equal to torchvision's, and whole for pictures of every shape."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vadpipe.errors import UsageError
from vadpipe.extractors import geometry

CLIP = "short224-center224"


def picture(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng([height, width]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def official(rgb: NDArray[np.uint8]) -> NDArray[Any]:
    """What OpenAI's code does to a picture before it becomes a tensor."""
    from PIL import Image
    from torchvision import transforms

    resize = transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC)
    return np.asarray(transforms.CenterCrop(224)(resize(Image.fromarray(rgb))))


# 225 and 227 leave half pixels on both sides (rounded to even: 0.5 -> 0, 1.5 -> 2); 333 x 501 rounds the long side down
@pytest.mark.parametrize(
    ("height", "width"),
    [(360, 640), (640, 360), (224, 224), (225, 224), (224, 227), (229, 225), (333, 501), (7, 5), (1, 1), (2, 60)],
)
def test_clip_geometry_is_torchvisions_bit_for_bit(height: int, width: int) -> None:
    rgb = picture(height, width)
    np.testing.assert_array_equal(geometry.apply(rgb, CLIP), official(rgb))


@pytest.mark.parametrize("name", sorted(geometry.GEOMETRIES.keys() - {"full"}))
@pytest.mark.parametrize(("height", "width"), [(640, 360), (501, 333), (845, 234), (360, 640)])
def test_the_width_comes_first_whatever_the_version_of_pillow(height: int, width: int, name: str) -> None:
    """Between the two directions Pillow rounds to 8 bits, and its versions differ in which comes first."""
    from PIL import Image

    rgb = picture(height, width)
    side = {"short224-center224": 224, "short256-center224": 256}.get(name)
    stretched = (128, 171) if name.startswith("128x171") else (256, 340)
    new_height, new_width = geometry.resized_size(height, width, side) if side else stretched
    how = getattr(Image.Resampling, geometry.interpolation(name).split("-")[1].upper())
    columns = np.asarray(Image.fromarray(rgb).resize((new_width, height), how))
    whole = np.asarray(Image.fromarray(columns).resize((new_width, new_height), how))
    got = geometry.apply(rgb, name)
    top, left = (geometry.centre_offset(old, new) for old, new in zip(whole.shape[:2], got.shape[:2], strict=True))
    np.testing.assert_array_equal(got, whole[top : top + got.shape[0], left : left + got.shape[1]])


@pytest.mark.parametrize(("height", "width"), [(3, 2000), (2000, 3)])
def test_an_extreme_strip_shows_its_middle(height: int, width: int) -> None:
    """Resized as a whole it would have 149333 x 224 pixels; a smooth picture shows that the same part is kept."""
    ramp = np.linspace(0, 255, max(height, width)).astype(np.uint8)
    rgb = np.broadcast_to(ramp if width > height else ramp[:, None], (height, width))
    rgb = np.repeat(rgb[:, :, None], 3, axis=2)
    got = geometry.apply(rgb, CLIP).astype(int)
    assert np.abs(got - official(rgb).astype(int)).max() <= 1
    assert got.min() >= 126
    assert got.max() <= 129


def test_a_strip_of_8000_pixels_takes_little_memory() -> None:
    import tracemalloc

    rgb = picture(1, 8000)
    tracemalloc.start()
    assert geometry.apply(rgb, CLIP).shape == (224, 224, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("name", sorted(geometry.GEOMETRIES))
@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (3, 2000), (480, 640)])
def test_every_geometry_keeps_its_promise(name: str, height: int, width: int) -> None:
    rgb = picture(height, width)
    before = rgb.copy()
    got = geometry.apply(rgb, name)
    assert got.dtype == np.uint8
    assert got.flags.c_contiguous
    assert got.shape == (*(geometry.output_size(name) or (height, width)), 3)
    np.testing.assert_array_equal(rgb, before)


def test_views_that_are_not_contiguous_are_accepted() -> None:
    rgb = picture(300, 401)[::-1, ::-1]
    np.testing.assert_array_equal(geometry.apply(rgb, CLIP), geometry.apply(rgb.copy(), CLIP))


def test_full_leaves_the_frame_untouched() -> None:
    rgb = picture(31, 17)
    np.testing.assert_array_equal(geometry.apply(rgb, "full"), rgb)
    assert geometry.output_size("full") is None
    assert geometry.interpolation("full") == ""


def test_what_the_feature_specification_says() -> None:
    assert geometry.output_size(CLIP) == (224, 224)
    assert geometry.interpolation(CLIP) == "pil-bicubic-antialias-u8"


@pytest.mark.parametrize(("height", "width"), [(360, 640), (640, 360), (256, 256), (97, 65)])
def test_i3d_geometry_is_torchvisions_bit_for_bit(height: int, width: int) -> None:
    from PIL import Image
    from torchvision import transforms

    rgb = picture(height, width)
    resize = transforms.Resize(256, interpolation=transforms.InterpolationMode.BILINEAR)
    wanted = np.asarray(transforms.CenterCrop(224)(resize(Image.fromarray(rgb))))
    np.testing.assert_array_equal(geometry.apply(rgb, "short256-center224"), wanted)


def test_c3d_geometry_by_hand() -> None:
    """A picture of the stretched size is only cropped: rows 8 to 119, columns 30 to 141 (29.5 goes to the even 30)."""
    rgb = picture(128, 171)
    np.testing.assert_array_equal(geometry.apply(rgb, "128x171-center112"), rgb[8:120, 30:142])
    # a ramp from left to right, twice as wide: bilinear with antialias averages neighbours
    ramp = np.repeat(np.repeat((np.arange(342) % 256).astype(np.uint8)[None, :, None], 128, 0), 3, 2)
    got = geometry.apply(ramp, "128x171-center112")[0, :, 0]
    assert np.abs(got[:60].astype(float) - (2 * np.arange(30, 90) + 0.5)).max() <= 1


def test_the_filter_is_antialiased() -> None:
    """A one-pixel checkerboard becomes grey; without antialias it would stay black and white."""
    board = (np.indices((1024, 1360)).sum(0) % 2 * 255).astype(np.uint8)
    rgb = np.repeat(board[:, :, None], 3, 2)
    for name in geometry.GEOMETRIES.keys() - {"full"}:
        got = geometry.apply(rgb, name)
        assert np.abs(got[8:-8, 8:-8].astype(int) - 128).max() <= 12, name


@pytest.mark.parametrize("count", [5, 10])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
@pytest.mark.parametrize("kind", ["stretch256x340-crop", "clip-stretch256x340-crop"])
def test_crops_are_the_fields(count: int, lead: tuple[int, ...], kind: str) -> None:
    """Rows and columns as the released code of CLIP features cuts them; each mirror image follows its own crop."""
    images = np.random.default_rng(0).integers(0, 256, (*lead, 256, 340, 3), dtype=np.uint8)
    name = f"{kind}{count}"
    got = geometry.cut(images, name)
    plain = [
        images[..., 16:240, 58:282, :],
        images[..., :224, :224, :],
        images[..., :224, -224:, :],
        images[..., -224:, :224, :],
        images[..., -224:, -224:, :],
    ]
    wanted = np.stack(plain + [part[..., ::-1, :] for part in plain])[:count]
    assert got.shape == (count, *lead, 224, 224, 3)
    assert geometry.crops(name) == count
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(geometry.cut(torch.from_numpy(images), name).numpy(), wanted)


@pytest.mark.parametrize("name", sorted(geometry.GEOMETRIES))
def test_every_picture_can_be_cut(name: str) -> None:
    images = np.stack([geometry.apply(picture(60, 80), name)] * 2)
    got = geometry.cut(images, name)
    assert (len(got), got.shape[1], got.dtype) == (geometry.crops(name), 2, np.uint8)
    if geometry.crops(name) == 1:
        np.testing.assert_array_equal(got[0], images)
    assert bool(geometry.interpolation(name)) == (name != "full")


def test_pictures_of_another_size_are_not_cut() -> None:
    with pytest.raises(ValueError, match=r"got \(255, 340, 3\), expected"):
        geometry.cut(picture(255, 340), "stretch256x340-crop5")
    with pytest.raises(ValueError, match=r"got \(340, 3\), expected"):
        geometry.cut(picture(255, 340)[0], "full")


def test_an_unknown_name_lists_the_known_ones() -> None:
    for ask in (
        geometry.output_size,
        geometry.interpolation,
        geometry.crops,
        lambda name: geometry.apply(picture(2, 2), name),
    ):
        with pytest.raises(UsageError, match="got 'short256', expected one of 128x171-center112, clip-"):
            ask("short256")


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), picture(4, 0)],
)
def test_anything_but_an_8_bit_rgb_frame_is_refused(frame: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        geometry.apply(frame, CLIP)


def test_decoder_children_get_no_torch() -> None:
    code = "import sys, vadpipe.extractors.geometry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
