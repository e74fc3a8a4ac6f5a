"""What goes wrong around a video while a run is going on, and what that costs."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe.errors import DecoderCrashed, UsageError, VadpipeError, VideoUnreadable
from vadpipe.extractors import decoders, media, video_file
from vadpipe.extractors.decode_process import DecodeProcess
from vadpipe.extractors.decoders import DECODERS, Decoder
from vadpipe.extractors.weights import default_weights
from vadpipe.pipeline import demo
from vadpipe.pipeline.demo_data import DemoData
from vadpipe.pipeline.extract import (
    Extracted,
    ExtractOptions,
    ExtractSummary,
    Outcome,
    Step,
    extract,
    extract_tracks,
    feature_spec,
)
from vadpipe.pipeline.extracting import assemble as extract_assemble
from vadpipe.pipeline.extracting import readers as extract_readers
from vadpipe.pipeline.extracting import run as extract_run
from vadpipe.pipeline.extracting.run import ExtractRequest
from vadpipe.store import FeatureStore

OPTIONS = ExtractOptions(jobs=1)
SPEC = feature_spec(MeanColour(), OPTIONS)


class Doing(MeanColour):
    """Does something before each batch."""

    first: Callable[[], Any]

    def __init__(self, first: Callable[[], Any], batch_size: int = 4) -> None:
        super().__init__(batch_size)
        object.__setattr__(self, "first", first)

    def encode(self, items: Any) -> NDArray[np.float32]:
        self.first()
        return super().encode(items)


@pytest.fixture
def videos(tmp_path: Path) -> dict[str, Path]:
    return {name: painted_videos.write(tmp_path / f"{name}.mp4", 20) for name in "abc"}


def test_a_video_that_goes_before_it_is_stored_is_stored(tmp_path: Path, videos: dict[str, Path]) -> None:
    encoder = Doing(lambda: videos["a"].unlink(missing_ok=True), batch_size=2)
    summary = extract(videos, FeatureStore(tmp_path / "store"), [encoder], OPTIONS)
    assert (summary.done, summary.failed) == (["a", "b", "c"], {})


def test_a_video_that_goes_before_it_is_opened_costs_itself(
    tmp_path: Path, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_check = video_file.check_file

    def check_file(path: Path) -> int:
        if path == videos["b"]:
            path.unlink()
        return true_check(path)

    monkeypatch.setattr(media, "check_file", check_file)
    summary = extract(videos, FeatureStore(tmp_path / "store"), [MeanColour()], OPTIONS)
    assert summary.done == ["a", "c"]
    assert "removed meanwhile" in summary.failed["b"]


def test_a_video_that_is_replaced_while_it_is_encoded_is_made_anew(tmp_path: Path, videos: dict[str, Path]) -> None:
    old = videos["a"].read_bytes()
    new = old[:-1] + bytes([old[-1] ^ 1])  # of the same size
    store = FeatureStore(tmp_path / "store")
    extract({"a": videos["a"]}, store, [Doing(lambda: videos["a"].write_bytes(new))], OPTIONS)
    assert store.read(SPEC, "a").source_sha256 == hashlib.sha256(old).hexdigest()
    assert extract({"a": videos["a"]}, store, [MeanColour()], OPTIONS).done == ["a"]
    assert store.read(SPEC, "a").source_sha256 == hashlib.sha256(new).hexdigest()


def test_a_source_that_cannot_be_read_any_more_is_left_to_the_reader(
    tmp_path: Path, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FeatureStore(tmp_path / "store")
    extract(videos, store, [MeanColour()], OPTIONS)
    videos["a"].touch()  # the digest has to decide

    def refuse(*_: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(hashlib, "file_digest", refuse)
    assert extract(videos, store, [MeanColour()], OPTIONS).kept == ["b", "c"]


def test_a_touched_video_is_hashed_once(
    tmp_path: Path, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, streams = FeatureStore(tmp_path / "store"), [MeanColour(), MeanColour(stream="other")]
    extract(videos, store, streams, OPTIONS)
    videos["a"].touch()
    hashed: list[str] = []
    true_digest = hashlib.file_digest

    def file_digest(handle: Any, kind: str) -> Any:
        hashed.append(str(Path(f"/proc/self/fd/{handle.fileno()}").readlink()))
        return true_digest(handle, kind)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    for _ in range(2):  # for both streams, and noted for the next run
        assert sorted(extract(videos, store, streams, OPTIONS).kept) == ["a", "b", "c"]
    assert hashed == [str(videos["a"])]


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_file_may_be_asked_for_twice(videos: dict[str, Path], jobs: int) -> None:
    found = list(extract_tracks([videos["a"]] * 2, [MeanColour(batch_size=64)], ExtractOptions(jobs=jobs)))
    assert all(isinstance(result, Extracted) for result in found)
    first, second = (result.tracks[0].data for result in found if isinstance(result, Extracted))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("pairs", [dict, lambda pairs: iter(pairs)])
def test_an_id_that_is_not_the_files_is_refused(
    tmp_path: Path, videos: dict[str, Path], pairs: Callable[[Any], Any]
) -> None:
    with pytest.raises(UsageError, match="got the id 'other', expected 'a'"):
        extract(pairs([("other", videos["a"])]), FeatureStore(tmp_path / "store"), [MeanColour()], OPTIONS)


def test_an_error_does_not_wait_for_a_first_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder fails while another video's decoder is in a pass of ten seconds, which it must not finish."""
    monkeypatch.setattr(
        decoders, "DECODERS", MappingProxyType({**DECODERS, "fake": Decoder("tests.extractors.fake_decoder", "av", "")})
    )
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    slow, other = tmp_path / "first-pass.mp4", tmp_path / "other.mp4"
    for path in (slow, other):
        path.write_bytes(b"\0 no video")
    heard: list[str] = []  # from the slow one's decoder, which can write nowhere else
    parse = DecodeProcess._parse

    def hear(process: DecodeProcess, line: bytes) -> dict[str, Any]:
        message = parse(process, line)
        if process._path == str(slow):
            heard.append(message["t"])
        return message

    monkeypatch.setattr(DecodeProcess, "_parse", hear)

    def fail() -> None:
        while "beat" not in heard:
            time.sleep(0.01)
        raise FloatingPointError("broken")

    with pytest.raises(FloatingPointError, match="broken"):
        list(extract_tracks([slow, other], [Doing(fail)], ExtractOptions(decoder="fake", jobs=2)))
    assert set(heard) == {"beat"}  # and not what it found out in its first pass


