"""Windows of sound: as many as snippets, in the middle of each, with a state; from samples by hand and from files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.extractors.painted_videos import damage_sound, write
from vadpipe.extractors.decoders import DECODERS
from vadpipe.extractors.media import AudioChunk, Request, open_media
from vadpipe.extractors.sound_windows import SoundWindows
from vadpipe.sound import ABSENT, PRESENT, SILENT, SOUND_STATES, UNDECODABLE
from vadpipe.tracks import FloatArray, TimeGrid

RATE = 100
GRID = TimeGrid(Fraction(25), 100)  # snippets of 0.64 s, the last of 0.16 s: middles at 0.32, 0.96, …, 3.52, 3.92


def count_up(samples: int) -> FloatArray:
    """Thousandths 1, 2, 3, …: so that a sample tells its place."""
    return (np.arange(1, samples + 1) / 1000).astype(np.float32)


def chunks(samples: FloatArray, size: int) -> Iterator[AudioChunk]:
    for start in range(0, len(samples), size):
        yield AudioChunk(start, samples[start : start + size])


def rows_of(
    grid: TimeGrid, sound: Iterator[AudioChunk], audio_state: str = "present", window_s: float = 1.0
) -> tuple[FloatArray, list[int]]:
    """(T, S) windows and their T states; rows must come in order."""
    maker = SoundWindows(grid, RATE, window_s)
    rows = [row for chunk in sound for row in maker.feed(chunk)]
    rows += list(maker.finish(audio_state))
    assert [row for row, _, _ in rows] == list(range(grid.num_snippets))
    assert all(window.dtype == np.float32 and window.shape == (maker.size,) for _, window, _ in rows)
    return np.array([window for _, window, _ in rows]), [state for _, _, state in rows]


def test_windows_lie_around_the_middles_of_the_snippets() -> None:
    windows, states = rows_of(GRID, chunks(count_up(400), 400))
    starts = [32 - 50, 96 - 50, 160 - 50, 224 - 50, 288 - 50, 352 - 50, 392 - 50]
    for window, start in zip(windows * 1000, starts, strict=True):
        wanted = [place + 1 if 0 <= place < 400 else 0 for place in range(start, start + 100)]
        np.testing.assert_allclose(window, wanted, atol=1e-3)
    assert states == [PRESENT] * 7


def test_windows_follow_a_variable_rate() -> None:
    grid = TimeGrid(Fraction(10), 48, 16, boundaries_s=(0.0, 1.0, 4.0, 4.4))
    windows, states = rows_of(grid, chunks(count_up(440), 64))
    np.testing.assert_allclose(windows[:, 50] * 1000, [50 + 1, 250 + 1, 420 + 1], atol=1e-3)
    assert states == [PRESENT] * 3


@pytest.mark.parametrize("size", [1, 7, 100, 399])
def test_how_the_sound_is_cut_into_chunks_does_not_matter(size: int) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, 400).astype(np.float32)
    whole, _ = rows_of(GRID, chunks(sound, 400))
    np.testing.assert_array_equal(rows_of(GRID, chunks(sound, size))[0], whole)


def test_a_variable_rate_costs_no_search_for_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at one frame of such a grid goes through all snippets: an hour of sound took minutes."""
    looks: list[int] = []
    true_second_of = TimeGrid.second_of

    def second_of(grid: TimeGrid, frame: int) -> float:
        looks.append(frame)
        return true_second_of(grid, frame)

    monkeypatch.setattr(TimeGrid, "second_of", second_of)
    edges = np.append(np.arange(25) * 0.64, 15.8)
    grid = TimeGrid(Fraction(25), 395, boundaries_s=tuple(edges.tolist()))
    windows, _ = rows_of(grid, chunks(count_up(1580), 10))
    assert (len(windows), looks) == (25, [])


def test_states_follow_what_each_window_holds() -> None:
    def sound() -> Iterator[AudioChunk]:
        yield AudioChunk(0, np.zeros(150, np.float32), "absent")  # starts late, after 1.5 s
        yield AudioChunk(150, np.zeros(70, np.float32))  # 0.7 s of silence
        yield AudioChunk(220, np.full(10, 0.5, np.float32))
        yield AudioChunk(230, np.zeros(110, np.float32), "undecodable")  # up to 3.4 s; then the sound ends

    windows, states = rows_of(GRID, sound())
    # windows: [-18, 82) [46, 146) [110, 210) [174, 274) [238, 338) [302, 402) [342, 442)
    assert states == [ABSENT, ABSENT, SILENT, PRESENT, UNDECODABLE, UNDECODABLE, ABSENT]
    assert [bool(window.any()) for window in windows] == [state == PRESENT for state in states]


