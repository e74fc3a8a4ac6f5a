"""What ``vadpipe detect`` reads beside the videos, and so never writes over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vadpipe.pipeline.calibrating.file import CALIBRATION_FILE, students_file
from vadpipe.pipeline.detecting.heads import find_student
from vadpipe.pipeline.detecting.request import DetectRequest

_RUN_FILES = (
    *("config.json", "videos.json", "metrics.jsonl", "evaluation.json"),
    *(CALIBRATION_FILE, "README.md", "curve.png"),
)
"""Beside the tensors; other files in a run folder may be what an earlier run wrote, and are replaced as everywhere."""


def guarded_files(request: DetectRequest) -> Iterator[tuple[str, Path]]:
    """(what it is, file) of all that the request reads but the videos; files that are not there (yet) among them."""
    extras = request.extras
    if extras.annotations is not None:
        yield "the file of --annotations", extras.annotations
        yield "the labels beside --annotations", extras.annotations.parent / "labels.csv"
    if request.categories is not None:
        yield "the file of --categories", request.categories
    if request.calibration not in ("", "none"):
        given = Path(request.calibration)
        yield "the file of --calibration", given
        yield "the student's part of --calibration", students_file(given)
    for choice in request.weights:
        yield "the file of --weights", Path(choice.rpartition("=")[2])
    for folder, whose in ((request.run, "--run"), (find_student(request.run, request.student), "the student")):
        if folder is not None:
            known = {folder / name for name in _RUN_FILES} | set(folder.glob("*.safetensors"))
            yield from ((f"a file of {whose}", path) for path in sorted(known))