def test_a_reader_that_is_killed_before_it_begins_ends(videos: dict[str, Path]) -> None:
    reader = media.open_media(videos["a"], media.Request())
    reader.kill()
    with pytest.raises(DecoderCrashed), reader:
        pass


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes."),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_an_encoder_without_memory_is_told_what_to_do(videos: dict[str, Path], error: Exception) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(VadpipeError, match=r"stream clip, batches of 2: out of memory.*smaller --batch-size"):
        list(extract_tracks([videos["a"]], [Doing(fail, batch_size=2)], OPTIONS))


def test_an_encoder_with_a_bug_stays_loud(videos: dict[str, Path]) -> None:
    def fail() -> None:
        raise RuntimeError("sizes do not match")

    with pytest.raises(RuntimeError, match="sizes do not match"):
        list(extract_tracks([videos["a"]], [Doing(fail)], OPTIONS))


def test_a_video_that_fails_at_its_end_takes_its_progress_back(
    tmp_path: Path, videos: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    true_assemble = extract_assemble.assemble

    def assemble(task: Any, *given: Any) -> Iterator[Any]:
        yield from true_assemble(task, *given)
        if task.path == videos["b"]:
            raise VideoUnreadable("too damaged")

    monkeypatch.setattr(extract_readers, "assemble", assemble)
    steps: list[Step] = []
    store = FeatureStore(tmp_path / "store")
    summary = extract(videos, store, [MeanColour(batch_size=1)], OPTIONS, on_step=steps.append)
    assert list(summary.failed) == ["b"]
    assert sum(step.videos for step in steps) == pytest.approx(2)
    assert min(step.videos for step in steps) == pytest.approx(-1)
    assert sum(step.rows for step in steps) == 6


def test_weights_are_fetched_once_before_there_are_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []

    def extract_on(*_: Any) -> ExtractSummary:
        calls.append("processes")
        return ExtractSummary()

    monkeypatch.setattr(extract_run, "resolve", calls.append)
    monkeypatch.setattr(extract_run, "extract_on", extract_on)
    request = ExtractRequest({}, tmp_path, ("clip", "wav2clip"), {"clip": "random:3"}, devices=("cpu", "cpu"))
    extract_run.extract_run(request)
    assert calls == ["random:3", default_weights("wav2clip"), "processes"]


def test_the_demo_says_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_videos: Any, _store: Any, _encoders: Any, _options: Any, notify: Callable[[Outcome], None]) -> Any:
        notify(Outcome("x", tmp_path / "x.mp4", error=VideoUnreadable(f"{tmp_path / 'x.mp4'}: too damaged")))
        return ExtractSummary()

    class Bars:
        def add_task(self, *_: Any, **__: Any) -> int:
            return 0

        def advance(self, _task: int) -> None: ...

    monkeypatch.setattr(demo, "extract", failing)
    said: list[str] = []
    data = DemoData.__new__(DemoData)
    object.__setattr__(data, "videos", ())
    bars: Any = Bars()  # a Progress, as far as the step uses one
    demo._extract(data, FeatureStore(tmp_path), MeanColour(), bars, said.append)
    assert said[0] == f"failed: {tmp_path / 'x.mp4'}: too damaged"
