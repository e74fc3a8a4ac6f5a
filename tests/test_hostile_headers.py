"""Headers of arrays and tensor files that lie: of a shape, a length, a type, an offset. Nothing is believed unseen."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile_files import npy, safetensors
from vadpipe.datasets.npy import open_array
from vadpipe.errors import DataError, WeightsError
from vadpipe.extractors.state_file import read_tensors
from vadpipe.pipeline.features.npy_file import read_header, read_npy

_MOST_MEMORY = 64 << 20


def header(descr: str, shape: str, order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


ARRAYS = {
    "10^18 rows": npy(header("'<f4'", f"({10**18},)")),
    "10^18 rows of 512": npy(header("'<f4'", f"({10**18}, 512)")),
    "more than 64 bits": npy(header("'<f4'", "(4294967296, 4294967296)")),
    "a number of 5000 digits": npy(header("'<f4'", f"({'9' * 5000}, 2)")),
    "negative": npy(header("'<f4'", "(-1, 16)")),
    "negative twice": npy(header("'<f4'", "(-4, -4)")),
    "no number": npy(header("'<f4'", "('a', 2)")),
    "true": npy(header("'<f4'", "(True, 16)")),
    "a sum": npy(header("'<f4'", "(10**18,)")),
    "a call": npy(header("'<f4'", "(__import__('os').getpid(), 1)")),
    "many dimensions": npy(header("'<f4'", f"({'1, ' * 70}16)")),
    "header of 4 GiB": npy("x", version=(2, 0), length=2**32 - 1),
    "header longer than the file": npy("x", length=60_000),
    "nested": npy("(" * 4000 + ")" * 4000),
    "nested and open": npy("[" * 9000),
    "objects": npy(header("'|O'", "(4, 2)")),
    "void": npy(header("'|V8'", "(8, 1)")),
    "fields": npy(header("[('a', '<f4'), ('b', '|O')]", "(2, 2)")),
    "a type of 2 GiB": npy(header("'S2147483647'", "(1, 1)")),
    "a type of nothing": npy(header("'S0'", f"({10**12}, 1)")),
    "a type of arrays": npy(header("('<f4', (1000000, 1000000))", "(1, 1)")),
    "dates": npy(header("'<M8[s]'", "(4, 2)")),
    "version 9": npy(header("'<f4'", "(4, 4)"), version=(9, 0)),
    "version 3": npy(header("'<f4'", "(4, 4)"), version=(3, 0)),
    "another file": b"\x93NUMPZ" + bytes(100),
    "a zip": b"PK\x03\x04" + bytes(100),
    "cut off": npy(header("'<f4'", "(4, 4)"))[:20],
    "too few values": npy(header("'<f4'", "(400, 4)")),
    "nothing": b"",
}


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("read", [open_array, read_header, read_npy])
def test_an_array_is_refused_without_memory_for_it(tmp_path: Path, read: Callable[[Path], object], name: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(ARRAYS[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < _MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 600


def entry(start: int = 0, end: int = 64, shape: tuple[int, ...] = (16,), dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def told(**tensors: dict[str, object]) -> bytes:
    return json.dumps(tensors).encode()


TENSORS = {
    "header of 2^63 bytes": safetensors(told(a=entry()), length=2**63),
    "header of 2^64 - 1 bytes": safetensors(told(a=entry()), length=2**64 - 1),
    "header longer than the file": safetensors(told(a=entry()), length=1000),
    "out of the file": safetensors(told(a=entry(0, 2**40, (2**38,)))),
    "before the file": safetensors(b'{"a": {"dtype": "F32", "shape": [16], "data_offsets": [-64, 0]}}'),
    "backwards": safetensors(told(a=entry(64, 0))),
    "overlapping": safetensors(told(a=entry(0, 64), b=entry(0, 64))),
    "a hole": safetensors(told(a=entry(32, 64, (8,)))),
    "other size": safetensors(told(a=entry(0, 64, (17,)))),
    "more than 64 bits": safetensors(told(a=entry(0, 64, (2**40, 2**40)))),
    "negative": safetensors(b'{"a": {"dtype": "F32", "shape": [-16], "data_offsets": [0, 64]}}'),
    "unknown type": safetensors(told(a=entry(dtype="PICKLE"))),
    "nested": safetensors(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a list": safetensors(b"[]"),
    "no JSON": safetensors(b"\x80\x02cos\nsystem\n"),
    "metadata of numbers": safetensors(b'{"__metadata__": {"a": 1}}', b""),
    "values left over": safetensors(told(a=entry(0, 32, (8,)))),
    "cut off": safetensors(told(a=entry()))[:12],
    "nothing": b"",
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_are_refused_without_memory_for_them(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(TENSORS[name])
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert len(str(caught.value)) < 600


def test_very_many_tensors_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors(told(**{f"t{number}": entry(0, 0, (0,)) for number in range(20_000)}), b""))
    assert len(read_tensors(path)) == 20_000
