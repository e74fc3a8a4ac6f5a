"""The feature specification: its hash tells apart all that matters, and a mismatch names the fields."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, fields, replace
from typing import Any

import pytest

from vadpipe.errors import SpecMismatch, StoreError, UsageError
from vadpipe.spec import FeatureSpec

SPEC = FeatureSpec("clip", 512, "ViT-B-16-quickgelu", "openai", "ab" * 32, decoder="pyav", decoder_version="18.1")
OTHER: dict[str, Any] = {
    "stream": "i3d",
    "dim": 1024,
    "model": "ViT-B-32",
    "weights": "random:0",
    "weights_sha256": "cd" * 32,
    "frames_per_snippet": 4,
    "offset": 8,
    "geometry": "short224-center224",
    "interpolation": "bilinear",
    "dtype": "bfloat16",
    "decoder": "decord",
    "decoder_version": "0.6.0",
    "decode_device": "cuda",
    "audio_window": "1s@16000Hz",
}


def test_every_field_has_another_value_here() -> None:
    assert set(OTHER) == {field.name for field in fields(FeatureSpec)}


@pytest.mark.parametrize("name", sorted(OTHER))
def test_hash_changes_with_every_field(name: str) -> None:
    other = replace(SPEC, **{name: OTHER[name]})
    assert other.digest != SPEC.digest
    assert other.folder != SPEC.folder
    assert SPEC.differences(other) == {name: (getattr(SPEC, name), OTHER[name])}


def test_hash_is_the_sha256_of_canonical_json() -> None:
    text = json.dumps(asdict(SPEC), sort_keys=True, separators=(",", ":"))
    assert SPEC.to_json() == text
    assert SPEC.digest == hashlib.sha256(text.encode()).hexdigest()
    assert SPEC.hash8 == SPEC.digest[:8]
    assert SPEC.folder == f"clip-{SPEC.hash8}"


def test_hash_is_the_same_in_every_version() -> None:
    # Frozen: a change here makes every stored feature unreadable.
    small = FeatureSpec("clip", 512, "m", "w")
    assert small.digest == "b0d781527f14e3e756e460cb47f96e6502c8624d7a73bb84e8b0dedaba056e91"


def test_json_round_trip() -> None:
    assert FeatureSpec.from_mapping(json.loads(SPEC.to_json())) == SPEC


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"colour": "red", "zoom": 1}, r"unknown fields \['colour', 'zoom'\]"),
        ({"dim": "512"}, "dim"),
        ({"dim": 512.0}, "dim"),
        ({"dim": True}, "dim"),
        ({"dim": 0}, "dim"),
        ({"dim": None}, "dim"),
        ({"stream": 5}, "stream"),
        ({"stream": None}, "stream"),
        ({"stream": "a/b"}, "stream"),
        ({"geometry": 224}, "geometry"),
        ({"offset": "x"}, "offset"),
        ({"dtype": ["float32"]}, "dtype"),
    ],
)
def test_from_mapping_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        FeatureSpec.from_mapping(asdict(SPEC) | values)


@pytest.mark.parametrize("name", ["stream", "dim", "model", "weights"])
def test_from_mapping_refuses_a_missing_field(name: str) -> None:
    values = {key: value for key, value in asdict(SPEC).items() if key != name}
    with pytest.raises(StoreError, match=name):
        FeatureSpec.from_mapping(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stream": ""}, "stream"),
        ({"stream": "../up"}, "stream"),
        ({"stream": "--"}, "stream"),
        ({"dim": 0}, "dim"),
        ({"frames_per_snippet": 0}, "frames_per_snippet"),
        ({"offset": 16}, "offset"),
        ({"offset": -1}, "offset"),
        ({"dtype": "float64"}, "dtype"),
    ],
)
def test_spec_refuses(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **values)


def test_stream_may_hold_hyphens() -> None:
    assert replace(SPEC, stream="my-i3d_2").folder.startswith("my-i3d_2-")


def test_random_weights_count_as_untrained() -> None:
    for untrained in ("random:7", "random:0", "random"):
        assert replace(SPEC, weights=untrained).untrained
    for trained in (SPEC.weights, "randomised-init-finetuned.pt", "random.pt", "random:7.pt", "random:", "imported"):
        assert not replace(SPEC, weights=trained).untrained


def test_require_passes_equal_specs() -> None:
    assert SPEC.require(replace(SPEC), "track 'a'") == ()


def test_require_names_every_differing_field_and_what_it_belongs_to() -> None:
    other = replace(SPEC, decoder="decord", dim=1024)
    with pytest.raises(SpecMismatch) as caught:
        SPEC.require(other, "track 'a'")
    text = str(caught.value)
    assert "track 'a'" in text
    assert "decoder: 'pyav' expected, 'decord' got" in text
    assert "dim: 512 expected, 1024 got" in text
    assert SPEC.folder in text
    assert other.folder in text


def test_require_accepts_named_fields_and_says_so() -> None:
    other = replace(SPEC, decoder="decord", decoder_version="0.6.0")
    said = SPEC.require(other, "track 'a'", accept=frozenset({"decoder", "decoder_version"}))
    assert len(said) == 2
    assert "decoder: 'pyav' expected, 'decord' got" in said[0]
    with pytest.raises(SpecMismatch, match="decoder_version") as caught:
        SPEC.require(other, "track 'a'", accept=frozenset({"decoder"}))
    assert "decoder:" not in str(caught.value)


def test_sound_cannot_be_a_heads_first_stream() -> None:
    SPEC.require_picture()
    with pytest.raises(UsageError, match=r"cannot be a head's first stream.*audio_stream = 'wav2clip'.*modality"):
        replace(SPEC, stream="wav2clip", audio_window="1s@16000Hz").require_picture()
