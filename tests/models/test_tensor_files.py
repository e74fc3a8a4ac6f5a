"""Tensor files and their description, replaced together."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from vadpipe.models.tensor_files import read_file, replace_files


@pytest.mark.parametrize("damaged", [b"\xff\xfe", b"", b"{"])
def test_a_damaged_description_is_replaced(tmp_path: Path, damaged: bytes) -> None:
    tensors, description = tmp_path / "model.safetensors", tmp_path / "config.json"
    tensors.write_bytes(b"old")
    description.write_bytes(damaged)
    digest = hashlib.sha256(b"new").hexdigest()
    replace_files({tensors: b"new"}, description, json.dumps({"sha256": digest}).encode())
    assert read_file(tensors, digest) == b"new"
    assert tensors.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
