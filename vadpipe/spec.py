"""The feature specification: everything that changes a feature's value, in one hashed record."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vadpipe.errors import SpecMismatch, StoreError, UsageError

_RANDOM = re.compile(r"random(:[0-9]+)?")  # not any name that begins so: it may be that of a trained file
_DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What was done to get from a video file to one stream of feature rows.

    Two tracks may be mixed only if their specs are equal; :attr:`hash8` names the cache folder and the full
    :attr:`digest` is stored in every feature file, checkpoint and result.

    stream
        Kind of features: ``clip``, or the name that was given to an imported stream.
    dim
        Columns of one row.
    model, weights, weights_sha256
        Network; how its weights were chosen (``openai``, a file name, ``random:0``, ``imported``); their digest
        (empty where it cannot be known, as for imported features).
    frames_per_snippet, offset
        One row per so many frames; the row is taken at frame ``offset`` of its snippet.
    geometry, interpolation
        Crop and resize in words, e.g. ``short224-center224`` and ``pil-bicubic-antialias-u8``.
    dtype
        Number type the encoder computed in.
    decoder, decoder_version, decode_device
        Who decoded the pixels.
    audio_window
        Seconds and rate of an audio window (``1s@16000Hz``); empty for visual streams.
    """

    stream: str
    dim: int
    model: str
    weights: str
    weights_sha256: str = ""
    frames_per_snippet: int = 16
    offset: int = 0
    geometry: str = ""
    interpolation: str = ""
    dtype: str = "float32"
    decoder: str = ""
    decoder_version: str = ""
    decode_device: str = "cpu"
    audio_window: str = ""

    def __post_init__(self) -> None:
        if not self.stream or not self.stream.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"stream: got {self.stream!r}, expected letters, digits, '-' and '_'")
        if self.dim < 1 or self.frames_per_snippet < 1:
            raise ValueError(f"dim {self.dim} and frames_per_snippet {self.frames_per_snippet} must be at least 1")
        if not 0 <= self.offset < self.frames_per_snippet:
            raise ValueError(f"offset: got {self.offset}, expected 0 … {self.frames_per_snippet - 1}")
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype: got {self.dtype!r}, expected one of {_DTYPES}")

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no blanks; the text that is hashed."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> FeatureSpec:
        """Rebuild from parsed JSON; :class:`StoreError` for unknown, missing or ill-typed fields."""
        known = {f.name for f in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise StoreError(f"feature spec has unknown fields {unknown}: written by a newer vadpipe? Extract again.")
        for field in fields(cls):
            wanted = int if field.type == "int" else str
            if field.name in values and type(values[field.name]) is not wanted:
                raise StoreError(
                    f"feature spec field {field.name}: got {values[field.name]!r}, expected {wanted.__name__}"
                )
        try:
            return cls(**dict(values))
        except (TypeError, ValueError) as error:
            raise StoreError(f"feature spec is malformed: {error}") from error

    @property
    def digest(self) -> str:
        """sha256 of :meth:`to_json`, hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @property
    def hash8(self) -> str:
        """The first 8 digits of :attr:`digest`; names the cache folder ``<stream>-<hash8>``."""
        return self.digest[:8]

    @property
    def folder(self) -> str:
        """Cache folder name, ``<stream>-<hash8>``."""
        return f"{self.stream}-{self.hash8}"

    @property
    def untrained(self) -> bool:
        """True where the encoder had seeded random weights; every output has to say so."""
        return _RANDOM.fullmatch(self.weights) is not None

    def require_picture(self) -> None:
        """Raise :class:`UsageError` where this is sound, which cannot be a head's first stream.

        A first stream is one row of data a snippet; the states of sound, which say where its rows are no data, are
        known only beside it.
        """
        if self.audio_window:
            raise UsageError(
                f"{self.folder} are features of sound, which cannot be a head's first stream: its snippets without "
                f"sound would count as data. Give it beside the picture, as audio_stream = {self.stream!r}; "
                "an AVadCLIP head with model.modality = 'audio' looks at nothing else"
            )

    def differences(self, other: FeatureSpec) -> dict[str, tuple[Any, Any]]:
        """Field name -> (own value, other's value), for the fields that differ."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def require(self, other: FeatureSpec, what: str, accept: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """Raise :class:`SpecMismatch` unless ``other`` equals this spec.

        ``what`` says in words what ``other`` belongs to. Fields in ``accept`` may differ; each that does is
        returned as a sentence for the result's warnings.
        """
        different = self.differences(other)
        said = {name: f"{name}: {mine!r} expected, {theirs!r} got" for name, (mine, theirs) in different.items()}
        if refused := [text for name, text in said.items() if name not in accept]:
            raise SpecMismatch(
                f"{what} has another feature specification ({other.folder} instead of {self.folder}): "
                f"{'; '.join(refused)}. Extract with the same settings, or train on these features."
            )
        return tuple(f"feature specification differs, accepted by the user: {text}" for text in said.values())
