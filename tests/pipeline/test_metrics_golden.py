"""The figures that VadCLIP's public evaluation code gives, on the real truth of both benchmarks' test sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vadpipe.pipeline.metrics import (
    IOU_THRESHOLDS,
    count_frames,
    rank_frames,
    rank_snippets,
    vadclip_map,
)

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Benchmark:
    probabilities: list[NDArray[np.float16]]
    segments: list[list[tuple[int, int]]]
    labels: list[list[str]]
    classes: list[str]
    truth: NDArray[np.bool_]
    expected: list[float]


@pytest.fixture(scope="module", params=["ucf", "xd"])
def benchmark(request: pytest.FixtureRequest) -> Benchmark:
    with np.load(DATA / f"metrics_{request.param}.npz") as data:
        snippets, classes = data["snippets"], data["classes"].tolist()
        ends = np.cumsum(snippets)
        segments: list[list[tuple[int, int]]] = [[] for _ in snippets]
        labels: list[list[str]] = [[] for _ in snippets]
        for video, start, end, label in data["segments"].tolist():
            segments[video].append((start, end))
            labels[video].append(classes[label])
        truth = np.zeros(16 * ends[-1], dtype=bool)
        for video, start, end in data["abnormal"].tolist():
            first = 16 * (ends[video] - snippets[video])
            truth[first + start : min(first + end, 16 * ends[video])] = True
        probabilities = np.split(data["probabilities"].T, ends[:-1])
        return Benchmark(probabilities, segments, labels, classes, truth, data["expected"].tolist())


def test_map_is_the_public_codes(benchmark: Benchmark) -> None:
    found = vadclip_map(
        benchmark.probabilities, benchmark.segments, benchmark.labels, benchmark.classes, frames_per_snippet=16
    )
    assert list(found) == list(IOU_THRESHOLDS)
    assert list(found.values()) == pytest.approx(benchmark.expected[2:], abs=1e-6)
    assert min(found.values()) > 0.2  # nothing here is trivially equal


def test_frame_figures_are_the_public_codes_and_snippets_give_them_exactly(benchmark: Benchmark) -> None:
    scores = 1 - np.concatenate(benchmark.probabilities)[:, 0].astype(np.float64)
    by_frame = rank_frames(np.repeat(scores, 16), benchmark.truth)
    assert [by_frame.ap, by_frame.auc] == pytest.approx(benchmark.expected[:2], abs=1e-6)
    by_snippet = rank_snippets(scores, *count_frames(benchmark.truth, 16))
    assert (by_snippet.ap, by_snippet.auc) == (by_frame.ap, by_frame.auc)
