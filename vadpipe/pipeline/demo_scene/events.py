"""What goes wrong in a demo scene: fights, explosions, accidents, each visible in its event's frames and only there.

Lengths are pixels, ``t`` is seconds since the start of the video, ``u`` since the start of the event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from vadpipe.pipeline.demo_scene.figures import (
    Cloud,
    Colour,
    Look,
    Pose,
    draw_car,
    draw_person,
    draw_puff,
    random_paint,
)
from vadpipe.pipeline.demo_scene.spec import MARGIN, Actor, Camera, Incident, SceneSpec
from vadpipe.pipeline.demo_scene.street import car_length, person_height

APPROACH_S = 2.5
"""Seconds in which people and cars come and go, normally, before and after their event."""

_FIRE: tuple[Colour, ...] = ((255, 246, 190), (255, 206, 92), (250, 146, 44), (222, 92, 30))
_SMOKE: tuple[Colour, ...] = ((38, 36, 36), (58, 54, 52), (84, 80, 78))
_DUST: tuple[Colour, ...] = ((176, 164, 146), (150, 140, 126))


def staged(spec: SceneSpec, index: int) -> Incident:
    """The incident that plays the ``index``-th event of ``spec``."""
    event = spec.events[index]
    start, end = spec.span_s(event)
    rng = spec.rng(10, index)
    width, height = spec.width + 2 * MARGIN, spec.height + 2 * MARGIN
    if event.category == "fighting":
        return _fight(rng, start, end, width, height)
    if event.category == "explosion":
        return _explosion(rng, start, end, width, height)
    return _accident(rng, start, end, width, height)


@dataclass(frozen=True, slots=True)
class _Span:
    """Seconds [start, end) of an event."""

    start: float
    end: float

    def holds(self, t: float) -> bool:
        return self.start <= t < self.end

    def strength(self, t: float, rise: float, fall: float) -> float:
        """0 outside, 1 inside, with ramps of ``rise`` and ``fall`` seconds that lie inside."""
        if not self.holds(t):
            return 0.0
        return min(1.0, (t - self.start) / rise + 0.25, (self.end - t) / fall)


@dataclass(frozen=True, slots=True)
class _Fighter:
    """Walks up, fights around ``x``, walks away to where it came from; ``falls`` is when it goes down, 0 … 1."""

    span: _Span
    x: float
    depth: float
    height: float
    look: Look
    side: int
    beat: float
    falls: float

    def draw(self, image: Image.Image, t: float) -> None:
        before, after = self.span.start - t, t - self.span.end
        if before > APPROACH_S or after >= APPROACH_S:
            return
        draw = ImageDraw.Draw(image)
        if self.span.holds(t):
            x, depth, pose = self._blow(t - self.span.start)
            draw_person(draw, (x, depth), self.height, self.look, pose)
            return
        away = max(before, after) * 0.55 * self.height
        swing = 0.6 * math.sin(7.0 * t + self.beat)
        pose = Pose(0.0, swing, (0.6 * swing, -0.6 * swing))
        draw_person(draw, (self.x + self.side * (away + 0.25 * self.height), self.depth), self.height, self.look, pose)

    def _blow(self, u: float) -> tuple[float, float, Pose]:
        rate = 9.0 + 1.5 * math.sin(self.beat)
        lunge = math.sin(rate * u + self.beat)
        if math.sin(1.3 * u + 6.28 * self.falls) > 0.75:  # on the ground, kicking
            x = self.x + self.side * 0.2 * self.height
            return x, self.depth, Pose(self.side * (1.35 + 0.1 * lunge), 0.9 + 0.5 * lunge, (2.2 + lunge, -1.2 - lunge))
        toward = -self.side * (0.18 + 0.22 * lunge)
        x = self.x + self.side * 0.12 * self.height * (1.0 - lunge) + 0.1 * self.height * math.sin(2.3 * u + self.beat)
        arms = (-self.side * (1.6 + 0.7 * lunge), -self.side * (1.3 - 1.0 * lunge))
        return x, self.depth + 0.03 * self.height * lunge, Pose(toward, 0.9 + 0.4 * lunge, arms)


@dataclass(frozen=True, slots=True)
class _Effects:
    """Clouds of an event, drawn over everything; they thin out before its end."""

    span: _Span
    clouds: tuple[Cloud, ...]
    fire: tuple[float, float, float] | None = None

    def draw(self, image: Image.Image, t: float) -> None:
        strength = self.span.strength(t, 0.3, 0.8)
        if strength <= 0.0:
            return
        u = t - self.span.start
        for cloud in self.clouds:
            cloud.draw(image, u, strength)
        if self.fire is not None:
            _fireball(image, self.fire, u, strength)


def _fireball(image: Image.Image, fire: tuple[float, float, float], u: float, strength: float) -> None:
    x, y, size = fire
    grown = size * (min(1.0, 0.45 + 1.3 * u) if u < 1.4 else max(0.55, 1.0 - 0.25 * (u - 1.4)))
    for step, colour in enumerate(reversed(_FIRE)):
        radius = grown * (1.0 - 0.22 * step) * (1.0 + 0.06 * math.sin(23.0 * u + step))
        draw_puff(image, (x + 0.05 * size * math.sin(9.0 * u + step), y - 0.25 * radius), radius, colour, strength)


def _fight(rng: np.random.Generator, start: float, end: float, width: int, height: int) -> Incident:
    span = _Span(start, end)
    middle = float(rng.uniform(0.3, 0.7)) * width
    fighters: list[Actor] = []
    for index in range(int(rng.integers(4, 7))):
        depth = float(rng.uniform(0.9, 1.0)) * height
        side = 1 if index % 2 else -1
        x = middle + side * float(rng.uniform(0.0, 0.13)) * width
        tall = person_height(height, depth) * float(rng.uniform(0.95, 1.1))
        fighters.append(_Fighter(span, x, depth, tall, Look.random(rng), side, *map(float, rng.uniform(0, (6.28, 1)))))
    dust = _plume(rng, (middle, 0.97 * height), 0.13 * height, (18.0, 14.0), end - start, _DUST, 16)
    return Incident(tuple(fighters), _Effects(span, (dust,)))


def _explosion(rng: np.random.Generator, start: float, end: float, width: int, height: int) -> Incident:
    span = _Span(start, end)
    x, y = float(rng.uniform(0.25, 0.75)) * width, float(rng.uniform(0.55, 0.72)) * height
    size = float(rng.uniform(0.42, 0.6)) * height
    smoke = _plume(rng, (x, y - 0.2 * size), 0.4 * size, (30.0, -42.0), end - start, _SMOKE, 26)
    sparks = _plume(rng, (x, y), 0.06 * size, (90.0, -80.0), 1.2, _FIRE, 24)
    return Incident(
        (), _Effects(span, (smoke, sparks), (x, y, size)), _Blast(span, int(rng.integers(1 << 30)), 6, 0.75)
    )


@dataclass(frozen=True, slots=True)
class _Blast:
    """Camera shake and light of a blast."""

    span: _Span
    seed: int
    shake: int
    flash: float

    def __call__(self, t: float) -> Camera:
        if not self.span.holds(t):
            return Camera()
        u = t - self.span.start
        rng = np.random.default_rng((self.seed, int(1000 * u)))
        reach = self.shake * math.exp(-1.2 * u)
        dx, dy = (round(float(v)) for v in rng.uniform(-reach, reach, 2))
        glow = self.flash * math.exp(-5.0 * u) + (0.22 * math.exp(-0.5 * u) if self.flash > 0.3 else 0.0)
        return Camera((dx, dy), (255, 214, 150), min(glow, 0.85) * self.span.strength(t, 0.05, 0.8))


@dataclass(frozen=True, slots=True)
class _CrashCar:
    """Drives up to the middle, crashes, stands tilted, straightens and drives off."""

    span: _Span
    x: float
    depth: float
    length: float
    paint: Colour
    way: int
    tilt: float
    lit: bool = True

    def draw(self, image: Image.Image, t: float) -> None:
        before, after = self.span.start - t, t - self.span.end
        if before > APPROACH_S or after >= APPROACH_S:
            return
        x, tilt = self.x - self.way * 0.43 * self.length, 0.0
        if before > 0:
            x -= self.way * before * 0.9 * self.length
        elif after >= 0:
            x -= self.way * after * 0.9 * self.length  # backs out the way it came
        else:
            u = t - self.span.start
            x += self.way * 0.12 * self.length * math.exp(-2.0 * u)
            tilt = self.tilt * self.span.strength(t, 0.35, 0.8) * (1.0 + 0.25 * math.exp(-1.5 * u) * math.sin(14 * u))
        length = self.length if self.way > 0 else -self.length
        draw_car(ImageDraw.Draw(image), (x, self.depth), length, self.paint, tilt, self.lit)


@dataclass(frozen=True, slots=True)
class _Debris:
    """Pieces that fly from a crash and lie on the road until they are swept off at its end."""

    span: _Span
    depth: float
    table: np.ndarray[tuple[int, int], np.dtype[np.float64]]

    def draw(self, image: Image.Image, t: float) -> None:
        if not self.span.holds(t):
            return
        draw, u = ImageDraw.Draw(image), t - self.span.start
        for x, y, vx, vy, size, ground in self.table.tolist():
            flight = min(u, 2.0 * vy / 240.0 + 0.3)
            px, py = x + vx * flight, min(y - vy * flight + 120.0 * flight * flight, ground)
            turn = 5.0 * flight * (1 if vx > 0 else -1)
            tip = (px + size * math.cos(turn), py + size * math.sin(turn))
            side = (px - 0.5 * size * math.sin(turn), py + 0.5 * size * math.cos(turn))
            draw.polygon([(px, py), tip, side], fill=(48, 46, 46) if size > 7 else (188, 196, 200))


def _accident(rng: np.random.Generator, start: float, end: float, width: int, height: int) -> Incident:
    span = _Span(start, end)
    x, depth = float(rng.uniform(0.35, 0.65)) * width, float(rng.uniform(0.86, 0.94)) * height
    length = car_length(height, depth) * float(rng.uniform(0.85, 1.0))
    cars: list[Actor] = []
    for way in (1, -1):
        tilt = way * float(rng.uniform(0.2, 0.5))
        cars.append(_CrashCar(span, x, depth + 2 * way, length, random_paint(rng), way, tilt))
    count = 40
    table = np.stack(
        [
            rng.normal(x, 0.05 * length, count), np.full(count, depth - 0.15 * length), rng.normal(0, 90, count),
            rng.uniform(20, 170, count), rng.uniform(3, 12, count), rng.uniform(depth - 6, depth + 22, count),
        ], axis=1,
    )  # fmt: skip
    smoke = _plume(rng, (x, depth - 0.25 * length), 0.24 * length, (30.0, -40.0), end - start, _SMOKE, 44)
    steam = _plume(rng, (x, depth - 0.2 * length), 0.14 * length, (60.0, -18.0), 1.5, ((205, 205, 205),), 12)
    effects = _Effects(span, (smoke, steam))
    return Incident(
        (*cars, _Debris(span, depth + 1, table)), effects, _Blast(span, int(rng.integers(1 << 30)), 5, 0.25)
    )


def _plume(
    rng: np.random.Generator,
    source: tuple[float, float],
    radius: float,
    drift: tuple[float, float],
    lasts_s: float,
    colours: tuple[Colour, ...],
    count: int,
) -> Cloud:
    """Cloud of ``count`` puffs born over ``lasts_s`` seconds; ``drift`` is the spread in x and the speed in y."""
    spread, rise = drift
    life = rng.uniform(1.4, 2.6, count)
    table = np.stack(
        [
            np.sort(rng.uniform(0.0, 1.0, count)) ** 1.3 * lasts_s, rng.normal(source[0], 0.6 * radius, count),
            rng.normal(source[1], 0.3 * radius, count), rng.normal(0.0, spread, count),
            rise * rng.uniform(0.5, 1.3, count), radius * rng.uniform(0.7, 1.2, count), 0.35 * radius / life, life,
        ], axis=1,
    )  # fmt: skip
    return Cloud(table, tuple(colours[i] for i in rng.integers(len(colours), size=count)))
