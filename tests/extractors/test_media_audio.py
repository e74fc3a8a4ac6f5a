"""Sound: mono, at the wanted rate, sample 0 at the first presented picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.extractors.painted_videos import damage_sound, write, write_cut
from vadpipe.extractors.decoders import DECODERS
from vadpipe.extractors.media import AudioChunk, FrameRow, MediaReport, Request, open_media
from vadpipe.tracks import FloatArray

RATE = 8000
LENGTH = 2 * RATE  # 50 pictures at 25 a second


def burst(at_s: float, channels: int = 1, length_s: float = 3.0) -> FloatArray:
    """(channels, samples) at 16 kHz: silence, then from ``at_s`` on a tone of amplitude 0.5."""
    seconds = np.arange(int(length_s * 16000)) / 16000
    tone = 0.5 * np.sin(2 * np.pi * 440 * seconds) * (seconds >= at_s)
    return np.tile(tone, (channels, 1)).astype(np.float32)


def sound_of(path: Path, decoder: str = "pyav") -> tuple[FloatArray, MediaReport]:
    """All samples; pictures must not suffer from the sound, and chunks must follow each other without a hole."""
    with open_media(path, Request(audio_rate=RATE), decoder=decoder) as reader:
        items = list(reader)
        report = reader.report
    assert [item.row for item in items if isinstance(item, FrameRow)] == list(range(report.grid.num_snippets))
    chunks = [item for item in items if isinstance(item, AudioChunk)]
    position = 0
    for chunk in chunks:
        assert chunk.start_sample == position
        assert chunk.samples.dtype == np.float32
        position += len(chunk.samples)
    return np.concatenate([np.zeros(0, np.float32), *(chunk.samples for chunk in chunks)]), report


def onset_s(samples: FloatArray) -> float:
    return int(np.argmax(np.abs(samples) > 0.1)) / RATE


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("sound_start_s", [0.0, 0.4])
def test_sound_is_aligned_to_the_pictures(sound_start_s: float, container: str, decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{container}", sound=burst(1.0), sound_start=int(sound_start_s * 16000))
    samples, report = sound_of(path, decoder)
    assert (report.audio_state, report.warnings) == ("present", ())
    assert report.clip.audio_rate == (16000 if decoder != "decord" else RATE)
    assert len(samples) == LENGTH, "cut at the end of the pictures"
    # decord keeps the encoder's delay in Matroska
    late = 0.066 if decoder == "decord" and container == "mkv" and not sound_start_s else 0.0
    assert onset_s(samples) == pytest.approx(1.0 + sound_start_s + late, abs=0.004)


@pytest.mark.parametrize("decoder", DECODERS)
def test_pictures_that_start_later_cut_the_sound_before_them(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", sound=burst(1.0), picture_start=10)
    samples, _ = sound_of(path, decoder)
    # decord aligns to the file's time zero, 0.4 s before the first picture
    assert onset_s(samples) == pytest.approx(1.0 - (0.4 if decoder != "decord" else 0.0), abs=0.004)
    assert len(samples) == LENGTH


@pytest.mark.parametrize("decoder", DECODERS)
def test_channels_are_averaged(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", sound=burst(0.0, channels=2))
    samples, _ = sound_of(path, decoder)
    # decord's mixdown is 3 dB louder
    loud = 0.5 if decoder != "decord" else 0.5 * 2**0.5
    assert np.abs(samples[RATE // 2 : RATE]).max() == pytest.approx(loud, abs=0.03)


@pytest.mark.parametrize("decoder", DECODERS)
def test_sound_that_ends_early_is_not_filled_up(decoder: str, tmp_path: Path) -> None:
    samples, report = sound_of(write(tmp_path / "a.mp4", sound=burst(0.0, length_s=1.0)), decoder)
    assert RATE <= len(samples) <= RATE + 200, "one second, and at most the padding of the last block"
    assert report.audio_state == "present"


@pytest.mark.parametrize("decoder", DECODERS)
def test_no_sound(decoder: str, tmp_path: Path) -> None:
    samples, report = sound_of(write(tmp_path / "a.mp4"), decoder)
    assert (len(samples), report.audio_state, report.clip.audio_rate) == (0, "absent", 0)


@pytest.mark.parametrize("decoder", DECODERS)
def test_sound_nobody_asked_for_is_not_handed_over(decoder: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", sound=burst(0.0))
    with open_media(path, Request(), decoder=decoder) as reader:
        assert not [item for item in reader if isinstance(item, AudioChunk)]
        assert reader.report.audio_state == ("present" if decoder != "decord" else "absent"), "decord cannot tell"


@pytest.mark.parametrize("decoder", DECODERS)
def test_sound_of_which_nothing_can_be_decoded_is_no_error(decoder: str, tmp_path: Path) -> None:
    path = damage_sound(write(tmp_path / "a.mp4", sound=burst(0.0)), 0.0, 9.0)
    samples, report = sound_of(path, decoder)
    assert (len(samples), report.audio_state) == (0, "undecodable")
    if decoder != "decord":
        assert "damaged audio packets" in report.warnings[0]


def test_damaged_sound_leaves_silence_and_shifts_nothing(tmp_path: Path) -> None:
    path = damage_sound(write(tmp_path / "a.mp4", sound=burst(1.5)), 0.5, 1.0)
    samples, report = sound_of(path)
    assert report.audio_state == "present"
    assert "damaged audio packets" in report.warnings[0]
    assert onset_s(samples) == pytest.approx(1.5, abs=0.004)


def test_sound_before_an_edit_list_is_cut_off(tmp_path: Path) -> None:
    """The copied pictures begin at frame 62 of the original; the sound is copied from there too."""
    path = write_cut(
        tmp_path / "b.mp4", write(tmp_path / "a.mp4", 100, keyframes=50, sound=burst(3.0, length_s=4.0)), 62
    )
    samples, report = sound_of(path)
    assert report.clip.num_frames == 38
    assert onset_s(samples) == pytest.approx(3.0 - 62 / 25, abs=0.004)
