"""What ``vadpipe detect`` does around :func:`vadpipe.pipeline.detect.detect_video`: many videos, files, pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from vadpipe.config import with_overrides
from vadpipe.errors import DataError, UsageError, VideoError
from vadpipe.extractors import Extractor
from vadpipe.extractors.limits import Limits
from vadpipe.extractors.weights import parse_weights
from vadpipe.models.checkpoint import TrainedHead, load_head
from vadpipe.pipeline.detect import DetectOptions, detect_video, extractor_for, is_computable, write_report
from vadpipe.pipeline.extract import ExtractOptions
from vadpipe.pipeline.timeline import draw_timeline
from vadpipe.pipeline.videos import said_of
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import Detection

STUDENT_FOLDER = "student"
"""In the run folder of an audio-visual head: the run folder of its student."""


@dataclass(frozen=True, slots=True)
class DetectRequest:
    """Id -> file of the videos, the head's run folder, and the command's options.

    student
        Run folder of the head for videos without sound; None for ``student/`` in the run folder, where there is one.
    weights
        As on the command line, see :func:`vadpipe.extractors.weights.parse_weights`.
    decode_device
        ``cpu`` or ``cuda``; None for that of the features that the head was trained on.
    limits
        Of each decoder.
    out
        Ends in .json and names the file (of one video), or is a folder.
    """

    videos: dict[str, Path]
    run: Path
    student: Path | None = None
    out: Path | None = None
    features: Path | None = None
    picture: bool = False
    overrides: tuple[str, ...] = ()
    accept: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    decoder: str = "pyav"
    device: str = "cpu"
    decode_device: str | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class DetectSummary:
    """Detections with their JSON content, files written, and failed videos with their reasons."""

    found: list[tuple[Detection, dict[str, Any]]] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def detect_run(
    request: DetectRequest,
    on_video: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> DetectSummary:
    """Detect in every video; one that fails is reported and costs itself only. ``on_video`` gets the total."""
    videos = request.videos
    for name in videos:
        _place(request.out, name, len(videos))  # said before any work is done
    trained = _with_overrides(load_head(request.run, request.device), request.overrides)
    student = _student(request, trained)
    options = DetectOptions(
        FeatureStore(request.features) if request.features else None,
        _weights(request, trained),
        request.device,
        frozenset(request.accept),
        _extract_options(request, trained.spec),
    )
    extractor = _extractor(trained.spec, options, videos)
    sound = _extractor(trained.audio_spec, options, videos)
    summary = DetectSummary()
    for name, path in videos.items():
        try:
            detection = detect_video(path, trained, options, extractor, student=student, audio_extractor=sound)
        except (VideoError, DataError) as error:
            summary.failed[name] = str(error)
            if say is not None:
                say(f"failed: {said_of(path, error)}")
        else:
            out = _place(request.out, name, len(videos))
            picture = partial(_draw, detection, trained.spec.untrained) if request.picture else None
            summary.found.append((detection, write_report(detection, out, picture)))
            summary.written.append(out)
        if on_video is not None:
            on_video(len(videos))
    return summary


def find_student(run: Path, given: Path | None) -> Path | None:
    """Return ``given``, or ``student/`` in the run folder where there is a finished head."""
    inside = run / STUDENT_FOLDER
    return given if given is not None else inside if (inside / "config.json").is_file() else None


def _student(request: DetectRequest, trained: TrainedHead) -> TrainedHead | None:
    folder = find_student(request.run, request.student)
    if folder is None:
        return None
    if trained.audio_spec is None:
        raise UsageError(f"--student {folder}: {request.run} uses no audio, so nothing would ever be left to a student")
    student = _with_overrides(load_head(folder, request.device), request.overrides)
    if student.audio_spec is not None:
        raise UsageError(f"{folder} uses audio itself; a student scores videos that have none")
    if student.classes != trained.classes:
        raise UsageError(
            f"{folder} knows the classes {', '.join(student.classes)}, {request.run} {', '.join(trained.classes)}; "
            "a student needs its teacher's"
        )
    trained.spec.require(student.spec, f"the student in {folder}", frozenset(request.accept))
    return student


def _extract_options(request: DetectRequest, spec: FeatureSpec) -> ExtractOptions:
    """How the features that are not stored are made: pictures decoded on the device that the head's came from."""
    where = request.decode_device or spec.decode_device
    if where == "cuda" and request.device.startswith("cuda"):
        where = request.device  # the GPU of the encoder decodes
    return ExtractOptions(spec.frames_per_snippet, request.decoder, 1, request.limits, where)


def _extractor(spec: FeatureSpec | None, options: DetectOptions, videos: Mapping[str, Path]) -> Extractor | None:
    """The encoder, before any video is looked at; None where all is stored, or where this version has no encoder."""
    if spec is None or not is_computable(spec):
        return None
    if options.store is not None and set(videos) <= set(options.store.ids(spec)):
        return None
    return extractor_for(spec, options)


def _weights(request: DetectRequest, trained: TrainedHead) -> dict[str, str]:
    specs = [spec for spec in (trained.spec, trained.audio_spec) if spec is not None and is_computable(spec)]
    return parse_weights(request.weights, [spec.stream for spec in specs], fill=False)


def _draw(detection: Detection, untrained: bool, path: Path) -> None:
    note = "The encoder has random weights: scores mean nothing in practice." if untrained else ""
    draw_timeline(path, detection.scores, detection.intervals, title=detection.clip.id, untrained_note=note)


def _with_overrides(trained: TrainedHead, overrides: tuple[str, ...]) -> TrainedHead:
    return replace(trained, config=with_overrides(trained.config, [f"detect.{item}" for item in overrides]))


def _place(out: Path | None, name: str, count: int) -> Path:
    """Where a video's JSON goes: ``out`` itself where it ends in .json, else a file named after the video in it."""
    if out is None:
        return Path(f"{name}.intervals.json") if count == 1 else Path("detections") / f"{name}.json"
    if out.suffix.lower() != ".json":
        return out / f"{name}.json"
    if count > 1:
        raise UsageError(f"--out {out}: {count} videos need a folder")
    return out
