"""How much a long video's scores depend on where its windows happen to lie, for several overlaps.

    python benchmarks/detect_windows.py RUN FEATURES [--snippets 1600]

The stored features of the run's videos are joined, in a seeded order, to one long track. It is scored from its
beginning; again without its first 1, 17, 50, … snippets, as if the recording had begun later; and cut into two videos
at several places. What the same snippets get then is compared with what they got in one piece: the anomaly score's
largest and mean difference, the 99th percentile, and the share of time that changes sides at 0.5. A head looks at a
whole window (its graph, its text prompts), so no overlap makes the differences vanish.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import numpy as np

from vadpipe.models.checkpoint import TrainedHead, load_head
from vadpipe.pipeline.score import score_track
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, FloatArray, TimeGrid

_LATER = (1, 17, 50, 100, 128, 200, 255)
_CUTS = (300, 777, 1111)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--snippets", type=int, default=1600)
    options = parser.parse_args()
    trained, store = load_head(options.run), FeatureStore(options.features)
    ids = store.ids(trained.spec)
    order = np.random.default_rng(0).permutation(len(ids))
    rows = np.concatenate([store.read(trained.spec, ids[number]).data for number in order])[: options.snippets]
    print(f"{options.run.name}: {len(rows)} snippets of {len(ids)} videos; largest, mean, 99 %, sides changed")
    for overlap in (0, 32, 64, 128):
        whole = _scores(trained, rows, overlap)
        later = [np.abs(_scores(trained, rows[cut:], overlap) - whole[cut:]) for cut in _LATER]
        sides = [np.mean((_scores(trained, rows[cut:], overlap) > 0.5) != (whole[cut:] > 0.5)) for cut in _LATER]
        parts = [
            np.abs(np.concatenate([_scores(trained, part, overlap) for part in (rows[:cut], rows[cut:])]) - whole)
            for cut in _CUTS
        ]
        print(f"overlap {overlap:3}: begun later {_told(later)} {np.mean(sides):.3f}; cut in two {_told(parts)}")
    print(f"deviation of the score itself {whole.std():.3f}")


def _scores(trained: TrainedHead, rows: FloatArray, overlap: int) -> FloatArray:
    track = FeatureTrack(rows, TimeGrid(Fraction(25), 16 * len(rows)), trained.spec, "joined")
    return score_track(trained.head, track, trained.classes, trained.config.detect.window, None, overlap).anomaly


def _told(differences: list[FloatArray]) -> str:
    joined = np.concatenate(differences)
    return f"{joined.max():.3f} {joined.mean():.4f} {np.percentile(joined, 99):.3f}"


if __name__ == "__main__":
    main()
