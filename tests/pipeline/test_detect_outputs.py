"""What lies beside the JSON: each output is asked for as promised, and one that fails costs itself only."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from tests.extractors import painted_videos
from tests.pipeline.detected import CALIBRATION, SPEC, made_detection, small_head
from tests.pipeline.mean_colour import MeanColour
from vadpipe.config import DetectConfig
from vadpipe.detection import Detection
from vadpipe.errors import CheckpointError, DataError, StoreError, UsageError, VideoUnreadable
from vadpipe.extractors.limits import Limits
from vadpipe.models.checkpoint import TrainedHead, save_head
from vadpipe.pipeline.calibrating.file import save_calibration, write_calibration
from vadpipe.pipeline.detect import detect_video
from vadpipe.pipeline.detecting import kept as kept_module
from vadpipe.pipeline.detecting import run as module
from vadpipe.pipeline.detecting.kept import Finding
from vadpipe.pipeline.detecting.outputs import Outputs, true_incidents
from vadpipe.pipeline.detecting.places import Places
from vadpipe.pipeline.detecting.report import SCHEMA_FILE, report, write_report
from vadpipe.pipeline.detecting.request import DetectRequest, Extras
from vadpipe.pipeline.detecting.run import detect_run
from vadpipe.pipeline.extract import ExtractOptions, feature_spec
from vadpipe.tracks import Interval


class Seen:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def begin(self, name: str) -> None:
        self.told.append(("begin", name))

    def step(self, what: str, done: float, total: float) -> None:
        self.told.append((what, done, total))

    def end(self, detection: Detection | None) -> None:
        self.told.append(("end", detection is not None))


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **members: Any) -> None:
    made = ModuleType(name)
    vars(made).update(members)
    monkeypatch.setitem(sys.modules, f"vadpipe.pipeline.{name}", made)


def write_all(
    folder: Path, names: list[str], extras: Extras, picture: bool = False, seen: Seen | None = None
) -> tuple[Outputs, list[str]]:
    """Outputs for made-up detections of videos in ``folder``."""
    seen = seen or Seen()
    videos = {name: folder / "videos" / f"{name}.mp4" for name in names}
    said: list[str] = []
    outputs = Outputs(Places(videos, folder / "out", extras, picture), extras, picture, said.append)
    for name, path in videos.items():
        detection = made_detection(name)
        outputs.keep(name, path, detection)
        outputs.add(name, path, detection, seen)
    outputs.finish(seen)
    return outputs, said


def test_exports_and_frame_scores_lie_beside_the_json(tmp_path: Path) -> None:
    kinds = ("activitynet", "labelstudio", "fiftyone", "webvtt", "srt", "csv", "tsv")
    outputs, said = write_all(tmp_path, ["a", "b"], Extras(exports=kinds, frames="csv"), picture=True)
    assert (outputs.failed, said) == ([], [])
    assert sorted(path.name for path in outputs.written) == sorted(
        path.name for path in (tmp_path / "out").iterdir() if not path.name.endswith(".scores.npz")
    )
    names = {path.name for path in outputs.written}
    assert {"a.json", "a.png", "a.vtt", "b.srt", "a.frames.csv"} <= names
    assert {"detections.activitynet.json", "detections.labelstudio.xml", "detections.csv"} <= names
    assert "detections.vtt" not in names


def test_one_video_has_all_its_files_under_its_name(tmp_path: Path) -> None:
    outputs, _ = write_all(tmp_path, ["a"], Extras(exports=("tsv", "srt"), frames=str(tmp_path / "deep" / "x.npz")))
    assert [path.relative_to(tmp_path).as_posix() for path in outputs.written] == [
        "out/a.json",
        "out/a.srt",
        "deep/x.npz",
        "out/a.tsv",
    ]


def test_clips_overlays_and_pages_get_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, list[Any]] = {"clips": [], "overlay": [], "html": []}

    def cut_clips(
        path: Path,
        detection: Detection,
        folder: Path,
        *,
        pre_s: float,
        post_s: float,
        limits: Limits | None,
        on_clip: Callable[[int, int], None],
    ) -> list[Path]:
        asked["clips"].append((path.name, detection.clip.id, folder, pre_s, post_s))
        on_clip(1, 2)
        return [folder / f"{detection.clip.id}.mp4"]

    def draw_overlay(
        path: Path, detection: Detection, out: Path, on_frame: Callable[[int, int], None], *, limits: Limits | None
    ) -> Path:
        asked["overlay"].append((path.name, detection.clip.id, out))
        on_frame(1, 70)
        return out

    def write_html(
        entries: list[Any], out: Path, *, embed: bool, on_page: Callable[[int], None], is_index: bool
    ) -> list[Path]:
        assert not is_index  # no shard
        asked["html"].append(([(entry.path, entry.truth) for entry in entries], out, embed))
        on_page(2)
        return [out]

    stand_in(monkeypatch, "detecting.clips", cut_clips=cut_clips)
    stand_in(monkeypatch, "detecting.overlay", draw_overlay=draw_overlay)

    @dataclass
    class ReportEntry:
        path: Path | None
        detection: Detection
        truth: tuple[Interval, ...]

    stand_in(monkeypatch, "pages.report", write_html=write_html, ReportEntry=ReportEntry)
    clips, page = tmp_path / "clips", tmp_path / "page.html"
    extras = Extras(clips=clips, pre_roll_s=1.0, overlay=tmp_path / "drawn", html=page, embed=True)
    seen = Seen()
    outputs, said = write_all(tmp_path, ["a", "b"], extras, seen=seen)
    assert (outputs.failed, said) == ([], [])
    frames = made_detection("a").scores.grid.num_frames
    of_each = [("clips", frames / 2, frames), ("overlay", 1, 70)]  # one of two clips: half of the frames
    assert seen.told == [*of_each, *of_each, ("begin", "page.html"), ("pages", frames, 2 * frames)]
    assert asked["clips"] == [("a.mp4", "a", clips, 1.0, 2.0), ("b.mp4", "b", clips, 1.0, 2.0)]
    assert asked["overlay"][1] == ("b.mp4", "b", tmp_path / "drawn" / "b.mp4")
    assert asked["html"] == [([(None, ()), (None, ())], page, True)]  # the files are not there, so no player
    assert outputs.written[-1] == page


@pytest.mark.parametrize(
    "error",
    [
        VideoUnreadable("codec odd1"),
        OSError("disk odd1"),
        ImportError("no odd1"),
        ValueError("size odd1"),
        KeyError("odd1"),
    ],
)
def test_an_output_that_fails_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def draw_overlay(*_: Any, **_options: Any) -> Path:
        raise error

    stand_in(monkeypatch, "detecting.overlay", draw_overlay=draw_overlay)
    outputs, said = write_all(tmp_path, ["a", "b"], Extras(exports=("csv",), overlay=tmp_path / "drawn"))
    assert [text.partition(":")[0] for text in outputs.failed] == ["overlay of a", "overlay of b"]
    assert [text for text in said if "odd1" in text and text.startswith("failed: overlay of")] == said
    assert {"a.json", "b.json", "detections.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_truth_comes_from_the_annotations(tmp_path: Path) -> None:
    kept = [Finding(Path(f"{name}.mp4"), made_detection(name), "") for name in ("a", "b")]
    (tmp_path / "t.txt").write_text("a.mp4 riot 10 20 fighting 30 500\n")
    said: list[str] = []
    truth = true_incidents(tmp_path / "t.txt", kept, said.append)
    assert [(item.category, item.start_frame, item.end_frame) for item in truth["a"]] == [
        ("riot", 10, 20),
        ("fighting", 30, 70),
    ]
    assert "says nothing of b" in said[0]
    (tmp_path / "t.txt").write_text("a 10 20\n")
    with pytest.raises(DataError, match="names none"):
        true_incidents(tmp_path / "t.txt", kept, said.append)
    (tmp_path / "labels.csv").write_text("video,label\na,riot\nb,normal\n")
    truth = true_incidents(tmp_path / "t.txt", kept, said.append)
    assert ([item.category for item in truth["a"]], truth["b"]) == (["riot"], ())


def test_a_span_without_a_category_is_of_the_only_trained_one(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a 10 20\n")
    kept = [Finding(Path("a.mp4"), made_detection("a", zero_shot=frozenset({"riot"})), "")]
    truth = true_incidents(tmp_path / "t.txt", kept, lambda _: None)
    assert [item.category for item in truth["a"]] == ["fighting"]


def test_truth_that_names_no_video_is_refused_before_the_work(tmp_path: Path) -> None:
    np.save(tmp_path / "gt.npy", np.zeros(3))
    extras = Extras(html=tmp_path / "x.html", annotations=tmp_path / "gt.npy")
    with pytest.raises(UsageError, match="names no videos"):
        write_all(tmp_path, ["a"], extras)


def test_the_report_says_what_is_calibrated_and_what_is_not(tmp_path: Path) -> None:
    found = made_detection(zero_shot=frozenset({"riot"}), calibration=CALIBRATION)
    content = write_report(found, tmp_path / "x.json")
    jsonschema.validate(json.loads((tmp_path / "x.json").read_text()), json.loads(SCHEMA_FILE.read_text()))
    fighting, riot = content["intervals"]
    assert (fighting["note"], fighting["peak"]) == ("", 0.9)
    assert fighting["calibrated"] == pytest.approx(0.5 + 0.5 * (0.9 - 0.25) / 0.75)
    assert (riot["note"], riot["peak"], riot["calibrated"]) == ("zero-shot, uncalibrated", 0.4, None)
    assert content["model"]["zero_shot"] == ["riot"]
    assert content["calibration"] == {
        "threshold": 0.5,
        "false_alarms_per_hour": 0.5,
        "hours": 2.0,
        "videos": 3,
        "alarms": 1,
        "upper": 2.37,
    }
    with np.load(tmp_path / "x.scores.npz") as arrays:
        assert arrays["labels"].tolist() == ["normal", "fighting", "riot"]
        assert arrays["notes"].tolist() == ["", "", "zero-shot, uncalibrated"]
        np.testing.assert_allclose(arrays["calibrated"][[0, 16, 69]], [0.2, 0.5 + 0.35 / 1.5, 0.6], atol=1e-6)
    plain = report(made_detection(), "x.scores.npz")
    assert plain["calibration"] is None
    assert [item["calibrated"] for item in plain["intervals"]] == [None, None]
    assert plain["model"]["zero_shot"] == []


SENSITIVE: dict[str, Any] = {**asdict(DetectConfig()), "r_cls": 0.0, "r_ano": 0.0}


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DetectRequest:
    """Two painted videos and a head for them."""
    monkeypatch.setattr(module, "extractor_for", lambda _spec, _options: MeanColour())
    (tmp_path / "v").mkdir()
    videos = {name: painted_videos.write(tmp_path / "v" / "same.mp4", 40) for name in ("cam1_same",)}
    (tmp_path / "w").mkdir()
    videos["cam2_same"] = painted_videos.write(tmp_path / "w" / "same.mp4", 20)
    spec = feature_spec(MeanColour(), ExtractOptions())
    save_head(tmp_path / "run", small_head(spec, DetectConfig(**SENSITIVE)))
    return DetectRequest(videos, tmp_path / "run", out=tmp_path / "out", features=tmp_path / "features")


def test_videos_of_one_stem_are_both_detected(request_of: DetectRequest) -> None:
    said: list[str] = []
    seen = Seen()
    summary = detect_run(request_of, seen, said.append)
    assert [detection.clip.id for detection, _ in summary.found] == ["cam1_same", "cam2_same"]
    assert [detection.scores.grid.num_frames for detection, _ in summary.found] == [40, 20]
    assert [content["video"]["id"] for _, content in summary.found] == ["cam1_same", "cam2_same"]
    assert any("have one id in the store, 'same'" in text for text in said)
    assert seen.told[0] == ("begin", "cam1_same")
    assert ("features", 40.0, 40.0) in seen.told
    assert seen.told[-1] == ("end", True)


def test_imported_features_cannot_tell_videos_of_one_stem(
    request_of: DetectRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = type(SPEC)("other", 12, "imported", "imported")
    monkeypatch.setattr("vadpipe.pipeline.detecting.heads.load_head", lambda *_: small_head(spec))
    with pytest.raises(UsageError, match="rename one"):
        detect_run(request_of)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143), StoreError("disk full")])
@pytest.mark.parametrize("where", ["detecting.run.detect_video", "detecting.outputs.write_report"])
def test_what_ends_a_run_keeps_what_is_finished(
    request_of: DetectRequest, monkeypatch: pytest.MonkeyPatch, error: BaseException, where: str
) -> None:
    done: Any = {"detecting.run.detect_video": detect_video, "detecting.outputs.write_report": write_report}[where]

    def stopped(of: Any, *given: Any, **options: Any) -> Any:
        name = of.parent.name if isinstance(of, Path) else of.clip.id
        if name in ("w", "cam2_same"):
            raise error
        return done(of, *given, **options)

    monkeypatch.setattr(f"vadpipe.pipeline.{where}", stopped)
    extras = Extras(exports=("csv",))
    summary = detect_run(replace(request_of, features=None, extras=extras))
    assert summary.ended is error
    assert {path.name for path in summary.written} == {"cam1_same.json", "detections.csv"}
    with pytest.raises(type(error)):
        detect_run(replace(request_of, videos={"cam2_same": request_of.videos["cam2_same"]}, features=None))


def test_an_interrupt_at_the_page_is_told_after_all_that_is_finished(
    request_of: DetectRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("vadpipe.pipeline.detecting.outputs._export", stopped)
    summary = detect_run(replace(request_of, extras=Extras(exports=("csv",))))
    assert isinstance(summary.ended, KeyboardInterrupt)
    assert len(summary.found) == 2


def test_no_input_of_the_command_is_overwritten(request_of: DetectRequest, tmp_path: Path) -> None:
    truth, own = tmp_path / "truth.csv", tmp_path / "own.json"
    truth.write_text("video,label,start_frame,end_frame\n")
    own.write_text("{}")
    (tmp_path / "hard.npz").hardlink_to(truth)
    save_head(tmp_path / "student", small_head())
    one = replace(request_of, videos={"a": request_of.videos["cam1_same"]}, out=tmp_path / "o.json")
    page = Extras(html=tmp_path / "x.html", annotations=truth)
    refused = {
        "truth.csv is the file of --annotations": replace(one, extras=replace(page, frames=str(truth))),
        "hard.npz is the file of --annotations": replace(one, extras=replace(page, frames=str(tmp_path / "hard.npz"))),
        "the labels beside --annotations": replace(one, extras=replace(page, frames=str(tmp_path / "labels.csv"))),
        "own.json is the file of --categories": replace(one, categories=own, out=own),
        "own.json is the file of --calibration": replace(one, calibration=str(own), out=own),
        "config.json is a file of --run": replace(one, out=one.run / "config.json"),
        "calibration.json is a file of --run": replace(one, out=one.run / "calibration.json"),
        "config.json is a file of the student": replace(
            one, student=tmp_path / "student", out=tmp_path / "student" / "config.json"
        ),
    }
    before = {path: path.read_bytes() for path in (truth, own, one.run / "config.json")}
    for said, request in refused.items():
        with pytest.raises(UsageError, match=f"{said}.*never overwritten"):
            detect_run(request)
    assert before == {path: path.read_bytes() for path in before}
    for _ in range(2):  # what an earlier run wrote into the run folder is replaced, as everywhere
        assert len(detect_run(replace(one, out=one.run / "found.json")).found) == 1


def test_the_encoder_is_built_once_where_stored_features_are_of_other_files(
    request_of: DetectRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = {"a": tmp_path / "v" / "a.mp4", "b": tmp_path / "v" / "b.mp4"}
    for path in videos.values():
        painted_videos.write(path, 20)
    assert len(detect_run(replace(request_of, videos=videos)).found) == 2
    built: list[str] = []

    def create(stream: str, **_options: Any) -> MeanColour:
        built.append(stream)
        return MeanColour()

    monkeypatch.setattr("vadpipe.pipeline.detect.create", create)
    monkeypatch.setattr(module, "extractor_for", lambda *_: pytest.fail("the store has both ids"))
    assert len(detect_run(replace(request_of, videos=videos)).found) == 2
    assert built == []
    for path in videos.values():
        painted_videos.write(path, 40)
    found = [detection for detection, _ in detect_run(replace(request_of, videos=videos)).found]
    assert [detection.scores.grid.num_frames for detection in found] == [40, 40]
    assert built == ["clip"]


def test_a_heads_own_calibration_counts_unless_told_otherwise(request_of: DetectRequest, tmp_path: Path) -> None:
    digest = json.loads((request_of.run / "config.json").read_text())["sha256"]
    sure = replace(CALIBRATION, threshold=1.0, head_sha256=digest, settings=SENSITIVE)
    request = replace(request_of, features=None)
    bare = detect_run(request).found[0][1]
    save_calibration(request.run, sure)
    content = detect_run(request).found[0][1]
    assert (bare["calibration"], content["calibration"]["threshold"]) == (None, 1.0)
    assert (len(bare["intervals"]) > 0, content["intervals"]) == (True, [])
    assert not any("not calibrated" in text for text in content["warnings"])
    other = detect_run(replace(request, overrides=("r_ano=0.1",))).found[0][1]
    assert any("r_ano = 0.1, not 0" in text for text in other["warnings"])
    off = detect_run(replace(request, calibration="none")).found[0][1]
    assert (off["calibration"], off["intervals"]) == (None, bare["intervals"])
    lower = write_calibration(tmp_path / "own.json", replace(sure, threshold=0.0))
    given = detect_run(replace(request, calibration=str(lower))).found[0][1]
    assert given["calibration"]["threshold"] == 0.0
    assert all(0 <= item["calibrated"] <= 1 for item in given["intervals"])
    with pytest.raises(UsageError, match="no such file"):
        detect_run(replace(request, calibration="nothing.json"))
    with pytest.raises(CheckpointError, match="another head"):
        detect_run(replace(request, calibration=str(write_calibration(tmp_path / "x.json", CALIBRATION))))


def test_own_categories_are_found_by_the_same_rule_and_marked_everywhere(
    request_of: DetectRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def with_own(trained: TrainedHead, *given: Any) -> TrainedHead:
        asked.append(given[:3])
        own: Any = deepcopy(trained.head)
        own.set_own_categories(trained.head.text[1:2])
        classes = (*trained.classes, "brawl")
        return replace(trained, head=own, classes=classes, zero_shot=frozenset({"brawl"}), notes=("own ones",))

    monkeypatch.setattr("vadpipe.pipeline.detecting.zero_shot.with_own_categories", with_own)

    def sure(_trained: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return torch.full_like(own, 0.9)  # an interval needs over 1/2; an untrained head is never that sure

    monkeypatch.setattr("vadpipe.models.lec_vad.own_probabilities", sure)
    digest = json.loads((request_of.run / "config.json").read_text())["sha256"]
    save_calibration(request_of.run, replace(CALIBRATION, threshold=0.0, head_sha256=digest))
    before = detect_run(request_of).found[0][1]
    own = replace(request_of, categories=tmp_path / "own.toml", weights=("clip=my.pt",), picture=True)
    content = detect_run(own).found[0][1]
    jsonschema.validate(content, json.loads(SCHEMA_FILE.read_text()))
    assert asked == [(tmp_path / "own.toml", "my.pt", "cpu")]
    assert (content["model"]["categories"][-1], content["model"]["zero_shot"]) == ("brawl", ["brawl"])
    assert "own ones" in content["warnings"]
    marked = {item["label"]: (item["note"], item["calibrated"] is None) for item in content["intervals"]}
    assert marked["brawl"] == ("zero-shot, uncalibrated", True)
    assert [item for item in content["intervals"] if item["label"] != "brawl"] == before["intervals"]
    assert all(not note and not bare for label, (note, bare) in marked.items() if label != "brawl")
    assert request_of.out is not None
    assert (request_of.out / "cam1_same.png").stat().st_size > 1000


def test_all_videos_are_in_their_own_order_whichever_is_done_first(tmp_path: Path) -> None:
    names = ["c", "a", "b"]
    videos = {name: tmp_path / f"{name}.mp4" for name in names}
    places = Places(videos, tmp_path / "out", Extras(exports=("csv",)))
    outputs = Outputs(places, Extras(exports=("csv",)), False, lambda _: None)
    for name in reversed(names):  # as with Ray
        outputs.keep(name, videos[name], made_detection(name))
    assert [detection.clip.id for detection, _ in outputs.found()] == names
    outputs.finish(Seen())
    rows = (tmp_path / "out" / "detections.csv").read_text().splitlines()[1:]
    assert list(dict.fromkeys(row.split(",")[0] for row in rows)) == names


def test_what_cannot_be_kept_for_the_end_costs_the_last_video_none_of_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise StoreError("cannot keep what was found: no space left")

    video = {"a": tmp_path / "a.mp4", "b": tmp_path / "b.mp4"}
    found = [(name, path, made_detection(name)) for name, path in video.items()]
    monkeypatch.setattr(module, "load_heads", lambda *_: None)
    monkeypatch.setattr(module, "guarded_files", lambda _: [])
    monkeypatch.setattr(module, "detect_each", lambda *_: (each for each in found))
    monkeypatch.setattr(kept_module.Kept, "_spill", full)
    monkeypatch.setattr(kept_module, "_MOST_HELD_BYTES", 0)
    request = DetectRequest(video, tmp_path / "run", out=tmp_path / "out", extras=Extras(exports=("srt", "csv")))
    summary = detect_run(request)
    assert isinstance(summary.ended, StoreError)
    assert {path.name for path in summary.written} == {"a.json", "a.srt", "detections.csv"}
    assert [detection.clip.id for detection, _ in summary.found] == ["a"]


def test_a_shard_of_one_video_has_an_index_and_a_page(tmp_path: Path) -> None:
    extras = Extras(html=tmp_path / "index.html", embed=True)
    places = Places({"a": tmp_path / "a.mp4"}, tmp_path / "out", extras, shard="shard-3-of-64")
    outputs = Outputs(places, extras, False, lambda _: None)
    outputs.keep("a", tmp_path / "a.mp4", made_detection("a"))
    outputs.finish(Seen())
    assert outputs.failed == []
    index, page = outputs.written[1:]
    assert index == tmp_path / "index.shard-3-of-64.html"
    assert page.parent == tmp_path / "index.shard-3-of-64_files"
    assert page.parent.name in index.read_text()


def test_a_shard_tells_of_files_of_another_number_of_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("detections.shard-0-of-4.csv", "detections.shard-0-of-3.csv", "detections.csv", "a.shard-1-of-2.csv"):
        (out / name).touch()
    (tmp_path / "index.shard-1-of-9.html").touch()
    monkeypatch.setattr(module, "load_heads", lambda *_: None)
    monkeypatch.setattr(module, "guarded_files", lambda _: [])
    said: list[str] = []
    extras = Extras(html=tmp_path / "index.html")
    request = DetectRequest({"a": tmp_path / "a.mp4"}, tmp_path / "run", out=out, extras=extras, shard="shard-1-of-4")
    monkeypatch.setattr(module, "detect_each", lambda *_: (found for found in list[Any]()))
    detect_run(request, say=said.append)
    first, last = f"{tmp_path}/index.shard-1-of-9.html", f"{out}/detections.shard-0-of-3.csv"
    assert [str(path) for path in Places(request.videos, out, extras, shard="shard-1-of-4").of_other_divisions()] == [
        first,
        last,
    ]
    assert len(said) == 1
    assert said[0].startswith(f"warning: {first} and 1 more are of another number of shards")
    assert Places(request.videos, out, extras).of_other_divisions() == []
