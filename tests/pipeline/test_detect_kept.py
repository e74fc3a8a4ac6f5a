"""What a run keeps for its end comes back as it was, in the order of the videos, and takes next to no memory."""

from __future__ import annotations

import errno
import gc
from array import array
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest

from tests.pipeline.detected import CALIBRATION, made_detection
from vadpipe.detection import AudioUse, Detection
from vadpipe.errors import StoreError
from vadpipe.pipeline.detecting import kept as module
from vadpipe.pipeline.detecting.kept import Finding, Kept
from vadpipe.pipeline.detecting.report import report
from vadpipe.tracks import TimeGrid


def finding(name: str = "clip", **changes: Any) -> Finding:
    return Finding(Path(f"in/{name}.mp4"), replace(made_detection(name), **changes), f"{name}.scores.npz")


def put(kept: Kept, place: int, given: Finding) -> None:
    """As a run does: add, and after the video's own files spill."""
    kept.add(place, given)
    kept.spill()


def same(one: Detection, other: Detection) -> bool:
    for name in ("anomaly", "categories"):
        np.testing.assert_array_equal(getattr(one.scores, name), getattr(other.scores, name), strict=True)
    scores = replace(one.scores, anomaly=other.scores.anomaly, categories=other.scores.categories)
    return repr(replace(one, scores=scores)) == repr(other)


def odd() -> Finding:
    """Everything that is not as in other videos: bytes that are no UTF-8, a varying rate, awkward floats."""
    plain = made_detection("n\udcff\n", frozenset({"riot"}), CALIBRATION, AudioUse(used=True, reason="“heard”"))
    grid = TimeGrid(Fraction(30000, 1001), 70, 16, (0.0, 0.1 + 0.2, 1 / 3, 1.0, 2.5, np.nextafter(3.0, 4.0).item()))
    found = tuple(replace(item, score=float(np.float32(0.1)), end_s=item.end_s + 1e-16) for item in plain.intervals)
    clip = replace(plain.clip, fps=Fraction(30000, 1001), vfr=True, start_s=0.1, audio_rate=16000, rotation=90)
    scores = replace(plain.scores, grid=grid, zero_shot=frozenset({"riot"}))
    changes: dict[str, Any] = {"clip": clip, "scores": scores, "intervals": found, "warnings": ("a", "b\udc80")}
    return Finding(Path("in/n\udcff\n.mp4"), replace(plain, **changes), "s.npz")


@pytest.mark.parametrize("most", [0, 1 << 20], ids=["in the file", "in memory"])
def test_all_comes_back_in_the_order_of_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(module, "_MOST_HELD_BYTES", most)
    kept, given = Kept(tmp_path), [finding("a"), odd(), finding("c", intervals=(), warnings=("w",))]
    for place in (2, 0, 1):
        put(kept, place, given[place])
    assert [item.path for item in kept.findings()] == [item.path for item in given]
    assert [item.scores_file for item in kept.findings()[1:]] == ["s.npz", "c.scores.npz"]
    for one, other in zip(kept.detections(), given, strict=True):
        assert same(one, other.detection)
        assert report(one, "x") == report(other.detection, "x")
    assert same(kept.detections()[-1], given[2].detection)
    with pytest.raises(IndexError):
        kept.detections()[3]
    assert list(tmp_path.iterdir()) == []  # the file has no name


def test_a_video_without_frames_comes_back(tmp_path: Path) -> None:
    scores = made_detection().scores
    none = replace(scores, anomaly=scores.anomaly[:0], categories=scores.categories[:0], grid=TimeGrid(Fraction(25), 0))
    kept, given = Kept(tmp_path), finding(scores=none, intervals=())
    kept.add(0, given)
    assert same(kept.detections()[0], given.detection)


def test_memory_holds_sixteen_bytes_a_video_and_what_is_common_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_HELD_BYTES", 4096)
    kept = Kept(tmp_path)
    for place in range(100):
        put(kept, place, finding(f"v{place}", calibration=replace(CALIBRATION)))  # equal ones, as other processes send
    assert len(kept._shared) == 1
    assert len(kept._tail) <= 4096
    assert kept._index.itemsize * len(kept._index) == 16 * 100
    assert [item.clip.id for item in kept.detections()] == [f"v{place}" for place in range(100)]


def open_handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_file_is_closed_with_the_last_look_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HELD_BYTES", 0)
    gc.collect()
    before = open_handles()
    kept = Kept(tmp_path)
    put(kept, 0, finding())
    found = kept.detections()
    del kept
    assert open_handles() == before + 1
    assert found[0].clip.id == "clip"
    del found
    assert open_handles() == before


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_HELD_BYTES", 0)
    kept = Kept(tmp_path)
    put(kept, 0, finding("a"))

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("vadpipe.pipeline.detecting.kept.os.pwrite", full)
    with pytest.raises(StoreError, match="no space left"):
        put(kept, 1, finding("b"))
    assert [item.clip.id for item in kept.detections()] == ["a", "b"]


class Refusing:
    """``tempfile.TemporaryFile`` where a folder takes no file without a name, or loses what is written to it."""

    def __init__(self, *folders: Path, loses: bool = False) -> None:
        self.folders, self.loses, self.asked = folders, loses, list[Path]()

    def __call__(self, dir: Path) -> Any:  # noqa: A002  # as it is called
        self.asked.append(dir)
        if dir not in self.folders:
            return TemporaryFile(dir=dir)
        if self.loses:
            return (dir / "x").open("wb")  # cannot be read back
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")


@pytest.mark.parametrize("loses", [False, True])
def test_where_a_folder_takes_no_file_without_a_name_another_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loses: bool
) -> None:
    (out := tmp_path / "out").mkdir()
    (other := tmp_path / "tmp").mkdir()
    monkeypatch.setattr(module, "_MOST_HELD_BYTES", 0)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(other))
    monkeypatch.setattr("tempfile.TemporaryFile", refusing := Refusing(out, loses=loses))
    said: list[str] = []
    kept = Kept(out, said.append)
    for place in range(3):
        put(kept, place, finding(f"v{place}"))
    assert refusing.asked == [out, other]
    assert [item.clip.id for item in kept.detections()] == ["v0", "v1", "v2"]
    assert len(kept._tail) == 0
    (line,) = said
    assert line.startswith(f"warning: {out} takes no file without a name (")
    assert line.endswith(f"what was found is kept in {other} until the end of the run")


def test_where_no_folder_takes_a_file_memory_does_and_it_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_HELD_BYTES", 0)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr("tempfile.TemporaryFile", refusing := Refusing(tmp_path))
    said: list[str] = []
    kept = Kept(tmp_path, said.append)
    for place in range(3):
        put(kept, place, finding(f"v{place}"))
    assert [item.clip.id for item in kept.detections()] == ["v0", "v1", "v2"]
    assert len(refusing.asked) == 2
    assert len(said) == 1
    assert "kept in memory until the end of the run" in said[0]


class Interrupted(array):  # type: ignore[type-arg]
    """A list in which Ctrl-C comes right after any change."""

    def __setitem__(self, place: Any, value: Any) -> None:
        super().__setitem__(place, value)
        raise KeyboardInterrupt

    def insert(self, place: int, value: Any) -> None:
        super().insert(place, value)
        raise KeyboardInterrupt

    def append(self, value: Any) -> None:
        super().append(value)
        raise KeyboardInterrupt


def test_an_interrupt_at_any_change_leaves_whole_findings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "array", Interrupted)
    kept = Kept(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        kept.add(0, finding("a"))
    assert [item.clip.id for item in kept.detections()] == ["a"]
