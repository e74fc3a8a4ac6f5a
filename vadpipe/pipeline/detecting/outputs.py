"""What ``vadpipe detect`` leaves on the disk: the JSON of each video, and all that is wanted beside it.

The JSON comes first and is never lost. Whatever else cannot be written costs itself only, and is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from vadpipe.datasets.folder import read_labels
from vadpipe.datasets.ground_truth import Truth, names_no_videos, read_truth
from vadpipe.detection import Detection
from vadpipe.errors import UsageError, VadpipeError
from vadpipe.extractors.limits import Limits
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.detecting.kept import Finding, Kept, Seen
from vadpipe.pipeline.detecting.places import Places
from vadpipe.pipeline.detecting.report import report, write_report
from vadpipe.pipeline.detecting.request import Extras
from vadpipe.pipeline.exports import EXPORTERS
from vadpipe.pipeline.pages.timeline import draw_timeline
from vadpipe.track_file import atomic_write
from vadpipe.tracks import TimeGrid


class Watch(Protocol):
    """Who is told where a run is."""

    def begin(self, name: str) -> None:
        """A video is begun with."""

    def step(self, what: str, done: float, total: float) -> None:
        """``done`` of ``total`` frames of it are through a step of the work, named in a word."""

    def end(self, detection: Detection | None) -> None:
        """It is done, or has failed."""


class Outputs:
    """Writes the files of one run; ``written`` and ``failed``, a sentence each, say what became of them.

    ``kept`` is what was found, in the order of the videos, in whatever order they come.
    """

    def __init__(
        self,
        places: Places,
        extras: Extras,
        picture: bool,
        say: Callable[[str], None],
        limits: Limits | None = None,
    ) -> None:
        self.written: list[Path] = []
        self.failed: list[str] = []
        self._places, self._extras, self._picture, self._say = places, extras, picture, say
        self._limits = limits
        self.kept = Kept(places.folder, say)
        if extras.annotations is not None and names_no_videos(extras.annotations):
            raise UsageError(f"--annotations {extras.annotations} names no videos; give a file that does")

    def keep(self, name: str, path: Path, detection: Detection) -> dict[str, Any]:
        """Write the JSON of one video and the scores beside it; returns its content."""
        out = self._places.report(name)
        content = write_report(detection, out)
        self.written.append(out)
        self.kept.add(self._places.number(name), Finding(path, detection, content["frame_scores"]["file"]))
        return content

    def found(self) -> Sequence[tuple[Detection, dict[str, Any]]]:
        """Detections and their JSON, each read when it is looked at."""
        findings = self.kept.findings()
        return Seen(len(findings), lambda number: _told(findings[number]))

    def add(self, name: str, path: Path, detection: Detection, watch: Watch) -> None:
        """Write what else is wanted of it. :class:`StoreError` after that where no more can be kept for the end."""
        places, extras = self._places, self._extras
        if self._picture:
            self._try(f"picture of {name}", partial(_draw, detection, places.report(name).with_suffix(".png")))
        for kind in extras.exports:
            if EXPORTERS[kind].per_video:
                self._try(f"{kind} of {name}", partial(_export, kind, [detection], partial(places.beside, name)))
        if (frames := places.frames(name)) is not None:
            self._try(f"frame scores of {name}", partial(_frames, detection, frames))
        if extras.clips is not None:
            self._try(f"clips of {name}", partial(_clips, path, detection, extras, watch, self._limits))
        if (overlay := places.overlay(name)) is not None:
            self._try(f"overlay of {name}", partial(_overlay, path, detection, overlay, watch, self._limits))
        self.kept.spill()

    def finish(self, watch: Watch) -> None:
        """Write what is about all videos together, those that there are."""
        if not self.kept:
            return
        detections = self.kept.detections()
        for kind in self._extras.exports:
            if not EXPORTERS[kind].per_video:
                self._try(kind, partial(_export, kind, detections, self._places.of_all))
        if (page := self._places.page()) is not None:
            self._try("page", partial(self._html, page, watch))

    def _html(self, out: Path, watch: Watch) -> list[Path]:
        from vadpipe.pipeline.pages.report import ReportEntry, write_html

        truth: Truth = {}
        findings = self.kept.findings()
        if (annotations := self._extras.annotations) is not None:
            self._try("annotations", lambda: truth.update(true_incidents(annotations, findings, self._say)) or [])

        def entry(number: int) -> ReportEntry:
            of = findings[number]
            truly = truth.get(of.detection.clip.id, ())
            return ReportEntry(of.path if of.path.is_file() else None, of.detection, truly)

        out.parent.mkdir(parents=True, exist_ok=True)
        watch.begin(out.name)
        step = _in_frames(watch, "pages", sum(of.detection.scores.grid.num_frames for of in findings))
        made = 0

        def on_page(total: int) -> None:
            nonlocal made
            made += 1
            step(made, total)

        is_index = self._places.is_shard  # its page is one of several, which what it holds must not tell
        return write_html(Seen(len(findings), entry), out, embed=self._extras.embed, on_page=on_page, is_index=is_index)

    def _try(self, what: str, write: Callable[[], Sequence[Path]]) -> None:
        try:
            self.written += write()
        except Exception as error:  # whatever a library makes of it, the JSON is safe and the other files go on
            known = isinstance(error, VadpipeError | OSError | ImportError)
            said = str(error) if known else f"{type(error).__name__}: {error}"
            self.failed.append(f"{what}: {said}")
            self._say(f"failed: {what}: {said}; the JSON is kept")


def _draw(detection: Detection, out: Path) -> list[Path]:
    """The timeline; own categories carry their note in it."""
    scores = detection.scores
    spec = detection.provenance.get("spec", {})
    untrained = str(spec.get("weights", "")).partition(":")[0] == "random"
    draw_timeline(
        out,
        replace(scores, labels=tuple(map(detection.shown, scores.labels)), zero_shot=frozenset()),
        [replace(item, category=detection.shown(item.category)) for item in detection.intervals],
        title=detection.clip.id,
        untrained_note="The encoder has random weights: scores mean nothing in practice." if untrained else "",
        threshold=detection.calibration.threshold if detection.calibration is not None else None,
    )
    return [out]


def _export(kind: str, detections: Sequence[Detection], place: Callable[[str], Path]) -> list[Path]:
    written = []
    for suffix, content in EXPORTERS[kind].files(detections):
        atomic_write(place(suffix), content)
        written.append(place(suffix))
    return written


def _frames(detection: Detection, out: Path) -> list[Path]:
    from vadpipe.pipeline.exports.frames import write_frames

    out.parent.mkdir(parents=True, exist_ok=True)
    return [write_frames(detection, out)]


def _in_frames(watch: Watch, what: str, frames: int) -> Callable[[int, int], None]:
    """Tell ``watch`` of parts that are done, as the same share of ``frames``: all its steps count these."""
    return lambda done, total: watch.step(what, frames * done / max(total, 1), frames)


def _clips(path: Path, detection: Detection, extras: Extras, watch: Watch, limits: Limits | None) -> list[Path]:
    from vadpipe.pipeline.detecting.clips import cut_clips

    if extras.clips is None:
        return []
    extras.clips.mkdir(parents=True, exist_ok=True)
    step = _in_frames(watch, "clips", detection.scores.grid.num_frames)
    rolls = {"pre_s": extras.pre_roll_s, "post_s": extras.post_roll_s}
    return cut_clips(path, detection, extras.clips, **rolls, limits=limits, on_clip=step)


def _overlay(path: Path, detection: Detection, out: Path, watch: Watch, limits: Limits | None) -> list[Path]:
    from vadpipe.pipeline.detecting.overlay import draw_overlay

    out.parent.mkdir(parents=True, exist_ok=True)
    return [draw_overlay(path, detection, out, lambda done, total: watch.step("overlay", done, total), limits=limits)]


def _told(finding: Finding) -> tuple[Detection, dict[str, Any]]:
    return finding.detection, report(finding.detection, finding.scores_file)


class _Grids(Mapping[str, TimeGrid]):
    """Id -> grid of what was found; those of videos whose rate varies are long, so none is held."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self._findings = findings
        self._numbers = {finding.detection.clip.id: number for number, finding in enumerate(findings)}

    def __getitem__(self, name: str) -> TimeGrid:
        return self._findings[self._numbers[name]].detection.scores.grid

    def __contains__(self, name: object) -> bool:
        return name in self._numbers

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def true_incidents(path: Path, findings: Sequence[Finding], say: Callable[[str], None]) -> Truth:
    """Id -> true incidents, from an annotation file; says which videos it tells nothing of.

    A line without a category needs the video's label: from ``labels.csv`` beside the file, else it is the only category
    that the head was trained on. :class:`DataError` as of :func:`vadpipe.datasets.ground_truth.read_truth`.
    """
    table = path.parent / "labels.csv"
    labelled = {record.id: record for record in read_labels(table)} if table.is_file() else {}
    grids = _Grids(findings)
    records = {}
    for detection in (finding.detection for finding in findings):
        name, trained = detection.clip.id, frozenset(detection.scores.labels[1:]) - detection.zero_shot
        records[name] = VideoRecord(name, labelled[name].labels if name in labelled else trained)
    truth = read_truth(path, records, grids)
    if silent := sorted(grids.keys() - truth.keys()):
        say(f"note: {path} says nothing of {', '.join(silent[:5])}{' …' if len(silent) > 5 else ''}")
    return truth
