"""What is known about the sound of each snippet. Legend: T snippets, D columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOUND_STATES = ("present", "silent", "absent", "undecodable")
"""What a window of sound can be: samples that are not all zero; only zeros; no sample at all; samples that are lost."""

PRESENT, SILENT, ABSENT, UNDECODABLE = range(len(SOUND_STATES))

DAMAGED = "damaged audio packets were skipped"
"""How a decoder's warning ends that is about the sound alone."""

_MOST_WARNINGS, _MOST_CHARACTERS = 10, 300  # decoders are told what to say by untrusted files


def kept_warnings(said: Iterable[str], *, of_sound: bool) -> tuple[str, ...]:
    """What decoding said of the sound or of all else, as a track keeps it: at most 10 texts of 300 characters."""
    fitting = [text[:_MOST_CHARACTERS] for text in said if text.endswith(DAMAGED) == of_sound]
    return tuple(fitting[:_MOST_WARNINGS])


def heard_rows(states: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(T,) states, indices into :data:`SOUND_STATES` -> (T,) bool: True where there was sound to look at.

    ``silent`` counts: a microphone that heard nothing is a measurement, and its row is what the encoder makes of
    silence. ``absent`` and ``undecodable`` rows are zeros that stand for nothing.
    """
    return states <= SILENT


def check_states(states: NDArray[Any] | None, data: NDArray[Any]) -> None:
    """Raise ValueError unless ``states`` fit ``data`` (…, T, D): uint8 (T,), known, zeros where there was no sound.

    None, for features that are not of sound, fits everything.
    """
    if states is None:
        return
    if states.dtype != np.uint8 or states.shape != data.shape[-2:-1]:
        raise ValueError(f"states: got {states.dtype} {states.shape}, expected uint8 {data.shape[-2:-1]}")
    if (states >= len(SOUND_STATES)).any():
        raise ValueError(f"states: got {states.max()}, expected 0 … {len(SOUND_STATES) - 1}")
    if data[..., ~heard_rows(states), :].any():
        raise ValueError("rows without sound (absent, undecodable) must be zeros")


def without_sound(states: NDArray[np.uint8]) -> str:
    """Say in words which snippets cannot be heard, e.g. ``12 of 80 snippets have no sound``; empty where none."""
    count = len(states)
    said = [
        f"{number} of {count} snippets {words}"
        for state, words in (
            (ABSENT, "have no sound"),
            (UNDECODABLE, "have sound that cannot be decoded"),
            (SILENT, "are silent"),
        )
        if (number := int((states == state).sum()))
    ]
    return ", ".join(said)
