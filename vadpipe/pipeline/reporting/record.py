"""What a head computes on the way to its scores, kept while the evaluation's own scoring runs: nothing is run twice.

Legend: T snippets of a video, d columns of the head's features, D of the stored ones, C + 1 classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vadpipe.config import DetectConfig
from vadpipe.models.losses import gaussian_mixture_masks
from vadpipe.models.windows import windows
from vadpipe.tracks import FloatArray, ScoreTrack


@dataclass(frozen=True, slots=True, eq=False)
class MixtureTrace:
    """LEC-VAD's Gaussian mixture prior in one video (eq. 12), crops averaged.

    raw, prior
        (T,) s_b, the category-agnostic scores that the prior is to smooth; s_gmm, the diagonal of the masks.
    masks
        (first snippet, G (n, n)) of each window: row t is the mixture that snippet t puts over the window's snippets.
    """

    raw: FloatArray
    prior: FloatArray
    masks: tuple[tuple[int, FloatArray], ...]


@dataclass(frozen=True, slots=True, eq=False)
class SnippetRows:
    """Sampled snippets: category of each, features before (S, D) and after the head (S, d), crops averaged."""

    categories: tuple[str, ...]
    before: FloatArray
    after: FloatArray


Sample = Mapping[str, tuple[NDArray[np.int64], tuple[str, ...]]]
"""Video id -> rows that were drawn, ascending, and the category of each."""


class Recorder:
    """Keeps of every video what figures need: prior of the videos ``shown``, rows of the ``sample``.

    Begins a video with its first window; :meth:`end_video` ends it, with the number of its snippets.
    """

    def __init__(self, head: Any, shown: tuple[str, ...], sample: Sample, detect: DetectConfig) -> None:
        self.mixtures: dict[str, MixtureTrace] = {}
        self._rows: dict[str, tuple[FloatArray, FloatArray]] = {}
        self._head, self._shown, self._sample, self._detect = head, shown, sample, detect
        self._chunks: list[tuple[FloatArray, FloatArray, Any]] = []

    def take(self, _head: Any, given: tuple[Any, ...], out: Any) -> None:
        """Look at one window; the form of torch's forward hooks."""
        video, lengths, *sound = given
        size = int(lengths[0])
        heard = getattr(self._head.config, "modality", "") == "audio" and sound
        before = _crop_mean(sound[0] if heard else video, size)
        self._chunks.append((before, _crop_mean(out.features, size), out))

    def end_video(self, name: str, scores: ScoreTrack) -> None:
        """All windows of video ``name`` have been seen."""
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return
        starts = window_starts([len(chunk[0]) for chunk in chunks], scores.grid.num_snippets, self._detect)
        if name in self._shown and hasattr(chunks[0][2], "s_gmm"):
            parts = [_mixture(self._head.config, out, len(before)) for before, _, out in chunks]
            raw, prior = (stitch(starts, [part[place] for part in parts]) for place in (0, 1))
            masks = tuple((start, part[2]) for start, part in zip(starts, parts, strict=True))
            self.mixtures[name] = MixtureTrace(raw, prior, masks)
        if name in self._sample:
            drawn = self._sample[name][0]
            before, after = (stitch(starts, [chunk[place] for chunk in chunks])[drawn] for place in (0, 1))
            self._rows[name] = before, after

    def rows(self) -> SnippetRows | None:
        """All sampled rows, videos sorted by id; None without any."""
        names = sorted(self._rows)
        if not names:
            return None
        categories = tuple(category for name in names for category in self._sample[name][1])
        before, after = (np.concatenate([self._rows[name][place] for name in names]) for place in (0, 1))
        return SnippetRows(categories, before, after)


@contextmanager
def recording(head: Any, recorder: Recorder) -> Iterator[Callable[..., None]]:
    """Let ``recorder`` see every window that ``head`` scores; yields what to call when a video is scored."""
    handle = head.register_forward_hook(recorder.take)
    try:
        yield lambda name, scores, *_: recorder.end_video(name, scores)
    finally:
        handle.remove()


def window_starts(sizes: Sequence[int], snippets: int, detect: DetectConfig) -> list[int]:
    """First snippet of each window that was scored, given their sizes; with the settings' overlap, or without any."""
    for overlap in (detect.overlap, 0):
        spans = windows(snippets, detect.window, overlap)
        if [end - start for start, end in spans] == list(sizes):
            return [start for start, _ in spans]
    raise ValueError(f"windows of {list(sizes)} snippets do not cover a video of {snippets}")


def stitch(starts: Sequence[int], parts: Sequence[FloatArray]) -> FloatArray:
    """Windows (n, …) to one (T, …); where two share a snippet, the mean."""
    total = starts[-1] + len(parts[-1])
    summed, seen = np.zeros((total, *parts[0].shape[1:]), dtype=np.float64), np.zeros(total)
    for start, part in zip(starts, parts, strict=True):
        summed[start : start + len(part)] += part
        seen[start : start + len(part)] += 1
    return (summed / seen.reshape(-1, *[1] * (summed.ndim - 1))).astype(np.float32)


def _crop_mean(rows: Tensor, size: int) -> FloatArray:
    mean: FloatArray = rows[:, :size].float().mean(dim=0).cpu().numpy()
    return mean


def _mixture(config: Any, out: Any, size: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    first = 0 if config.gmm_include_normal else 1
    masks = [
        gaussian_mixture_masks(alpha[:size, first:], mu[:size, first:], sigma[:size, first:], config.gmm_beta)
        for alpha, mu, sigma in zip(out.s_m.float(), out.mu, out.sigma, strict=True)
    ]
    mask: FloatArray = (sum(masks[1:], masks[0]) / len(masks)).cpu().numpy()
    return _crop_mean(out.s_b[..., 1], size), _crop_mean(out.s_gmm, size), mask
