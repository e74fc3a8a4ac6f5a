"""States of sound on their way through bags, scoring, training data, evaluation and detection."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.extractors import painted_videos
from tests.pipeline.heads import small_config
from tests.pipeline.mean_colour import MeanColour
from tests.pipeline.planted import AUDIO_SPEC, CLASSES, SPEC, Planted, plant, plant_audio
from tests.pipeline.test_detect_audio import FRAMES, LABELS, SOUND, head, student, teacher
from tests.pipeline.test_detect_audio import SPEC as SEEN
from vadpipe.detection import Detection
from vadpipe.errors import DataError, UsageError, VideoError
from vadpipe.head_config import AVadClipConfig
from vadpipe.manifest import VideoRecord
from vadpipe.models.checkpoint import TrainedHead
from vadpipe.pipeline.detect import DetectOptions, _choose_head, detect_video
from vadpipe.pipeline.evaluate import evaluate
from vadpipe.pipeline.score import audio_track, score_track
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.data import TrainRequest, _without_sound, find_training_data
from vadpipe.sound import ABSENT, PRESENT, SILENT, UNDECODABLE
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, FloatArray, TimeGrid, VideoClip


def sound_track(
    states: list[int], spec: FeatureSpec = AUDIO_SPEC, video: str = "clip", frames: int = 0
) -> FeatureTrack:
    """Noise in the rows that have sound."""
    grid = TimeGrid(Fraction(25), frames or 16 * len(states))
    rows = np.random.default_rng(2).standard_normal((len(states), spec.dim)).astype(np.float32)
    rows[np.array(states) >= ABSENT] = 0
    return FeatureTrack(rows, grid, spec, video, states=np.array(states, np.uint8))


def picture_track(count: int, video: str, spec: FeatureSpec = SPEC) -> FeatureTrack:
    grid = TimeGrid(Fraction(25), 16 * count)
    return FeatureTrack(np.ones((count, spec.dim), np.float32), grid, spec, video)


@pytest.fixture
def bags(tmp_path: Path) -> Bags:
    """``mixed``: 8 snippets, sound in four; ``none``: 8, no sound at all; ``plain``: 4, features without states."""
    store = FeatureStore(tmp_path)
    mixed = [ABSENT, ABSENT, PRESENT, UNDECODABLE, SILENT, PRESENT, PRESENT, ABSENT]
    store.write(sound_track(mixed, video="mixed"))
    store.write(sound_track([ABSENT] * 8, video="none"))
    store.write(replace(sound_track([PRESENT] * 4, video="plain"), states=None))
    records = []
    for name, count in (("mixed", 8), ("none", 8), ("plain", 4)):
        store.write(picture_track(count, name))
        records.append(VideoRecord(name, frozenset({"normal"})))
    return Bags(store, SPEC, records, CLASSES, audio_spec=AUDIO_SPEC)


def test_a_bag_has_audio_where_one_snippet_has(bags: Bags) -> None:
    assert [bags.has_audio(index) for index in range(3)] == [True, False, True]
    assert bags.audio_rows(1) is None
    assert bags.audio_track(1) is None
    assert [len(bags.content(index)) for index in range(3)] == [2, 1, 2]


def test_a_batch_says_which_snippets_are_heard(bags: Bags) -> None:
    batch = bags.batch([0, 1, 2])
    assert batch.has_audio is not None
    wanted = ["00101110", "00000000", "11110000"]
    assert ["".join(str(int(flag)) for flag in row) for row in batch.has_audio] == wanted
    assert batch.audio is not None
    assert not batch.audio[~batch.has_audio].any()


def test_pooling_averages_what_is_heard(bags: Bags) -> None:
    rows = sound_track([PRESENT] * 8).data
    pooled = Bags(bags.store, SPEC, bags.records, CLASSES, max_snippets=4, audio_spec=AUDIO_SPEC)
    heard = pooled.heard(0)
    assert heard is not None
    assert heard.tolist() == [False, True, True, True]
    got = pooled.audio_rows(0)
    assert got is not None
    np.testing.assert_allclose(got, [0 * rows[0], rows[2], rows[4:6].mean(axis=0), rows[6]], atol=1e-6)


def test_statistics_are_of_what_is_heard(bags: Bags) -> None:
    mixed, plain = bags.store.read(AUDIO_SPEC, "mixed").data, bags.store.read(AUDIO_SPEC, "plain").data
    rows = np.concatenate([mixed[[2, 4, 5, 6]], plain])
    mean, covariance = bags.statistics(sound=True)
    np.testing.assert_allclose(mean.numpy(), rows.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(covariance.numpy(), np.cov(rows.T, bias=True), atol=1e-6)


def test_a_small_cache_changes_nothing(bags: Bags) -> None:
    small = Bags(bags.store, SPEC, bags.records, CLASSES, audio_spec=AUDIO_SPEC, cache_bytes=0)
    for one, other in zip(bags.batch([0, 1, 2]), small.batch([0, 1, 2]), strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


@pytest.mark.parametrize("window", [256, 3])
def test_scores_follow_the_states(window: int) -> None:
    """A head is told which snippets are heard, in every window; those of none score as without the sound."""
    listener = teacher(AUDIO_SPEC).head
    picture = picture_track(8, "clip", SEEN)
    states = [ABSENT] * 3 + [PRESENT] * 5

    def anomaly(sound: FeatureTrack | None) -> FloatArray:
        return score_track(listener, picture, LABELS, window, sound).anomaly

    nothing = sound_track([ABSENT] * 8)
    np.testing.assert_allclose(anomaly(nothing), anomaly(None), atol=1e-6)
    assert np.abs(anomaly(sound_track(states)) - anomaly(None)).max() > 1e-4
    if window == 3:  # windows are scored apart, and nothing is heard in the first
        np.testing.assert_allclose(anomaly(sound_track(states))[:3], anomaly(None)[:3], atol=1e-6)


def test_a_stored_track_without_sound_is_none_to_scoring(bags: Bags) -> None:
    assert audio_track(bags.store, AUDIO_SPEC, "none") is None
    mixed = audio_track(bags.store, AUDIO_SPEC, "mixed")
    assert mixed is not None
    assert mixed.states is not None


def test_training_data_tells_what_is_missing_from_what_is_mute(bags: Bags) -> None:
    records = [*bags.records, VideoRecord("elsewhere", frozenset({"normal"}))]
    (note,) = _without_sound(bags.store, AUDIO_SPEC, records)
    assert note.startswith(f"1 of 4 videos have no {AUDIO_SPEC.folder} features and 1 of 4 videos have no snippet with")
    assert _without_sound(bags.store, AUDIO_SPEC, [bags.records[0], bags.records[2]]) == []
    with pytest.raises(DataError, match="none of the 1 videos has sound"):
        _without_sound(bags.store, AUDIO_SPEC, [bags.records[1]])


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    made = plant(tmp_path_factory.mktemp("planted"), 16)
    plant_audio(made, silent=0)
    return made


def test_evaluation_scores_videos_without_sound_and_says_so(planted: Planted) -> None:
    trained = head(AVadClipConfig(dim=32, layers=1, zero_init=False), AUDIO_SPEC, SPEC)
    record = planted.part("test")[0]
    track = planted.store.read(AUDIO_SPEC, record.id)
    count = track.grid.num_snippets
    nothing = replace(track, data=np.zeros_like(track.data), states=np.full(count, ABSENT, np.uint8))
    planted.store.write(nothing)
    result = evaluate(trained, planted.store, planted.part("test"))
    (note,) = (note for note in result.notes if "no sound" in note)
    assert note.startswith("1 videos have no sound, or no features of it, and were scored by this head without it (")
    assert note.endswith(f"gives a video without sound to the student, where there is one): {record.id!r}")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return painted_videos.write(tmp_path / "clip.mp4", FRAMES, sound=np.zeros((1, 44800), np.float32))


@pytest.fixture
def mute(tmp_path: Path) -> Path:
    return painted_videos.write(tmp_path / "clip.mp4", FRAMES)


def found(path: Path, states: list[int], taught: TrainedHead | None, store: FeatureStore, **settings: Any) -> Detection:
    store.write(sound_track(states, SOUND, "clip", FRAMES))
    return detect_video(path, teacher(**settings), DetectOptions(store), MeanColour(), student=taught)


def test_detection_says_how_much_was_not_heard(tmp_path: Path, clip: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    detection = found(clip, [ABSENT, ABSENT, SILENT, PRESENT, UNDECODABLE], student(), store)
    assert (detection.audio.used, detection.provenance["name"]) == (True, "avadclip")
    said = (
        "2 of 5 snippets have no sound, 1 of 5 snippets have sound that cannot be decoded, 1 of 5 snippets are silent"
    )
    assert detection.audio.reason == f"scored by avadclip with {SOUND.folder}; {said}"
    assert "snippets" not in found(clip, [PRESENT] * 5, student(), store).audio.reason


def test_a_stored_track_without_sound_goes_to_the_student(tmp_path: Path, mute: Path) -> None:
    store, taught = FeatureStore(tmp_path / "store"), student()
    detection = found(mute, [ABSENT] * 5, taught, store)
    assert (detection.audio.used, detection.provenance["name"]) == (False, "avadclip_student")
    assert "the video has no audio stream: scored by the student" in detection.audio.reason
    assert not [text for text in detection.warnings if "audio" in text]
    alone = score_track(taught.head, store.read(SEEN, "clip"), LABELS)
    np.testing.assert_array_equal(detection.scores.anomaly, alone.anomaly)


def test_sound_that_cannot_be_decoded_is_warned_of(tmp_path: Path, clip: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    states = [UNDECODABLE] * 5
    said = "the video has an audio stream, but 5 of 5 snippets have sound that cannot be decoded"
    detection = found(clip, states, student(), store)
    assert detection.audio.reason.startswith(f"{said}: scored by the student")
    assert any(text.startswith(said) for text in detection.warnings)
    alone = found(clip, states, None, store)
    assert (alone.audio.used, alone.provenance["name"]) == (False, "avadclip")
    assert any("pass --student" in text for text in alone.warnings)
    with pytest.raises(VideoError, match="looks at nothing else"):
        found(clip, states, None, store, modality="audio")


def test_sound_is_never_the_first_stream(tmp_path: Path) -> None:
    """There its snippets without sound would be rows of zeros, no different from data."""
    store = FeatureStore(tmp_path)
    seen = replace(AUDIO_SPEC, stream="wav2clip", audio_window="1s@16000Hz")
    store.write(sound_track([PRESENT, ABSENT], seen))
    records = [VideoRecord("clip", frozenset({"normal"}))]
    with pytest.raises(UsageError, match="cannot be a head's first stream"):
        Bags(store, seen, records, CLASSES)
    request = TrainRequest(replace(small_config("vadclip"), stream="wav2clip"), features=tmp_path)
    with pytest.raises(UsageError, match="cannot be a head's first stream"):
        find_training_data(request)


def of_file(track: FeatureTrack, sha256: str, frames: int = 128) -> FeatureTrack:
    grid = TimeGrid(track.grid.fps, frames)
    return replace(track, source_sha256=sha256, grid=grid)


MADE = replace(SEEN, dim=6, model="made")
HEARD = replace(SOUND, model="made", weights="made.pt")


@pytest.mark.parametrize(
    ("frames", "sha256", "spec", "is_said"),
    [
        (128, "b" * 64, HEARD, "of different files: "),
        (127, "a" * 64, HEARD, "127 frames of the file aaaaaaaaaaaa"),
        (128, "a" * 64, HEARD, ""),
        (127, "", HEARD, ""),  # written by whoever knew no file
        (127, "b" * 64, SOUND, ""),  # imported: the digest is that of the .npy
    ],
)
def test_picture_and_sound_are_of_one_file(
    frames: int, sha256: str, spec: FeatureSpec, is_said: str, tmp_path: Path
) -> None:
    """As many snippets are not enough: two other files can have them too."""
    picture = of_file(picture_track(8, "clip", MADE), "a" * 64)
    sound = of_file(sound_track([PRESENT] * 8, spec), sha256, frames)
    store = FeatureStore(tmp_path)
    store.write(picture)
    store.write(sound)
    bags = Bags(store, MADE, [VideoRecord("clip", frozenset({"normal"}))], CLASSES, audio_spec=spec)
    listener = head(AVadClipConfig(dim=32, layers=1, zero_init=False), spec, MADE).head
    if not is_said:
        assert bags.batch([0]).has_audio is not None
        score_track(listener, picture, LABELS, audio=sound)
        return
    with pytest.raises(
        DataError, match=rf"{MADE.folder}: 128 frames of the file aaaaaaaaaaaa and {spec.folder}: {frames}"
    ):
        bags.batch([0])
    with pytest.raises(DataError, match=is_said):
        score_track(listener, picture, LABELS, audio=sound)


def test_a_video_without_frames_is_told_from_one_that_is_mute(tmp_path: Path) -> None:
    clip = VideoClip("clip", "clip.mp4", 32, 32, Fraction(25), 0, 0.0, audio_rate=16000)
    nothing = FeatureTrack(
        np.zeros((0, 6), np.float32), TimeGrid(Fraction(25), 0), SOUND, "clip", states=np.zeros(0, np.uint8)
    )
    _, audio, _ = _choose_head(clip, teacher(), student(), nothing)
    assert audio.reason.startswith("the video has an audio stream, but no frames, so no snippet has sound: scored by")
