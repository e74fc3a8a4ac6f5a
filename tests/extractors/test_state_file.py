"""Other people's state dicts: what is read, and what is refused before it can run, swell or lie about its size."""

from __future__ import annotations

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vadpipe.errors import WeightsError
from vadpipe.extractors import state_file
from vadpipe.extractors.state_file import read_tensors
from vadpipe.extractors.weights import Weights, read_state

STATE = {"w": torch.arange(6.0).reshape(2, 3), "half": torch.ones(2, dtype=torch.float16)}


def stored(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def repacked(path: Path, method: int, extra: bytes = b"") -> Path:
    """The same zip, packed with another method, and one more entry."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in {**contents, f"{path.stem}/extra": extra}.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("nest", [None, "state_dict", "model_state_dict"])
def test_tensors_are_read_as_they_were_stored(tmp_path: Path, nest: str | None) -> None:
    content = STATE if nest is None else {nest: STATE, "epoch": 3, "ap": 0.86, "optimizer_state_dict": {"state": {}}}
    got = read_tensors(stored(tmp_path / "a.pth", content), ("model_state_dict", "state_dict"))
    assert {name: (value.dtype, value.tolist()) for name, value in got.items()} == {
        name: (value.dtype, value.tolist()) for name, value in STATE.items()
    }


def test_other_formats_and_parameters_are_read_too(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    old = stored(tmp_path / "old.pth", STATE, _use_new_zipfile_serialization=False)
    parameters = stored(tmp_path / "b.pth", {"w": torch.nn.Parameter(STATE["w"])})
    for path in (tmp_path / "a.safetensors", old, parameters):
        got = read_tensors(path)["w"]
        assert torch.equal(got, STATE["w"])
        assert not got.requires_grad


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside = stored(tmp_path / "inside.pth", {"state_dict": STATE, "hook": _Evil()})
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(_Evil()))
    for path in (inside, tmp_path / "bare.pth"):
        with pytest.raises(WeightsError, match="no plain state dict"):
            read_tensors(path)
    assert not Path("executed").exists()


def test_a_zip_must_not_swell(tmp_path: Path) -> None:
    assert read_tensors(repacked(stored(tmp_path / "fine.pth", STATE), zipfile.ZIP_STORED)).keys() == STATE.keys()
    packed = repacked(stored(tmp_path / "bomb.pth", STATE), zipfile.ZIP_DEFLATED, bytes(1 << 20))
    assert packed.stat().st_size < 10_000
    with pytest.raises(WeightsError, match="compressed, which torch never writes"):
        read_tensors(packed)
    told = stored(tmp_path / "told.pth", STATE)
    content = bytearray(told.read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (1 << 30).to_bytes(4, "little")  # the last entry's unpacked size
    told.write_bytes(content)
    with pytest.raises(WeightsError, match="claims"):
        read_tensors(told)


def test_a_file_or_its_content_can_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = stored(tmp_path / "view.pth", {"w": torch.zeros(1).expand(1 << 20, 1 << 20)})
    with pytest.raises(WeightsError, match=f"its tensors have {1 << 42} bytes"):
        read_tensors(view)
    small = stored(tmp_path / "small.pth", {"w": torch.zeros(1, dtype=torch.float8_e4m3fn).expand(300)})
    with pytest.raises(WeightsError, match="'w' claims 300 bytes where 1 lie"):
        read_state(Weights("small.pth", small))
    part = stored(tmp_path / "part.pth", {"w": torch.arange(9.0)[2:4]})
    assert read_state(Weights("part.pth", part))["w"].tolist() == [2, 3]
    size = view.stat().st_size
    monkeypatch.setattr(state_file, "MAX_BYTES", size - 1)
    with pytest.raises(WeightsError, match=f"got {size} bytes, expected at most {size - 1}"):
        read_tensors(view)


@pytest.mark.parametrize(
    ("dtype", "as_read"),
    [(torch.float8_e4m3fn, 4), (torch.float16, 4), (torch.float32, 4), (torch.float64, 8), (torch.int8, 1)],
)
def test_the_size_that_counts_is_the_one_in_float32(
    dtype: torch.dtype, as_read: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stored(tmp_path / "a.pth", {"w": torch.zeros(5000).to(dtype)})
    monkeypatch.setattr(state_file, "MAX_BYTES", as_read * 5000 + 2000)
    if path.stat().st_size <= as_read * 5000 + 2000:
        read_tensors(path)
    monkeypatch.setattr(state_file, "MAX_BYTES", as_read * 5000 - 1)
    with pytest.raises(WeightsError, match=f"(its tensors have {as_read * 5000}|got [0-9]+) bytes"):
        read_tensors(path)


@pytest.mark.parametrize(
    "value",
    [
        torch.eye(2).to_sparse(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        torch.empty(2, device="meta"),
    ],
    ids=["sparse", "quantized", "meta"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of the making
def test_only_plain_arrays_are_taken(tmp_path: Path, value: torch.Tensor) -> None:
    with pytest.raises(WeightsError, match="odd"):
        read_tensors(stored(tmp_path / "odd.pth", {"odd": value}))


@pytest.mark.parametrize("content", [[torch.ones(1)], {"a": torch.ones(1), "epoch": 3}, {1: torch.ones(1)}, 5])
def test_what_is_no_state_dict_is_named(tmp_path: Path, content: Any) -> None:
    with pytest.raises(WeightsError, match="expected a state dict: names and tensors"):
        read_tensors(stored(tmp_path / "x.pth", content))


def header(text: str, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        header("{", 1 << 60),
        header("{}", 200 << 20),
        header("not json"),
        header(json.dumps({"w": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}})),
        header(json.dumps({"w": {"dtype": "F32", "shape": [1 << 33, 1 << 33], "data_offsets": [0, 8]}})) + bytes(8),
    ],
)
def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="no readable safetensors file"):
        read_tensors(path)


def test_truncated_wrongly_named_and_missing_files_are_one_message(tmp_path: Path) -> None:
    whole = stored(tmp_path / "a.pth", STATE).read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 10):
        (tmp_path / "cut.pth").write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut\.pth is no plain state dict"):
            read_tensors(tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match=r"got suffix '\.ckpt'"):
        read_tensors(tmp_path / "a.ckpt")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_tensors(tmp_path / "gone.pth")
