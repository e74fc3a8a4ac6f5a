"""Pickles that run code, in every kind of file that may hold one, given to every reader of such files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from tests.hostile_files import Canary
from tests.pipeline.stored_features import CLIP, put, values
from vadpipe.datasets.ground_truth import read_truth
from vadpipe.datasets.npy import open_array
from vadpipe.datasets.object_arrays import is_object_array, read_object_array
from vadpipe.errors import CheckpointError, DataError, StoreError, VadpipeError, WeightsError
from vadpipe.extractors.state_file import read_tensors
from vadpipe.extractors.weights import resolve
from vadpipe.models.checkpoint import load_head
from vadpipe.outside import parse_json, parse_toml
from vadpipe.pipeline.features.npy_file import read_header, read_npy
from vadpipe.track_file import read_attributes, read_track


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path)


def test_the_canary_fires_where_it_is_trusted(tmp_path: Path, canary: Canary) -> None:
    """Else the tests below would show nothing."""
    assert canary.fires(canary.pickled)
    for name, content in (("x.npy", canary.npy()), ("x.npz", canary.npz())):
        (tmp_path / name).write_bytes(content)
        assert canary.fires_in_numpy(tmp_path / name), name
    for content in (canary.torch_zip(), canary.torch_legacy(), canary.torch_tar()):
        (tmp_path / "x.pt").write_bytes(content)
        assert canary.fires_in_torch(tmp_path / "x.pt")


@pytest.mark.parametrize("content", [Canary.npy, Canary.npz, lambda canary: canary.pickled])
@pytest.mark.parametrize(
    "read",
    [
        read_npy,
        read_header,
        open_array,
        read_object_array,
        lambda path: read_truth(path, {}, {}, order=path),
    ],
)
def test_arrays_are_not_unpickled(
    tmp_path: Path, canary: Canary, content: Callable[[Canary], bytes], read: Callable[[Path], object]
) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(content(canary))
    with pytest.raises(DataError):
        read(path)
    assert not canary.has_run


def test_whether_an_array_holds_objects_is_told_by_its_header(tmp_path: Path, canary: Canary) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(canary.npy())
    assert is_object_array(path)
    assert not canary.has_run


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".pyth", ".pickle", ".safetensors"])
@pytest.mark.parametrize(
    "content",
    [Canary.torch_zip, Canary.torch_legacy, Canary.torch_tar, Canary.npz, lambda canary: canary.pickled],
)
def test_weights_are_not_unpickled(
    tmp_path: Path, canary: Canary, content: Callable[[Canary], bytes], suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content(canary))
    with pytest.raises(WeightsError) as caught:
        read_tensors(path)
    assert len(str(caught.value)) < 1000
    assert not canary.has_run


def test_weights_are_hashed_before_anything_else(tmp_path: Path, canary: Canary) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(canary.torch_zip())
    assert resolve(str(path)).sha256
    assert not canary.has_run


def test_a_pickle_in_the_metadata_of_safetensors_is_text(tmp_path: Path, canary: Canary) -> None:
    told = canary.pickled.decode("latin-1")
    path = tmp_path / "x.safetensors"
    save_file({"w": torch.ones(2)}, path, {"vadpipe": told, "pickle": told})
    assert read_tensors(path)["w"].tolist() == [1.0, 1.0]
    assert not canary.has_run
    with pytest.raises(ValueError, match="Expecting value"):  # what the state of a training run would be parsed with
        parse_json(told)


def test_a_run_folder_runs_nothing(tmp_path: Path, canary: Canary) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for name in ("config.json", "model.safetensors", "state.safetensors", "calibration.json", "text_tower.safetensors"):
        (run / name).write_bytes(canary.pickled)
    with pytest.raises(CheckpointError):
        load_head(run)
    described = {"schema": "vadpipe.head/1", "config": {}, "spec": {}, "classes": ["normal", "x"], "selection": ""}
    (run / "config.json").write_text(json.dumps({**described, "provenance": {}, "sha256": "0" * 64}))
    with pytest.raises(CheckpointError, match="another sha256"):
        load_head(run)
    assert not canary.has_run


@pytest.mark.parametrize("name", ["data", "pts", "id"])
def test_a_pickle_in_hdf5_is_no_feature(tmp_path: Path, canary: Canary, name: str) -> None:
    put(tmp_path, "v", values())
    path = next(tmp_path.rglob("*.h5"))
    with h5py.File(path, "r+") as file:
        if name == "id":
            file.attrs["id"] = np.void(canary.pickled)
        else:
            del file[name]
            file.create_dataset(name, data=np.void(canary.pickled))
    with pytest.raises(StoreError):
        read_track(path, CLIP, "v")
    if name == "id":
        with pytest.raises(StoreError):
            read_attributes(path)
    assert not canary.has_run


@pytest.mark.parametrize("text", ["!!python/object/apply:os.system ['true']", "a: &a [*a]", "<!DOCTYPE x SYSTEM 'y'>"])
def test_no_parser_makes_objects_of_text(text: str) -> None:
    """There is no reader of YAML or XML; JSON and TOML know no tags, aliases and entities."""
    for parse in (parse_json, parse_toml):
        with pytest.raises(ValueError, match=r"."):
            parse(text)


def test_bytes_of_a_tensor_file_are_never_code(tmp_path: Path, canary: Canary) -> None:
    content = save({"w": torch.frombuffer(bytearray(canary.pickled), dtype=torch.uint8)})
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    try:
        read_tensors(path)
    except VadpipeError as error:
        raise AssertionError(str(error)) from error
    assert not canary.has_run
