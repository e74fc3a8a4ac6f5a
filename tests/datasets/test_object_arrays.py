"""Pickled arrays of the field are read; whatever else a pickle can say is refused, and nothing of it is run."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.datasets.real import CCTV, UCF, XD, unpack
from tests.refused_arrays import save_pickled
from vadpipe.datasets.object_arrays import is_object_array, read_object_array
from vadpipe.errors import DataError, UsageError

HEADER = b"\x93NUMPY\x01\x00\x76\x00" + b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"


def saved(items: list[Any], protocol: int | None = None) -> bytes:
    """What numpy writes for a one-dimensional array of these items."""
    array = np.empty(len(items), object)
    array[:] = items
    if protocol is None:
        stream = io.BytesIO()
        save_pickled(stream, array)
        return stream.getvalue()
    header = HEADER.replace(b"(1,)", b"(%d,)" % len(items))
    return header + pickle.dumps(array, protocol)


def read(folder: Path, raw: bytes) -> list[Any]:
    path = folder / "a.npy"
    path.write_bytes(raw)
    return read_object_array(path)


# --- released files


@pytest.mark.parametrize(
    ("path", "count", "first", "last"),
    [
        (XD / "gt_label.npy.gz", 800, ["B2", "G", "B2", "G", "G", "B6"], ["A"]),
        (XD / "gt_segment.npy.gz", 800, ["157", "180"], [0, 1200]),
        (UCF / "gt_label_ucf.npy", 290, ["Abuse"], ["A"]),
        (UCF / "gt_segment_ucf.npy", 290, ["165", "240"], [0, 7168]),
        (CCTV / "gt_cctv_label.npy", 157, ["B1"] * 9, ["B1"] * 6),
        (CCTV / "gt_cctv_segment.npy.gz", 157, ["1", "43"], ["153", "321"]),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else None,
)
def test_a_released_array(tmp_path: Path, path: Path, count: int, first: list[Any], last: list[Any]) -> None:
    plain = unpack(path, tmp_path)
    found = read_object_array(plain)
    assert is_object_array(plain)
    assert len(found) == count
    assert (found[0], found[-1]) == (first, last) or (found[0][0], found[-1][0]) == (first, last)


@pytest.mark.parametrize("protocol", [3, 4])  # numpy 1 wrote 3, numpy 2 writes 4
def test_what_numpy_writes_is_read(tmp_path: Path, protocol: int) -> None:
    shared = ["G"]
    items = [[["1", "2"], [3, 70000]], ["é", shared], shared, [], "B1", 2**31 - 1, [-1]]
    assert read(tmp_path, saved(items, protocol=protocol)) == items
    assert read(tmp_path, saved(items)) == items


# --- refused, and not run


class Calls:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.how = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.how


MARKER = "vadpipe-was-here"


@pytest.mark.parametrize(
    "evil",
    [
        Calls(os.system, f"touch {MARKER}"),
        Calls(os.mkdir, MARKER),
        Calls(eval, f"__import__('os').mkdir('{MARKER}')"),
        Calls(exec, f"import os; os.mkdir('{MARKER}')"),
        Calls(getattr, Calls(__import__, "os"), "mkdir"),
        Calls(map, os.mkdir, [MARKER]),
        Calls(np.load, "x.npy"),
        Calls(np.fromfile, "/etc/passwd"),
        Calls(np.memmap, MARKER, "u1", "w+", 0, (9,)),
        Calls(np.ndarray, (1 << 40,)),
        Calls(np.zeros, 1 << 40),
        Calls(np.dtype, "V1000000000"),
        Calls(np.dtype, [("a", "O")]),
        Calls(bytearray, 1 << 40),
        Calls(io.open, MARKER, "w"),
        np.float64(1.0),
        np.arange(3),
        np.array([[1, 2]], object),
        1.5,
        b"bytes",
        True,
        None,
        ("a", "tuple"),
        {"a": "dict"},
        {"a set"},
        1 << 70,
        os.system,
        ["fine", [["deep", [1]]]],
    ],
    ids=lambda value: repr(getattr(value, "how", value))[:40],
)
@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_anything_else_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evil: Any, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"refused|damaged"):
        read(tmp_path, saved([evil], protocol=protocol))
    with pytest.raises(DataError, match=r"refused|damaged"):
        read(tmp_path, saved([["fine", evil]], protocol=protocol))
    with pytest.raises(DataError, match=r"refused|damaged"):
        read(tmp_path, HEADER + pickle.dumps(evil, protocol))
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
EMPTY_ARRAY = RECONSTRUCT + b"K\x00\x85C\x01b\x87R"
OBJECT = b"cnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R"
STATE = b"(K\x01K\x01\x85" + OBJECT + b"\x89](%btb"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (EMPTY_ARRAY + STATE % b"K\x07e" + b".", None),
        (EMPTY_ARRAY + STATE % b"K\x07K\x08e" + b".", "2 items, expected 1"),
        (RECONSTRUCT + b"J\x00\x00\x00\x40\x85C\x01b\x87R.", "refused: a call"),  # a shape of 2**30
        (RECONSTRUCT + b"K\x00\x85C\x02f8\x87R.", "refused: a call"),
        (b"cnumpy\nndarray\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R.", "refused: a call"),
        (b"cnumpy\nndarray\nK\x09\x85R.", "refused: a call"),
        (b"cnumpy\nndarray\n)\x81.", "refused: the instruction NEWOBJ"),
        (b"(cnumpy\nndarray\no.", "refused: the instruction OBJ"),
        (b"(ios\nsystem\n.", "refused: the instruction INST"),
        (b"Pwho\n.", "refused: the instruction PERSID"),
        (b"]Q.", "refused: the instruction BINPERSID"),
        (b"\x82\x01.", "refused: the instruction EXT1"),
        (b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".", "damaged"),  # a bytearray of 2**40
        (b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b".", "damaged"),
        (b"X\xff\xff\xff\x7fa.", "damaged"),
        (b"]r\xff\xff\xff\xff.", "damaged"),  # memo entry 2**32 - 1
        (b"]2.", "refused: the instruction DUP"),
        (b"cnumpy.core.multiarray\n_reconstruct\n}X\x01\x00\x00\x00ab.", "damaged|refused"),
        (EMPTY_ARRAY + b"K\x01b.", "damaged"),
        (EMPTY_ARRAY + b".", "damaged: holds no array"),
        (EMPTY_ARRAY + EMPTY_ARRAY + b".", "damaged: holds no array"),
        (b"X\x02\x00\x00\x00osX\x06\x00\x00\x00system\x93.", "refused: the name 'os.system'"),
        (b"]]\x93.", "refused: the name"),
        (b"cnumpy\n_core.multiarray._reconstruct\n.", "refused: the name"),
        (b"h\x05.", "damaged"),
        (b".", "damaged"),
        (b"e.", "damaged"),
        (b"(K\x01.", "damaged"),
        (b"", "damaged"),
        (b"garbage", "damaged"),
    ],
)
def test_programs(tmp_path: Path, program: bytes, message: str | None) -> None:
    if message is None:
        assert read(tmp_path, HEADER + program) == [7]
        return
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, HEADER + program)
    assert str(caught.value).startswith(str(tmp_path / "a.npy"))


def test_a_small_file_that_means_a_lot(tmp_path: Path) -> None:
    shared = [1] * 5000
    raw = saved([[shared] * 5000])
    assert len(raw) < 30_000
    with pytest.raises(DataError, match="refused: more than 1000000 values"):
        read(tmp_path, raw)
    with pytest.raises(DataError, match="deeper than 3"):  # a list that holds itself
        read(tmp_path, HEADER + EMPTY_ARRAY + STATE % (b"]q\x01h\x01ae") + b".")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a plain .npy"),
        (b"PK\x03\x04", "not a plain .npy"),
        (HEADER[:50], "not a plain .npy"),
        (HEADER.replace(b"(1,)", b"(1,1)").replace(b" \n", b"\n"), "not a plain .npy|one dimension"),
        (HEADER.replace(b"'|O'", b"'<f4"), "not a plain .npy|object array"),
        (HEADER.replace(b"\x01\x00", b"\x07\x00", 1), "version"),
    ],
)
def test_headers(tmp_path: Path, raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, raw)


def test_a_refused_name_is_not_written_out_where_its_text_would_fill_the_memory(tmp_path: Path) -> None:
    doubled = b"".join(b"q%ch%c\x86" % (level, level) for level in range(16))  # keep it, take it again, pair both
    with pytest.raises(DataError, match=r"the name 'tuple\.x'; expected"):
        read(tmp_path, HEADER + b"\x80\x04X\x01\x00\x00\x00a" + doubled + b"X\x01\x00\x00\x00x\x93.")


def test_arrays_of_numbers_are_told_apart(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.zeros(3))
    assert not is_object_array(tmp_path / "f.npy")
    with pytest.raises(DataError, match=r"got float64 \(3,\), expected an object array"):
        read_object_array(tmp_path / "f.npy")
    with pytest.raises(UsageError, match="No such file"):
        read_object_array(tmp_path / "none.npy")


GOOD = saved([[["1", "2"], ["3", "4"]], ["A"]])


@given(st.data())
def test_any_change_of_a_good_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(100, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(raw[: data.draw(st.integers(100, len(raw)))] + data.draw(st.binary(max_size=8)))
    try:
        found = read_object_array(path)
    except DataError:
        return
    assert len(found) == 2
