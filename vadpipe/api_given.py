"""Arguments of :mod:`vadpipe.api`: their types, and what the pipeline is given for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from vadpipe.config import RunConfig, read_values, run_config, to_mapping
from vadpipe.errors import UsageError

if TYPE_CHECKING:
    from vadpipe.extractors.limits import Limits

AnyPath = str | os.PathLike[str]
Weights = str | Sequence[str] | Mapping[str, str] | None
"""``random``, a published name or a file; several of these; or stream -> one of these. None: the published ones."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a call is: ``done`` of ``total`` (None: not known) of ``what``: videos, epochs or frames."""

    what: str
    done: float
    total: float | None


OnProgress = Callable[[Progress], None]
OnNote = Callable[[str], None]


class Settings(TypedDict, total=False):
    """Settings of a training, as in a TOML file: :class:`vadpipe.config.RunConfig`; its tables are mappings."""

    head: str
    stream: str
    audio_stream: str
    classes: Sequence[str]
    prompts: Mapping[str, str]
    prompt_template: str
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    detect: Mapping[str, Any]


class LoadOptions(TypedDict, total=False):
    """How a head is to look at videos; what each means: :func:`vadpipe.api.load`."""

    student: AnyPath | None
    features: AnyPath | None
    weights: Weights
    categories: AnyPath | None
    calibration: AnyPath | None
    settings: Mapping[str, float]
    accept: Sequence[str]
    decoder: str
    decode_device: str | None
    limits: Mapping[str, float]
    device: str
    on_note: OnNote | None


class Counted:
    """Adds up what is done of ``total``, and tells it."""

    def __init__(self, what: str, total: float | None, tell: OnProgress | None) -> None:
        self._what, self._total, self._tell, self._done = what, total, tell, 0.0

    def add(self, share: float) -> None:
        """So much more is done."""
        self.set(self._done + share)

    def set(self, done: float) -> None:
        """So much is done."""
        self._done = done
        if self._tell is not None:
            self._tell(Progress(self._what, done, self._total))


class Bars:
    """Takes the place of progress bars."""

    def __init__(self, tell: OnProgress | None) -> None:
        self._tell = tell

    def add_task(self, description: str, *, total: float | None, note: str) -> Counted:  # noqa: ARG002  # as rich's
        """Begin something; the words are for people."""
        return Counted("videos", total, self._tell)

    def advance(self, task_id: Counted) -> None:
        """One more is done."""
        task_id.add(1)


def nobody(_text: str) -> None:
    """Nobody wants to hear a remark."""


def path_or_none(given: AnyPath | None) -> Path | None:
    """A path as a path."""
    return None if given is None else Path(given)


def paths(given: AnyPath | Iterable[AnyPath]) -> list[Path]:
    """One path or several, as a list."""
    return [Path(given)] if isinstance(given, str | os.PathLike) else [Path(item) for item in given]


def choices(weights: Weights) -> tuple[str, ...]:
    """Weights as the command line is given them."""
    if weights is None:
        return ()
    if isinstance(weights, str):
        return (weights,)
    if isinstance(weights, Mapping):
        return tuple(f"{stream}={choice}" for stream, choice in weights.items())
    return tuple(weights)


def check_options(given: Mapping[str, Any]) -> None:
    """:class:`vadpipe.errors.UsageError` for a name that is none of :class:`LoadOptions`; it would do nothing."""
    if unknown := [name for name in given if name not in LoadOptions.__annotations__]:
        raise UsageError(f"unknown option {unknown[0]}: expected some of {', '.join(LoadOptions.__annotations__)}")


def checked_limits(given: Mapping[str, float] | None) -> Limits:
    """Limits with those changed that are given by name; :class:`vadpipe.errors.UsageError` for an unknown one."""
    from vadpipe.extractors.limits import parse_limits

    return parse_limits([f"{name}={value}" for name, value in (given or {}).items()])


def merged_settings(config: AnyPath | RunConfig | None, changes: Mapping[str, Any]) -> RunConfig:
    """Settings of a TOML file or of nothing, some of them changed; tables are merged, anything else is replaced."""
    if config is None:
        values: dict[str, Any] = {}
    elif isinstance(config, RunConfig):
        values = to_mapping(config)
    else:
        values = read_values(Path(config))
    return run_config(_merged(values, changes))


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, change in changes.items():
        old = merged.get(key)
        merged[key] = _merged(old, change) if isinstance(old, Mapping) and isinstance(change, Mapping) else change
    return merged
