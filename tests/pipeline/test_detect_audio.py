"""Detection with audio-visual heads: which head scores which video, where its sound comes from, and what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe import extractors
from vadpipe.config import RunConfig
from vadpipe.errors import SpecMismatch, UsageError, VideoError
from vadpipe.extractors import media
from vadpipe.head_config import AVadClipConfig, AVadClipStudentConfig, HeadConfig
from vadpipe.models import HeadInputs
from vadpipe.models.checkpoint import TrainedHead, save_head
from vadpipe.models.heads import build_head
from vadpipe.pipeline import detect
from vadpipe.pipeline.detect import SCHEMA_FILE, DetectOptions, detect_video, write_report
from vadpipe.pipeline.detecting.run import DetectRequest, detect_run
from vadpipe.pipeline.extract import ExtractOptions, feature_spec
from vadpipe.pipeline.score import score_track
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid

SPEC = feature_spec(MeanColour(), ExtractOptions())
SOUND = FeatureSpec("sound", 6, "imported", "imported")
LABELS = ("normal", "fighting", "riot")
FRAMES = 70


def head(config: HeadConfig, audio_spec: FeatureSpec | None = None, spec: FeatureSpec = SPEC) -> TrainedHead:
    name = "avadclip_student" if isinstance(config, AVadClipStudentConfig) else "avadclip"
    run = RunConfig(head=name, audio_stream=audio_spec.stream if audio_spec else "", model=config)
    torch.manual_seed(0)
    inputs = HeadInputs(spec.dim, torch.randn(3, 32), audio_spec.dim if audio_spec else 0)
    return TrainedHead(build_head(run, inputs).eval(), run, spec, LABELS, "none", {}, "ab" * 32, audio_spec)


def teacher(audio_spec: FeatureSpec = SOUND, **settings: Any) -> TrainedHead:
    return head(AVadClipConfig(dim=32, layers=1, zero_init=False, **settings), audio_spec)


def student(spec: FeatureSpec = SPEC) -> TrainedHead:
    return head(AVadClipStudentConfig(dim=32, window=4, zero_init=False), None, spec)


def heard_rows(spec: FeatureSpec = SOUND, video: str = "clip") -> FeatureTrack:
    grid = TimeGrid(fps=Fraction(25), num_frames=FRAMES)
    rows = np.random.default_rng(1).standard_normal((grid.num_snippets, spec.dim)).astype(np.float32)
    return FeatureTrack(rows, grid, spec, video)


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    return painted_videos.write(tmp_path / "silent.mp4", FRAMES)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return painted_videos.write(tmp_path / "clip.mp4", FRAMES, sound=np.zeros((1, 44800), np.float32))


class Refusing(MeanColour):
    """An encoder for where nothing may be computed."""

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise AssertionError("nothing had to be encoded")


def test_stored_sound_is_used_and_said(tmp_path: Path, clip: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    store.write(heard_rows())
    trained = teacher()
    found = detect_video(clip, trained, DetectOptions(store), MeanColour(), student=student())
    assert (found.audio.used, found.provenance["name"]) == (True, "avadclip")
    assert SOUND.folder in found.audio.reason
    track = store.read(SPEC, "clip")
    heard = score_track(trained.head, track, LABELS, audio=heard_rows())
    np.testing.assert_array_equal(found.scores.anomaly, heard.anomaly)
    assert not np.allclose(heard.anomaly, score_track(trained.head, track, LABELS).anomaly)
    content = write_report(found, tmp_path / "out.json")
    jsonschema.validate(content, json.loads(SCHEMA_FILE.read_text()))
    assert content["audio"] == {"used": True, "reason": found.audio.reason}
    assert content["model"]["audio_spec"]["digest"] == SOUND.digest


def test_a_silent_video_goes_to_the_student(tmp_path: Path, silent: Path) -> None:
    store, taught = FeatureStore(tmp_path / "store"), student()
    found = detect_video(silent, teacher(), DetectOptions(store), MeanColour(), student=taught)
    assert (found.audio.used, found.provenance["name"]) == (False, "avadclip_student")
    assert "no audio stream" in found.audio.reason
    assert "audio_spec" not in found.provenance
    alone = score_track(taught.head, store.read(SPEC, "silent"), LABELS)
    np.testing.assert_array_equal(found.scores.anomaly, alone.anomaly)


def test_without_a_student_a_silent_video_keeps_its_picture_and_is_warned_of(silent: Path) -> None:
    found = detect_video(silent, teacher(), DetectOptions(), MeanColour())
    assert (found.audio.used, found.provenance["name"]) == (False, "avadclip")
    assert any("pass --student" in text for text in found.warnings)
    with pytest.raises(VideoError, match="looks at nothing else"):
        detect_video(silent, teacher(modality="audio"), DetectOptions(), MeanColour())


@pytest.mark.parametrize("taught", [None, student()])
def test_sound_that_cannot_be_had_is_an_error_before_anything_is_computed(
    clip: Path, taught: TrainedHead | None
) -> None:
    wanted = FeatureSpec("wav2clip-lists", 6, "imported", "imported")
    with pytest.raises(VideoError, match="vadpipe import features") as caught:
        detect_video(clip, teacher(wanted), DetectOptions(), Refusing(), student=taught)
    assert ("student's run folder" in str(caught.value)) == (taught is not None)


def test_a_registered_encoder_of_the_sound_is_used(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loudness(MeanColour):
        def spec(
            self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
        ) -> FeatureSpec:
            return replace(SPEC, stream="loudness", model="loudness", decoder_version=decoder_version)

    registered = MappingProxyType({"loudness": lambda **_options: Loudness()})
    monkeypatch.setattr(extractors, "EXTRACTORS", registered)
    monkeypatch.setattr(detect, "EXTRACTORS", registered)
    spec = feature_spec(Loudness(), ExtractOptions())
    store = FeatureStore(tmp_path / "store")
    found = detect_video(clip, teacher(spec), DetectOptions(store), MeanColour())
    assert found.audio.used
    assert store.ids(spec) == ["clip"]
    again = detect_video(clip, teacher(spec), DetectOptions(store), Refusing(), audio_extractor=Refusing())
    np.testing.assert_array_equal(again.scores.anomaly, found.scores.anomaly)
    other = teacher(replace(spec, decoder_version="1.0"))
    with pytest.raises(SpecMismatch, match=r"decoder_version: '1\.0' expected"):
        detect_video(clip, other, DetectOptions(), MeanColour())


def test_picture_and_sound_come_from_one_decode(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[media.Request] = []
    true_open = media.open_media

    def open_media(path: Path, request: media.Request, **options: Any) -> media.MediaReader:
        opened.append(request)
        return true_open(path, request, **options)

    monkeypatch.setattr(media, "open_media", open_media)
    sound = MeanColour(frames=16, stream="clip-sound")
    spec = feature_spec(sound, ExtractOptions())
    monkeypatch.setattr(detect, "EXTRACTORS", MappingProxyType({"clip-sound": lambda **_options: sound}))
    found = detect_video(clip, teacher(spec), DetectOptions(), MeanColour(), audio_extractor=sound)
    assert found.audio.used
    assert [len(request.views) for request in opened] == [2]


def test_a_head_from_elsewhere_is_warned_of_in_every_result(silent: Path) -> None:
    released = replace(student(), provenance={"caution": "made by others"})
    assert "made by others" in detect_video(silent, released, DetectOptions(), MeanColour()).warnings


def saved(folder: Path, trained: TrainedHead) -> Path:
    save_head(folder, trained)
    return folder


def test_a_run_takes_the_student_in_its_folder(tmp_path: Path, silent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vadpipe.pipeline.detecting.run.extractor_for", lambda _spec, _options: MeanColour())
    run = saved(tmp_path / "run", teacher())
    request = DetectRequest({"silent": silent}, run, out=tmp_path / "out")
    assert detect_run(request).found[0][1]["model"]["name"] == "avadclip"
    taught = student()
    own = replace(taught.config, detect=replace(taught.config.detect, r_cls=0.25))
    saved(run / "student", replace(taught, config=own))
    content = detect_run(request).found[0][1]
    assert (content["model"]["name"], content["audio"]["used"]) == ("avadclip_student", False)
    assert (content["params"]["r_cls"], content["params"]["nms_iou"]) == (0.25, 0.5)  # those of the head that scored
    elsewhere = saved(tmp_path / "other", replace(student(), classes=("normal", "riot", "fighting")))
    with pytest.raises(UsageError, match="a student needs its teacher's"):
        detect_run(replace(request, student=elsewhere))
    with pytest.raises(UsageError, match="uses audio itself"):
        detect_run(replace(request, student=run))
    with pytest.raises(UsageError, match="uses no audio"):
        detect_run(replace(request, run=run / "student", student=run))
    with pytest.raises(SpecMismatch, match="the student in"):
        detect_run(replace(request, student=saved(tmp_path / "third", student(replace(SPEC, dtype="bfloat16")))))


def test_overrides_are_checked_against_the_runs_own_settings(
    tmp_path: Path, silent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vadpipe.pipeline.detecting.run.extractor_for", lambda _spec, _options: MeanColour())
    for snippets in (256, 512):  # the default settings take windows of up to 256
        saved(tmp_path / f"{snippets}", teacher(max_snippets=snippets))
    request = DetectRequest({"silent": silent}, tmp_path / "512", out=tmp_path / "out", overrides=("window=300",))
    assert detect_run(request).found[0][1]["params"]["window"] == 300
    with pytest.raises(UsageError, match=r"detect\.window: got 300, expected at most model\.max_snippets, 256"):
        detect_run(replace(request, run=tmp_path / "256"))


def test_one_video_without_its_sound_costs_itself_only(
    tmp_path: Path, clip: Path, silent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vadpipe.pipeline.detecting.run.extractor_for", lambda _spec, _options: MeanColour())
    run = saved(tmp_path / "run", teacher())
    said: list[str] = []
    summary = detect_run(DetectRequest({"clip": clip, "silent": silent}, run, out=tmp_path / "out"), say=said.append)
    assert list(summary.failed) == ["clip"]
    assert [detection.clip.id for detection, _ in summary.found] == ["silent"]
    assert said == [f"failed: {clip}: {summary.failed['clip']}"]
    store = FeatureStore(tmp_path / "store")
    store.write(replace(heard_rows(), grid=TimeGrid(heard_rows().grid.fps, 32), data=heard_rows().data[:2]))
    short = detect_run(DetectRequest({"clip": clip}, run, out=tmp_path / "out", features=store.root))
    assert "2 rows of audio features" in short.failed["clip"]
