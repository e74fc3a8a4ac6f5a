"""Detection: the report keeps its schema, long videos are cut and stitched, specifications never mix silently."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe.config import DetectConfig, RunConfig
from vadpipe.errors import SpecMismatch, UsageError, VideoUnreadable
from vadpipe.extractors import cuda_decode, media
from vadpipe.extractors.limits import Limits
from vadpipe.head_config import LecVadConfig
from vadpipe.models import HeadInputs, LecVad
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline import detect
from vadpipe.pipeline.detect import SCHEMA_FILE, DetectOptions, detect_video, extractor_for, write_report
from vadpipe.pipeline.detecting import heads as detect_heads
from vadpipe.pipeline.detecting import run as detect_run
from vadpipe.pipeline.detecting.run import DetectRequest, _extract_options
from vadpipe.pipeline.extract import ExtractOptions, feature_spec
from vadpipe.pipeline.intervals import find_intervals
from vadpipe.pipeline.score import score_track
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, ScoreTrack, TimeGrid

SPEC = feature_spec(MeanColour(), ExtractOptions())
LABELS = ("normal", "fighting", "riot")


def head(spec: FeatureSpec = SPEC) -> TrainedHead:
    config = LecVadConfig(dim=32, heads=4, memory_blocks=1, zero_init=False)
    torch.manual_seed(0)
    network = LecVad(config, HeadInputs(spec.dim, torch.randn(3, 32))).eval()
    return TrainedHead(network, RunConfig(model=config), spec, LABELS, "epoch 1 of 1", {}, "ab" * 32)


def scores(categories: list[tuple[float, float, float]], frames: int | None = None) -> ScoreTrack:
    rows = np.array(categories, dtype=np.float32)
    grid = TimeGrid(Fraction(25), frames if frames is not None else 16 * len(rows))
    return ScoreTrack(1 - rows[:, 0], rows, LABELS, grid)


def test_a_video_that_goes_meanwhile_costs_itself(tmp_path: Path) -> None:
    path, store = painted_videos.write(tmp_path / "x.mp4", 20), FeatureStore(tmp_path / "store")

    class Removing(MeanColour):
        def encode(self, items: Any) -> NDArray[np.float32]:
            path.unlink()
            return super().encode(items)

    detect_video(path, head(), DetectOptions(store), Removing())  # gone between its decode and its store
    assert store.ids(SPEC) == ["x"]
    with pytest.raises(VideoUnreadable, match="removed meanwhile"):  # detect_run goes on after it
        detect_video(path, head(), DetectOptions(store), MeanColour())


def test_the_limits_of_a_request_reach_the_decoder() -> None:
    request = DetectRequest({}, Path("run"), limits=Limits(max_pixels=100))
    assert _extract_options(request, SPEC).limits.max_pixels == 100


def test_a_clip_becomes_a_report_that_keeps_its_schema(tmp_path: Path) -> None:
    path = painted_videos.write(tmp_path / "clip #1.mp4", 90)
    found = detect_video(path, head(), DetectOptions(), MeanColour())
    assert (found.clip.id, found.scores.grid.num_frames) == ("clip #1", 90)
    assert any("untrained weights" in text for text in found.warnings)
    content = write_report(found, tmp_path / "out.json")
    schema = json.loads(SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads((tmp_path / "out.json").read_text()), schema)
    assert content["video"]["sha256"] == found.clip.sha256
    with np.load(tmp_path / content["frame_scores"]["file"]) as arrays:
        assert arrays["anomaly"].shape == (90,)
        assert arrays["categories"].shape == (90, 3)
        assert arrays["labels"].tolist() == list(LABELS)
        np.testing.assert_array_equal(arrays["anomaly"], found.scores.per_frame())


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": "vadpipe.intervals/2"},
        {"intervals": [{"start_s": 1.0}]},
        {"extra": 1},
        {"frame_scores": {}},
        {"audio": {"used": "no", "reason": ""}},
    ],
)
def test_the_schema_refuses(tmp_path: Path, wrong: dict[str, object]) -> None:
    path = painted_videos.write(tmp_path / "clip.mp4", 20)
    found = detect_video(path, head(), DetectOptions(), MeanColour())
    content = write_report(found, tmp_path / "out.json")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, **wrong}, json.loads(SCHEMA_FILE.read_text()))


def test_features_are_taken_from_the_store_only_for_the_same_file(tmp_path: Path) -> None:
    store, path = FeatureStore(tmp_path / "store"), painted_videos.write(tmp_path / "clip.mp4", 40)
    options = DetectOptions(store)
    first = detect_video(path, head(), options, MeanColour())
    assert store.ids(SPEC) == ["clip"]

    class Refusing(MeanColour):
        def encode(self, images: np.ndarray) -> np.ndarray:
            raise AssertionError("the store holds these features")

    again = detect_video(path, head(), options, Refusing())
    np.testing.assert_array_equal(first.scores.anomaly, again.scores.anomaly)
    painted_videos.write(path, 60)
    assert detect_video(path, head(), options, MeanColour()).scores.grid.num_frames == 60


def test_other_specifications_are_refused_by_name_or_accepted_aloud(tmp_path: Path) -> None:
    path = painted_videos.write(tmp_path / "clip.mp4", 40)
    other = head(replace(SPEC, decoder_version="1.0", dtype="bfloat16"))
    with pytest.raises(SpecMismatch, match=r"decoder_version: '1.0' expected") as caught:
        detect_video(path, other, DetectOptions(), MeanColour())
    assert "dtype" in str(caught.value)
    accepted = DetectOptions(accept=frozenset({"decoder_version", "dtype"}))
    found = detect_video(path, other, accepted, MeanColour())
    assert sum("accepted by the user" in text for text in found.warnings) == 2


def test_heads_on_imported_features_say_what_to_do(tmp_path: Path) -> None:
    path = painted_videos.write(tmp_path / "clip.mp4", 40)
    with pytest.raises(UsageError, match="import this video's features"):
        detect_video(path, head(FeatureSpec("other", 12, "imported", "imported")), DetectOptions())


def test_weights_from_a_file_must_be_passed_again() -> None:
    with pytest.raises(UsageError, match="pass --weights"):
        extractor_for(replace(SPEC, weights="mine.pt"), DetectOptions())


@pytest.fixture
def on_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[DetectRequest, list[str]]:
    """A request for a head on features of pictures that a GPU decoded, and the devices that were then asked to."""
    monkeypatch.setattr(media, "decoder_version", lambda name: f"1 of {name}")
    asked: list[str] = []

    def open_device(path: Path, request: media.Request, device: str, limits: media.Limits) -> media.MediaReader:
        asked.append(device)
        return media.open_media(path, request, limits=limits)

    monkeypatch.setattr(cuda_decode, "open_device", open_device)
    monkeypatch.setattr(detect, "create", lambda _stream, **_options: MeanColour())
    spec = feature_spec(MeanColour(), ExtractOptions(decoder="torchcodec", decode_device="cuda"))
    monkeypatch.setattr(detect_heads, "load_head", lambda _run, _device: head(spec))
    videos = {"clip": painted_videos.write(tmp_path / "clip.mp4", 40)}
    store, out = tmp_path / "store", tmp_path / "out"
    return DetectRequest(videos, tmp_path, out=out, features=store, decoder="torchcodec", device="cuda:1"), asked


def test_pictures_are_decoded_where_those_of_the_heads_features_were(on_gpu: tuple[DetectRequest, list[str]]) -> None:
    request, asked = on_gpu
    ((_, content),) = detect_run.detect_run(request).found
    assert asked == ["cuda:1"]
    assert content["model"]["spec"]["decode_device"] == "cuda"
    # stored now: no GPU, no torchcodec, no FFmpeg is needed any more
    ((_, again),) = detect_run.detect_run(replace(request, decoder="pyav", device="cpu")).found
    assert (again["intervals"], asked) == (content["intervals"], ["cuda:1"])


def test_no_encoder_is_built_where_all_is_stored(
    on_gpu: tuple[DetectRequest, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    request, _ = on_gpu
    detect_run.detect_run(request)
    monkeypatch.setattr(detect, "create", lambda stream, **_options: pytest.fail(f"{stream} was built"))
    assert len(detect_run.detect_run(request).found) == 1


@pytest.mark.parametrize(
    ("other", "error", "said"),
    [
        ({"device": "cpu"}, UsageError, "pictures stay on the GPU.*--device cuda.*--decode-device cpu"),
        ({"decoder": "pyav"}, UsageError, "--decoder torchcodec"),
        ({"decode_device": "cpu"}, SpecMismatch, "decode_device: 'cuda' expected, 'cpu' got"),
    ],
)
def test_other_ways_of_decoding_are_refused_before_any_work(
    on_gpu: tuple[DetectRequest, list[str]], other: dict[str, Any], error: type[Exception], said: str
) -> None:
    request, asked = on_gpu
    with pytest.raises(error, match=said):
        detect_run.detect_run(replace(request, **other))
    assert asked == []


def test_a_bad_video_is_one_clear_error(tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    with pytest.raises(VideoUnreadable):
        detect_video(bad, head(), DetectOptions(), MeanColour())


@pytest.mark.parametrize(("rows", "parts"), [(256, 1), (257, 2), (512, 2), (3, 1)])
def test_long_videos_are_scored_in_windows_and_stitched(rows: int, parts: int) -> None:
    data = np.random.default_rng(0).standard_normal((rows, 12)).astype(np.float32)
    network = head().head
    calls: list[int] = []
    network.register_forward_pre_hook(lambda _module, inputs: calls.append(inputs[0].shape[1]))
    whole = score_track(network, FeatureTrack(data, TimeGrid(Fraction(25), rows * 16), SPEC, "x"), LABELS)
    assert (len(calls), sum(calls)) == (parts, rows)
    last = data[(parts - 1) * 256 :]
    alone = score_track(network, FeatureTrack(last, TimeGrid(Fraction(25), len(last) * 16), SPEC, "x"), LABELS)
    np.testing.assert_allclose(whole.anomaly[-len(last) :], alone.anomaly, rtol=1e-5)


def test_crops_are_averaged() -> None:
    data = np.random.default_rng(0).standard_normal((3, 5, 12)).astype(np.float32)
    grid, network = TimeGrid(Fraction(25), 80), head().head
    together = score_track(network, FeatureTrack(data, grid, SPEC, "x"), LABELS)
    each = [score_track(network, FeatureTrack(crop, grid, SPEC, "x"), LABELS).anomaly for crop in data]
    np.testing.assert_allclose(together.anomaly, np.mean(each, axis=0), rtol=1e-5)


def test_two_step_thresholding_by_hand() -> None:
    rows = [(0.9, 0.05, 0.05)] * 4 + [(0.1, 0.8, 0.1)] * 3 + [(0.6, 0.4, 0.0)] + [(0.9, 0.0, 0.1)] * 4
    intervals = find_intervals(scores(rows, frames=16 * 12 - 5), DetectConfig())
    assert [(item.category, item.start_frame, item.end_frame) for item in intervals] == [("fighting", 64, 128)]
    inside, outside = (0.8 * 3 + 0.4) / 4, (0.05 + 0.0) / 2
    assert intervals[0].score == pytest.approx(inside - outside)
    assert find_intervals(scores(rows), DetectConfig(r_cls=0.81)) == ()
    assert find_intervals(scores(rows), DetectConfig(r_ano=0.5))[0].end_frame == 112


def test_a_head_that_cannot_decide_reports_nothing() -> None:
    even = scores([(1 / 3, 1 / 3, 1 / 3)] * 6)
    assert find_intervals(even, DetectConfig(r_ano=0.2)) == ()
    seven = ScoreTrack(even.anomaly, np.full((6, 7), 0.21, np.float32), ("normal", *"abcdef"), even.grid)
    assert len(find_intervals(seven, DetectConfig(r_ano=0.2))) == 6


def test_an_interval_at_the_end_stops_at_the_last_frame() -> None:
    rows = [(0.9, 0.05, 0.05)] * 2 + [(0.1, 0.1, 0.8)] * 2
    intervals = find_intervals(scores(rows, frames=50), DetectConfig())
    assert [(item.category, item.end_frame, item.end_s) for item in intervals] == [("riot", 50, 2.0)]


def test_a_video_without_snippets_has_no_intervals() -> None:
    empty = ScoreTrack(np.zeros(0, np.float32), np.zeros((0, 3), np.float32), LABELS, TimeGrid(Fraction(25), 0))
    assert find_intervals(empty, DetectConfig()) == ()
