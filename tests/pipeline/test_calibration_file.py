"""A calibration on disk: for one head alone, written whole, and one clear error for whatever else the file holds."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from vadpipe.calibration import Calibration
from vadpipe.config import DetectConfig
from vadpipe.errors import CheckpointError
from vadpipe.pipeline.calibrating.file import (
    load_calibration,
    read_calibration,
    save_calibration,
    to_json,
    write_calibration,
)

HEAD = "ab" * 32
SETTINGS = asdict(DetectConfig())
KNOWN = Calibration(0.7000000476837158, 0.5, 2.0, 3, 1, 2.37, (0.0, 1 / 3, 1.0), HEAD, SETTINGS)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"sha256": HEAD}))
    return tmp_path


def test_what_was_saved_is_loaded_to_the_last_bit(run: Path) -> None:
    assert load_calibration(run) is None
    assert save_calibration(run, KNOWN) == run / "calibration.json"
    assert load_calibration(run) == KNOWN
    assert json.loads((run / "calibration.json").read_text())["schema"] == "vadpipe.calibration/1"
    assert {path.name for path in run.iterdir()} == {"config.json", "calibration.json"}


def test_another_heads_is_refused_and_never_saved(run: Path) -> None:
    other = replace(KNOWN, head_sha256="cd" * 32)
    with pytest.raises(CheckpointError, match=r"of another head .cdcdcdcdcdcd.*vadpipe calibrate again"):
        save_calibration(run, other)
    assert load_calibration(run) is None
    write_calibration(run / "calibration.json", other)
    with pytest.raises(CheckpointError, match="of another head"):
        load_calibration(run)
    assert read_calibration(run / "calibration.json", "cd" * 32) == other


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"schema": "vadpipe.calibration/2"}, "expected schema"),
        ({"extra": 1}, "expected the keys"),
        ({"threshold": float("nan")}, "threshold: got nan"),
        ({"threshold": float("inf")}, "threshold: got inf"),
        ({"threshold": "0.5"}, "threshold: expected a number"),
        ({"threshold": True}, "threshold: expected a number"),
        ({"threshold": 10**400}, "too large"),
        ({"hours": -1}, "hours: got -1"),
        ({"videos": -1}, "videos: expected a whole number"),
        ({"alarms": 1.5}, "alarms: expected a whole number"),
        ({"levels": [0.5]}, "levels: expected a list"),
        ({"levels": [0.5, 0.4]}, "ascending"),
        ({"levels": [0.5, None]}, "levels: expected a number"),
        ({"levels": {"a": 1}}, "levels: expected a list"),
        ({"levels": [0.0] * 20_000}, "levels: expected a list"),
        ({"settings": [1]}, "expected settings by name"),
        ({"settings": {**SETTINGS, "leave": "x"}}, "settings.leave: expected a number"),
        ({"settings": {}}, "settings: expected leave, merge_gap_s"),
        ({"settings": {"leave": 1.0}}, "settings: expected leave, merge_gap_s"),
        ({"hours": 0}, "hours: got 0"),
        ({"alarms": 10**19}, "alarms: expected 0 to"),
        ({"videos": 10**13}, "videos: expected 0 to"),
        ({"threshold": 1e300}, r"threshold: got 1e\+300"),
        ({"threshold": 1.001}, "threshold: got 1.001"),
        ({"levels": [-0.5, 0.5]}, "levels: got -0.5 to 0.5"),
        ({"levels": [0.5, 9.0]}, "levels: got 0.5 to 9"),
        ({"head_sha256": 7}, "a head's digest"),
    ],
)
def test_a_file_that_says_something_impossible_is_one_clear_error(run: Path, wrong: dict[str, Any], said: str) -> None:
    (run / "calibration.json").write_text(json.dumps({**to_json(KNOWN), **wrong}))
    with pytest.raises(CheckpointError, match=said) as caught:
        load_calibration(run)
    assert "run vadpipe calibrate again" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000, b'"' + b"x" * (1 << 21) + b'"', b"1" * 5000],
    ids=["empty", "cut", "no text", "list", "null", "deep", "huge", "huge number"],
)
def test_a_file_that_is_no_calibration_is_one_clear_error(run: Path, content: bytes) -> None:
    (run / "calibration.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="no calibration that this version can read"):
        load_calibration(run)


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"sha": 1}', b"[" * 100_000])
def test_a_folder_without_a_readable_head_is_told_so(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="holds no finished head"):
        save_calibration(tmp_path, KNOWN)