def test_one_sample_of_the_file_is_enough_to_be_heard() -> None:
    _, states = rows_of(TimeGrid(Fraction(25), 16), chunks(np.full(1, 0.5, np.float32), 1))
    assert states == [PRESENT]


@pytest.mark.parametrize(("told", "wanted"), [("absent", ABSENT), ("undecodable", UNDECODABLE), ("present", ABSENT)])
def test_without_any_sample_every_row_has_its_state(told: str, wanted: int) -> None:
    windows, states = rows_of(GRID, iter(()), told)
    assert (windows.shape, states) == ((7, 100), [wanted] * 7)
    assert not windows.any()
    assert rows_of(TimeGrid(Fraction(25), 0), iter(()), told)[1] == []


def test_samples_that_are_no_sound_are_damage() -> None:
    """A file of floating point samples may hold anything; it must not become NaN in the features."""
    sound = np.full(400, 0.25, np.float32)
    sound[40:60], sound[100:274] = np.nan, [np.inf, -1e30] * 87
    windows, states = rows_of(GRID, chunks(sound, 90))
    assert states[0] == PRESENT
    assert set(np.unique(windows)) == {np.float32(0), np.float32(0.25)}
    assert states[2] == UNDECODABLE


def test_a_chunk_that_does_not_follow_is_refused() -> None:
    maker = SoundWindows(GRID, RATE, 1.0)
    list(maker.feed(AudioChunk(0, np.zeros(10, np.float32))))
    for start in (9, 11):
        with pytest.raises(ValueError, match="expected 10"):
            list(maker.feed(AudioChunk(start, np.zeros(10, np.float32))))
    for rate, window_s in ((0, 1.0), (100, 0.001)):
        with pytest.raises(ValueError, match="at least one sample"):
            SoundWindows(GRID, rate, window_s)


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(1, 10)])
def test_memory_does_not_grow_with_the_length(fps: Fraction) -> None:
    """At 25 frames a second windows overlap; at one frame in 10 s most of the sound lies between windows."""
    maker = SoundWindows(TimeGrid(fps, 16 * 200), RATE, 1.0)
    for start in range(0, 16 * 200 * 4, 50):
        for _ in maker.feed(AudioChunk(start, np.ones(50, np.float32))):
            pass
        assert len(maker._samples) == len(maker._kinds) <= 100 + 50
        assert maker._samples.base is None, "a view would keep all of what it was cut from"


def tone(length_s: float) -> FloatArray:
    return 0.5 * np.sin(np.arange(int(length_s * 16000)) / 6)[None].astype(np.float32)


def late(path: Path) -> Path:
    return write(path, 160, sound=tone(4.4), sound_start=32000)


def silent(path: Path) -> Path:
    return write(path, 160, sound=np.zeros((1, 16000 * 7), np.float32))


def damaged(path: Path) -> Path:
    return damage_sound(write(path, 160, sound=tone(7)), 2.0, 4.0)


MADE: dict[str, tuple[Callable[[Path], Path], str]] = {  # 160 frames, 6.4 s: ten windows around 0.32, 0.96, … 6.08
    "longer": (lambda path: write(path, 160, sound=tone(9)), "pppppppppp"),
    "shorter": (lambda path: write(path, 160, sound=tone(2.0)), "ppppaaaaaa"),
    "none": (lambda path: write(path, 160), "aaaaaaaaaa"),
    "late": (late, "aapppppppp"),
    "silent": (silent, "ssssssssss"),
    "damaged": (damaged, "ppppuupppp"),
    "undecodable": (lambda path: damage_sound(write(path, 160, sound=tone(7)), 0.0, 9.0), "uuuuuuuuuu"),
}
# decord fills a late start with zeros of its own and then loses the end; it ends the sound at the first damage
OF_DECORD = {"late": "ssppppppaa", "damaged": "ppppaaaaaa"}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", MADE)
def test_states_of_real_files(kind: str, decoder: str, tmp_path: Path) -> None:
    """Sound alone is asked for: no picture has to be handed over for it, and T is the pictures' all the same."""
    make, wanted = MADE[kind]
    with open_media(make(tmp_path / "a.mp4"), Request(views=(), audio_rate=8000), decoder=decoder) as reader:
        maker = SoundWindows(reader.grid, 8000, 1.0)
        rows = []
        for item in reader:
            assert isinstance(item, AudioChunk)
            rows += list(maker.feed(item))
        rows += list(maker.finish(reader.report.audio_state))
    assert [row for row, _, _ in rows] == list(range(10))
    if decoder == "decord":
        wanted = OF_DECORD.get(kind, wanted)
    assert "".join(SOUND_STATES[state][0] for _, _, state in rows) == wanted
    for _, window, state in rows:
        assert window.any() == (state == PRESENT)
