"""The heads that ``vadpipe detect`` scores with: the run's, its student, their own categories and calibrations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from vadpipe.calibration import Calibration
from vadpipe.config import with_overrides
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.extractors.weights import parse_weights
from vadpipe.models.checkpoint import TrainedHead, load_head
from vadpipe.pipeline.calibrating.file import load_calibration, read_calibration, students_file
from vadpipe.pipeline.detect import is_computable
from vadpipe.pipeline.detecting.request import DetectRequest
from vadpipe.pipeline.videos import looking_at

STUDENT_FOLDER = "student"
"""In the run folder of an audio-visual head: the run folder of its student."""

_TEXT_STREAM = "clip"  # text goes through CLIP, whatever the features are


@dataclass(frozen=True, slots=True)
class Heads:
    """The head, the one for videos without sound, weights by stream, and calibrations by the digest of their head."""

    trained: TrainedHead
    student: TrainedHead | None = None
    weights: dict[str, str] = field(default_factory=dict)
    calibrations: dict[str, Calibration] = field(default_factory=dict)


def load_heads(request: DetectRequest, say: Callable[[str], None]) -> Heads:
    """Load and check everything that a request says about heads; every error comes before any video is looked at."""
    trained = _with_overrides(load_head(request.run, request.device), request.overrides)
    student = _student(request, trained)
    weights = _weights(request, trained)
    if (own := request.categories) is not None:
        from vadpipe.pipeline.detecting.zero_shot import with_own_categories

        text, device = weights.get(_TEXT_STREAM), request.device
        trained = with_own_categories(trained, own, text, device, say)
        student = with_own_categories(student, own, text, device) if student is not None else None
    return Heads(trained, student, weights, _calibrations(request, trained, student))


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


def _weights(request: DetectRequest, trained: TrainedHead) -> dict[str, str]:
    specs = [spec for spec in (trained.spec, trained.audio_spec) if spec is not None and is_computable(spec)]
    streams = [spec.stream for spec in specs]
    if request.categories is not None and _TEXT_STREAM not in streams:
        streams.append(_TEXT_STREAM)
    return parse_weights(request.weights, streams, fill=False)


def _calibrations(request: DetectRequest, trained: TrainedHead, student: TrainedHead | None) -> dict[str, Calibration]:
    if request.calibration == "none":
        return {}
    if request.calibration:
        return _given_calibration(Path(request.calibration), trained, student)
    folders = [(trained, request.run), (student, find_student(request.run, request.student))]
    return {
        head.sha256: known
        for head, folder in folders
        if head is not None and folder is not None and (known := load_calibration(folder)) is not None
    }


def _given_calibration(path: Path, trained: TrainedHead, student: TrainedHead | None) -> dict[str, Calibration]:
    with looking_at(f"--calibration {path}"):
        is_there = path.is_file()
    if not is_there:
        raise UsageError(f"--calibration {path}: no such file; expected what vadpipe calibrate writes, or none")
    try:
        known = {trained.sha256: read_calibration(path, trained.sha256)}
    except CheckpointError:
        if student is None:
            raise
        return {student.sha256: read_calibration(path, student.sha256)}
    beside = students_file(path)
    if student is not None and beside.is_file():
        known[student.sha256] = read_calibration(beside, student.sha256)
    return known


def _with_overrides(trained: TrainedHead, overrides: tuple[str, ...]) -> TrainedHead:
    return replace(trained, config=with_overrides(trained.config, [f"detect.{item}" for item in overrides]))
