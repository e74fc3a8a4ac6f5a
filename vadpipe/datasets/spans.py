"""True spans of a set of videos, gathered from a file and checked against what is known about each video.

Every reader of ground truth puts what it finds into a :class:`TruthTable`, so that the rules are the same for all:
ids match exactly, categories are the labels', spans past the end are clipped, and lengths may differ by one snippet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vadpipe.datasets import DATASETS
from vadpipe.errors import DataError, UnknownVideos
from vadpipe.manifest import VideoRecord
from vadpipe.tracks import NORMAL, Interval, TimeGrid

_NAMED = 5  # ids that a note spells out; the rest is a number
_NAMED_IN_ERRORS = 50

FEATURES = "their features"
"""What grids are of, unless a caller says otherwise."""


@dataclass(frozen=True, slots=True)
class Span:
    """Frames [start, end) of one category."""

    category: str
    start: int
    end: int


class TruthTable:
    """What a file says about the videos that are both in ``records`` and in ``grids``.

    ``beside`` says in words what the grids are of, for messages about lengths.
    """

    def __init__(
        self, records: Mapping[str, VideoRecord], grids: Mapping[str, TimeGrid], beside: str = FEATURES
    ) -> None:
        self.wanted = {video: records[video] for video in records if video in grids}
        self.notes: list[str] = []
        self._grids = grids
        self._names = category_names(self.wanted.values())
        self._found: dict[str, list[Span]] = {}
        self._unknown: list[str] = []
        self._stated: dict[str, int] = {}
        self._beside = beside

    def mention(self, video: str) -> bool:
        """Note that the file has this video; False where it is not one of those asked for."""
        if video not in self.wanted:
            self._unknown.append(video)
            return False
        self._found.setdefault(video, [])
        return True

    def set_length(self, video: str, num_frames: int) -> None:
        """Note the length that the file states; :meth:`truth` compares all of them with the grids."""
        self._stated[video] = num_frames

    def is_category(self, name: str) -> bool:
        """Whether :meth:`category` knows the name."""
        return name.casefold() in self._names

    def category(self, name: str) -> str:
        """Category of a class name or code, in any case, spelt as in the labels in use; may be ``normal``."""
        if name.casefold() not in self._names:
            known = sorted(set(self._names.values()))
            raise DataError(f"category: got {name!r:.80}, expected one of {known} or a code of the data sets")
        return self._names[name.casefold()]

    def add(self, video: str, start: int, end: int, category: str = "") -> None:
        """Add frames [start, end); without a category, the only one that the video is labelled with.

        :class:`DataError` for a reversed, empty or negative span, one that is there already, one in a normal video or
        of the category ``normal``, and for a video with several labels and no category.
        """
        record = self.wanted[video]
        if not 0 <= start < end:
            raise DataError(f"video {video!r}: span {start} {end}: expected 0 <= start < end")
        category = category or _only_label(record)
        if not record.is_anomalous or category == NORMAL:
            raise DataError(
                f"video {video!r}: a span of {category!r}, but the video's label is {sorted(record.labels)}"
            )
        span = Span(category, start, end)
        if span in self._found.setdefault(video, []):
            raise DataError(f"video {video!r}: {category} {start} {end} is there twice")
        self._found[video].append(span)

    def truth(self, path: str | Path, notes: list[str] | None) -> dict[str, tuple[Interval, ...]]:
        """Intervals by id, sorted by start; normal videos with an empty tuple, anomalous ones only if mentioned.

        Appends to ``notes``, a sentence each, what was clipped, dropped, padded, left out and passed over.
        :class:`UnknownVideos` where no video is known; :class:`DataError` where lengths differ by more than a snippet.
        """
        if not self._found:
            raise UnknownVideos(
                f"{path}: none of its {len(self._unknown)} ids is one of the {len(self.wanted)} videos: "
                f"{few(self._unknown)}"
            )
        self.notes += compare_lengths(self._stated, self._grids, path, self._beside)
        known = [video for video, record in self.wanted.items() if video in self._found or not record.is_anomalous]
        said = self.notes + self._clip_notes() + self._silence_notes(set(known))
        said += [f"annotated videos that are not among those asked for: {few(self._unknown)}"] if self._unknown else []
        if notes is not None:
            notes += [f"{path}: {text}" for text in said]
        return {video: _intervals(self._found.get(video, []), self._grids[video]) for video in known}

    def _clip_notes(self) -> list[str]:
        clipped, dropped = [], []
        for video, spans in self._found.items():
            last = self._grids[video].num_frames
            clipped += [video for span in spans if span.start < last < span.end]
            dropped += [video for span in spans if span.start >= last]
        notes = [f"{len(clipped)} spans ran past the last frame and were clipped: {few(clipped)}"] if clipped else []
        return notes + (
            [f"{len(dropped)} spans lay past the last frame and were dropped: {few(dropped)}"] if dropped else []
        )

    def _silence_notes(self, known: set[str]) -> list[str]:
        """Say which anomalous videos have no span, and whether the file says so or says nothing."""
        spanless = [video for video, spans in self._found.items() if not spans and self.wanted[video].is_anomalous]
        silent = [video for video in self.wanted if video not in known]
        if any(record.split != "train" for record in self.wanted.values()):  # most truth is of the other parts only
            training = sum(self.wanted[video].split == "train" for video in silent)
            silent = [video for video in silent if self.wanted[video].split != "train"]
        else:
            training = 0
        notes = [f"anomalous videos annotated as having no span: {few(spanless)}"] if spanless else []
        notes += [f"the true incidents of {training} training videos are not known"] if training else []
        return notes + ([f"anomalous videos without annotation, left out: {few(silent)}"] if silent else [])


def compare_lengths(
    stated: Mapping[str, int], grids: Mapping[str, TimeGrid], source: str | Path, beside: str = FEATURES
) -> list[str]:
    """Compare lengths that ``source`` states, in frames by id, with the grids', which count; and notes, a sentence.

    :class:`DataError` with the names where they differ by more than one snippet.
    """
    differences = {video: frames - grids[video].num_frames for video, frames in stated.items()}
    far = [f"{video!r} ({by:+d})" for video, by in differences.items() if abs(by) > grids[video].frames_per_snippet]
    if far:
        more = f" and {len(far) - _NAMED_IN_ERRORS} more" if len(far) > _NAMED_IN_ERRORS else ""
        raise DataError(
            f"{source}: {len(far)} videos have another length than {beside}, in frames (stated - {beside}): "
            f"{', '.join(far[:_NAMED_IN_ERRORS])}{more}. Up to one snippet is cut or padded at the tail, not more; "
            "it is of other videos, or of another frame rate"
        )
    near = [f"{video!r} ({by:+d})" for video, by in differences.items() if by]
    if not near:
        return []
    return [
        f"{len(near)} videos differ in length from {beside} by up to one snippet; truth is cut at the tail, or padded "
        f"as normal, in frames (stated - {beside}): {_listed(near)}"
    ]


def category_names(records: Iterable[VideoRecord]) -> dict[str, str]:
    """Class name or code, in lower case -> category, spelt as in the labels in use if they have it."""
    used = {label.casefold(): label for record in records for label in record.labels}
    names: dict[str, str] = {}
    for spec in DATASETS.values():
        names |= {label.casefold(): label for label in spec.classes}
        names |= {code.casefold(): label for code, label in spec.codes.items()}
    return {key: used.get(label.casefold(), label) for key, label in names.items()} | used


def few(videos: Iterable[str]) -> str:
    """Return the first ids, quoted, and the number of the others."""
    return _listed([repr(video) for video in dict.fromkeys(videos)])


def _listed(items: list[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return ", ".join(items[:_NAMED]) + more


def _only_label(record: VideoRecord) -> str:
    if len(record.labels) > 1:
        raise DataError(
            f"video {record.id!r} has the labels {sorted(record.labels)} and its line names none; "
            "use the file with a class before each span (annotations_multiclasses.txt)"
        )
    return next(iter(record.labels))


def _intervals(spans: list[Span], grid: TimeGrid) -> tuple[Interval, ...]:
    inside = [span for span in spans if span.start < grid.num_frames]
    inside.sort(key=lambda span: (span.start, span.end, span.category))
    return tuple(Interval.of_frames(s.category, s.start, min(s.end, grid.num_frames), grid) for s in inside)
