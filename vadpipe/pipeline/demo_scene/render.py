"""Frames of a demo scene."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vadpipe.pipeline.demo_scene.events import staged
from vadpipe.pipeline.demo_scene.spec import MARGIN, Camera, SceneSpec
from vadpipe.pipeline.demo_scene.street import passers_by, street


def render(spec: SceneSpec) -> Iterator[NDArray[np.uint8]]:
    """Yield the ``num_frames`` frames, (height, width, 3) RGB."""
    background, light = street(spec)
    incidents = [staged(spec, index) for index in range(len(spec.events))]
    actors = sorted(
        [*passers_by(spec, light), *(a for i in incidents for a in i.actors)], key=lambda actor: actor.depth
    )
    table = [min(int(level * light), 255) for level in range(256)] * 3
    rng = spec.rng(2)
    noise = rng.normal(0, rng.uniform(1.0, 3.0), (spec.height * 2, spec.width * 2, 3)).astype(np.int16)
    for frame in range(spec.num_frames):
        t = float(frame / spec.fps)
        image = background.copy()
        for actor in actors:
            actor.draw(image, t)
        image = image.point(table)
        for incident in incidents:
            incident.effects.draw(image, t)
        camera = max((incident.camera(t) for incident in incidents), key=lambda c: c.strength, default=Camera())
        yield _exposed(image, camera, noise, rng)


def _exposed(
    image: Image.Image, camera: Camera, noise: NDArray[np.int16], rng: np.random.Generator
) -> NDArray[np.uint8]:
    if camera.strength > 0:
        image = Image.blend(image, Image.new("RGB", image.size, camera.glow), camera.strength)
    dx, dy = camera.shake
    pixels = np.asarray(image)[MARGIN + dy : image.height - MARGIN + dy, MARGIN + dx : image.width - MARGIN + dx]
    y, x = rng.integers(0, pixels.shape[0]), rng.integers(0, pixels.shape[1])
    grain = noise[y : y + pixels.shape[0], x : x + pixels.shape[1]]
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)
