"""Evaluation against the field's usual way, on test sets in the shape of XD-Violence's and UCF-Crime's, in one run.

    python benchmarks/evaluate.py [--sets xd ucf] [--growth 1 2 4 8] [--repeats 3] [--draws 1000] [--seed 0]

Snippet counts and true segments are those of the real test sets (tests/data); scores are made up. The usual way is the
protocol ``vadclip`` and AP and AUC as the field's evaluation scripts are written: every snippet repeated 16 times, a
loop over videos and classes, runs found by a loop over frames, suppression and matching by loops over proposals, all
of it again at each of the five IoU thresholds. "kinder" is the same with runs found by numpy. Both must give our
figures to 1e-6, or the script fails. Ours is one pass from the per-video score arrays on, with both protocols. Seconds
are those of the processor, which hold on a machine that does other work too; all of it runs on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from vadpipe.config import DetectConfig
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.evaluate import EvaluateOptions, ScoredVideo, measure
from vadpipe.pipeline.intervals import find_intervals
from vadpipe.pipeline.metrics import IOU_THRESHOLDS, count_frames, rank_snippets, strict_map, vadclip_map
from vadpipe.tracks import NORMAL, Interval, ScoreTrack, TimeGrid

DATA = Path(__file__).parents[1] / "tests" / "data"
STEP = 16

Array = NDArray[np.float64]
Span = tuple[int, int]


@dataclass(frozen=True)
class Made:
    """A test set: videos as they are scored, and what both ways are given."""

    videos: list[ScoredVideo]
    classes: list[str]
    probabilities: list[NDArray[np.float32]]
    truth: list[NDArray[np.bool_]]
    segments: list[list[Span]]
    labels: list[list[str]]

    def times(self, count: int) -> Made:
        """The same videos ``count`` times under new ids."""
        videos = [
            replace(one, record=replace(one.record, id=f"{one.record.id}-{copy}"))
            for copy in range(count)
            for one in self.videos
        ]
        return Made(
            videos,
            self.classes,
            self.probabilities * count,
            self.truth * count,
            self.segments * count,
            self.labels * count,
        )


def main() -> None:
    """Measure and print; times of the usual way over each line's time stand behind it."""
    options = _options()
    for name in options.sets:
        made = _made(name, options.seed)
        snippets = sum(len(given) for given in made.probabilities)
        size = f"{len(made.videos)} videos, {len(made.classes)} classes, {snippets} snippets of {STEP} frames"
        print(f"\n{name}: {size}\n{'':<46}{'s':>8} {'usual /':>8} {'kinder /':>8}")
        usual, expected = _timed(partial(_usual_way, made, _runs_by_loop), 1)
        kinder, again = _timed(partial(_usual_way, made, _runs_by_numpy), 1)
        ours, figures = _timed(partial(_ours, made), options.repeats)
        np.testing.assert_allclose(figures, expected, atol=1e-6)
        np.testing.assert_allclose(figures, again, atol=1e-6)
        lines = {"usual way: AP, AUC, vadclip": usual, "kinder: the same, runs found by numpy": kinder}
        lines["ours: AP, AUC, vadclip and strict"] = ours
        whole, _ = _timed(partial(measure, made.videos, EvaluateOptions(draws=0)), options.repeats)
        lines["ours: with chance, alarms, rows of videos"] = whole
        drawn, _ = _timed(partial(measure, made.videos, EvaluateOptions(draws=options.draws)), options.repeats)
        lines[f"ours: with {options.draws} bootstrap draws too"] = drawn
        for label, seconds in lines.items():
            print(f"  {label:<44}{seconds:>8.3f} {usual / seconds:>8.1f} {kinder / seconds:>8.1f}", flush=True)
        _growth(made, options.growth, options.repeats)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=("xd", "ucf"), default=["xd", "ucf"])
    parser.add_argument("--growth", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3, help="the best is printed; the usual way runs once")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def _timed(work: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    best, result = np.inf, None
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        best = min(best, time.process_time() - start)
    return best, result


def _growth(made: Made, counts: list[int], repeats: int) -> None:
    print(f"  {'ours, so many videos':<26}{'s':>8} {'ms a video':>12}")
    for count in counts:
        more = made.times(count)
        seconds, _ = _timed(partial(_ours, more), repeats)
        print(f"  {len(more.videos):<26}{seconds:>8.3f} {1000 * seconds / len(more.videos):>12.3f}", flush=True)


# --- the test sets


def _made(name: str, seed: int) -> Made:
    """Real lengths and segments, made-up scores that are better inside the segments; smooth, as scores are."""
    snippets, rows, classes = _shape(name)
    rng = np.random.default_rng(seed)
    spans: list[list[tuple[int, int, int]]] = [[] for _ in snippets]
    for video, start, end, label in rows:
        if min(end, STEP * snippets[video]) > start:
            spans[video].append((start, min(end, STEP * snippets[video]), label))
    videos = [_video(number, count, spans[number], classes, rng) for number, count in enumerate(snippets)]
    truth = []
    for one, count in zip(videos, snippets, strict=True):
        frames = np.zeros(STEP * count, dtype=bool)
        for span in one.record.intervals:
            frames[span.start_frame : span.end_frame] = True
        truth.append(frames)
    segments = [[(start, end) for start, end, _ in row] for row in spans]
    labels = [[classes[label] for *_, label in row] for row in spans]
    return Made(videos, classes, [video.scores.categories for video in videos], truth, segments, labels)


def _shape(name: str) -> tuple[list[int], list[list[int]], list[str]]:
    """Snippets of each video; rows (video, start, end, class); class names. Made up where tests/data is not there."""
    path = DATA / f"metrics_{name}.npz"
    if path.is_file():
        with np.load(path) as data:
            return data["snippets"].tolist(), data["segments"].tolist(), [NORMAL, *data["classes"].tolist()[1:]]
    print(f"{path} is not there: lengths and segments are made up")
    videos, count, mean = (800, 7, 182) if name == "xd" else (290, 14, 239)
    rng = np.random.default_rng(0)
    snippets = np.maximum(rng.lognormal(np.log(mean) - 0.5, 1.0, videos).astype(int), 5).tolist()
    rows = []
    for video, length in enumerate(snippets):
        start, label = int(rng.integers(0, STEP * length - 32)), int(rng.integers(1, count))
        normal = [video, 0, STEP * length, 0]
        rows.append(normal if video % 8 < 3 else [video, start, start + int(rng.integers(32, 600)), label])
    return snippets, rows, [NORMAL, *(f"category {number}" for number in range(1, count))]


def _video(
    number: int, count: int, spans: list[tuple[int, int, int]], classes: list[str], rng: np.random.Generator
) -> ScoredVideo:
    logits = rng.standard_normal((count, len(classes)))
    logits[:, 0] += 1.5
    for start, end, label in spans:
        logits[start // STEP : -(-end // STEP), label] += 2.0 * (label > 0)
    width = min(9, count)
    smooth = [np.convolve(column, np.ones(width) / width, "same") for column in np.exp(logits).T]
    probabilities = (np.array(smooth) / np.sum(smooth, axis=0)).T.astype(np.float32)
    grid = TimeGrid(Fraction(24), STEP * count, STEP)
    true = tuple(Interval.of_frames(classes[label], start, end, grid) for start, end, label in spans if label)
    record = VideoRecord(f"v{number:04d}", frozenset({span.category for span in true} or {NORMAL}), true, "test")
    scores = ScoreTrack(np.clip(1 - probabilities[:, 0], 0, 1), probabilities, tuple(classes), grid)
    return ScoredVideo(record, scores, find_intervals(scores, DetectConfig()))


# --- our way


def _ours(made: Made) -> list[float]:
    """AP, AUC, mAP at each threshold; ``strict`` is computed too."""
    counts = [count_frames(truth, STEP) for truth in made.truth]
    scores = np.concatenate([1 - given[:, 0] for given in made.probabilities])
    abnormal, normal = (np.concatenate([pair[side] for pair in counts]) for side in (0, 1))
    ranking = rank_snippets(scores, abnormal, normal)
    found = {video.record.id: video.found for video in made.videos}
    strict_map(found, {video.record.id: video.record.intervals for video in made.videos}, made.classes[1:])
    figures = vadclip_map(made.probabilities, made.segments, made.labels, made.classes, frames_per_snippet=STEP)
    return [ranking.ap, ranking.auc, *figures.values()]


# --- the usual way, written from the protocol's description


def _usual_way(made: Made, runs: Callable[[NDArray[np.bool_]], list[Span]]) -> list[float]:
    frames = [np.repeat(given, STEP, axis=0).astype(np.float64) for given in made.probabilities]
    scores = np.repeat(np.concatenate([1 - given[:, 0] for given in made.probabilities]), STEP)
    truth = np.concatenate(made.truth)
    figures = [float(average_precision_score(truth, scores)), float(roc_auc_score(truth, scores))]
    for threshold in IOU_THRESHOLDS:
        precisions = [_usual_class(frames, made, column, threshold, runs) for column in range(len(made.classes))]
        known = [value for value in precisions if value is not None]
        # one class without proposals makes it 0 for all
        figures.append(float(np.mean(known)) if len(known) == len(precisions) else 0.0)
    return figures


def _usual_class(
    frames: list[Array], made: Made, column: int, threshold: float, runs: Callable[[NDArray[np.bool_]], list[Span]]
) -> float | None:
    proposals: list[tuple[int, int, int, float]] = []
    for video, values in enumerate(frames):
        proposals += _usual_proposals(video, values[:, column], runs)
    if not proposals:
        return None
    left = [
        [span for span, label in zip(spans, labels, strict=True) if label == made.classes[column]]
        for spans, labels in zip(made.segments, made.labels, strict=True)
    ]
    total = sum(len(spans) for spans in left)
    proposals.sort(key=lambda item: -item[3])
    hits, precision = 0, 0.0
    for rank, (video, start, end, _) in enumerate(proposals, 1):
        best, claim = 0.0, None
        for span in left[video]:
            overlap = _usual_iou((start, end), span)
            if overlap >= threshold and overlap > best:
                best, claim = overlap, span
        if claim is not None:
            left[video].remove(claim)
            hits += 1
            precision += hits / rank
    return precision / total if total else 0.0


def _usual_proposals(
    video: int, values: Array, runs: Callable[[NDArray[np.bool_]], list[Span]]
) -> list[tuple[int, int, int, float]]:
    top = float(np.sort(values)[::-1][: len(values) // 16].mean()) if len(values) >= 16 else 0.0
    if top <= 0:
        return []
    threshold = values.max() - 0.6 * (values.max() - values.min())
    found = [(s, e, float(values[s:e].max() + 0.7 * top)) for s, e in runs(values > threshold) if e - s >= 2]
    kept: list[tuple[int, int, float]] = []
    for start, end, score in sorted(found, key=lambda item: -item[2]):
        if all(_usual_iou((start, end), other[:2]) <= 0.6 for other in kept):
            kept.append((start, end, score))
    return [(video, *item) for item in kept]


def _runs_by_loop(above: NDArray[np.bool_]) -> list[Span]:
    padded = np.concatenate(([0], above.astype(np.int64), [0]))
    steps = [padded[place] - padded[place - 1] for place in range(1, len(padded))]
    starts = [place for place, step in enumerate(steps) if step == 1]
    ends = [place for place, step in enumerate(steps) if step == -1]
    return list(zip(starts, ends, strict=True))


def _runs_by_numpy(above: NDArray[np.bool_]) -> list[Span]:
    steps = np.diff(np.concatenate(([0], above.astype(np.int64), [0])))
    return list(zip(np.flatnonzero(steps == 1).tolist(), np.flatnonzero(steps == -1).tolist(), strict=True))


def _usual_iou(one: Span, other: Span) -> float:
    overlap = min(one[1], other[1]) - max(one[0], other[0])
    if overlap <= 0:
        return 0.0
    return overlap / (one[1] - one[0] + other[1] - other[0] - overlap)


if __name__ == "__main__":
    main()
