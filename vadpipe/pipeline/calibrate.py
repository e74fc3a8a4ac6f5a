"""From normal footage to a threshold: so many false alarms an hour and no more. Pure: no files, no model.

What is promised and what is not is in docs/calibration.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vadpipe.calibration import Calibration
from vadpipe.config import DetectConfig
from vadpipe.detection import Detection
from vadpipe.errors import DataError
from vadpipe.pipeline.intervals import find_intervals, peak
from vadpipe.tracks import FloatArray

LEVELS = 1001
"""Raw scores that a calibration keeps: one for each thousandth of the time."""
_CONFIDENCE = 0.95
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Candidate:
    """An interval in normal footage: what would be a false alarm if its peak reached the threshold."""

    video: str
    category: str
    start_s: float
    end_s: float
    peak: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration and what to say of it.

    head
        Kind of the head, as ``lec_vad``.
    candidates
        How many intervals the footage has without a threshold, see :func:`calibrate`.
    highest
        Those with the highest peaks, first one first.
    said
        What the footage cannot show.
    """

    calibration: Calibration
    head: str
    candidates: int
    highest: tuple[Candidate, ...]
    said: tuple[str, ...]

    @property
    def expected(self) -> float | None:
        """False alarms an hour to expect in other footage like it, see :func:`threshold_above`; None: not known."""
        known = self.calibration
        if not self.candidates:
            return None  # that none came is no reason to expect none; Calibration.upper says how many there may be
        if known.threshold > 1:
            return 0.0  # no score is so high
        return (known.alarms + (known.threshold > 0)) / known.hours


def calibrate(found: Sequence[Detection], rate: float) -> Calibrated:
    """Calibrate a head on its scores of normal footage: no more than ``rate`` alarms an hour are to be expected.

    ``rate``: over 0. All detections are of one head with one set of settings, from whose scores the candidates are
    found anew without a calibration and with ``r_cls`` 0: that setting drops a category by the highest sixteenth of a
    whole video, so that a spike would be a candidate in a short file and none in a long one. These are a superset of
    what is found with any ``r_cls``, whatever the lengths. :class:`DataError` where the footage holds no snippet.
    """
    hours = sum(item.scores.grid.duration_s for item in found) / 3600
    if hours <= 0:
        raise DataError("the normal footage holds no frames; expected at least some minutes of video")
    candidates = sorted(_candidates(found), key=lambda item: (-item.peak, item.video, item.start_s, item.category))
    peaks = [item.peak for item in candidates]
    threshold = threshold_above(peaks, max(math.floor(min(rate * hours, 2.0**53) + 1e-9) - 1, 0))  # one more comes
    alarms = sum(value >= threshold for value in peaks)
    calibration = Calibration(
        threshold=threshold,
        false_alarms_per_hour=rate,
        hours=hours,
        videos=len(found),
        alarms=alarms,
        upper=poisson_upper(alarms) / hours,
        levels=time_levels(
            np.concatenate([item.scores.anomaly for item in found]),
            np.concatenate([np.diff(item.scores.grid.edges_s()) for item in found]),
        ),
        head_sha256=str(found[0].provenance["sha256"]),
        settings=found[0].params,
    )
    said = _notes(calibration, len(peaks))
    return Calibrated(calibration, str(found[0].provenance["name"]), len(peaks), tuple(candidates[:_SHOWN]), said)


def threshold_above(peaks: ArrayLike, allowed: int) -> float:
    """The smallest threshold that at most ``allowed`` of the peaks (M,) float32 reach; 0 where that is all of them.

    It is the float32 next above the ``allowed`` + 1st highest peak, so that none of equal peaks slips through, in
    whichever precision it is compared. In as much new footage, ``allowed`` + 1 alarms are to be expected: the peak
    that was just shut out is as likely to come again as each one above it.
    """
    ordered = np.sort(np.asarray(peaks, dtype=np.float32))[::-1]
    if len(ordered) <= allowed:
        return 0.0
    return float(np.nextafter(ordered[allowed], np.float32(np.inf)))


