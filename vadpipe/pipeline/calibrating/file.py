"""A calibration on disk: ``calibration.json`` beside the head that it is of. The file may come from anyone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from vadpipe.calibration import Calibration
from vadpipe.config import DetectConfig
from vadpipe.errors import CheckpointError
from vadpipe.outside import open_regular, read_json
from vadpipe.track_file import atomic_write

SCHEMA = "vadpipe.calibration/1"
CALIBRATION_FILE = "calibration.json"
_MOST_BYTES = 1 << 20
_MOST_LEVELS = 10_001


def load_calibration(run: Path) -> Calibration | None:
    """The calibration in a run folder; None where there is none.

    :class:`CheckpointError` for a file that is damaged, and for one that was made with another head than the folder's.
    """
    path = run / CALIBRATION_FILE
    return read_calibration(path, head_digest(run)) if path.is_file() else None


def save_calibration(run: Path, calibration: Calibration) -> Path:
    """Write or replace a run folder's calibration, whole or not at all; :class:`CheckpointError` for another head's."""
    path = run / CALIBRATION_FILE
    _require_head(path, calibration, head_digest(run))
    return write_calibration(path, calibration)


def write_calibration(path: Path, calibration: Calibration) -> Path:
    """Write or replace the file ``path``, whole or not at all."""
    atomic_write(path, (json.dumps(to_json(calibration), indent=1) + "\n").encode())
    return path


def to_json(calibration: Calibration) -> dict[str, Any]:
    """The file's content."""
    return {"schema": SCHEMA, **asdict(calibration), "settings": dict(calibration.settings)}


def read_calibration(path: Path, head_sha256: str) -> Calibration:
    """Read and check; ``head_sha256`` is the digest of the head that is to use it. Errors as for a run folder's."""
    try:
        calibration = _from_json(read_json(path, _MOST_BYTES))
    except (OSError, ValueError, TypeError, OverflowError) as error:
        text = str(error) or type(error).__name__
        said = text if len(text) < 200 else f"{text[:200]} …"
        raise CheckpointError(
            f"{path} is no calibration that this version can read ({said}); run vadpipe calibrate again"
        ) from error
    _require_head(path, calibration, head_sha256)
    return calibration


def students_file(path: Path) -> Path:
    """Where the student's calibration lies beside a head's that is not in its run folder."""
    return path.with_name(f"{path.stem}.student{path.suffix}")


def names_calibration(path: Path) -> bool:
    """Whether a file, though perhaps damaged, calls itself a calibration: then a new one may replace it."""
    with open_regular(path) as file:
        return SCHEMA.rpartition("/")[0].encode() in file.read(200)


def head_digest(run: Path) -> str:
    """Digest of the head in a run folder, as its ``config.json`` names it; :class:`CheckpointError` without one."""
    path = run / "config.json"
    try:
        digest = read_json(path)["sha256"]
        if not isinstance(digest, str):
            raise TypeError("sha256 is no text")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"{run} holds no finished head: {path} cannot be read ({error})") from error
    return digest


def _from_json(told: Any) -> Calibration:
    """ValueError or TypeError unless it is just what :func:`to_json` makes."""
    names = {item.name for item in fields(Calibration)}
    if not isinstance(told, Mapping) or told.get("schema") != SCHEMA:
        raise ValueError(f"expected schema {SCHEMA}")
    if set(told) != names | {"schema"}:
        raise ValueError(f"expected the keys {', '.join(sorted(names))}")
    levels, settings = told["levels"], told["settings"]
    if not isinstance(levels, list) or not 2 <= len(levels) <= _MOST_LEVELS:
        raise ValueError(f"levels: expected a list of 2 … {_MOST_LEVELS} numbers")
    if not isinstance(settings, Mapping) or not isinstance(told["head_sha256"], str):
        raise TypeError("expected settings by name, and a head's digest")
    if set(settings) != (wanted := {item.name for item in fields(DetectConfig)}):  # else detect could not compare them
        raise ValueError(f"settings: expected {', '.join(sorted(wanted))}")
    numbers = ("threshold", "false_alarms_per_hour", "hours", "upper")
    return Calibration(
        **{name: _number(told[name], name) for name in numbers},
        videos=_count(told["videos"], "videos"),
        alarms=_count(told["alarms"], "alarms"),
        levels=tuple(_number(value, "levels") for value in levels),
        head_sha256=told["head_sha256"],
        settings={str(name): _number(value, f"settings.{name}") for name, value in settings.items()},
    )


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number")
    if not math.isfinite(value):
        raise ValueError(f"{name}: got {value}, expected a finite number")
    return float(value)


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"{name}: expected a whole number of at least 0")
    return value


def _require_head(path: Path, calibration: Calibration, head_sha256: str) -> None:
    if calibration.head_sha256 != head_sha256:
        raise CheckpointError(
            f"{path}: the calibration is of another head ({calibration.head_sha256[:12] or 'unnamed'}) than this one "
            f"({head_sha256[:12]}), whose scores it says nothing of; run vadpipe calibrate again, or remove the file"
        )
