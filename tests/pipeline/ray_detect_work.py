"""Work of detection for actors of a Ray cluster; apart from that of extraction, which needs no torch."""

from __future__ import annotations

from pathlib import Path

import torch  # as all of detection does, when Ray fetches this module

from tests.pipeline.ray_works import Mortal, deadly_pieces
from vadpipe.pipeline import detect
from vadpipe.pipeline.detecting.request import DetectRequest
from vadpipe.pipeline.on_ray import decode as ray_decode
from vadpipe.pipeline.on_ray.detect import DetectWork


def detect_work(device: str, request: DetectRequest, notes: Path, deaths: int) -> DetectWork:
    """The work of detection with an encoder that may die, and decoders that may; notes how many threads it has."""
    notes.with_suffix(".threads").write_text(str(torch.get_num_threads()))
    encoder = Mortal(notes=notes, deaths=deaths)
    setattr(detect, "extractor_for", lambda _spec, _options: encoder)  # noqa: B010  # in this process alone
    setattr(ray_decode, "decode_pieces", deadly_pieces)  # noqa: B010
    return DetectWork(device, request)
