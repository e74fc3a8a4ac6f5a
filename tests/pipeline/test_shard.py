"""Shards: every video in exactly one, the same whatever else arrives; what schedulers say; several at one store."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from tests.test_crashes import CHEAP
from vadpipe.errors import UsageError
from vadpipe.pipeline.extract import ExtractOptions, extract
from vadpipe.pipeline.shard import Shard, choose_shard, shard_index
from vadpipe.pipeline.storing.gc import GcRequest, find_garbage, remove
from vadpipe.pipeline.storing.verify import verify
from vadpipe.pipeline.videos import find_videos
from vadpipe.store import MANIFEST, FeatureStore

ROOT = Path(__file__).parents[2]
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=20)
IDS = NAMES.filter(lambda name: name not in {".", ".."})
FOLDER = (Path("videos"),)


def files(names: list[str]) -> dict[str, Path]:
    return {name: Path("videos", f"{name}.mp4") for name in names}


@given(st.lists(IDS, unique=True, max_size=30), st.lists(IDS, unique=True, max_size=10), st.integers(1, 40))
def test_every_video_is_in_one_shard_and_stays_there_when_others_arrive(
    names: list[str], later: list[str], count: int
) -> None:
    before = [Shard(index, count).videos(files(names)) for index in range(count)]
    assert sorted(name for part in before for name in part) == sorted(names)
    after = [Shard(index, count).videos(files(list({*later, *names}))) for index in range(count)]
    for old, new in zip(before, after, strict=True):
        assert old.items() <= new.items()
    assert sum(map(len, after)) == len({*later, *names})


def test_the_shard_of_an_id_is_fixed_for_all_time() -> None:
    # were one of these to change, the two halves of an array could run with different versions and leave videos out
    assert [shard_index(name, 64) for name in ("Normal_Videos_015_x264", "v=#1", "ü", "")] == [5, 47, 10, 40]


@pytest.mark.parametrize("name", ["clip_{:05}", "v{}", "Show.S01E{:03}__#00-{}-00_label_A"])
def test_shards_are_even(name: str) -> None:
    sizes = Counter(shard_index(name.format(number, number), 64) for number in range(10_000))
    assert len(sizes) == 64
    # binomial: 156.25 on average, standard deviation 12.4; four of these either way
    assert min(sizes.values()) >= 107
    assert max(sizes.values()) <= 206


def test_files_of_one_id_are_never_parted() -> None:
    found = {"cam1_x": Path("cam1/x.mp4"), "cam2_x": Path("cam2/x.mkv"), "x": Path("x.mp4")}
    parts = [Shard(index, 7).videos(found) for index in range(7)]
    assert sorted(len(part) for part in parts) == [0] * 6 + [3]


def test_a_refused_file_is_reported_by_one_shard() -> None:
    reasons = {f"/mnt/{number}/bad\n{number}.mp4": "no id" for number in range(20)}
    elsewhere = {path.replace("/mnt/", "/other/"): reason for path, reason in reasons.items()}
    told = [Shard(index, 3).refused(reasons) for index in range(3)]
    assert sum(map(len, told)) == len({path for part in told for path in part}) == 20
    assert [len(Shard(index, 3).refused(elsewhere)) for index in range(3)] == [len(part) for part in told]


def slurm(number: object, count: object, least: object, most: object, step: object = 1) -> dict[str, str]:
    values = {"ID": number, "COUNT": count, "MIN": least, "MAX": most, "STEP": step}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items() if value is not None}


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        (None, {}, None),
        ("none", slurm(3, 64, 0, 63), None),
        ("3/64", {}, "3/64"),
        ("0/1", {}, "0/1"),
        ("3/64", slurm(1, 2, 0, 1), "3/64"),
        (None, slurm(3, 64, 0, 63), "3/64"),
        (None, slurm(64, 64, 1, 64), "63/64"),
        (None, slurm(16, 4, 10, 16, 2), "3/4"),
        (None, slurm(9, 4, 0, 10, 3), "3/4"),
        (None, slurm(9, 4, 0, 9, 3), "3/4"),
        (None, slurm(2, 3, 1, 3, None), "1/3"),
        (None, slurm(5, 1, 5, 5), None),
        ("auto/64", slurm(64, 64, 1, 64), "63/64"),
        ("auto/64", {"JOB_COMPLETION_INDEX": "63"}, "63/64"),
        ("auto/2", {"JOB_COMPLETION_INDEX": "5", **slurm(1, 2, 0, 1)}, "1/2"),
        (None, {"JOB_COMPLETION_INDEX": "5"}, None),
    ],
)
def test_what_the_option_and_schedulers_say(text: str | None, environ: dict[str, str], expected: str | None) -> None:
    shard = choose_shard(text, FOLDER, environ, lambda _: None)
    assert (None if shard is None else str(shard)) == expected


@pytest.mark.parametrize(
    ("text", "environ", "said"),
    [
        ("64/64", {}, "got 64/64, expected i/N with 0 <= i < N"),
        ("0/0", {}, "got 0/0, expected N of at least 1"),
        ("auto/0", {}, "got auto/0, expected N of at least 1"),
        ("auto/0", slurm(5, 1, 5, 5), "got auto/0, expected N of at least 1"),
        ("-1/4", {}, "got '-1/4', expected i/N"),
        ("1", {}, "got '1', expected i/N"),
        ("1/4 ", {}, "expected i/N"),
        ("²/4", {}, "expected i/N"),
        ("", {}, "expected i/N"),
        ("1/" + "9" * 5000, {}, "expected i/N"),
        ("auto/4", {}, "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set; say --shard i/4"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "4"}, "JOB_COMPLETION_INDEX is 4, expected less than 4"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX: got 'x', expected a number"),
        ("auto/64", slurm(5, 1, 5, 5), "the array has 1 tasks (SLURM_ARRAY_TASK_COUNT), not 64; for some tasks"),
        (None, slurm(5, 3, 1, 7), "not an array of equal steps, so it does not tell the shard; say --shard i/N"),
        ("auto/3", slurm(5, 3, 1, 7), "say --shard i/N"),
        (None, slurm(4, 4, 0, 9, 3), "not an array of equal steps"),
        (None, slurm(8, 4, 0, 3), "not an array of equal steps"),
        (None, slurm(0, 1, 0, 0, 0), "not an array of equal steps"),
        (None, slurm(1, None, 0, 3), "SLURM_ARRAY_TASK_COUNT: it is not set, expected a number; say --shard i/N"),
        (None, slurm("", 4, 0, 3), "SLURM_ARRAY_TASK_ID: got ''"),
    ],
)
def test_what_does_not_tell_the_shard_is_refused(text: str | None, environ: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as error:
        choose_shard(text, FOLDER, environ, lambda _: None)
    assert said in str(error.value)


def test_a_shard_that_nobody_typed_is_said_and_spares_a_single_file(tmp_path: Path) -> None:
    one = tmp_path / "a.mp4"
    one.touch()
    said: list[str] = []
    environ = slurm(3, 4, 0, 3)
    assert choose_shard(None, [one], environ, said.append) is None
    assert said == []
    assert choose_shard("3/4", [one], environ, said.append) == Shard(3, 4)
    assert choose_shard(None, [one], slurm(1, 2, 1, 7), said.append) is None  # a list of tasks, a file for each
    assert said == []
    assert choose_shard(None, [one, one], environ, said.append) == Shard(3, 4)
    assert choose_shard(None, [tmp_path], environ, said.append) == Shard(3, 4)
    assert said == []
    shard = choose_shard(None, [tmp_path], environ, said.append)
    assert shard is not None
    shard.say_taken(5, 20, said.append)
    assert said == [
        "warning: takes 5 of 20 videos: shard 3/4 by SLURM_ARRAY_TASK_ID; all tasks of the array must be given the "
        "same videos; --shard none takes all"
    ]
    for typed in ("3/4", "auto/4"):
        (choose_shard(typed, [tmp_path], environ, said.append) or shard).say_taken(5, 20, said.append)
    assert len(said) == 1
    choose_shard(None, [tmp_path], {"JOB_COMPLETION_INDEX": "1"}, said.append)
    assert "--shard auto/N" in said[-1]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    content = painted_videos.write(folder / "v00.mp4", 20).read_bytes()
    for number in range(1, 12):
        (folder / f"v{number:02}.mp4").write_bytes(content)
    return folder


def stored(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_four_shards_at_once_on_one_store_make_the_same_store(videos: Path, tmp_path: Path) -> None:
    extract(find_videos([videos]), FeatureStore(tmp_path / "alone"), [MeanColour()], ExtractOptions(4))
    command = [sys.executable, "-c", CHEAP, "extract", str(videos), "--out", str(tmp_path / "together"), "-q"]
    command += ["--stride", "4", "--device", "cpu", "--weights", "random", "--shard"]
    both = [*(f"{index}/4" for index in range(4)), "0/1"]  # one more that wants all, which nobody forbids
    running = [subprocess.Popen([*command, shard], cwd=ROOT, stdout=subprocess.DEVNULL) for shard in both]
    assert [process.wait(120) for process in running] == [0] * len(both)
    for name in ("alone", "together"):
        assert verify(tmp_path / name).fine
        remove(find_garbage(GcRequest(tmp_path / name)))
    assert stored(tmp_path / "alone") == stored(tmp_path / "together")
    assert len(stored(tmp_path / "alone")) == 12 + 1
    assert find_garbage(GcRequest(tmp_path / "alone")).indexes == []


def test_the_index_in_order_has_a_line_for_each_track(videos: Path, tmp_path: Path) -> None:
    store = FeatureStore(tmp_path)
    backwards = dict(reversed(find_videos([videos]).items()))
    extract(backwards, store, [MeanColour()], ExtractOptions(4, jobs=1))
    (manifest,) = tmp_path.glob(f"*/{MANIFEST}")
    lines = manifest.read_text().splitlines(keepends=True)
    gone = lines[0].replace('"v', '"gone')
    manifest.write_text("".join([*lines, lines[-1], gone, lines[3][:30], "\n", *lines[5:7]]))
    plan = find_garbage(GcRequest(tmp_path))
    assert plan.indexes == [manifest.parent]
    freed = remove(plan)
    assert manifest.read_text() == "".join(sorted([*lines, gone], key=lambda line: line.split('"id": ')[1]))
    assert freed == sum(map(len, (lines[-1], lines[3][:30], "\n", *lines[5:7])))
    assert find_garbage(GcRequest(tmp_path)).indexes == []
    assert len(verify(tmp_path).missing) == 0  # "gone" has the file of another