def poisson_upper(count: int, confidence: float = _CONFIDENCE) -> float:
    """Upper limit of a Poisson mean after ``count`` events: the mean for which so few have a chance of 5 %."""
    tail = 1 - confidence
    low, high = 0.0, count + 10 * math.sqrt(count + 1) + 10
    whole = np.arange(count + 1)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(whole[1:]))))
    for _ in range(100):
        mean = (low + high) / 2
        chance = np.exp(whole * math.log(mean) - mean - factorials).sum()
        low, high = (mean, high) if chance > tail else (low, mean)
    return (low + high) / 2


def time_levels(scores: FloatArray, seconds: NDArray[np.float64], count: int = LEVELS) -> tuple[float, ...]:
    """Ascending scores under or at which evenly spaced shares of the time lie, the first the lowest of all.

    scores, seconds (T,): of each snippet; the last of a video may be short.
    """
    order = np.argsort(scores, kind="stable")
    shares = np.cumsum(seconds[order])
    wanted = np.linspace(0.0, 1.0, count) * shares[-1]
    places = np.searchsorted(shares, wanted * (1 - 1e-12))  # sums of many are not exact
    return tuple(float(value) for value in scores[order][np.minimum(places, len(order) - 1)])


def changes(old: Calibration, new: Calibration) -> tuple[str, ...]:
    """What a new calibration of a head makes different."""
    told: list[tuple[str, float, float]] = [
        ("threshold", old.threshold, new.threshold),
        ("false alarms an hour asked for", old.false_alarms_per_hour, new.false_alarms_per_hour),
        ("hours", old.hours, new.hours),
        ("videos", old.videos, new.videos),
        ("alarms in the footage", old.alarms, new.alarms),
        ("upper 95 % limit an hour", old.upper, new.upper),
    ]
    differing = [f"{name} {before:.6g} -> {after:.6g}" for name, before, after in told if before != after]
    return (*differing, *_changed_settings(old.settings, new.settings))


def _changed_settings(old: Mapping[str, float], new: Mapping[str, float]) -> list[str]:
    return [f"detect.{name} {old[name]:g} -> {new[name]:g}" for name in old if name in new and old[name] != new[name]]


def _candidates(found: Sequence[Detection]) -> list[Candidate]:
    names = {item.name for item in fields(DetectConfig)}
    return [
        Candidate(result.clip.id, item.category, item.start_s, item.end_s, peak(result.scores, item))
        for result in found
        for item in find_intervals(
            result.scores,
            replace(DetectConfig(**{name: value for name, value in result.params.items() if name in names}), r_cls=0.0),
        )
    ]


def _notes(known: Calibration, candidates: int) -> tuple[str, ...]:
    """What the footage cannot show, in plain words with figures."""
    rate, hours, said = known.false_alarms_per_hour, known.hours, []
    if hours * rate < 1:
        above = "The threshold stands above all that was seen; the" if candidates else "The"
        said.append(
            f"{hours:.3g} h of footage cannot show {rate:g} false alarms an hour: that takes at least {1 / rate:.3g} "
            f"h, and {poisson_upper(0) / rate:.3g} h without any alarm to be sure of it (95 %). {above} true rate may "
            f"be up to {known.upper:.3g} an hour"
        )
    if not candidates:
        said.append("nothing was found in it, so there is no threshold yet: every interval is an alarm")
        return tuple(said)
    if known.threshold > 1:
        said.append(
            "the highest score there is, 1, is reached more often in normal footage than may be: no interval will ever "
            "be an alarm. The head does not tell this footage from incidents; ask for more false alarms, or train on "
            "footage like it"
        )
    if known.threshold == 0:
        said.append("even without a threshold there are fewer alarms than asked for: every interval is an alarm")
    return tuple(said)
