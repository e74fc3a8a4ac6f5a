"""What a scene of the demo follows from: its specification, and what takes part in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from PIL import Image

from vadpipe.pipeline.demo_scene.figures import Colour

CATEGORIES = ("fighting", "explosion", "accident")
"""What can happen in a demo street, besides nothing."""

MARGIN = 8
"""Pixels drawn beyond each edge, so that a shaken camera still sees a street."""


@dataclass(frozen=True, slots=True)
class PlantedEvent:
    """An incident of ``category`` in the frames [start_frame, end_frame)."""

    category: str
    start_frame: int
    end_frame: int

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise ValueError(f"category: got {self.category!r}, expected one of {CATEGORIES}")
        if not 0 <= self.start_frame < self.end_frame:
            raise ValueError(f"event: got [{self.start_frame}, {self.end_frame}), expected 0 <= start < end")


@dataclass(frozen=True, slots=True)
class SceneSpec:
    """Everything a scene follows from.

    seed
        Light, passers-by, cars and how the events look.
    street
        Where the camera hangs: the buildings and the road; two scenes of one street have the same background.
    num_frames, fps
        Length and rate.
    events
        What happens, in order and without overlap.
    width, height
        Size of a frame in pixels; both even, as H.264 wants.
    """

    seed: int
    street: int
    num_frames: int
    fps: Fraction = Fraction(8)
    events: tuple[PlantedEvent, ...] = ()
    width: int = 320
    height: int = 240

    def __post_init__(self) -> None:
        if self.num_frames < 1 or self.fps <= 0 or self.seed < 0:
            raise ValueError(f"seed {self.seed}, num_frames {self.num_frames}, fps {self.fps}: expected >= 0, > 0, > 0")
        if self.width < 32 or self.height < 32 or self.width % 2 or self.height % 2:
            raise ValueError(f"size: got {self.width} x {self.height}, expected even numbers of at least 32")
        ends = [0, *(event.end_frame for event in self.events)]
        if any(event.start_frame < end for event, end in zip(self.events, ends, strict=False)):
            raise ValueError("events must be in order and must not overlap")
        if ends[-1] > self.num_frames:
            raise ValueError(f"events end at frame {ends[-1]}, after the video's {self.num_frames} frames")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.num_frames / self.fps)

    def span_s(self, event: PlantedEvent) -> tuple[float, float]:
        """Start and end of ``event`` in seconds."""
        return float(event.start_frame / self.fps), float(event.end_frame / self.fps)

    def rng(self, *purpose: int) -> np.random.Generator:
        """Generator for one purpose, independent of what the others draw."""
        return np.random.default_rng((self.seed, *purpose))


@dataclass(frozen=True, slots=True)
class Camera:
    """What the lens does at one moment: ``shake`` in pixels, a ``glow`` colour and its ``strength`` 0 … 1."""

    shake: tuple[int, int] = (0, 0)
    glow: Colour = (0, 0, 0)
    strength: float = 0.0


class Actor(Protocol):
    """Something that is drawn into the street."""

    @property
    def depth(self) -> float:
        """Vertical position of its feet or wheels; nearer ones are drawn later."""
        ...

    def draw(self, image: Image.Image, t: float) -> None:
        """Draw it as it looks at ``t``; nothing where it is not in the picture."""
        ...


class Effects(Protocol):
    """Smoke, fire and dust of an incident."""

    def draw(self, image: Image.Image, t: float) -> None:
        """Blend them into the picture as they are at ``t``."""
        ...


def _still(t: float) -> Camera:  # noqa: ARG001 - one signature for all incidents
    return Camera()


@dataclass(frozen=True, slots=True)
class Incident:
    """How one event looks.

    actors
        Drawn into the street by depth.
    effects
        Drawn over everything, after the light of the day: fire and smoke do not dim at dusk.
    camera
        Second -> state of the camera; at rest outside the event.
    """

    actors: tuple[Actor, ...]
    effects: Effects
    camera: Callable[[float], Camera] = _still
