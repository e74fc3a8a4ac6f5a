"""What the demo's streets are drawn with: people, cars and clouds of smoke, through Pillow.

Lengths are pixels, angles radians, ``t`` seconds since the start of the video, colours RGB 0 … 255.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

_SKINS: tuple[Colour, ...] = ((236, 200, 170), (205, 155, 120), (150, 105, 75), (100, 70, 52))
_CLOTHES: tuple[Colour, ...] = (
    (60, 70, 95), (110, 60, 55), (70, 90, 70), (130, 125, 115), (45, 45, 50), (150, 120, 80), (95, 105, 130),
    (165, 165, 170), (85, 65, 90),
)  # fmt: skip
_PAINTS: tuple[Colour, ...] = (
    (150, 35, 35), (40, 70, 130), (190, 190, 195), (60, 62, 66), (225, 225, 222), (50, 95, 70), (170, 140, 60),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """The colours of one person."""

    skin: Colour
    top: Colour
    legs: Colour

    @classmethod
    def random(cls, rng: np.random.Generator) -> Look:
        """Draw one from everyday colours."""
        pick = rng.integers
        skin, top = _SKINS[pick(len(_SKINS))], _CLOTHES[pick(len(_CLOTHES))]
        red, green, blue = _CLOTHES[pick(len(_CLOTHES))]
        return cls(skin, top, (red // 2, green // 2, blue // 2))


@dataclass(frozen=True, slots=True)
class Pose:
    """How a person stands.

    lean
        Angle of the body about the feet, 0 upright, positive to the right, about pi / 2 lying.
    stride
        Angle between the legs.
    arms
        The two arms' angles from hanging down; pi is straight up.
    """

    lean: float = 0.0
    stride: float = 0.0
    arms: tuple[float, float] = (0.2, -0.2)


def random_paint(rng: np.random.Generator) -> Colour:
    """Colour of a car."""
    return _PAINTS[rng.integers(len(_PAINTS))]


def draw_person(draw: ImageDraw.ImageDraw, feet: Point, height: float, look: Look, pose: Pose) -> None:
    """Draw a person of ``height`` pixels whose feet stand at ``feet``."""
    sin, cos = math.sin(pose.lean), math.cos(pose.lean)

    def place(x: float, y: float) -> Point:  # unit body, y up, to the picture
        return feet[0] + height * (x * cos + y * sin), feet[1] - height * (y * cos - x * sin)

    hip, neck = place(0.0, 0.48), place(0.0, 0.82)
    limb = max(int(height * 0.085), 1)
    for side in (1, -1):
        foot = place(side * 0.48 * math.sin(pose.stride / 2), 0.48 - 0.48 * math.cos(pose.stride / 2))
        draw.line([hip, foot], fill=look.legs, width=limb)
    draw.line([hip, neck], fill=look.top, width=max(int(height * 0.19), 2))
    for angle in pose.arms:
        hand = place(0.36 * math.sin(angle), 0.79 - 0.36 * math.cos(angle))
        draw.line([place(0.0, 0.79), hand], fill=look.top, width=max(limb * 3 // 4, 1))
        _disc(draw, hand, height * 0.035, look.skin)
    _disc(draw, place(0.0, 0.92), height * 0.085, look.skin)


def draw_car(draw: ImageDraw.ImageDraw, base: Point, length: float, paint: Colour, tilt: float, lit: bool) -> None:
    """Draw a car seen from the side; ``base`` is the middle of its underside, ``tilt`` turns it about that point.

    A negative length is a car that points to the left.
    """
    sin, cos, way, length = math.sin(tilt), math.cos(tilt), math.copysign(1.0, length), abs(length)

    def place(x: float, y: float) -> Point:
        return base[0] + way * length * (x * cos + y * sin), base[1] - length * (y * cos - x * sin)

    body = ((-0.5, 0.06), (-0.5, 0.2), (-0.3, 0.23), (0.34, 0.23), (0.5, 0.17), (0.5, 0.06))
    cabin = ((-0.34, 0.22), (-0.22, 0.36), (0.12, 0.36), (0.27, 0.22))
    draw.polygon([place(*p) for p in cabin], fill=(72, 84, 96))
    draw.line([place(-0.05, 0.22), place(-0.05, 0.36)], fill=paint, width=max(int(length * 0.03), 1))
    draw.line([place(-0.22, 0.36), place(0.12, 0.36)], fill=paint, width=max(int(length * 0.03), 1))
    draw.polygon([place(*p) for p in body], fill=paint)
    for x in (-0.3, 0.3):
        _disc(draw, place(x, 0.07), length * 0.085, (24, 24, 26))
        _disc(draw, place(x, 0.07), length * 0.04, (120, 120, 122))
    for x, lamp in ((0.48, (255, 245, 205)), (-0.48, (200, 40, 35))):
        _disc(draw, place(x, 0.16), length * (0.035 if lit else 0.02), lamp)


def _disc(draw: ImageDraw.ImageDraw, centre: Point, radius: float, colour: Colour) -> None:
    x, y = centre
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=colour)


@lru_cache(maxsize=2048)
def _puff_mask(radius: int, level: int) -> Image.Image:
    """Soft disc as an alpha mask: ``level`` of 0 … 32 in the middle, 0 at ``radius``."""
    axis = np.linspace(-1.0, 1.0, 2 * radius, dtype=np.float32)
    distance = np.hypot(axis[:, None], axis[None, :])
    alpha = np.clip(1.25 * (1.0 - distance), 0.0, 1.0) * (level * 255.0 / 32.0)
    return Image.fromarray(alpha.astype(np.uint8))


def draw_puff(image: Image.Image, centre: Point, radius: float, colour: Colour, opacity: float) -> None:
    """Blend a soft disc into ``image``: smoke, dust, fire; ``opacity`` 0 … 1 in its middle."""
    size = 2 * round(radius / 2)  # even radii only, so that the masks are found in the cache
    level = round(32 * min(max(opacity, 0.0), 1.0))
    if size > 0 and level > 0:
        corner = (round(centre[0]) - size, round(centre[1]) - size)
        image.paste(colour, corner, _puff_mask(size, level))


@dataclass(frozen=True, slots=True)
class Cloud:
    """Puffs that leave one place one after the other, drift, grow and thin out.

    table
        (P, 8) float64: birth s, x, y, velocity x, velocity y (pixels, pixels/s), first radius, growth/s, life s.
    colours
        P colours.
    """

    table: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    colours: tuple[Colour, ...]

    def draw(self, image: Image.Image, t: float, opacity: float) -> None:
        """Draw the puffs that live at ``t`` seconds after the cloud's start."""
        for row, colour in zip(self.table, self.colours, strict=True):
            birth, x, y, vx, vy, radius, growth, life = (float(v) for v in row)
            age = t - birth
            if 0.0 <= age < life:
                fade = min(1.0, 4.0 * age / life + 0.4) * (1.0 - age / life)
                draw_puff(image, (x + vx * age, y + vy * age), radius + growth * age, colour, opacity * fade)
