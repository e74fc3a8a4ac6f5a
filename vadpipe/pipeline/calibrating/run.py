"""What ``vadpipe calibrate`` does around :func:`vadpipe.pipeline.calibrate.calibrate`: videos, heads, files."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from vadpipe.calibration import Calibration
from vadpipe.detection import Detection
from vadpipe.errors import CheckpointError, DataError, UsageError
from vadpipe.manifest import video_id
from vadpipe.pipeline.calibrate import Calibrated, calibrate, changes
from vadpipe.pipeline.calibrating.file import (
    CALIBRATION_FILE,
    head_digest,
    load_calibration,
    names_calibration,
    read_calibration,
    save_calibration,
    students_file,
    write_calibration,
)
from vadpipe.pipeline.detect import lacks_sound
from vadpipe.pipeline.detecting.heads import Heads, find_student, load_heads
from vadpipe.pipeline.detecting.request import DetectRequest
from vadpipe.pipeline.detecting.run import Watch, detect_each
from vadpipe.pipeline.project import seen_parts


@dataclass(frozen=True, slots=True)
class CalibrateRequest:
    """Normal footage, and how many false alarms it may give.

    detect
        Videos, run folder, features and settings, as for detection; its outputs and calibrations do not count.
    rate
        False alarms an hour, over 0.
    out
        A .json file in place of the run folder's; the student's then has ``.student`` before its suffix.
    allow_seen
        Take videos that the head has seen in training, whose scores are learned by heart.
    """

    detect: DetectRequest
    rate: float
    out: Path | None = None
    allow_seen: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """A calibration, the file that holds it, and what is different in it from the one it replaced."""

    made: Calibrated
    path: Path
    changed: tuple[str, ...]


@dataclass(slots=True)
class CalibrateSummary:
    """Calibrations, one for each head that scored a video, and failed videos with their reasons."""

    kept: list[Kept] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def calibrate_run(request: CalibrateRequest, watch: Watch, say: Callable[[str], None]) -> CalibrateSummary:
    """Detect in normal footage and calibrate each head on the videos that it scored, as ``vadpipe detect`` deals them.

    A video without sound that an audio-visual head scored, for want of a student, is left out: its scores are others
    than those with sound. A video that fails costs itself only. Nothing but features is written before all videos are
    done.
    """
    if not (math.isfinite(request.rate) and request.rate > 0):
        raise UsageError(f"--false-alarms-per-hour: got {request.rate}, expected a number over 0")
    detect = replace(request.detect, calibration="none", categories=None)
    heads = load_heads(detect.here, say)
    folders = {heads.trained.sha256: detect.run}
    if heads.student is not None:
        folders[heads.student.sha256] = find_student(detect.run, detect.student) or detect.run
    places = _places(request, list(folders))
    _check_places(places, folders)
    _check_seen(request, list(folders.values()), say)
    summary = CalibrateSummary()
    by_head: dict[str, list[Detection]] = {}
    silent: list[str] = []
    with closing(detect_each(detect, heads, watch, say)) as results:
        for name, _, result in results:
            if isinstance(result, Detection):
                digest = str(result.provenance["sha256"])
                if digest == heads.trained.sha256 and lacks_sound(heads.trained, result.audio):
                    silent.append(name)
                else:
                    by_head.setdefault(digest, []).append(result)
                watch.end(result)
            else:
                summary.failed[name] = str(result)
                watch.end(None)
    order = {name: number for number, name in enumerate(detect.videos)}  # of no run, whoever was done first
    for digest, found in sorted(by_head.items(), key=lambda item: list(folders).index(item[0])):
        found.sort(key=lambda item: order[item.clip.id])
        try:
            made = calibrate(_once(found, say), request.rate)
        except DataError as error:
            summary.failed |= {item.clip.id: str(error) for item in found}
            say(f"failed: {', '.join(item.clip.id for item in found[:5])}: {error}")
        else:
            summary.kept.append(_keep(made, folders[digest], places[digest], say))
    _say_of_silent(silent, say)
    _say_of(heads, by_head, say)
    return summary


def shown_calibrations(run: Path, student: Path | None = None) -> dict[Path, Calibration]:
    """File -> the calibration in it, of a run and of its student; :class:`UsageError` where there is none."""
    folders = [folder for folder in (run, find_student(run, student)) if folder is not None]
    found = {folder / CALIBRATION_FILE: known for folder in folders if (known := load_calibration(folder)) is not None}
    if not found:
        raise UsageError(f"{run} has no calibration; make one: vadpipe calibrate normal/ --false-alarms-per-hour 0.5")
    return found


def _places(request: CalibrateRequest, digests: list[str]) -> dict[str, Path | None]:
    """Digest of a head -> the file of its calibration, None for that of its run folder; the student's comes second."""
    out = request.out
    if out is None:
        return dict.fromkeys(digests)
    return dict(zip(digests, (out, students_file(out)), strict=False))


