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

from vadpipe.errors import DataError
from vadpipe.manifest import VideoRecord
from vadpipe.models.windows import pool_rows
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import NORMAL


class Batch(NamedTuple):
    """One batch, zero-padded to its longest video.

    video (B, T, D) float32, targets (B, C+1) multi-hot, lengths (B,) int64; audio (B, T, Da) float32, zeros where
    ``has_audio`` (B,) is False; both None where the bags have no audio stream.
    """

    video: Tensor
    targets: Tensor
    lengths: Tensor
    audio: Tensor | None = None
    has_audio: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Return the same batch on ``device``."""
        audio = None if self.audio is None else self.audio.to(device)
        has_audio = None if self.has_audio is None else self.has_audio.to(device)
        return Batch(self.video.to(device), self.targets.to(device), self.lengths.to(device), audio, has_audio)


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
        audio_spec: FeatureSpec | None = None,
    ) -> None:
        self.store, self.spec, self.records, self.classes = store, spec, tuple(records), classes
        self.max_snippets, self._room = max_snippets, cache_bytes
        self._cache: dict[tuple[int, bool], NDArray[np.float32]] = {}
        self.audio_spec = audio_spec
        self.with_audio = frozenset(store.ids(audio_spec)) if audio_spec else frozenset()

    def __len__(self) -> int:
        return len(self.records)

    def rows(self, index: int) -> NDArray[np.float32]:
        """(T, D) pooled features of one bag; of several crops the first (centre) one."""
        return self._rows(index, self.spec, sound=False)

    def audio_rows(self, index: int) -> NDArray[np.float32] | None:
        """(T, Da) pooled audio features of one bag, None where it has none; :class:`DataError` for another T."""
        record = self.records[index]
        if self.audio_spec is None or record.id not in self.with_audio:
            return None
        rows = self._rows(index, self.audio_spec, sound=True)
        if len(rows) != (wanted := len(self.rows(index))):
            raise DataError(f"video {record.id!r}: {len(rows)} rows of audio features, expected {wanted}; extract anew")
        return rows

    def _rows(self, index: int, spec: FeatureSpec, *, sound: bool) -> NDArray[np.float32]:
        if (index, sound) in self._cache:
            return self._cache[index, sound]
        data = self.store.read(spec, self.records[index].id).data
        rows = pool_rows(data[0] if data.ndim == 3 else data, self.max_snippets)
        if rows.nbytes <= self._room:
            self._cache[index, sound] = rows
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
        if self.audio_spec is None:
            return Batch(video, targets, lengths)
        audio = torch.zeros(*video.shape[:2], self.audio_spec.dim)
        has_audio = torch.zeros(len(rows), dtype=torch.bool)
        for place, index in enumerate(indices):
            sound = self.audio_rows(index)
            if sound is not None:
                audio[place, : len(sound)], has_audio[place] = torch.from_numpy(sound), True
        return Batch(video, targets, lengths, audio, has_audio)

    def statistics(self, *, sound: bool = False) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of all pooled rows, float64, in two passes that hold one bag at a time.

        ``sound``: of the audio stream, over the videos that have it.
        """
        dim = self.audio_spec.dim if sound and self.audio_spec else self.spec.dim
        count, mean = 0, np.zeros(dim)
        for rows in self._all_rows(sound=sound):
            count, mean = count + len(rows), mean + rows.sum(0, dtype=np.float64)
        mean /= max(count, 1)
        covariance = np.zeros((dim, dim))
        for rows in self._all_rows(sound=sound):
            centred = rows - mean
            covariance += centred.T @ centred
        return torch.from_numpy(mean), torch.from_numpy(covariance / max(count, 1))

    def _all_rows(self, *, sound: bool) -> Iterator[NDArray[np.float32]]:
        for index in range(len(self)):
            rows = self.audio_rows(index) if sound else self.rows(index)
            if rows is not None:
                yield rows


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
