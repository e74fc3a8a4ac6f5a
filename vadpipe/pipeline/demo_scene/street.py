"""The street of a demo scene and its everyday life: buildings, passers-by, traffic.

Lengths are pixels, ``t`` is seconds since the start of the video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vadpipe.pipeline.demo_scene.figures import Colour, Look, Pose, draw_car, draw_person, random_paint
from vadpipe.pipeline.demo_scene.spec import MARGIN, Actor, SceneSpec


def person_height(height: int, foot_y: float) -> float:
    """Pixels that a grown-up measures whose feet are at ``foot_y`` in a picture ``height`` pixels high."""
    return height * (0.16 + 0.9 * (foot_y / height - 0.5))


def car_length(height: int, base_y: float) -> float:
    """Pixels that a car measures whose wheels are at ``base_y``."""
    return 2.0 * person_height(height, base_y)


@dataclass(frozen=True, slots=True)
class Walker:
    """A passer-by: at ``x`` at second 0, moving with ``speed`` pixels/s; standing where it is 0."""

    x: float
    depth: float
    speed: float
    height: float
    look: Look
    phase: float

    def draw(self, image: Image.Image, t: float) -> None:
        """Draw the person in its step."""
        swing = float(np.sin(self.phase + 6.0 * t)) * (0.7 if self.speed else 0.1)
        pose = Pose(0.03 * np.sign(self.speed), swing, (0.7 * swing, -0.7 * swing))
        draw_person(ImageDraw.Draw(image), (self.x + self.speed * t, self.depth), self.height, self.look, pose)


@dataclass(frozen=True, slots=True)
class Driver:
    """A passing car: its middle is at ``x`` at second ``at``, speed in pixels/s (its sign is the direction)."""

    x: float
    at: float
    depth: float
    speed: float
    length: float
    paint: Colour
    lit: bool

    def draw(self, image: Image.Image, t: float) -> None:
        """Draw the car where it is by then."""
        x = self.x + self.speed * (t - self.at)
        if -self.length < x < image.width + self.length:
            length = self.length if self.speed > 0 else -self.length
            draw_car(ImageDraw.Draw(image), (x, self.depth), length, self.paint, 0.0, self.lit)


def street(spec: SceneSpec) -> tuple[Image.Image, float]:
    """Background with its margin, and the light: 1 at noon, about 0.7 at dusk."""
    rng = spec.rng(0)
    light = float(rng.choice([1.0, 0.9, 0.72]) * rng.uniform(0.95, 1.05))
    rng = np.random.default_rng((spec.street, 3))
    width, height = spec.width + 2 * MARGIN, spec.height + 2 * MARGIN
    image = Image.new("RGB", (width, height), _shade((150, 180, 215), rng, 14))
    draw = ImageDraw.Draw(image)
    ground = 0.5 * height
    left = -float(rng.uniform(0, 60))
    while left < width:
        wide = float(rng.uniform(55, 120))
        _building(draw, rng, (left, float(rng.uniform(0.02, 0.24)) * height, left + wide, ground))
        left += wide
    pavement = _shade((150, 146, 140), rng, 10)
    draw.rectangle([0, ground, width, height], fill=pavement)
    draw.rectangle([0, 0.565 * height, width, 0.8 * height], fill=_shade((86, 87, 90), rng, 8))
    for x in range(int(rng.integers(-40, 0)), width, 56):
        draw.rectangle([x, 0.675 * height, x + 26, 0.685 * height], fill=(205, 205, 198))
    for y in (0.565, 0.8):
        draw.rectangle([0, y * height - 2, width, y * height + 1], fill=(118, 116, 112))
    return image, light


def _building(draw: ImageDraw.ImageDraw, rng: np.random.Generator, box: tuple[float, float, float, float]) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, fill=_shade(((150, 120, 105), (165, 158, 145), (125, 130, 138))[rng.integers(3)], rng, 14))
    pane = _shade((88, 100, 115), rng, 10)
    for y in np.arange(top + 8, bottom - 18, 22):
        for x in np.arange(left + 7, right - 13, 19):
            draw.rectangle([x, y, x + 9, y + 12], fill=pane)


def _shade(colour: Colour, rng: np.random.Generator, spread: float) -> Colour:
    """A colour near ``colour``: mostly lighter or darker, a little of another hue."""
    change = rng.normal(0, spread) + rng.normal(0, spread / 3, 3)
    r, g, b = (int(np.clip(c + d, 0, 255)) for c, d in zip(colour, change, strict=True))
    return r, g, b


def passers_by(spec: SceneSpec, light: float) -> list[Actor]:
    """The street's everyday life: people who walk, talk and stand, cars in two lanes, none through an accident."""
    rng = spec.rng(1)
    width, height = spec.width + 2 * MARGIN, spec.height + 2 * MARGIN
    actors: list[Actor] = []
    for _ in range(int(rng.integers(3, 9))):
        depth = float(rng.choice([rng.uniform(0.52, 0.56), rng.uniform(0.82, 0.97)])) * height
        tall = person_height(height, depth) * float(rng.uniform(0.92, 1.06))
        speed = float(rng.choice([-1, 1, 0], p=[0.4, 0.4, 0.2]) * rng.uniform(0.12, 0.3)) * tall
        meets = float(rng.uniform(0, spec.duration_s))  # second at which it is somewhere in the picture
        x = float(rng.uniform(0, width)) - speed * meets
        actors.append(Walker(x, depth, speed, tall, Look.random(rng), float(rng.uniform(0, 6.28))))
    at = float(rng.uniform(-2, 5))
    while at < spec.duration_s + 3:
        lane, way = ((0.65, 1), (0.78, -1))[rng.integers(2)]
        length = car_length(height, lane * height)
        car = Driver(
            width / 2, at, lane * height, way * float(rng.uniform(110, 190)), length, random_paint(rng), light < 0.8
        )
        if not _meets_accident(spec, at):
            actors.append(car)
        at += float(rng.uniform(1.5, 7))
    return actors


def _meets_accident(spec: SceneSpec, at: float) -> bool:
    spans = [spec.span_s(event) for event in spec.events if event.category == "accident"]
    return any(start - 4 < at < end + 4 for start, end in spans)