def _check_places(places: dict[str, Path | None], folders: dict[str, Path]) -> None:
    """Whatever cannot be written, or should not be, is said before hours of footage are looked at."""
    for digest, path in places.items():
        folder = folders[digest] if path is None else path.absolute().parent
        if path is not None and (path.suffix.lower() != ".json" or path.is_dir()):
            raise UsageError(f"--out {path}: expected a file whose name ends in .json")
        if path is not None and path.exists() and not names_calibration(path):
            raise UsageError(f"--out {path} is there and is no calibration; name another file")
        existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
        if not (existing.is_dir() and os.access(existing, os.W_OK)):
            raise UsageError(
                f"{existing} cannot be written; pass --out FILE.json, and --calibration FILE.json to detect"
            )


def _check_seen(request: CalibrateRequest, folders: list[Path], say: Callable[[str], None]) -> None:
    seen = {video for folder in folders for part in seen_parts(folder).values() for video in part}
    known = [name for name, path in request.detect.videos.items() if video_id(path) in seen]
    if not known:
        return
    told = f"{len(known)} of {len(request.detect.videos)} videos were used to train or select the head ({known[0]!r} …)"
    learned = "its scores there are learned by heart, and other footage would give many more alarms than asked for"
    if not request.allow_seen:
        raise UsageError(f"{told}; {learned}. Give other footage, or --allow-seen where only the names are the same")
    say(f"warning: {told}; {learned}")


def _once(found: list[Detection], say: Callable[[str], None]) -> list[Detection]:
    """The detections without those of a file that is there twice: it would count its hours twice."""
    by_file: dict[str, Detection] = {}
    for number, item in enumerate(found):
        first = by_file.setdefault(item.clip.sha256 or f"unknown {number}", item)
        if first is not item:
            say(f"note: {item.clip.id} is the same file as {first.clip.id} and counts once")
    return list(by_file.values())


def _keep(made: Calibrated, run: Path, path: Path | None, say: Callable[[str], None]) -> Kept:
    """Store a calibration; what it replaces may be of a head that is gone, or damaged."""
    place, old = path or run / CALIBRATION_FILE, None
    if place.exists():
        try:
            old = read_calibration(place, head_digest(run))
        except CheckpointError as error:
            say(f"note: replaces what could not be used: {error}")
    written = save_calibration(run, made.calibration) if path is None else write_calibration(path, made.calibration)
    return Kept(made, written, () if old is None else changes(old, made.calibration))


def _say_of_silent(names: list[str], say: Callable[[str], None]) -> None:
    if names:
        told = f"{len(names)} videos without sound were" if len(names) > 1 else "1 video without sound was"
        say(
            f"warning: {told} left out ({', '.join(names[:5])}{' …' if len(names) > 5 else ''}): the head is "
            "calibrated on videos with sound; give a student (--student), which scores the others"
        )


def _say_of(heads: Heads, by_head: dict[str, list[Detection]], say: Callable[[str], None]) -> None:
    """What is to be known about the scores, each thing once, and which head has no calibration yet."""
    told = dict.fromkeys(text for found in by_head.values() for item in found for text in item.warnings)
    for text in told:
        say(f"warning: {text}")
    if heads.student is None or not by_head:
        return
    if heads.student.sha256 not in by_head:
        say("note: the student, which scores videos without sound, was not calibrated: all of these have sound")
    elif heads.trained.sha256 not in by_head:
        say("note: only the student was calibrated: none of these videos has sound; the head needs some that have")
    else:
        say("note: videos with sound calibrated the head, those without its student, each on its own hours alone")
