"""Bags: what is read, kept, padded and drawn."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.pipeline.planted import AUDIO_SPEC, CLASSES, SPEC, Planted, plant, plant_audio
from vadpipe.errors import DataError
from vadpipe.manifest import VideoRecord
from vadpipe.models.windows import pool_rows
from vadpipe.pipeline.training.bags import Bags, epoch_batches
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    made = plant(tmp_path_factory.mktemp("planted"), 32)
    plant_audio(made, silent=4)
    return made


def bags(planted: Planted, split: str) -> Bags:
    return Bags(planted.store, SPEC, planted.part(split), CLASSES)


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Every later read of the store, as (stream, id)."""
    read, seen = FeatureStore.read, list[tuple[str, str]]()

    def counted(self: FeatureStore, spec: FeatureSpec, video_id: str) -> FeatureTrack:
        seen.append((spec.stream, video_id))
        return read(self, spec, video_id)

    monkeypatch.setattr(FeatureStore, "read", counted)
    return seen


def test_balanced_batches_use_every_video_and_are_a_function_of_seed_and_epoch(planted: Planted) -> None:
    every = bags(planted, "train")
    batches = list(epoch_batches(every, 8, balanced=True, seed=3, epoch=2))
    assert batches == list(epoch_batches(every, 8, balanced=True, seed=3, epoch=2))
    assert batches != list(epoch_batches(every, 8, balanced=True, seed=3, epoch=1))
    assert {index for batch in batches for index in batch} == set(range(len(every)))
    for batch in batches:
        assert sum(every.records[index].is_anomalous for index in batch) == len(batch) // 2
    plain = [index for batch in epoch_batches(every, 8, balanced=False, seed=3, epoch=2) for index in batch]
    assert sorted(plain) == list(range(len(every)))


def test_statistics_are_those_of_all_rows(planted: Planted) -> None:
    every = bags(planted, "train")
    mean, covariance = every.statistics()
    rows = np.concatenate([every.rows(index) for index in range(len(every))])
    np.testing.assert_allclose(mean.numpy(), rows.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(covariance.numpy(), np.cov(rows.T, bias=True), atol=1e-4)


def test_unlabelled_order_does_not_matter_for_targets() -> None:
    record = VideoRecord("x", frozenset({"riot", "fighting"}))
    nothing: Any = None  # targets need no store
    assert Bags(nothing, SPEC, [record], CLASSES).target(0).tolist() == [0.0, 1.0, 1.0]


def test_a_batch_is_the_rows_and_zeros(planted: Planted) -> None:
    every = Bags(planted.store, SPEC, planted.records, CLASSES, max_snippets=24, audio_spec=AUDIO_SPEC)
    batch = every.batch([3, 30, 5])
    assert batch.audio is not None
    assert batch.has_audio is not None
    wanted = [[index != 30 and row < every.length(index) for row in range(24)] for index in (3, 30, 5)]
    assert batch.has_audio.tolist() == wanted
    assert batch.lengths.tolist() == [every.length(index) for index in (3, 30, 5)]
    assert batch.video.shape == (3, int(batch.lengths.max()), SPEC.dim)
    for place, index in enumerate((3, 30, 5)):
        data = planted.store.read(SPEC, planted.records[index].id).data
        end = int(batch.lengths[place])
        np.testing.assert_array_equal(batch.video[place, :end].numpy(), pool_rows(data, 24))
        assert not batch.video[place, end:].any()
        assert not batch.audio[place, end:].any()
    assert not batch.audio[1].any()
    assert batch.audio[0].any()
    assert batch.targets.tolist() == [every.target(index).tolist() for index in (3, 30, 5)]
    assert batch.to(torch.device("cpu")).audio is batch.audio


def test_features_are_read_and_checked_once(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    every = Bags(planted.store, SPEC, planted.records[:4], CLASSES, audio_spec=AUDIO_SPEC)
    seen = count_reads(monkeypatch)
    assert [every.length(index) for index in range(4)] == [len(rows) for rows in map(every.rows, range(4))]
    once = len(seen)
    for _ in range(3):
        every.batch([0, 1, 2, 3])
    assert sorted(seen[once:]) == [("sound", record.id) for record in planted.records[:4]]
    assert once == 4
    del seen[:]
    assert every.track(1) is every.track(1)
    assert every.audio_track(1) is every.audio_track(1)
    assert len(seen) == 2


def test_what_does_not_fit_into_the_cache_is_read_again(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    size = bags(planted, "val").rows(0).nbytes
    small = Bags(planted.store, SPEC, planted.part("val"), CLASSES, cache_bytes=size)
    seen = count_reads(monkeypatch)
    for _ in range(2):
        first, second = small.rows(0), small.rows(1)
    assert len(seen) == 3
    np.testing.assert_array_equal(first, bags(planted, "val").rows(0))
    np.testing.assert_array_equal(second, bags(planted, "val").rows(1))


def test_audio_of_another_length_is_refused_even_where_pooling_would_hide_it(tmp_path: Path) -> None:
    store, records = FeatureStore(tmp_path), [VideoRecord("x", frozenset({"riot"}))]
    for spec, snippets in ((SPEC, 40), (AUDIO_SPEC, 39)):
        grid = TimeGrid(Fraction(25), 16 * snippets)
        store.write(FeatureTrack(np.zeros((snippets, spec.dim), np.float32), grid, spec, "x"))
    every = Bags(store, SPEC, records, CLASSES, max_snippets=10, audio_spec=AUDIO_SPEC)
    with pytest.raises(DataError, match="'x': 39 rows of audio features, expected 40"):
        every.batch([0])


def test_of_several_crops_the_first_is_trained_on(tmp_path: Path) -> None:
    store, grid = FeatureStore(tmp_path), TimeGrid(Fraction(25), 160)
    data = np.random.default_rng(0).standard_normal((5, 10, SPEC.dim)).astype(np.float32)
    store.write(FeatureTrack(data, grid, SPEC, "x"))
    every = Bags(store, SPEC, [VideoRecord("x", frozenset({"riot"}))], CLASSES)
    np.testing.assert_array_equal(every.rows(0), data[0])
    assert every.track(0).data.shape == (5, 10, SPEC.dim)


def test_content_names_every_stream_of_a_video(planted: Planted) -> None:
    plain = Bags(planted.store, SPEC, planted.records, CLASSES)
    both = Bags(planted.store, SPEC, planted.records, CLASSES, audio_spec=AUDIO_SPEC)
    assert (len(plain.content(0)), len(both.content(0)), len(both.content(31))) == (1, 2, 1)
    assert both.content(0)[0] == plain.content(0)[0]
    track = planted.store.read(SPEC, planted.records[0].id)
    other = FeatureStore(planted.store.root.with_name("other"))
    other.write(replace(track, data=track.data + 1))
    changed = Bags(other, SPEC, planted.records[:1], CLASSES)
    assert changed.content(0) != plain.content(0)
