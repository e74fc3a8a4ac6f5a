"""Scores of long videos: nothing changes without overlap, and with it less depends on where the windows lie."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.pipeline.mean_colour import MeanColour
from vadpipe.head_config import LecVadConfig
from vadpipe.models import HeadInputs, LecVad
from vadpipe.models.windows import windows
from vadpipe.pipeline.extract import ExtractOptions, feature_spec
from vadpipe.pipeline.score import score_track
from vadpipe.tracks import FeatureTrack, FloatArray, TimeGrid

SPEC = feature_spec(MeanColour(), ExtractOptions())
LABELS = ("normal", "fighting", "riot")
LATER = (1, 17, 100)
# Trained heads: docs/detection.md. This one is untrained, with all its parts; its scores deviate by 0.11.
TOLERANCE = {"largest": 0.06, "mean": 0.005}


def network() -> LecVad:
    torch.manual_seed(0)
    config = LecVadConfig(dim=32, heads=4, memory_blocks=1, zero_init=False)
    return LecVad(config, HeadInputs(SPEC.dim, torch.randn(3, 32))).eval()


def rows(count: int) -> FloatArray:
    """Scenes of 5 to 60 snippets that look alike, with noise, as videos are."""
    generator = np.random.default_rng(0)
    scenes: list[NDArray[Any]] = []
    while sum(map(len, scenes)) < count:
        centre, length = 3 * generator.standard_normal(SPEC.dim), generator.integers(5, 60)
        scenes.append(centre + 0.5 * generator.standard_normal((length, SPEC.dim)))
    return np.concatenate(scenes)[:count].astype(np.float32)


def scored(head: Any, data: FloatArray, overlap: int, size: int = 256) -> FloatArray:
    track = FeatureTrack(data, TimeGrid(Fraction(25), 16 * len(data)), SPEC, "x")
    return score_track(head, track, LABELS, size, None, overlap).anomaly


def test_without_overlap_windows_are_stitched_bit_for_bit() -> None:
    head, data = network(), rows(600)
    parts = [scored(head, data[start:end], 0) for start, end in windows(600, 256)]
    np.testing.assert_array_equal(scored(head, data, 0), np.concatenate(parts))


@pytest.mark.parametrize("count", [1, 255, 256])
def test_a_video_of_one_window_has_the_same_scores_at_any_overlap(count: int) -> None:
    head, data = network(), rows(count)
    for overlap in (64, 128, 999):
        np.testing.assert_array_equal(scored(head, data, overlap), scored(head, data, 0))


def test_scores_depend_little_on_where_the_windows_lie() -> None:
    head, data = network(), rows(900)
    differences = {}
    for overlap in (0, 64):
        whole = scored(head, data, overlap)
        each = [np.abs(scored(head, data[cut:], overlap) - whole[cut:]) for cut in LATER]
        differences[overlap] = np.concatenate(each)
    assert differences[64].max() < TOLERANCE["largest"]
    assert differences[64].mean() < TOLERANCE["mean"]
    assert differences[64].mean() < differences[0].mean()


@dataclass
class Place:
    """A head whose score is the snippet's place in its window, 0 … 1: what no blending can hide."""

    size: int

    def parameters(self) -> Any:
        yield torch.zeros(1)

    def __call__(self, video: torch.Tensor, lengths: torch.Tensor) -> Any:
        place = torch.arange(video.shape[1])[None] / self.size

        class Out:
            anomaly = place
            categories = torch.stack([1 - place, place, 0 * place], dim=-1)

        return Out


def test_the_scores_of_two_windows_fade_into_each_other() -> None:
    blended = scored(Place(8), rows(14), 2, size=8)
    by_hand = [0, 1, 2, 3, 4, 5, (6 * 2 + 0) / 3, (7 + 1 * 2) / 3, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(blended, np.array(by_hand) / 8, atol=1e-6)
