"""Names of classes: whatever a training run accepts, the head that it saves can be loaded with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.pipeline.detected import small_head
from tests.pipeline.stored_features import put, values
from vadpipe.class_names import LONGEST_CLASS, MOST_CLASSES, why_no_class, why_no_classes
from vadpipe.config import load_config
from vadpipe.datasets.folder import labels_from_folders, read_labels
from vadpipe.errors import CheckpointError, DataError, UsageError, VadpipeError
from vadpipe.head_config import LecVadConfig
from vadpipe.manifest import VideoRecord, read_manifest
from vadpipe.models import HeadInputs, LecVad
from vadpipe.models.checkpoint import TrainedHead, load_head, save_head
from vadpipe.pipeline.training.data import TrainRequest, find_training_data

REFUSED = {
    "x" * (LONGEST_CLASS + 1): "201 characters, expected at most 200",
    "a\u202eb": "expected a printable name",
    "a\x1b[31m": "expected a printable name",
    "a\tb": "expected a printable name",
}
KEPT = ("x" * LONGEST_CLASS, "Ünfall, schwer", "打架", "a=b&c", "-x", "'q\"")


def _labels(folder: Path, name: str) -> object:
    path = folder / "labels.csv"
    path.write_text(f"video,label\na,normal\nb,{name}\n")
    return read_labels(path)


def _manifest(folder: Path, name: str) -> object:
    row = {"id": "v", "labels": [name], "intervals": [], "split": "train", "num_frames": None, "fps": None}
    (folder / "manifest.jsonl").write_text(json.dumps(row))
    return read_manifest(folder / "manifest.jsonl")


def _folders(folder: Path, name: str) -> object:
    (folder / "videos" / name).mkdir(parents=True)
    (folder / "videos" / name / "v.mp4").touch()
    return labels_from_folders(folder / "videos")


def _settings(_: Path, name: str) -> object:
    return load_config(None, [f'classes=["normal", {json.dumps(name)}]'])


def _head(classes: tuple[str, ...]) -> TrainedHead:
    head = small_head()
    model = head.config.model
    assert isinstance(model, LecVadConfig)
    network = LecVad(model, HeadInputs(head.spec.dim, torch.randn(len(classes), 32))).eval()
    return replace(head, head=network, classes=classes)


def _saved(folder: Path, name: str) -> object:
    return save_head(folder, _head(("normal", name)))


MAKERS = (_labels, _manifest, _folders, _settings, _saved)


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
@pytest.mark.parametrize("make", MAKERS)
def test_a_name_that_no_head_could_be_loaded_with_is_refused_where_it_is_made(
    tmp_path: Path, make: Callable[[Path, str], object], name: str
) -> None:
    if make is _folders and len(name.encode()) > 255:
        pytest.skip("no folder can be called so")
    with pytest.raises(VadpipeError, match=REFUSED[name]) as caught:
        make(tmp_path, name)
    assert repr(name)[:40] in str(caught.value)
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("name", KEPT)
def test_a_name_that_is_accepted_can_be_loaded(tmp_path: Path, name: str) -> None:
    for make in MAKERS:
        if not (make is _labels and set(name) & {",", '"'}):  # CSV has its own quotes
            make(tmp_path, name)
    assert load_head(tmp_path).classes == ("normal", name)


def test_there_is_a_number_that_loads_and_none_more_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(f"c{number}" for number in range(MOST_CLASSES))
    with pytest.raises(CheckpointError, match="got 1001 names, expected at most 1000"):
        save_head(tmp_path, _head(("normal", *names)))
    with pytest.raises(UsageError, match="got 1001 names"):
        load_config(None, [f"classes={json.dumps(['normal', *names])}"])
    save_head(tmp_path, _head(("normal", *names[1:])))
    assert len(load_head(tmp_path).classes) == MOST_CLASSES

    monkeypatch.chdir(tmp_path)
    put(Path("features"), "a", values())
    Path("labels.csv").write_text("video,label\na,normal\n" + "".join(f"v{name},{name}\n" for name in names))
    with pytest.raises(DataError, match="classes of the labels: got 1001 names"):
        find_training_data(TrainRequest(load_config(None)))


def test_the_rule_by_hand() -> None:
    assert why_no_class("fighting") == ""
    assert why_no_class(7) == "got 7, expected a text"
    assert why_no_class("") == "got '', expected a printable name"
    assert len(why_no_class("x" * 10**6)) < 200
    assert why_no_classes(["normal", "x", "\0"]) == "got '\\x00', expected a printable name"
    assert why_no_classes([]) == ""
    assert VideoRecord("v", frozenset({"x" * LONGEST_CLASS})).labels
