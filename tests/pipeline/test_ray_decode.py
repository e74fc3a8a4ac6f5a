"""The decode task of a Ray cluster: what may wait in shared memory, and that nothing of it is held on to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.extractors import painted_videos
from tests.pipeline.detected import made_detection
from tests.pipeline.mean_colour import MeanColour
from vadpipe.detection import Detection
from vadpipe.extractors import media
from vadpipe.pipeline.detecting.request import DetectRequest
from vadpipe.pipeline.extracting.plan import ExtractOptions, Task, plan_feed, plan_streams
from vadpipe.pipeline.on_ray import decode as ray_decode
from vadpipe.pipeline.on_ray.detect import found_with
from vadpipe.pipeline.on_ray.pool import Said
from vadpipe.pipeline.quarantine import Quarantine

FRAME = media.FrameRow(0, 0, 0.0, np.zeros((64, 96, 3), np.uint8))


def test_pieces_are_bounded_whatever_the_length_of_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = painted_videos.write(tmp_path / "a.mp4", 160)
    monkeypatch.chdir(tmp_path)
    options = ExtractOptions()
    request = plan_feed(plan_streams([MeanColour()], options), (0,), 16).request
    assert ray_decode.PIECE_BYTES <= 4 * 1024**2
    sizes = []
    monkeypatch.setattr(ray_decode, "PIECE_BYTES", 1)
    for sent in ray_decode.decode_pieces(tmp_path, path, request, options.decoder, options.limits):
        if isinstance(sent, list):
            sizes.append(len(sent))
    assert sizes == [1] * 10


def test_a_task_waits_for_its_encoder_and_is_not_repeated_by_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def remote(**how: Any) -> Any:
        asked.update(how)
        return lambda body: body

    monkeypatch.setattr(ray_decode, "import_ray", lambda: SimpleNamespace(remote=remote))
    ray_decode._task.__wrapped__(ray_decode.decode_pieces)
    assert asked["_generator_backpressure_num_objects"] == 2
    assert (asked["num_cpus"], asked["max_retries"], asked["num_returns"]) == (1, 0, "streaming")


def test_frames_are_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    report = object.__new__(media.MediaReport)
    monkeypatch.setattr(ray_decode, "import_ray", lambda: SimpleNamespace(exceptions=None, get=lambda sent: sent))
    reader = ray_decode.TaskReader(Task(Path("a"), (0,)), media.Request(16), ExtractOptions())
    reader._stream = iter([[FRAME], report])
    (frame,) = reader
    assert not np.shares_memory(frame.image, FRAME.image)  # type: ignore[union-attr]  # a picture
    assert reader.report is report


def test_detections_are_copies(tmp_path: Path) -> None:
    sent = made_detection()

    def pool() -> Iterator[Said]:
        yield Said(0, "a", sent)

    class Watcher:
        def begin(self, name: str) -> None:
            assert name == "a"

    request = DetectRequest({"a": Path("a.mp4")}, tmp_path)
    ((_, _, found),) = found_with(pool(), request, Watcher(), Quarantine(None))  # type: ignore[arg-type]  # enough of them
    assert isinstance(found, Detection)
    for name in ("anomaly", "categories"):
        assert not np.shares_memory(getattr(found.scores, name), getattr(sent.scores, name))
