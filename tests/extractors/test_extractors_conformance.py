"""What every registered extractor has to keep: the promises of ``vadpipe.extractors.Extractor``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vadpipe.errors import UsageError
from vadpipe.extractors import EXTRACTORS, SNIPPET_FRAMES, Extractor, create, geometry
from vadpipe.extractors.compute import cpu_computes_bfloat16
from vadpipe.extractors.weights_table import KNOWN, default_weights

DTYPE = "bfloat16" if cpu_computes_bfloat16() else "float32"

RANDOM_7 = {
    # stream -> beginning of the digest of the values that seed 7 gives
    "clip": "bda1862a68fa098d",
    "wav2clip": "34a5b5c609a87786",
    "i3d-inception": "ea22174b53310c28",
    "i3d-r50": "9534ca33d657678a",
    "c3d": "d4c3ce57b7b732c4",
}


@dataclass(frozen=True)
class Case:
    """One untrained encoder with a batch of two, three items, and their rows: one full batch and one half empty."""

    name: str
    encoder: Extractor
    items: NDArray[Any]
    rows: NDArray[np.float32]


def made_up_items(encoder: Extractor, count: int) -> NDArray[Any]:
    """Items that differ as scenes do: in colour, and by a bright bar that moves, at another height in each."""
    needs = encoder.needs
    if needs.audio_rate:
        seconds = np.arange(round(needs.window_s * needs.audio_rate)) / needs.audio_rate
        return np.stack([np.sin(2 * np.pi * 300 * (item + 1) * seconds) for item in range(count)]).astype(np.float32)
    size = geometry.output_size(needs.geometry)
    assert size is not None
    height, width = size
    items = np.empty((count, needs.frames, height, width, 3), np.uint8)
    for item in range(count):
        items[item] = np.array([[40, 90, 200], [150, 140, 30], [20, 160, 90]])[item % 3]
        for frame in range(needs.frames):
            left = 10 + 4 * frame
            items[item, frame, 20 + 25 * item : 40 + 25 * item, left : left + 30] = 250
    return items if needs.frames > 1 else items[:, 0]


@pytest.fixture(scope="module", params=sorted(EXTRACTORS))
def case(request: pytest.FixtureRequest) -> Case:
    encoder = create(request.param, weights="random:7", dtype=DTYPE, batch_size=2)
    items = made_up_items(encoder, 3)
    return Case(request.param, encoder, items, encoder.encode(items))


def test_rows_have_the_specified_columns(case: Case) -> None:
    spec = case.encoder.spec(16, "pyav", "18")
    assert spec.stream == case.name
    assert case.rows.shape == (3, spec.dim)
    assert case.rows.dtype == np.float32
    assert np.isfinite(case.rows).all()


def test_a_row_depends_on_its_own_item_only(case: Case) -> None:
    """Bit for bit: alone instead of in company, in another place, and as a torch tensor."""
    alone = case.encoder.encode(torch.from_numpy(case.items[1:2]))
    np.testing.assert_array_equal(alone, case.rows[1:2])


def test_untrained_rows_tell_items_apart(case: Case) -> None:
    unit = case.rows / np.linalg.norm(case.rows, axis=1, keepdims=True)
    assert (unit @ unit.T)[np.triu_indices(3, 1)].max() < 0.99


def test_no_items_give_no_rows(case: Case) -> None:
    assert case.encoder.encode(case.items[:0]).shape == (0, case.rows.shape[1])


def test_items_of_another_form_are_refused(case: Case) -> None:
    for wrong in (case.items[:, :-1], case.items[0], case.items.astype(np.float64), case.items[..., None]):
        with pytest.raises(ValueError, match="expected"):
            case.encoder.encode(wrong)


@pytest.mark.parametrize("name", sorted(EXTRACTORS))
def test_the_specification_differs_with_every_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("clip_vit", "snippets"):  # the digest of random values takes time and has a test of its own
        monkeypatch.setattr(f"vadpipe.extractors.{module}.state_sha256", lambda state: "0" * 64)

    def spec(decoder: str = "pyav", version: str = "18", device: str = "cpu", **options: Any) -> Any:
        made = create(name, **({"weights": "random:0"} | options))
        return made.spec(16, decoder, version, device)

    plain = spec()
    assert plain == spec(batch_size=3)
    assert plain.untrained
    assert "weights" in plain.differences(spec(weights="random", seed=1))
    assert set(plain.differences(spec(decoder="decord", version="0.6"))) == {"decoder", "decoder_version"}
    if plain.geometry:
        assert set(plain.differences(spec(device="cuda"))) == {"decode_device", "interpolation"}
    if cpu_computes_bfloat16():
        assert set(plain.differences(spec(dtype="bfloat16"))) == {"dtype"}


def test_random_weights_are_pinned(case: Case) -> None:
    """The same on every machine and with every version, so that untrained features are too, but for rounding."""
    digest = case.encoder.spec(16, "pyav", "18").weights_sha256
    assert digest[:16] == RANDOM_7[case.name]


@pytest.mark.parametrize("name", ["clip", "i3d-inception", "i3d-r50"])
@pytest.mark.parametrize("crops", ["5", "10"])
def test_crops_want_the_whole_stretched_picture(name: str, crops: str) -> None:
    needs = create(name, weights="random:0", crops=crops).needs
    assert geometry.crops(needs.geometry) == int(crops)
    assert geometry.output_size(needs.geometry) == (256, 340)


def test_the_page_on_extractors_says_what_they_are(case: Case) -> None:
    lines = (Path(__file__).parents[2] / "docs" / "extractors.md").read_text().splitlines()
    rows = [tuple(cell.strip(" `") for cell in line.strip("|").split("|")) for line in lines if line.startswith("| `")]
    (row,) = (row for row in rows if row[0] == case.name and len(row) == 5)
    assert (row[1], row[3]) == (str(case.rows.shape[1]), case.encoder.needs.geometry)
    assert row[4] == default_weights(case.name)


@pytest.mark.parametrize("name", sorted(EXTRACTORS))
def test_every_stream_has_published_weights(name: str) -> None:
    assert KNOWN[default_weights(name)].stream == name


def test_who_takes_whole_snippets_is_known_without_building_them(case: Case) -> None:
    assert SNIPPET_FRAMES.get(case.name, 1) == case.encoder.needs.frames


@pytest.mark.parametrize("name", sorted(SNIPPET_FRAMES))
def test_snippets_of_another_length_are_a_usage_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vadpipe.extractors.snippets.state_sha256", lambda state: "0" * 64)
    encoder = create(name, weights="random:0")
    assert (encoder.needs.frames, encoder.batch_size) == (16, 4)
    with pytest.raises(UsageError, match=f"got 4, but {name} takes 16 frames at once: use 16"):
        encoder.spec(4, "pyav", "18")
