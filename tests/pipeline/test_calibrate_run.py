"""``vadpipe calibrate``: which footage counts for which head, what is refused before any work, what is kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.extractors import painted_videos
from tests.extractors.in_process import InProcess
from tests.pipeline import test_detect_audio as audio
from tests.pipeline.mean_colour import MeanColour
from tests.pipeline.test_detect import SPEC
from tests.pipeline.test_detect import head as video_head
from vadpipe.cli import cli
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.extractors import media
from vadpipe.models.checkpoint import save_head
from vadpipe.pipeline import detect
from vadpipe.pipeline.calibrating.file import load_calibration
from vadpipe.pipeline.calibrating.run import CalibrateRequest, CalibrateSummary, calibrate_run
from vadpipe.pipeline.detecting.request import DetectRequest
from vadpipe.pipeline.detecting.run import detect_run
from vadpipe.pipeline.project import SEEN_FILE, clear_run
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid

SENSITIVE = ("r_cls=0",)  # that a head of drawn weights reports something


class Nobody:
    """Looks at no progress, but counts."""

    def __init__(self) -> None:
        self.ended: list[bool] = []

    def begin(self, name: str) -> None:
        pass

    def step(self, what: str, done: float, total: float) -> None:
        pass

    def end(self, detection: Any) -> None:
        self.ended.append(detection is not None)


def asked(project: Path, rate: float = 1000.0, **other: Any) -> CalibrateRequest:
    videos = {path.stem: path for path in sorted((project / "normal").iterdir())}
    known = {"features": project / "store", "overrides": SENSITIVE}
    request = DetectRequest(videos, project / "run", **{**known, **other.pop("detect", {})})
    return CalibrateRequest(request, rate, **other)


def calibrated(request: CalibrateRequest) -> tuple[CalibrateSummary, str]:
    said: list[str] = []
    summary = calibrate_run(request, Nobody(), said.append)
    return summary, "\n".join(said)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, three videos, and their features."""
    folder = tmp_path_factory.mktemp("made")
    save_head(folder / "run", video_head())
    (folder / "normal").mkdir()
    for number, frames in enumerate((90, 60, 75)):
        painted_videos.write(folder / "normal" / f"v{number}.mp4", frames)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detect, "create", lambda _stream, **_options: MeanColour())
        patch.setattr(media, "DecodeProcess", InProcess)
        calibrated(asked(folder))
    (folder / "run" / "calibration.json").unlink()
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, with an encoder without a network; decoding in a process of its own is tested elsewhere."""
    monkeypatch.setattr(detect, "create", lambda _stream, **_options: MeanColour())
    monkeypatch.setattr(media, "DecodeProcess", InProcess)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_detect_then_keeps_to_the_threshold(project: Path) -> None:
    """At most the asked number of intervals is left in the very footage; and all of them without a calibration."""
    seconds = (90 + 60 + 75) / 25
    plain = detect_run(replace(asked(project).detect, out=project / "plain"))
    every = sum(len(found.intervals) for found, _ in plain.found)
    for allowed in (0, 2):
        summary, _ = calibrated(asked(project, rate=allowed * 3600 / seconds + 1))
        (kept,) = summary.kept
        assert (kept.made.candidates, kept.path) == (every, project / "run" / "calibration.json")
        found = [one for one, _ in detect_run(replace(asked(project).detect, out=project / "out")).found]
        left = sum(len(one.intervals) for one in found)
        assert left == kept.made.calibration.alarms <= allowed
        assert [one.calibration for one in found] == [load_calibration(project / "run")] * 3
    assert every > 2


def test_the_same_file_counts_its_hours_once_and_a_bad_one_costs_itself(project: Path) -> None:
    shutil.copy(project / "normal" / "v0.mp4", project / "normal" / "v9.mp4")
    (project / "normal" / "w.mp4").write_text("no video")
    summary, said = calibrated(asked(project))
    (kept,) = summary.kept
    assert (kept.made.calibration.videos, list(summary.failed)) == (3, ["w"])
    assert kept.made.calibration.hours == pytest.approx((90 + 60 + 75) / 25 / 3600)
    assert "v9 is the same file as v0 and counts once" in said


def test_footage_that_the_head_learned_by_heart_is_refused(project: Path) -> None:
    (project / "run" / SEEN_FILE).write_text(json.dumps({"train": ["v1"], "val": []}))
    with pytest.raises(UsageError, match=r"1 of 3 videos.*'v1'.*learned by heart.*--allow-seen"):
        calibrated(asked(project))
    summary, said = calibrated(asked(project, allow_seen=True))
    assert len(summary.kept) == 1
    assert "warning: 1 of 3 videos" in said


def test_a_new_calibration_replaces_the_old_and_says_what_changed(project: Path) -> None:
    place = project / "run" / "calibration.json"
    assert calibrated(asked(project, 800))[0].kept[0].changed == ()
    (kept,) = calibrated(asked(project, 1))[0].kept
    assert any(text.startswith("threshold") for text in kept.changed)
    assert "false alarms an hour asked for 800 -> 1" in kept.changed
    place.write_text(place.read_text().replace("0", "x"))
    (kept,), said = calibrated(asked(project, 1))[0].kept, calibrated(asked(project, 1))[1]
    assert load_calibration(project / "run") == kept.made.calibration
    assert "replaces" not in said  # the damaged one went with the first of the two
    save_head(project / "run", video_head(replace(SPEC, offset=1)))
    trained_again = json.loads((project / "run" / "config.json").read_text())
    (project / "run" / "config.json").write_text(json.dumps({**trained_again, "sha256": "cd" * 32}))
    with pytest.raises(CheckpointError, match="of another head"):
        load_calibration(project / "run")


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("x.txt", "ends in .json"),
        ("run/config.json", "is no calibration"),
        ("normal/v0.mp4/x.json", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(project: Path, out: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        calibrated(asked(project, out=project / out, detect={"features": project / "new"}))
    assert not (project / "new").exists()


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_rates_that_are_none_are_refused(project: Path, rate: float) -> None:
    with pytest.raises(UsageError, match="--false-alarms-per-hour: got"):
        calibrated(asked(project, rate))


def test_each_head_is_calibrated_on_the_videos_that_it_scores(project: Path) -> None:
    """Sound for one video of three: the audio-visual head gets that one's hours, its student the others'."""
    shutil.rmtree(project / "run")
    save_head(project / "run", audio.teacher())
    save_head(project / "run" / "student", audio.student())
    painted_videos.write(project / "normal" / "v2.mp4", 70, sound=np.zeros((1, 44800), np.float32))
    grid = TimeGrid(Fraction(25), 70)
    rows = np.random.default_rng(1).standard_normal((grid.num_snippets, audio.SOUND.dim)).astype(np.float32)
    FeatureStore(project / "store").write(FeatureTrack(rows, grid, audio.SOUND, "v2"))
    summary, said = calibrated(asked(project, out=project / "mine.json"))
    hours = {kept.path.name: kept.made.calibration.hours * 3600 for kept in summary.kept}
    assert hours == {"mine.student.json": pytest.approx(150 / 25), "mine.json": pytest.approx(70 / 25)}
    assert "each on its own hours alone" in said
    calibrated(asked(project))
    known = load_calibration(project / "run"), load_calibration(project / "run" / "student")
    assert [one.videos for one in known if one is not None] == [1, 2]
    (project / "normal" / "v2.mp4").unlink()
    assert "only the student was calibrated" in calibrated(asked(project))[1]


def with_sound(project: Path) -> None:
    """An audio-visual head, and sound for one video of three."""
    shutil.rmtree(project / "run")
    save_head(project / "run", audio.teacher())
    painted_videos.write(project / "normal" / "v2.mp4", 70, sound=np.zeros((1, 44800), np.float32))
    FeatureStore(project / "store").write(audio.heard_rows(video="v2"))


def test_a_calibration_with_sound_is_of_videos_with_sound_alone(project: Path) -> None:
    """Without a student the head scores silent videos too, otherwise; neither way are the two mixed."""
    with_sound(project)
    summary, said = calibrated(asked(project))
    (kept,) = summary.kept
    assert (kept.made.calibration.videos, summary.failed) == (1, {})
    assert "2 videos without sound were left out (v0, v1)" in said
    assert "give a student" in said
    found = {one.clip.id: one for one, _ in detect_run(replace(asked(project).detect, out=project / "out")).found}
    assert found["v2"].calibration == load_calibration(project / "run")
    assert not any("not applied" in text for text in found["v2"].warnings)
    for name in ("v0", "v1"):
        assert found[name].calibration is None
        assert any("of videos with sound and was not applied" in text for text in found[name].warnings)
    (project / "normal" / "v2.mp4").unlink()
    assert calibrated(asked(project))[0].kept == []


def test_the_students_calibration_beside_a_given_one_is_used_too(project: Path) -> None:
    with_sound(project)
    save_head(project / "run" / "student", audio.student())
    calibrated(asked(project, out=project / "cam.json"))
    request = replace(asked(project).detect, out=project / "out", calibration=str(project / "cam.json"))
    found = [one for one, _ in detect_run(request).found]
    assert [one.calibration.head_sha256 if one.calibration else "" for one in found] == [
        one.provenance["sha256"] for one in found
    ]
    (project / "cam.student.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"cam\.student\.json is no calibration"):
        detect_run(request)
    (project / "cam.student.json").unlink()
    assert [one.calibration is None for one, _ in detect_run(request).found] == [True, True, False]


def invoke(*arguments: str) -> Result:
    command = ["calibrate", "normal", "--run=run", "--device=cpu", "--set=r_cls=0", *arguments]
    return CliRunner().invoke(cli, command, catch_exceptions=True)


def test_the_command(project: Path) -> None:
    ended = invoke("--false-alarms-per-hour", "0.5", "--features", "store")
    assert ended.exit_code == 0, ended.output
    for text in ("threshold on", "0.0025 h in 3 videos", "upper 95 %", "highest in it", "v0"):
        assert text in ended.stdout, text
    assert "cannot show 0.5 false alarms an hour: that takes at least 2 h" in ended.stderr
    assert "wrote run/calibration.json" in ended.stderr
    shown = CliRunner().invoke(cli, ["calibrate", "--show", "--run=run", "--json"])
    assert json.loads(shown.stdout)[0]["threshold"] == load_calibration(Path("run")).threshold  # type: ignore[union-attr]
    assert "threshold on" in CliRunner().invoke(cli, ["calibrate", "--show", "--run=run"]).stdout


def test_the_command_promises_nothing_where_nothing_is_found(project: Path) -> None:
    ended = invoke("--false-alarms-per-hour", "0.5", "--features", "store", "--set=r_ano=1")
    assert ended.exit_code == 0, ended.output
    assert "unknown (at most 1.2e+03 an hour)" in ended.stdout
    assert "nothing was found in it, so there is no threshold yet" in ended.stderr
    ended = invoke("--false-alarms-per-hour", "0.5", "--features", "store", "--set=r_ano=1", "--json")
    assert json.loads(ended.stdout)["calibrations"][0]["expected"] is None


def test_the_command_as_json_and_with_a_failure(project: Path) -> None:
    (project / "normal" / "w.mp4").write_text("no video")
    ended = invoke("--false-alarms-per-hour=1000", "--json", "--out=mine/c.json", "-q")
    assert ended.exit_code == 3, ended.output
    told = json.loads(ended.stdout)
    assert list(told["failed"]) == ["w"]
    (one,) = told["calibrations"]
    assert (one["file"], one["schema"], one["videos"]) == ("mine/c.json", "vadpipe.calibration/1", 3)
    assert one["highest"][0]["peak"] >= one["highest"][-1]["peak"]
    assert Path("mine/c.json").is_file()
    assert not Path("run/calibration.json").exists()


def test_without_any_usable_video_nothing_is_written(project: Path) -> None:
    for path in (project / "normal").iterdir():
        path.write_text("no video")
    ended = invoke("--false-alarms-per-hour=1")
    assert ended.exit_code == 1
    assert not Path("run/calibration.json").exists()


@pytest.mark.parametrize("arguments", [[], ["normal"], ["--false-alarms-per-hour=1"]])
def test_half_a_command_is_a_usage_error(project: Path, arguments: list[str]) -> None:
    ended = CliRunner().invoke(cli, ["calibrate", "--run=run", *arguments])
    assert isinstance(ended.exception, UsageError)
    assert "expected normal footage and --false-alarms-per-hour" in str(ended.exception)


def test_there_is_nothing_to_show_before(project: Path) -> None:
    ended = CliRunner().invoke(cli, ["calibrate", "--show", "--run=run"])
    assert isinstance(ended.exception, UsageError)
    assert "has no calibration; make one" in str(ended.exception)


def test_a_restart_removes_the_calibration_with_its_head(project: Path) -> None:
    calibrated(asked(project))
    clear_run(project / "run")
    assert not (project / "run").exists()
