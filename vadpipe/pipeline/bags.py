"""Videos as training samples: lazily read, averaged to at most 256 snippets, batched half normal and half anomalous.

Legend: B bags, T snippets after pooling, D feature columns, C+1 classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vadpipe.manifest import VideoRecord
from vadpipe.models.windows import pool_rows
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import NORMAL


class Batch(NamedTuple):
    """video (B, T, D) float32 zero-padded, targets (B, C+1) multi-hot, lengths (B,) int64."""

    video: Tensor
    targets: Tensor
    lengths: Tensor


class Bags:
    """The bags of some records; rows are read from the store when first asked for and kept up to ``cache_bytes``."""

    def __init__(
        self,
        store: FeatureStore,
        spec: FeatureSpec,
        records: Sequence[VideoRecord],
        classes: tuple[str, ...],
        *,
        max_snippets: int = 256,
        cache_bytes: int = 2 << 30,
    ) -> None:
        self.store, self.spec, self.records, self.classes = store, spec, tuple(records), classes
        self.max_snippets, self._room = max_snippets, cache_bytes
        self._cache: dict[int, NDArray[np.float32]] = {}

    def __len__(self) -> int:
        return len(self.records)

    def rows(self, index: int) -> NDArray[np.float32]:
        """(T, D) pooled features of one bag; of several crops the first (centre) one."""
        if index in self._cache:
            return self._cache[index]
        data = self.store.read(self.spec, self.records[index].id).data
        rows = pool_rows(data[0] if data.ndim == 3 else data, self.max_snippets)
        if rows.nbytes <= self._room:
            self._cache[index] = rows
            self._room -= rows.nbytes
        return rows

    def target(self, index: int) -> NDArray[np.float32]:
        """(C+1,) multi-hot over ``classes``."""
        labels = self.records[index].labels
        return np.array([name in labels for name in self.classes], dtype=np.float32)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Pad the chosen bags to the longest of them."""
        rows = [self.rows(index) for index in indices]
        lengths = torch.tensor([len(item) for item in rows])
        video = torch.zeros(len(rows), int(lengths.max()), self.spec.dim)
        for place, item in enumerate(rows):
            video[place, : len(item)] = torch.from_numpy(item)
        targets = torch.from_numpy(np.stack([self.target(index) for index in indices]))
        return Batch(video, targets, lengths)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of all pooled rows, float64, in two passes that hold one bag at a time."""
        count, mean = 0, np.zeros(self.spec.dim)
        for index in range(len(self)):
            rows = self.rows(index)
            count, mean = count + len(rows), mean + rows.sum(0, dtype=np.float64)
        mean /= max(count, 1)
        covariance = np.zeros((self.spec.dim, self.spec.dim))
        for index in range(len(self)):
            centred = self.rows(index) - mean
            covariance += centred.T @ centred
        return torch.from_numpy(mean), torch.from_numpy(covariance / max(count, 1))


def epoch_batches(bags: Bags, batch_size: int, *, balanced: bool, seed: int, epoch: int) -> Iterator[list[int]]:
    """Indices of every batch of one epoch, a pure function of (bags, seed, epoch): a resumed run sees the same.

    Balanced: each half is drawn from its own permutation, the shorter one repeated, until the longer one is used up.
    """
    rng = np.random.default_rng([seed, epoch])
    if not balanced:
        order = rng.permutation(len(bags))
        yield from (order[at : at + batch_size].tolist() for at in range(0, len(order), batch_size))
        return
    normal = [index for index, record in enumerate(bags.records) if NORMAL in record.labels]
    anomalous = [index for index, record in enumerate(bags.records) if NORMAL not in record.labels]
    longest = max(len(normal), len(anomalous))
    half = min(max(batch_size // 2, 1), longest)
    steps = -(-longest // half)
    sides = [_repeated(rng, side, steps * half) for side in (normal, anomalous)]
    for step in range(steps):
        yield [index for side in sides for index in side[step * half : (step + 1) * half]]


def _repeated(rng: np.random.Generator, items: list[int], count: int) -> list[int]:
    rounds = -(-count // len(items))
    return [items[place] for _ in range(rounds) for place in rng.permutation(len(items))][:count]
