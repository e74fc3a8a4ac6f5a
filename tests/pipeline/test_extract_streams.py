"""Several streams from one decode: items, crops and sound, what is stored when, and requests that cannot be met."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import need_decoder
from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe.errors import UsageError
from vadpipe.extractors import EXTRACTORS, SNIPPET_FRAMES, Extractor, Needs, cuda_decode, media
from vadpipe.pipeline.extract import Extracted, ExtractOptions, Step, extract, extract_tracks, feature_spec
from vadpipe.pipeline.extracting.encode import batch_items
from vadpipe.pipeline.extracting.plan import plan_streams
from vadpipe.pipeline.extracting.readers import Channel
from vadpipe.pipeline.extracting.run import check_request
from vadpipe.sound import ABSENT, PRESENT, SILENT
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore

OPTIONS = ExtractOptions()
SNIPPETS = MeanColour(2, frames=16, stream="snippets")
CROPS = MeanColour(3, geometry="stretch256x340-crop10", stream="crops")


@dataclass(frozen=True)
class Loudness:
    """An encoder of one second of sound at 8000 Hz: its mean and largest magnitude."""

    batch_size: int = 3
    rate: int = 8000
    seen: list[int] = field(default_factory=list)

    @property
    def needs(self) -> Needs:
        return Needs(audio_rate=self.rate, window_s=1.0)

    def spec(
        self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
    ) -> FeatureSpec:
        return FeatureSpec("loudness", 2, "loudness", "random:0", frames_per_snippet=frames_per_snippet)

    def encode(self, items: Any) -> NDArray[np.float32]:
        self.seen.append(len(items))
        return np.stack([np.abs(items).mean(axis=1), np.abs(items).max(axis=1)], axis=1).astype(np.float32)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[media.Request]:
    """The requests with which videos were opened."""
    requests: list[media.Request] = []
    true_open = media.open_media

    def open_media(path: Path, request: media.Request, **options: Any) -> media.MediaReader:
        requests.append(request)
        return true_open(path, request, **options)

    monkeypatch.setattr(media, "open_media", open_media)
    return requests


def one(path: Path, *extractors: Any) -> Extracted:
    (result,) = extract_tracks([path], extractors, OPTIONS)
    assert isinstance(result, Extracted)
    return result


def bytes_of(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*.h5")}


def noise(seconds: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.5, 0.5, (1, round(16000 * seconds))).astype(np.float32)


def test_streams_together_equal_streams_apart_from_one_decode(tmp_path: Path, opened: list[media.Request]) -> None:
    videos = {
        "a": painted_videos.write(tmp_path / "a.mp4", 50, sound=noise(2)),
        "b": painted_videos.write(tmp_path / "b.mp4", 33, size=(70, 50)),
    }
    streams: list[Extractor] = [MeanColour(), SNIPPETS, CROPS, Loudness()]
    extract(videos, FeatureStore(tmp_path / "together"), streams, OPTIONS)
    assert len(opened) == len(videos)
    for extractor in streams:
        extract(videos, FeatureStore(tmp_path / "apart"), [extractor], ExtractOptions(jobs=1))
    assert bytes_of(tmp_path / "together") == bytes_of(tmp_path / "apart")
    assert len(bytes_of(tmp_path / "apart")) == len(videos) * len(streams)


def test_equal_views_are_decoded_once(tmp_path: Path, opened: list[media.Request]) -> None:
    path = painted_videos.write(tmp_path / "a.mp4", 20)
    other = MeanColour(stream="other")
    first, second = one(path, MeanColour(), other).tracks
    np.testing.assert_array_equal(first.data, second.data)
    assert opened[0].views == (media.View(),)
    one(path, MeanColour(), SNIPPETS)
    assert opened[1].views == (media.View(), media.View(every_frame=True))
    assert (opened[1].audio_rate, opened[1].frames_per_snippet) == (0, 16)


@pytest.mark.parametrize("frames", [1, 15, 16, 17])
def test_a_short_last_snippet_repeats_its_last_frame(tmp_path: Path, frames: int) -> None:
    path = painted_videos.write(tmp_path / "a.mp4", frames, size=(64, 64))
    (track,) = one(path, SNIPPETS).tracks
    with media.open_media(path, media.Request(views=(media.View(every_frame=True),))) as reader:
        images = [item.image for item in reader if isinstance(item, media.FrameRow)]
    assert [painted_videos.read(image) for image in images] == list(range(frames))
    images += images[-1:] * (-frames % 16)
    np.testing.assert_array_equal(track.data, SNIPPETS.encode(np.stack(images).reshape(-1, 16, 224, 224, 3)))
    assert len(track.data) == track.grid.num_snippets == -(-frames // 16)


def test_crops_are_an_axis_of_the_track(tmp_path: Path) -> None:
    path = painted_videos.write(tmp_path / "a.mp4", 40)
    (track,) = one(path, CROPS).tracks
    assert track.data.shape == (10, 3, 12)
    assert np.ptp(track.data, axis=0).max() > 1  # crops differ
    mirrored = track.data[5].reshape(3, 4, 3)[:, [1, 0, 3, 2]]  # quarters change sides
    np.testing.assert_allclose(mirrored, track.data[0].reshape(3, 4, 3), rtol=1e-5)


@pytest.mark.parametrize(("batch", "crops", "items"), [(32, 1, 32), (32, 5, 32), (32, 10, 16), (4, 10, 2), (1, 10, 1)])
def test_batches_of_crops_leave_no_place_empty(batch: int, crops: int, items: int) -> None:
    stream = plan_streams([MeanColour(batch_size=batch)], OPTIONS)[0]
    assert batch_items(replace(stream, crops=crops)) == items


def test_sound_has_a_row_for_each_snippet_and_a_state(tmp_path: Path) -> None:
    sound = np.concatenate([noise(1.2), np.zeros((1, 16000 * 4), np.float32)], axis=1)
    path = painted_videos.write(tmp_path / "a.mp4", 200, sound=sound)  # 8 s of pictures, 5.2 s of sound
    track, heard = one(path, MeanColour(), Loudness()).tracks
    assert heard.data.shape == (13, 2)
    assert track.states is None
    assert heard.states is not None
    assert heard.states[0] == PRESENT
    assert heard.states[5] == SILENT  # the window from 3.0 to 4.0 s
    assert heard.states[-1] == ABSENT
    assert (heard.data[heard.states == ABSENT] == 0).all()
    assert heard.data[0].min() > 0.05


def test_a_video_without_sound_is_never_given_to_the_encoder(tmp_path: Path) -> None:
    encoder = Loudness()
    (track,) = one(painted_videos.write(tmp_path / "a.mp4", 40), encoder).tracks
    assert track.states is not None
    assert track.states.tolist() == [ABSENT] * 3
    assert track.data.shape == (3, 2)
    assert not track.data.any()
    assert encoder.seen == []


def test_what_is_stored_is_not_made_again(tmp_path: Path, opened: list[media.Request]) -> None:
    videos = {name: painted_videos.write(tmp_path / f"{name}.mp4", 40) for name in ("a", "b")}
    store = FeatureStore(tmp_path / "store")
    extract(videos, store, [MeanColour()], OPTIONS)
    extract({"b": videos["b"]}, store, [SNIPPETS], OPTIONS)
    opened.clear()
    summary = extract(videos, store, [MeanColour(), SNIPPETS], OPTIONS)
    assert (summary.done, summary.kept, summary.rows) == (["a"], ["b"], 3)
    assert [request.views for request in opened] == [(media.View(every_frame=True),)]


def test_a_stream_that_is_whole_is_stored_though_another_fails_later(tmp_path: Path) -> None:
    class Broken(MeanColour):
        def encode(self, items: Any) -> NDArray[np.float32]:
            raise FloatingPointError("broken")

    path, store = painted_videos.write(tmp_path / "a.mp4", 40), FeatureStore(tmp_path / "store")
    broken = Broken(batch_size=8, stream="broken")
    with pytest.raises(FloatingPointError, match="broken"):
        extract({"a": path}, store, [MeanColour(batch_size=3), broken], OPTIONS)
    assert store.ids(feature_spec(MeanColour(), OPTIONS)) == ["a"]


def test_progress_adds_up(tmp_path: Path) -> None:
    videos = {name: painted_videos.write(tmp_path / f"{name}.mp4", 17 + 16 * at) for at, name in enumerate("ab")}
    steps: list[Step] = []
    streams: list[Extractor] = [MeanColour(), SNIPPETS, Loudness()]
    extract(videos, FeatureStore(tmp_path / "store"), streams, OPTIONS, on_step=steps.append)
    assert sum(step.rows for step in steps) == 3 * (2 + 3)
    assert sum(step.frames for step in steps) == pytest.approx(17 + 33)
    assert sum(step.videos for step in steps) == pytest.approx(2)


@pytest.mark.parametrize(
    ("extractors", "stride", "said"),
    [
        ([], 16, "name at least one"),
        ([SNIPPETS], 8, r"got snippets of 8 frames, expected 16.*--stride 16"),
        ([MeanColour(), MeanColour(batch_size=2)], 16, "expected each one once"),
        ([Loudness(), Loudness(rate=16000)], 16, "expected each one once"),
    ],
)
def test_streams_that_cannot_go_together(extractors: list[Any], stride: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):  # before the file that is not there is looked for
        extract({"none": tmp_path / "none.mp4"}, FeatureStore(tmp_path), extractors, ExtractOptions(stride))


def test_one_decode_gives_one_rate_of_sound() -> None:
    class Other(Loudness):
        def spec(
            self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
        ) -> FeatureSpec:
            return FeatureSpec("other", 2, "loudness", "random:0")

    with pytest.raises(UsageError, match="8000, 16000"):
        plan_streams([Loudness(), Other(rate=16000)], OPTIONS)


@pytest.mark.parametrize(
    ("streams", "stride", "decoder", "device", "said"),
    [
        (("i3d",), 16, "pyav", "cpu", "got i3d, expected some of clip, i3d-inception"),
        (("clip", "clip"), 16, "pyav", "cpu", "each stream once"),
        ((), 16, "pyav", "cpu", "each stream once"),
        (("clip", "c3d"), 8, "pyav", "cpu", "c3d takes all frames of a snippet.*--stride 16"),
        (("clip",), 16, "ffmpeg", "cpu", "ffmpeg"),
        (("clip",), 16, "pyav", "cuda", "choose --decoder torchcodec"),
        (("clip",), 16, "pyav", "gpu", "expected cpu, cuda"),
    ],
)
def test_requests_that_cannot_be_met(
    streams: tuple[str, ...], stride: int, decoder: str, device: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check_request(streams, stride, decoder, device)
    assert SNIPPET_FRAMES.keys() <= EXTRACTORS.keys()


def test_sound_alone_needs_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_decode, "open_device", lambda *_, **__: pytest.fail("a GPU was asked for"))
    path = painted_videos.write(tmp_path / "a.mp4", 40)
    (result,) = extract_tracks([path], [Loudness()], ExtractOptions(decode_device="cuda"))
    assert isinstance(result, Extracted), result


def test_pictures_of_a_device_go_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of ``--decode-device cuda``, with the decoder told to stay on the CPU."""
    need_decoder("torchcodec")
    true_open = cuda_decode.open_device
    monkeypatch.setattr(
        cuda_decode, "open_device", lambda path, request, device, limits: true_open(path, request, "cpu", limits)
    )
    path = painted_videos.write(tmp_path / "a.mp4", 40, size=(64, 64))
    options = ExtractOptions(decoder="torchcodec", decode_device="cuda:1")
    (result,) = extract_tracks([path], [MeanColour(), SNIPPETS], options)
    assert isinstance(result, Extracted), result
    on_cpu = one(path, MeanColour(), SNIPPETS)
    for track, other in zip(result.tracks, on_cpu.tracks, strict=True):
        assert (track.spec.decoder, track.spec.decode_device) == ("torchcodec", "cuda")
        np.testing.assert_allclose(track.data, other.data, atol=6)  # resized by other arithmetic


def test_a_channel_waits_for_room() -> None:
    channel = Channel(room=1.0)
    put: list[int] = []

    def fill() -> None:
        for number in range(5):
            if channel.put(None, 0.5):
                put.append(number)

    thread = threading.Thread(target=fill)
    thread.start()
    while len(put) < 2:
        thread.join(0.001)
    thread.join(0.05)
    assert put == [0, 1]
    channel.get()
    while len(put) < 3:
        thread.join(0.001)
    thread.join(0.05)
    assert put == [0, 1, 2]
    channel.close()
    thread.join()
    assert put == [0, 1, 2]
