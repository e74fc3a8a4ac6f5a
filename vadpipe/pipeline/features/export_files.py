"""What an export writes beside its ``.npy`` files, and an import reads: ``features.json`` and ``<id>.states.json``.

Rows of sound that nobody could hear are zeros in a ``.npy`` file, like rows that are data. Their states say which they
are, so an import of such an export needs them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vadpipe.errors import DataError, StoreError, UsageError
from vadpipe.outside import parse_json, read_regular
from vadpipe.sound import SOUND_STATES
from vadpipe.spec import FeatureSpec

SPEC_FILE = "features.json"
"""Beside the exported files: which specification they are of; by it a rerun knows its own folder."""

STATES_ENDING = ".states.json"
"""Of the file with the states of one video's sound."""

SCHEMA = "vadpipe.states/1"
_MAX_BYTES = 16 << 20


def states_json(states: NDArray[np.uint8]) -> bytes:
    """(T,) states -> the content of a states file: runs of [state, rows] in order, e.g. ``["absent", 12]``."""
    runs = [[SOUND_STATES[state], len(list(rows))] for state, rows in groupby(states.tolist())]
    return (json.dumps({"schema": SCHEMA, "runs": runs}) + "\n").encode()


def read_states(path: Path, rows: int) -> tuple[NDArray[np.uint8], str]:
    """Return the (T,) states of ``rows`` rows and the file's sha256; :class:`DataError` for anything else."""
    content = _read(path)
    told = _parsed(content, path)
    runs = told.get("runs") if told.get("schema") == SCHEMA else None
    if not isinstance(runs, list) or not all(_is_run(run) for run in runs):
        raise DataError(f"{path} is no {SCHEMA} file; expected runs of [one of {', '.join(SOUND_STATES)}, rows]")
    if (count := sum(run[1] for run in runs)) != rows:
        raise DataError(f"{path}: got the states of {count} rows, expected {rows} as in the .npy file; export again")
    numbers = [SOUND_STATES.index(run[0]) for run in runs]
    return np.repeat(np.array(numbers, np.uint8), [run[1] for run in runs]), hashlib.sha256(content).hexdigest()


def exported_window(folder: Path) -> str:
    """Window of sound (:attr:`FeatureSpec.audio_window`) of the features that ``folder`` is an export of; else "".

    :class:`UsageError` where there are states, but not the ``features.json`` that says of which features.
    """
    place, window = folder / SPEC_FILE, ""
    if place.is_file():
        try:
            spec = _parsed(_read(place), place).get("spec")
            window = FeatureSpec.from_mapping(spec).audio_window if isinstance(spec, Mapping) else ""
        except (DataError, StoreError):
            window = ""  # a file of that name that is somebody else's
    if not window and (found := next(iter(sorted(folder.glob(f"*{STATES_ENDING}"))), None)) is not None:
        raise UsageError(f"{found} is of an export of sound, but no {SPEC_FILE} of it lies beside; export again")
    return window


def _is_run(run: object) -> bool:
    return isinstance(run, list) and len(run) == 2 and run[0] in SOUND_STATES and type(run[1]) is int and run[1] > 0


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    try:
        told = parse_json(content)
    except ValueError as error:
        raise DataError(f"{path} is no readable JSON ({error}); export again") from error
    return told if isinstance(told, dict) else {}
