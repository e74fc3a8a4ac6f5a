"""Extraction: every video's own rows; a failure costs one video; kill -9 costs nothing that was finished."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe.errors import UsageError
from vadpipe.extractors import media
from vadpipe.pipeline.extract import ExtractOptions, Outcome, extract, extract_tracks, feature_spec
from vadpipe.pipeline.videos import find_videos
from vadpipe.store import FeatureStore

LENGTHS = {"a": 50, "b=#1": 16, "c.d": 1, "e": 90, "f": 33}
OPTIONS = ExtractOptions()
SPEC = feature_spec(MeanColour(), OPTIONS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("videos")
    for name, frames in LENGTHS.items():
        painted_videos.write(place / f"{name}.mp4", frames, size=(64, 64))  # square: nothing is cropped away
    return place


def bytes_of(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*.h5")}


def test_rows_are_those_of_the_sampled_frames(folder: Path, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    summary = extract(find_videos([folder]), store, [MeanColour()], OPTIONS)
    assert sorted(summary.done) == sorted(LENGTHS)
    assert summary.frames == sum(LENGTHS.values())
    for name, frames in LENGTHS.items():
        track = store.read(SPEC, name)
        assert track.grid.num_frames == frames
        with media.open_media(folder / f"{name}.mp4", media.Request()) as reader:
            images = np.stack([item.image for item in reader if isinstance(item, media.FrameRow)])
        assert [painted_videos.read(image) for image in images] == list(range(0, frames, 16))
        np.testing.assert_array_equal(track.data, MeanColour().encode(images))


def test_bytes_depend_on_neither_batches_nor_jobs_nor_order(folder: Path, tmp_path: Path) -> None:
    videos = find_videos([folder])
    extract(videos, FeatureStore(tmp_path / "a"), [MeanColour()], OPTIONS)
    backwards = dict(reversed(videos.items()))
    extract(backwards, FeatureStore(tmp_path / "b"), [MeanColour(batch_size=7)], ExtractOptions(jobs=1))
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    assert len(bytes_of(tmp_path / "a")) == len(LENGTHS)


def test_a_rerun_keeps_what_is_whole_and_makes_the_rest(folder: Path, tmp_path: Path) -> None:
    videos, store = find_videos([folder]), FeatureStore(tmp_path)
    extract(videos, store, [MeanColour()], OPTIONS)
    before = bytes_of(tmp_path)
    store.path(SPEC, "a").unlink()
    damaged = store.path(SPEC, "e")
    damaged.write_bytes(damaged.read_bytes()[:-100])
    summary = extract(videos, store, [MeanColour()], OPTIONS)
    assert sorted(summary.done) == ["a", "e"]
    assert len(summary.kept) == len(LENGTHS) - 2
    assert {name: content for name, content in bytes_of(tmp_path).items() if name in before} | before == before | {
        damaged.name: damaged.read_bytes()
    }
    assert damaged.read_bytes() == before[damaged.name]


def test_another_file_under_the_same_name_is_made_anew(tmp_path: Path) -> None:
    path, store = tmp_path / "x.mp4", FeatureStore(tmp_path / "store")
    painted_videos.write(path, 20)
    assert extract({"x": path}, store, [MeanColour()], OPTIONS).done == ["x"]
    os.utime(path, (1, 1))  # touched, but the same content: the digest decides
    assert extract({"x": path}, store, [MeanColour()], OPTIONS).kept == ["x"]
    painted_videos.write(path, 40)
    assert extract({"x": path}, store, [MeanColour()], OPTIONS).done == ["x"]
    assert store.read(SPEC, "x").grid.num_frames == 40


def test_a_bad_video_costs_itself_only(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("this is a text file")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    results: list[Outcome] = []
    videos = {"bad": bad, **find_videos([folder]), "empty": empty}
    summary = extract(videos, FeatureStore(tmp_path / "store"), [MeanColour()], OPTIONS, results.append)
    assert sorted(summary.failed) == ["bad", "empty"]
    assert "empty" in summary.failed["empty"]
    assert sorted(summary.done) == sorted(LENGTHS)
    assert sorted(result.name for result in results if result.error) == ["bad", "empty"]


def test_a_dangling_link_costs_itself_only(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    videos = {**find_videos([tmp_path]), **find_videos([folder])}
    summary = extract(videos, FeatureStore(tmp_path / "store"), [MeanColour()], OPTIONS)
    assert list(summary.failed) == ["gone"]
    assert sorted(summary.done) == sorted(LENGTHS)


def test_a_name_with_an_unknown_suffix_is_kept_whole(tmp_path: Path) -> None:
    path = painted_videos.write(tmp_path / "x.mp4", 20).rename(tmp_path / "Movie.1995")
    store, videos = FeatureStore(tmp_path / "store"), find_videos([path])
    assert extract(videos, store, [MeanColour()], OPTIONS).done == ["Movie.1995"]
    assert extract(videos, store, [MeanColour()], OPTIONS).kept == ["Movie.1995"]


def test_closing_the_generator_ends_its_decoders(folder: Path) -> None:
    tracks = extract_tracks(find_videos([folder]).values(), [MeanColour()], OPTIONS)
    next(tracks)
    tracks.close()
    children = subprocess.run(["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    assert "decode_child" not in children.stdout


def test_find_videos_names_what_is_wrong(folder: Path, tmp_path: Path) -> None:
    assert find_videos([folder, folder / "a.mp4"]).keys() == LENGTHS.keys()
    with pytest.raises(UsageError, match="does not exist"):
        find_videos([tmp_path / "none"])
    with pytest.raises(UsageError, match="holds no video"):
        find_videos([tmp_path])
    (tmp_path / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())
    with pytest.raises(UsageError, match="two videos have the id 'a'"):
        find_videos([folder, tmp_path])


KILLED = """
    import sys
    from pathlib import Path
    from tests.pipeline.mean_colour import MeanColour
    from vadpipe.pipeline.extract import ExtractOptions, extract
    from vadpipe.pipeline.videos import find_videos
    from vadpipe.store import FeatureStore
    extract(find_videos([Path(sys.argv[1])]), FeatureStore(sys.argv[2]), [MeanColour(pause_s=0.05)], ExtractOptions())
"""


@pytest.mark.parametrize("finished", [0, 1, 2, 3, 4])
def test_kill_9_then_rerun_gives_the_same_bytes(folder: Path, tmp_path: Path, finished: int) -> None:
    script, out = tmp_path / "killed.py", tmp_path / "store"
    script.write_text(textwrap.dedent(KILLED))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, str(script), str(folder), str(out)], env=environment)
    deadline = time.monotonic() + 60
    while len(list(out.rglob("*.h5"))) < finished and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = bytes_of(out)
    assert len(kept) >= finished
    summary = extract(find_videos([folder]), FeatureStore(out), [MeanColour()], OPTIONS)
    assert len(summary.kept) == len(kept)
    extract(find_videos([folder]), FeatureStore(tmp_path / "whole"), [MeanColour()], OPTIONS)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    assert kept.items() <= bytes_of(out).items()
    assert not list(out.rglob("*.tmp"))
