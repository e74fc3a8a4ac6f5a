"""Where detect writes: places by name, and everything that would do harm is refused before any work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vadpipe.errors import UsageError
from vadpipe.pipeline.detecting.places import Places, file_name
from vadpipe.pipeline.detecting.request import Extras

ONE, TWO = {"a": Path("v/a.mp4")}, {"a": Path("v/a.mp4"), "b": Path("v/b.mp4")}


def test_results_of_one_or_many_videos_have_their_places() -> None:
    def report(videos: dict[str, Path], out: Path | None) -> Path:
        return Places(videos, out, Extras()).report("a")

    assert report(ONE, None) == Path("a.intervals.json")
    assert report(ONE, Path("x.json")) == Path("x.json")
    assert report(ONE, Path("out")) == report(TWO, Path("out")) == Path("out/a.json")
    assert report(TWO, None) == Path("detections/a.json")
    with pytest.raises(UsageError, match="2 videos need a folder"):
        Places(TWO, Path("x.json"), Extras())


def test_files_lie_beside_the_json() -> None:
    one = Places(ONE, None, Extras(frames="csv", overlay=Path("o")))
    assert one.beside("a", ".vtt") == one.of_all(".vtt") == Path("a.vtt")
    assert (one.frames("a"), one.overlay("a")) == (Path("a.frames.csv"), Path("o/a.mp4"))
    two = Places(TWO, Path("out"), Extras(frames="npz"))
    assert (two.beside("a", ".vtt"), two.of_all(".csv")) == (Path("out/a.vtt"), Path("out/detections.csv"))
    assert two.frames("b") == Path("out/b.frames.npz")
    named = Places(ONE, Path("x.json"), Extras(frames="all.csv", overlay=Path("o.mp4")))
    assert (named.beside("a", ".srt"), named.frames("a")) == (Path("x.srt"), Path("all.csv"))
    assert named.overlay("a") == Path("o.mp4")


@pytest.mark.parametrize(
    ("videos", "extras", "said"),
    [
        (ONE, {"exports": ("xml",)}, "--export xml: expected one of activitynet"),
        (ONE, {"frames": "scores.txt"}, "ends in .npz or .csv"),
        (TWO, {"frames": "scores.npz"}, "say npz or csv"),
        (TWO, {"overlay": Path("o.mp4")}, "need a folder"),
        (ONE, {"overlay": Path("o.avi")}, "ends in .mp4"),
        (ONE, {"html": Path("page")}, "ends in .html"),
        (ONE, {"embed": True}, "pass --html"),
        (ONE, {"annotations": Path("t.txt")}, "pass --html"),
        (ONE, {"annotations": Path("none.txt"), "html": Path("x.html")}, "no such file"),
    ],
)
def test_options_that_make_no_sense_are_refused(videos: dict[str, Path], extras: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Places(videos, None, Extras(**extras))


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v").mkdir()
    path = tmp_path / "v" / "a.mp4"
    path.write_bytes(b"video")
    return path


def test_no_video_is_ever_overwritten(tmp_path: Path, video: Path) -> None:
    os.link(video, tmp_path / "hard.mp4")
    (tmp_path / "w").symlink_to(tmp_path / "v")
    (tmp_path / "soft.mp4").symlink_to(video)
    for out in ("v/a.mp4", "hard.mp4", "w/a.mp4", "v", "w", "v/../v/a.mp4"):
        with pytest.raises(UsageError, match="never overwritten"):
            Places({"a": Path("v/a.mp4")}, None, Extras(overlay=Path(out)))
    with pytest.raises(UsageError, match="never overwritten"):  # given by its link, which would be replaced
        Places({"soft": Path("soft.mp4")}, None, Extras(overlay=Path("soft.mp4")))
    with pytest.raises(UsageError, match="never overwritten"):
        Places({"a": video.rename(tmp_path / "x.json")}, tmp_path / "x.json", Extras())
    with pytest.raises(UsageError, match="videos to look at lie there"):
        Places({"soft": Path("soft.mp4")}, None, Extras(clips=Path()))


def test_no_two_outputs_are_one_file(video: Path) -> None:
    with pytest.raises(UsageError, match="--frames are the same file"):
        Places({"a": video}, Path("o.json"), Extras(frames="o.scores.npz"))
    with pytest.raises(UsageError, match="--export csv are the same file"):
        Places({"a": video}, Path("o.json"), Extras(frames="o.csv", exports=("csv",)))


def test_folders_that_are_none_are_said_before_the_work(video: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        Places({"a": video}, video / "out" / "x.json", Extras())
    Path("page.html").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        Places({"a": video}, None, Extras(html=Path("page.html")))


def test_no_name_leaves_the_folder_or_is_too_long_for_it(tmp_path: Path) -> None:
    names = ["-rf", "<script>", "...", "é" * 200, "x" * 250]
    places = Places({name: tmp_path / str(number) for number, name in enumerate(names)}, tmp_path / "out", Extras())
    for name in names:
        assert places.report(name).parent == tmp_path / "out"
        assert places.beside(name, ".labelstudio.json").parent == tmp_path / "out"
        assert len(os.fsencode(places.report(name).name)) < 200
    assert file_name("x" * 250) != file_name("x" * 251)
    assert file_name("short") == "short"


def test_places_that_the_system_refuses_are_said(tmp_path: Path) -> None:
    for extras in (Extras(frames=f"{tmp_path}/{'x' * 300}.csv"), Extras(overlay=tmp_path / ("x" * 300) / "o.mp4")):
        with pytest.raises(UsageError, match="the system refuses to look"):
            Places({"a": tmp_path / "a.mp4"}, tmp_path / "o.json", extras)
    with pytest.raises(UsageError, match="the system refuses to look"):
        Places({"a": tmp_path / "a.mp4"}, None, Extras(html=tmp_path / "x.html", annotations=tmp_path / ("x" * 300)))
