"""Work for actors of a Ray cluster that dies, fails or differs; a module of its own, because their processes import it.

A red picture is poison: it kills the encoder that gets it. A file whose name begins with ``deadly`` kills the process
of its decode task.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.pipeline.mean_colour import MeanColour
from vadpipe.errors import UsageError
from vadpipe.extractors import media
from vadpipe.pipeline.extract import ExtractOptions
from vadpipe.pipeline.on_ray import decode as ray_decode
from vadpipe.pipeline.on_ray.extract import ExtractWork


def red_video(path: Path, frames: int = 40) -> Path:
    """A poisonous video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        picture = np.zeros((64, 96, 3), np.uint8)
        picture[..., 0] = 255
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@dataclass(frozen=True)
class Mortal(MeanColour):
    """Dies of poison and notes it in a file, a dot each time; after ``deaths`` of them it is immune."""

    notes: Path = Path()
    deaths: int = 1000

    def encode(self, items: Any) -> NDArray[np.float32]:
        colours = np.asarray(items).mean(axis=(-4, -3, -2))
        if colours[0] - colours[2] > 50 / len(items):
            _die(self.notes, self.deaths)
        return super().encode(items)


def _die(notes: Path, deaths: int) -> None:
    if len(notes.read_text() if notes.exists() else "") < deaths:
        with notes.open("a") as file:
            file.write(".")
        os.kill(os.getpid(), signal.SIGKILL)


def work(device: str, root: Path, notes: Path, deaths: int = 1000, kind: str = "") -> ExtractWork:
    """Encoders and decoders that may die; ``kind``: ``failing`` or ``dying`` at once, or ``two`` specifications."""
    assert device == "cpu"
    if kind == "failing":
        raise UsageError("no weights on this node")
    if kind == "dying":
        os.kill(os.getpid(), signal.SIGKILL)
    stride = 16
    if kind == "two":
        with notes.open("a") as file:
            file.write(".")
            stride = 8 * file.tell()

    def build(_device: str) -> list[MeanColour]:
        return [Mortal(notes=notes, deaths=deaths), MeanColour(frames=stride, stream="snippets")]

    setattr(ray_decode, "decode_pieces", deadly_pieces)  # noqa: B010  # in this process alone: that of the actor
    return ExtractWork(device, build, root, ExtractOptions(stride, jobs=2))


def deadly_pieces(folder: Path, path: Path, request: media.Request, *rest: Any) -> Iterator[Any]:
    """:func:`vadpipe.pipeline.on_ray.decode.decode_pieces`, in the process of whose task some videos are deadly."""
    if path.name.startswith("deadly"):
        once = path.name.startswith("deadly_once")
        _die(path.with_suffix(".notes"), 1 if once else 1000)
    yield from DECODE(folder, path, request, *rest)


DECODE = ray_decode.decode_pieces
