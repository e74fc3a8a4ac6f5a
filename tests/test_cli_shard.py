"""``--shard`` of extract and detect as a user meets it: what is said, what is written, and with which exit code."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.extractors import painted_videos
from tests.pipeline.detected import made_detection
from tests.pipeline.mean_colour import MeanColour
from vadpipe.cli import cli
from vadpipe.detection import Detection
from vadpipe.errors import UsageError
from vadpipe.pipeline.detecting.kept import Seen
from vadpipe.pipeline.detecting.places import Places
from vadpipe.pipeline.detecting.report import report
from vadpipe.pipeline.detecting.request import DetectRequest, Extras
from vadpipe.pipeline.detecting.run import DetectSummary
from vadpipe.pipeline.shard import shard_index

NAMES = ("a", "b", "c", "d", "e", "f")
ARRAY = {f"SLURM_ARRAY_TASK_{name}": value for name, value in {"COUNT": "2", "MIN": "1", "MAX": "2"}.items()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six videos and a file whose name cannot be an id; a run for detect."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vadpipe.pipeline.extracting.run.build_extractors", lambda *_, **__: [MeanColour()])
    (tmp_path / "v").mkdir()
    content = painted_videos.write(tmp_path / "x.mp4", 3).read_bytes()
    for name in (*NAMES, "bad\n"):
        (tmp_path / "v" / f"{name}.mp4").write_bytes(content)
    (tmp_path / "runs" / "x").mkdir(parents=True)
    (tmp_path / "runs" / "x" / "config.json").write_text("{}")
    return tmp_path


def extract(*arguments: str, **environ: str) -> Result:
    command = ["extract", *arguments, "--weights", "random", "--device", "cpu", "--jobs", "1"]
    return CliRunner().invoke(cli, command, env=environ)


def test_two_shards_do_all_and_one_of_them_tells_of_the_bad_name(folder: Path) -> None:
    told = [extract("v", "--shard", f"{index}/2", "--json") for index in range(2)]
    contents = [json.loads(result.stdout) for result in told]
    assert [content["shard"] for content in contents] == ["0/2", "1/2"]
    for index, content in enumerate(contents):
        assert sorted(content["done"]) == [name for name in NAMES if shard_index(name, 2) == index]
        assert content["done"]
    assert sorted(len(content["failed"]) for content in contents) == [0, 1]
    assert sorted(result.exit_code for result in told) == [0, 3]
    everything = extract("v")
    assert "failed: " in everything.stderr
    assert json.loads(extract("v", "--json").stdout)["shard"] is None
    assert sorted(json.loads(extract("v", "--json").stdout)["kept"]) == list(NAMES)


def test_an_array_of_slurm_is_taken_and_said(folder: Path) -> None:
    result = extract("v", "-q", **ARRAY, SLURM_ARRAY_TASK_ID="2")
    taken = sum(shard_index(name, 2) for name in NAMES)
    said = f"warning: takes {taken} of 6 videos: shard 1/2 by SLURM_ARRAY_TASK_ID; all tasks of the array must be"
    assert f"{said} given the same videos; --shard none takes all" in result.stderr
    assert "shard 1/2: features in features" in result.stdout
    assert len(list(folder.glob("features/*/*/*.h5"))) == sum(shard_index(name, 2) for name in NAMES)
    one = extract("v/a.mp4", "--out", "one", **ARRAY, SLURM_ARRAY_TASK_ID="2")
    assert "shard" not in one.output
    assert len(list(folder.glob("one/*/*/*.h5"))) == 1
    assert extract("v", "--shard", "none", "--out", "all", **ARRAY, SLURM_ARRAY_TASK_ID="2").exit_code == 3
    assert len(list(folder.glob("all/*/*/*.h5"))) == len(NAMES)


def test_a_shard_without_a_video_is_no_error(folder: Path) -> None:
    index = next(index for index in range(8) if all(shard_index(name, 8) != index for name in (*NAMES, "bad\n.mp4")))
    result = extract("v", "--shard", f"{index}/8")
    assert result.exit_code == 0, result.output
    assert f"note: none of the videos belongs to shard {index}/8" in result.stderr
    assert (folder / "features").is_dir()  # so that what packs every shard's store finds this one's
    result = CliRunner().invoke(cli, ["detect", "v", "--device", "cpu", "--shard", f"{index}/8"])
    assert result.exit_code == 0, result.output
    assert f"note: none of the videos belongs to shard {index}/8" in result.stderr


@pytest.mark.parametrize("command", ["extract", "detect"])
def test_wrong_shards_are_usage_errors(folder: Path, command: str) -> None:
    result = CliRunner().invoke(cli, [command, "v", "--shard", "2/2"])
    assert isinstance(result.exception, UsageError)
    assert result.exception.exit_code == 2
    assert "got 2/2, expected i/N with 0 <= i < N" in str(result.exception)


def test_detect_takes_its_part(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[DetectRequest] = []
    item = made_detection("a")

    def detect_run(request: DetectRequest, *_: Any) -> DetectSummary:
        asked.append(request)
        return DetectSummary([(item, report(item, "x.npz"))])

    monkeypatch.setattr("vadpipe.pipeline.detecting.run.detect_run", detect_run)
    command = ["detect", "v/*.mp4", "--device", "cpu"]
    results = [CliRunner().invoke(cli, [*command, "--shard", f"{index}/2"]) for index in range(2)]
    results.append(CliRunner().invoke(cli, command))
    assert sorted(result.exit_code for result in results) == [0, 3, 3], [result.output for result in results]
    assert [request.shard for request in asked] == ["shard-0-of-2", "shard-1-of-2", ""]
    assert sorted([*asked[0].videos, *asked[1].videos]) == list(asked[2].videos) == list(NAMES)
    assert asked[0].videos
    assert asked[1].videos
    result = CliRunner().invoke(cli, [*command, "-q"], env={**ARRAY, "SLURM_ARRAY_TASK_ID": "2"})
    assert f"warning: takes {len(asked[3].videos)} of 6 videos: shard 1/2 by SLURM_ARRAY_TASK_ID" in result.stderr


def test_the_closing_table_holds_one_detection_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = list[int]()

    def told(number: int) -> tuple[Detection, dict[str, Any]]:
        return made_detection(f"v{number}"), {}

    def print_table(*_: Any) -> None:
        gc.collect()
        alive.append(sum(type(each) is Detection for each in gc.get_objects()))

    monkeypatch.setattr("vadpipe.pipeline.detecting.run.detect_run", lambda *_: DetectSummary(Seen(len(NAMES), told)))
    monkeypatch.setattr("vadpipe.cli_output.print_table", print_table)
    gc.collect()
    before = sum(type(each) is Detection for each in gc.get_objects())
    CliRunner().invoke(cli, ["detect", "v", "--device", "cpu"])
    assert len(alive) == len(NAMES) + 1  # a table each, and one of all
    assert max(alive) - before <= 2


def test_shards_write_no_file_of_one_name() -> None:
    extras = Extras(("csv", "labelstudio", "webvtt"), frames="npz", overlay=Path("o"), html=Path("out/index.html"))
    written = []
    for index in range(3):
        video = {f"v{index}": Path(f"v/v{index}.mp4")}  # one video, and yet one of several
        places = Places(video, Path("out"), extras, picture=True, shard=f"shard-{index}-of-3")
        written += [path for _, path in places._files()]
    assert len(set(written)) == len(written) == 3 * 10
    assert Path("out/detections.shard-1-of-3.csv") in written
    assert Path("out/index.shard-2-of-3.html") in written
    assert Path("out/v1.vtt") in written
    assert Places({"a": Path("v/a.mp4")}, None, Extras(), shard="shard-0-of-3").report("a") == Path("detections/a.json")


@pytest.mark.parametrize(
    ("out", "extras", "said"),
    [
        ("x.json", {}, "--out x.json: the videos of a shard need a folder"),
        ("out", {"frames": "all.csv"}, "one file for the videos of a shard; say npz or csv"),
        ("out", {"overlay": Path("o.mp4")}, "--overlay o.mp4: the videos of a shard need a folder"),
    ],
)
def test_one_file_for_all_shards_is_refused(out: str, extras: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        Places({"a": Path("v/a.mp4")}, Path(out), Extras(**extras), shard="shard-0-of-3")
    assert said in str(error.value)
