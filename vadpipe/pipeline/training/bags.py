"""Videos as training samples: lazily read, averaged to at most 256 snippets, batched half normal and half anomalous.

Legend: B bags, T snippets after pooling, D feature columns, C+1 classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vadpipe.manifest import VideoRecord
from vadpipe.models.windows import pool_rows
from vadpipe.pipeline.detecting.one_video import Origin, require_one_video
from vadpipe.sound import heard_rows
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.track_file import has_sound, read_attributes
from vadpipe.tracks import NORMAL, FeatureTrack, TimeGrid


class Batch(NamedTuple):
    """One batch, zero-padded to its longest video.

    video (B, T, D) float32, targets (B, C+1) multi-hot, lengths (B,) int64; audio (B, T, Da) float32, zeros where
    ``has_audio`` (B, T) is False: no sound there, or padding; both None where the bags have no audio stream.
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


class _Facts(NamedTuple):
    """Of one stored track: where it is from, digest of its content, whether there is sound in any snippet."""

    origin: Origin
    sha256: str
    heard: bool

    @property
    def snippets(self) -> int:
        """T before pooling."""
        return self.origin.grid.num_snippets


class Bags:
    """The bags of some records; what is read from the store is checked once and kept, up to ``cache_bytes``."""

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
        spec.require_picture()
        self.store, self.spec, self.records, self.classes = store, spec, tuple(records), classes
        self.max_snippets, self._room = max_snippets, cache_bytes
        self._rows: dict[tuple[int, bool], NDArray[np.float32]] = {}
        self._tracks: dict[tuple[int, bool], FeatureTrack] = {}
        self._heard: dict[int, NDArray[np.bool_]] = {}
        self._facts: dict[tuple[int, bool], _Facts] = {}
        labels = [[name in record.labels for name in classes] for record in self.records]
        self._targets = np.array(labels, dtype=np.float32).reshape(len(labels), len(classes))
        self.audio_spec = audio_spec
        self.with_audio = frozenset(store.ids(audio_spec)) if audio_spec else frozenset()

    def __len__(self) -> int:
        return len(self.records)

    def has_audio(self, index: int) -> bool:
        """Whether a bag has audio features, and sound in at least one snippet."""
        stored = self.audio_spec is not None and self.records[index].id in self.with_audio
        return stored and self._fact(index, True).heard

    def content(self, index: int) -> tuple[str, ...]:
        """Digests of a bag's stored features, one a stream that it has, without reading them."""
        return tuple(self._fact(index, sound).sha256 for sound in (False, True)[: 1 + self.has_audio(index)])

    def length(self, index: int) -> int:
        """Snippets of a bag after pooling, without reading its features."""
        return min(self._fact(index, False).snippets, self.max_snippets)

    def track(self, index: int) -> FeatureTrack:
        """Features of one bag as they are stored: unpooled, all crops."""
        return self._track(index, False)

    def audio_track(self, index: int) -> FeatureTrack | None:
        """Audio features of one bag as they are stored, None where it has none."""
        return self._track(index, True) if self.has_audio(index) else None

    def rows(self, index: int) -> NDArray[np.float32]:
        """(T, D) pooled features of one bag; of several crops the first (centre) one."""
        return self._pooled(index, False)

    def audio_rows(self, index: int) -> NDArray[np.float32] | None:
        """(T, Da) pooled audio features of one bag, None where it has none.

        :class:`DataError` where they are not of the file that the picture is of, see :func:`require_one_video`.

        Pooling averages the snippets that have sound; see :meth:`heard`.
        """
        if not self.has_audio(index):
            return None
        picture, sound = (self._fact(index, sound).origin for sound in (False, True))
        require_one_video(self.records[index].id, picture, sound)  # before pooling, which would hide another T
        return self._pooled(index, True)

    def heard(self, index: int) -> NDArray[np.bool_] | None:
        """(T,) which pooled snippets have sound, None where the bag has none; the others' audio rows are zeros."""
        if index not in self._heard:
            self.audio_rows(index)  # which finds out
        return self._heard.get(index)

    def _spec(self, sound: bool) -> FeatureSpec:
        return self.audio_spec if sound and self.audio_spec else self.spec

    def _fact(self, index: int, sound: bool) -> _Facts:
        """What the file's attributes alone tell."""
        if (index, sound) not in self._facts:
            spec = self._spec(sound)
            _, told = read_attributes(self.store.path(spec, self.records[index].id))
            grid = TimeGrid(Fraction(told["fps"]), told["num_frames"], spec.frames_per_snippet)
            origin = Origin(spec, grid, told["source_sha256"])
            self._facts[index, sound] = _Facts(origin, told["content_sha256"], has_sound(told))
        return self._facts[index, sound]

    def _track(self, index: int, sound: bool) -> FeatureTrack:
        kept = self._tracks.get((index, sound))
        if kept is not None:
            return kept
        track = self.store.read(self._spec(sound), self.records[index].id)
        if self._fits(track.data):
            self._tracks[index, sound] = track
        return track

    def _pooled(self, index: int, sound: bool) -> NDArray[np.float32]:
        kept = self._rows.get((index, sound))
        if kept is not None:
            return kept
        track = self.store.read(self._spec(sound), self.records[index].id)
        rows = pool_rows(track.data[0].copy() if track.data.ndim == 3 else track.data, self.max_snippets)
        if sound:
            heard = np.ones(track.grid.num_snippets, np.bool_) if track.states is None else heard_rows(track.states)
            share = pool_rows(heard[:, None], self.max_snippets)
            self._heard[index] = share[:, 0] > 0
            # the zeros of snippets without sound are no data
            rows = (rows / np.where(share > 0, share, 1)).astype(np.float32)
        if self._fits(rows):
            self._rows[index, sound] = rows
        return rows

    def _fits(self, data: NDArray[np.floating]) -> bool:
        fits = data.nbytes <= self._room
        self._room -= data.nbytes if fits else 0
        return fits

    def target(self, index: int) -> NDArray[np.float32]:
        """(C+1,) multi-hot over ``classes``."""
        row: NDArray[np.float32] = self._targets[index]
        return row

    def batch(self, indices: Sequence[int]) -> Batch:
        """Pad the chosen bags to the longest of them."""
        rows = [self.rows(index) for index in indices]
        size = max(len(item) for item in rows)
        targets = torch.from_numpy(self._targets[list(indices)])
        lengths = torch.tensor([len(item) for item in rows])
        video = _padded(rows, size, self.spec.dim)
        if self.audio_spec is None:
            return Batch(video, targets, lengths)
        sounds = [self.audio_rows(index) for index in indices]
        has_audio = torch.zeros((len(rows), size), dtype=torch.bool)
        for place, index in enumerate(indices):
            if (heard := self.heard(index)) is not None:
                has_audio[place, : len(heard)] = torch.from_numpy(heard)
        return Batch(video, targets, lengths, _padded(sounds, size, self.audio_spec.dim), has_audio)

    def statistics(self, *, sound: bool = False) -> tuple[Tensor, Tensor]:
        """Mean (D,) and covariance (D, D) of all pooled rows, float64, in two passes that hold one bag at a time.

        ``sound``: of the audio stream, over the snippets that have it.
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
            heard = self.heard(index) if sound else None
            if rows is not None:
                yield rows if heard is None else rows[heard]


def _padded(rows: Sequence[NDArray[np.float32] | None], size: int, dim: int) -> Tensor:
    """(len(rows), size, dim), zeros after each item's end; None is all zeros. Every value is written once."""
    out = np.empty((len(rows), size, dim), dtype=np.float32)
    for place, item in enumerate(rows):
        end = 0 if item is None else len(item)
        if item is not None:
            out[place, :end] = item
        out[place, end:] = 0.0
    return torch.from_numpy(out)


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
