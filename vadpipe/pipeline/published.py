"""Published figures, each with the table it stands in, and the test sets they were measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from vadpipe.errors import UsageError
from vadpipe.spec import FeatureSpec

_LEC_VAD = "LEC-VAD, ICML 2025"
_AVADCLIP = "AVadCLIP, 2025"
_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


@dataclass(frozen=True, slots=True)
class Published:
    """One published figure.

    head, dataset
        As in the settings of a run. features: what the head saw: ``CLIP``, ``I3D``, ``C3D``, ``CLIP + audio``,
        ``audio``, or ``not stated``.
    figure
        ``frame_ap``, ``frame_auc``, ``map@0.1`` … ``map@0.5`` or ``map_average``, these in the protocol ``vadclip``.
    percent, source
        The figure as printed, and where.
    """

    head: str
    dataset: str
    features: str
    figure: str
    percent: float
    source: str


@dataclass(frozen=True, slots=True)
class TestSet:
    """A benchmark's test videos: how many, and the sha256 of their sorted ids, joined by line feeds."""

    __test__ = False  # no test, whatever pytest makes of the name

    videos: int
    sha256: str

    def holds(self, ids: Iterable[str]) -> bool:
        """Whether ``ids`` are exactly its videos."""
        return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest() == self.sha256


TEST_SETS: Mapping[str, TestSet] = MappingProxyType(
    {
        "xd_violence": TestSet(800, "a62aebaabdeff077e7983dc0b16272559662d0465b5468eab928178a77ebf4e2"),
        "ucf_crime": TestSet(290, "ed354847224251c2327e6b92df8cf0990709b1940da3e7d288decf9e23bf326b"),
        "cctv_fights": TestSet(157, "d66af2255963d6b417c599ea65c15a6baca93be446c23406aa67237c7aa3476c"),
    }
)
"""Data set -> test set, from the published annotation files. ``cctv_fights`` is CCTV-Fights_sub, all of them fights."""


def _maps(head: str, dataset: str, features: str, source: str, values: Sequence[float]) -> list[Published]:
    names = (*(f"map@{value:g}" for value in _THRESHOLDS), "map_average")
    return [Published(head, dataset, features, name, value, source) for name, value in zip(names, values, strict=True)]


# Differs from the papers in nothing: figures are as printed, also where an average is rounded from unprinted digits.
PUBLISHED: tuple[Published, ...] = (
    Published("lec_vad", "xd_violence", "CLIP", "frame_ap", 86.56, f"{_LEC_VAD}, Table 1"),
    Published("lec_vad", "xd_violence", "I3D", "frame_ap", 88.47, f"{_LEC_VAD}, Table 1"),
    Published("lec_vad", "ucf_crime", "CLIP", "frame_auc", 89.97, f"{_LEC_VAD}, Table 2"),
    Published("lec_vad", "ucf_crime", "I3D", "frame_auc", 88.21, f"{_LEC_VAD}, Table 2"),
    Published("lec_vad", "ucf_crime", "C3D", "frame_auc", 84.75, f"{_LEC_VAD}, Table 2"),
    *_maps("lec_vad", "xd_violence", "not stated", f"{_LEC_VAD}, Table 3", (48.78, 40.94, 34.28, 28.02, 23.68, 35.14)),
    *_maps("lec_vad", "ucf_crime", "not stated", f"{_LEC_VAD}, Table 4", (19.65, 17.17, 14.37, 9.45, 7.18, 13.56)),
    Published("avadclip", "xd_violence", "CLIP + audio", "frame_ap", 86.04, f"{_AVADCLIP}, Table 1"),
    Published("avadclip", "xd_violence", "CLIP", "frame_ap", 85.53, f"{_AVADCLIP}, Table 1"),
    Published("avadclip", "xd_violence", "audio", "frame_ap", 52.51, f"{_AVADCLIP}, Table 6"),
    *_maps(
        "avadclip", "xd_violence", "CLIP + audio", f"{_AVADCLIP}, Table 2", (41.89, 34.61, 27.08, 22.16, 17.30, 28.61)
    ),
    *_maps("avadclip", "xd_violence", "CLIP", f"{_AVADCLIP}, Table 2", (39.63, 32.77, 26.84, 21.58, 16.39, 27.44)),
    Published("avadclip", "xd_violence", "audio", "map_average", 13.50, f"{_AVADCLIP}, Table 6"),
    Published("avadclip", "cctv_fights", "CLIP + audio", "frame_ap", 73.38, f"{_AVADCLIP}, Table 3"),
    Published("avadclip", "cctv_fights", "CLIP", "frame_ap", 73.36, f"{_AVADCLIP}, Table 3"),
    Published("vadclip", "xd_violence", "CLIP", "frame_ap", 84.51, f"{_LEC_VAD}, Table 1; {_AVADCLIP}, Table 1"),
    Published("vadclip", "ucf_crime", "CLIP", "frame_auc", 88.02, f"{_LEC_VAD}, Table 2"),
    Published("vadclip", "cctv_fights", "CLIP", "frame_ap", 72.78, f"{_AVADCLIP}, Table 3"),
    *_maps(
        "vadclip",
        "xd_violence",
        "CLIP",
        f"{_LEC_VAD}, Table 3; {_AVADCLIP}, Table 2",
        (37.03, 30.84, 23.38, 17.90, 14.31, 24.70),
    ),
    *_maps("vadclip", "ucf_crime", "CLIP", f"{_LEC_VAD}, Table 4", (11.72, 7.83, 6.40, 4.53, 2.93, 6.68)),
)
"""Every figure that these heads' papers print for these data sets and that vadpipe measures too."""


def published_figures(dataset: str, head: str, features: str) -> tuple[Published, ...]:
    """Figures of a head on a data set: those of the same features and those that state none; else of all features.

    ``features`` as :func:`features_in_words` gives them. Empty where nothing was published.
    """
    rows = tuple(row for row in PUBLISHED if (row.dataset, row.head) == (dataset, head))
    same = tuple(row for row in rows if row.features in (features, "not stated"))
    return same if any(row.features == features for row in same) else rows


def features_in_words(spec: FeatureSpec, audio_spec: FeatureSpec | None = None) -> str:
    """``CLIP``, ``I3D``, ``C3D`` for vadpipe's own streams, ``audio`` for sound; other streams by their own name."""
    words = {"clip": "CLIP", "i3d": "I3D", "c3d": "C3D", "wav2clip": "audio"}
    name = words.get(spec.stream, spec.stream)
    return name if audio_spec is None else f"{name} + audio"


def require_test_set(dataset: str, ids: Sequence[str]) -> None:
    """:class:`UsageError` unless ``ids`` are exactly the test videos of ``dataset``: a part cannot be compared."""
    if dataset not in TEST_SETS:
        raise UsageError(f"data set: got {dataset!r}, expected one with published figures: {', '.join(TEST_SETS)}")
    if not TEST_SETS[dataset].holds(ids):
        count = TEST_SETS[dataset].videos
        raise UsageError(
            f"data set {dataset}: the {len(ids)} videos to evaluate are not exactly its {count} test videos; "
            "published figures hold for these only. Pass its labels and annotations, or leave --dataset out"
        )
