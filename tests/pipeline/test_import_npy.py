"""Feature files of strangers: what is read, and what is refused with its reason before anything happens."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from tests.refused_arrays import save_pickled
from vadpipe.datasets.npy import open_array
from vadpipe.errors import DataError, UsageError
from vadpipe.pipeline.features.npy_file import MAX_BYTES, read_header, read_npy

ROWS = np.arange(24, dtype=np.float32).reshape(3, 8)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_every_width_and_order_are_read(tmp_path: Path, dtype: str, order: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.asarray(ROWS, dtype=dtype, order="F" if order == "F" else "C"))
    file = read_npy(path)
    assert file.data.dtype == (np.float16 if dtype.endswith("2") else np.float32)
    np.testing.assert_array_equal(file.data, ROWS)
    assert (file.size, file.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    assert (read_header(path).rows, read_header(path).columns) == (3, 8)


class Bomb:
    """Its pickle would write a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.mark,)


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "a.npy", tmp_path / "mark"
    save_pickled(path, np.array([[Bomb(mark)]]))
    with pytest.raises(DataError, match="pickle"):
        read_npy(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (np.float32(1), "float32 ()"),
        (ROWS[0], r"float32 \(8,\)"),
        (ROWS[None], r"float32 \(1, 3, 8\)"),
        (ROWS.astype(np.int64), "int64"),
        (ROWS.astype(np.complex64), "complex64"),
        (ROWS[:0], "at least one row"),
        (ROWS[:, :0], "at least one row and column"),
        (np.where(ROWS == 20, np.nan, ROWS), "NaN or infinity in row 2"),
        (np.where(ROWS == 9, np.inf, ROWS).astype(np.float16), "NaN or infinity in row 1"),
        (np.full((2, 2), 1e300), "NaN or infinity"),  # float64 that float32 cannot hold
        (np.zeros(3, dtype=[("a", "f4")]), "expected float16, float32 or float64"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, content: np.ndarray, reason: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, content)
    with pytest.raises(DataError, match=reason):
        read_npy(path)


HEADERS = [b"(9, 8)", b"(9, 9 ", b"(1e5,)", b"{3, 8}", b"(-3,8)", b"(0, 8)", b"(3, 9)", b"(2, 8)", b"(True)"]


@pytest.mark.parametrize("header", HEADERS)
def test_headers_that_lie_are_refused(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "a.npy"
    np.save(path, ROWS)
    path.write_bytes(path.read_bytes().replace(b"(3, 8)", header))
    with pytest.raises(DataError, match=r"a\.npy"):
        read_npy(path)


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, ROWS)
    whole = path.read_bytes()
    nested = whole[:8] + (9000).to_bytes(2, "little") + b"[" * 9000
    deep = whole[:8] + (9000).to_bytes(2, "little") + b"-" * 8999 + b"1"
    for content in (b"", b"\x93NUMPY", whole[:40], whole[:-1], whole + b"x", b"PK\x03\x04" + whole, nested, deep):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.npy"):
            read_npy(path)
        if not content.startswith(whole):
            with pytest.raises(DataError, match=r"a\.npy"):
                open_array(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_npy(tmp_path / "b.npy")
    with pytest.raises(DataError, match="cannot be read"):
        read_npy(tmp_path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    os.mkfifo(path)
    for read in (read_header, read_npy):
        with pytest.raises(DataError, match="no regular file"):
            read(path)
    with pytest.raises(UsageError, match="no regular file"):
        open_array(path)


def test_a_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, ROWS)
    with path.open("r+b") as file:
        file.truncate(MAX_BYTES + 1)  # sparse: takes no disk
    with pytest.raises(DataError, match="expected at most"):
        read_header(path)
