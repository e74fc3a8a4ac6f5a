"""Import of features: exact ids, the centre crop, rows that fit the video, and headers that lie."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vadpipe.errors import DataError, UsageError
from vadpipe.manifest import VideoRecord
from vadpipe.pipeline.import_features import import_features
from vadpipe.store import FeatureStore

ROWS = np.arange(24, dtype=np.float16).reshape(3, 8)


def record(name: str = "v=#1", frames: int | None = 40) -> VideoRecord:
    return VideoRecord(name, frozenset({"normal"}), num_frames=frames, fps=Fraction(25))


def test_of_several_crops_the_first_is_taken_and_the_rest_is_said(tmp_path: Path) -> None:
    for crop in range(3):
        np.save(tmp_path / f"v=#1__{crop}.npy", ROWS + crop)
    store = FeatureStore(tmp_path / "store")
    summary = import_features(tmp_path, store, [record(), record("other")], "made")
    assert (summary.done, summary.missing) == (["v=#1"], ["other"])
    assert "2 files of further crops" in summary.notes[0]
    np.testing.assert_array_equal(store.read(summary.spec, "v=#1").data, ROWS)


@pytest.mark.parametrize(("rows", "frames", "kept"), [(3, 40, 3), (3, 32, 2), (3, 64, 4)])
def test_a_row_more_or_less_is_adjusted_and_said(tmp_path: Path, rows: int, frames: int, kept: int) -> None:
    np.save(tmp_path / "a.npy", ROWS[:rows])
    store = FeatureStore(tmp_path / "store")
    summary = import_features(tmp_path, store, [record("a", frames)], "made")
    assert store.read(summary.spec, "a").data.shape == (kept, 8)
    assert len(summary.notes) == (kept != rows)


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "store")
    with pytest.raises(UsageError, match="holds no"):
        import_features(tmp_path, store, [record("a")], "made")
    path = tmp_path / "a.npy"
    np.save(path, ROWS)
    for wrong, message in ((record("a", 400), "got 3 rows"), (record("a", None), "frames and fps")):
        with pytest.raises(DataError, match=message):
            import_features(tmp_path, store, [wrong], "made")
    with pytest.raises(UsageError, match="vadpipe's own"):
        import_features(tmp_path, store, [record("a")], "clip")
    np.save(path, np.full((3, 8), np.nan, np.float32))
    with pytest.raises(DataError, match="NaN"):
        import_features(tmp_path, store, [record("a")], "made")
    np.save(path, np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="not a plain"):
        import_features(tmp_path, store, [record("a")], "made")
    np.save(path, ROWS)
    content = path.read_bytes()
    for header in (b"(9, 8)", b"(9, 9 ", b"(1e5,)", b"{3, 8}"):
        path.write_bytes(content.replace(b"(3, 8)", header))
        with pytest.raises(DataError, match="not a plain"):
            import_features(tmp_path, store, [record("a")], "made")
