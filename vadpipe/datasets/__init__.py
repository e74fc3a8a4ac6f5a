"""Data sets: their classes, prompt texts and codes, in one table; readers of their files are beside this module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.tracks import NORMAL


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """What is fixed about a data set.

    classes
        The C class names, ``normal`` first; only ``normal`` where they come from the labels (:func:`dataset_spec`).
    prompts
        Class name -> text for the text encoder, for exactly these classes.
    frames_per_snippet
        Frames that one row of its released features covers.
    codes
        Token of its lists and file names -> class name, e.g. ``B6`` -> ``car accident``.
    fps
        Nominal frame rate of its videos, in which seconds of *released* features are given, for those files say none.
        Features that vadpipe extracts carry each video's own rate. None where the videos have no common one.
    counts
        Split -> official number of videos.
    known_bad
        Id -> what is wrong with that video or its label in every copy of the data set.
    label_first
        Whether names begin with the class (``Arson011_x264``); else they end in ``_label_`` and codes.
    """

    name: str
    classes: tuple[str, ...]
    prompts: Mapping[str, str]
    frames_per_snippet: int = 16
    codes: Mapping[str, str] = field(default_factory=dict)
    fps: Fraction | None = None
    counts: Mapping[str, int] = field(default_factory=dict)
    known_bad: Mapping[str, str] = field(default_factory=dict)
    label_first: bool = False

    def __post_init__(self) -> None:
        if not self.classes or self.classes[0] != NORMAL or len(set(self.classes)) != len(self.classes):
            raise ValueError(f"classes: got {self.classes}, expected {NORMAL!r} first and no class twice")
        if set(self.prompts) != set(self.classes) or not all(self.prompts.values()):
            raise ValueError(f"prompts: got {dict(self.prompts)}, expected a text for each of {self.classes}")
        if self.frames_per_snippet < 1:
            raise ValueError(f"frames_per_snippet: got {self.frames_per_snippet}, expected at least 1")
        if unknown := set(self.codes.values()) - set(self.classes):
            raise ValueError(f"codes: {sorted(unknown)} are none of {self.classes}")

    @property
    def anomalies(self) -> tuple[str, ...]:
        """The classes without ``normal``."""
        return self.classes[1:]

    @property
    def names(self) -> str:
        """Everything that :meth:`class_of` knows, for messages."""
        return ", ".join(dict.fromkeys((*self.codes, *self.classes)))

    def class_of(self, name: str) -> str | None:
        """Class of a code or class name, in any case; None for anything else."""
        if name in self.codes:  # as lists write it, row for row
            return self.codes[name]
        known = {label.casefold(): label for label in self.classes}
        known |= {code.casefold(): label for code, label in self.codes.items()}
        return known.get(name.casefold())


def _spec(
    name: str,
    anomalies: tuple[str, ...],
    codes: Mapping[str, str] | None = None,
    frames_per_snippet: int = 16,
    fps: Fraction | None = None,
    counts: Mapping[str, int] | None = None,
    known_bad: Mapping[str, str] | None = None,
    label_first: bool = False,
) -> DatasetSpec:
    # The papers prompt with the class names themselves, and CLIP's tokenizer ignores case; an underscore is how
    # folders write a blank.
    classes = (NORMAL, *anomalies)
    prompts = MappingProxyType({label: label.replace("_", " ") for label in classes})
    return DatasetSpec(
        name,
        classes,
        prompts,
        frames_per_snippet,
        MappingProxyType(dict(codes or {})),
        fps,
        MappingProxyType(dict(counts or {})),
        MappingProxyType(dict(known_bad or {})),
        label_first,
    )


_XD_CODES = {
    "A": NORMAL,
    "B1": "fighting",
    "B2": "shooting",
    "B4": "riot",
    "B5": "abuse",
    "B6": "car accident",
    "G": "explosion",
}
# Ids stand in the released lists. The first two: reported by several users of the released videos.
_XD_KNOWN_BAD = {
    "v=8cTqh9tMz_I__#1_label_A": "the released video has no index (moov atom) and cannot be decoded",
    "v=9eME1y6V-T4__#01-12-00_01-18-00_label_A": "the released video is damaged; some decoders stop at it",
    "v=qQCTvJq83_s__#1_label_A": "the train list has the same clip as normal and as fighting",
    "v=qQCTvJq83_s__#1_label_B1-0-0": "the train list has the same clip as normal and as fighting",
    "Ip.Man.2008__#01-40-37_01-42-07_label_B4-0-0": "named riot, annotated as fighting (B1)",
}
_UCF_ANOMALIES = (
    "Abuse",
    "Arrest",
    "Arson",
    "Assault",
    "Burglary",
    "Explosion",
    "Fighting",
    "RoadAccidents",
    "Robbery",
    "Shooting",
    "Shoplifting",
    "Stealing",
    "Vandalism",
)

DATASETS: Mapping[str, DatasetSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            _spec(
                "xd_violence",
                tuple(_XD_CODES.values())[1:],
                _XD_CODES,
                fps=Fraction(24),
                counts={"train": 3954, "test": 800},
                known_bad=_XD_KNOWN_BAD,
            ),
            _spec(
                "ucf_crime",
                _UCF_ANOMALIES,
                {"Normal": NORMAL},
                fps=Fraction(30),
                counts={"train": 1610, "test": 290},
                label_first=True,
            ),
            # CCTV-Fights_sub. The videos come from many cameras and have no common rate; the data set's own
            # groundtruth.json states each.
            _spec(
                "cctv_fights",
                ("fighting",),
                {"A": NORMAL, "B1": "fighting", "Fight": "fighting"},
                frames_per_snippet=4,
                counts={"test": 157},
            ),
            _spec("folder", ()),
        )
    }
)
"""Data sets by name. ``folder`` is the user's own data; its classes are the labels found there."""


def dataset_spec(name: str, records: Iterable[VideoRecord]) -> DatasetSpec:
    """Data set ``name`` for these videos: ``folder`` gets the labels found as classes, in alphabetical order.

    :class:`UsageError` for an unknown name, :class:`DataError` for a label that is no class of the data set, or where
    ``folder`` has no anomaly category at all.
    """
    if name not in DATASETS:
        raise UsageError(f"data set: got {name!r}, expected one of {', '.join(DATASETS)}")
    spec = DATASETS[name]
    found = {label for record in records for label in record.labels if label != NORMAL}
    if spec.anomalies:
        if unknown := sorted(found - set(spec.anomalies)):
            raise DataError(f"labels {unknown} are no classes of {name}; it has {', '.join(spec.classes)}")
        return spec
    if not found:
        raise DataError("no video has an anomaly label; label at least one with what is to be found")
    return _spec(name, tuple(sorted(found)), frames_per_snippet=spec.frames_per_snippet)
