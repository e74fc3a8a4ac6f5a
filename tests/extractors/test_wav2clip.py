"""Wav2CLIP against the golden values of the official implementation, and what extraction relies on."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.golden import golden_weights
from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors import EXTRACTORS, create
from vadpipe.extractors.compute import cpu_computes_bfloat16
from vadpipe.extractors.wav2clip import Wav2Clip, Wav2ClipNetwork, standardised
from vadpipe.tracks import FloatArray

DATA = Path(__file__).parent.parent / "data"
RANDOM_SHA256 = "fdb33496faed9821c40ae54cdf24b34c01d556ccf6e14055ad55359e5a0cad37"


def shapes() -> dict[str, tuple[int, ...]]:
    """Names take part in the golden formula, so they are checked with it."""
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in Wav2ClipNetwork().state_dict().items()}


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    with np.load(DATA / "wav2clip_golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def windows(golden: dict[str, NDArray[Any]]) -> FloatArray:
    return golden["waveform"].astype(np.float32)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wav2clip") / "golden.safetensors"
    save_file(golden_weights(shapes()), path)
    return path


@pytest.fixture(scope="module")
def encoder(weights_file: Path) -> Wav2Clip:
    return Wav2Clip(weights=str(weights_file), batch_size=4)


def far(got: FloatArray, wanted: FloatArray) -> float:
    """Largest difference, relative to the largest magnitude."""
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def test_each_window_alone_is_the_golden_embedding(
    encoder: Wav2Clip, windows: FloatArray, golden: dict[str, NDArray[Any]]
) -> None:
    assert far(encoder.encode(windows), golden["embedding_each_alone"]) < 1e-5


def test_the_official_code_standardises_over_the_whole_batch(
    encoder: Wav2Clip, windows: FloatArray, golden: dict[str, NDArray[Any]]
) -> None:
    """The deliberate difference: everything else being the same, this alone leads from one golden to the other."""
    network = encoder.network
    with torch.inference_mode():
        spectra = network.log_spectra(torch.from_numpy(windows))
        assert spectra.shape == (4, 1, 257, 46)
        together = network.embed(standardised(spectra, whole_batch=True)).numpy()
    assert far(together, golden["embedding_as_one_batch"]) < 1e-5
    alone = golden["embedding_each_alone"]
    cosines = (together * alone).sum(1) / np.linalg.norm(together, axis=1) / np.linalg.norm(alone, axis=1)
    assert 0.95 < cosines.min() < cosines.max() < 0.99


def test_a_row_depends_on_its_window_only_bit_for_bit(encoder: Wav2Clip, windows: FloatArray) -> None:
    rows = encoder.encode(windows)
    np.testing.assert_array_equal(encoder.encode(np.concatenate([windows[::-1], windows])), [*rows[::-1], *rows])
    np.testing.assert_array_equal(encoder.encode(windows[2:3])[0], rows[2])
    np.testing.assert_array_equal(encoder.encode(torch.from_numpy(windows)), rows)
    assert encoder.encode(windows[:0]).shape == (0, 512)


def test_silence_is_all_zeros_once_standardised(encoder: Wav2Clip) -> None:
    """In float32 it would be 0 / 0 in disguise: the rounding error of a mean, divided by itself."""
    silence = encoder.network.log_spectra(torch.zeros(1, 16000))
    assert standardised(silence).abs().max() < 1e-5
    rows = encoder.encode(np.stack([np.zeros(16000, np.float32)] * 2))
    assert np.isfinite(rows).all()
    np.testing.assert_array_equal(rows[0], rows[1])


def test_loudness_hardly_counts_and_direction_of_time_does(encoder: Wav2Clip, windows: FloatArray) -> None:
    """A factor shifts the logarithm, which the mean takes away again; only what is near 1e-7 feels it."""
    rows = encoder.encode(windows)
    assert far(encoder.encode(2 * windows), rows) < 0.02
    assert far(encoder.encode(windows[:, ::-1].copy()), rows) > 0.05


@pytest.mark.parametrize(
    "items",
    [
        np.zeros((2, 15999), np.float32),
        np.zeros((2, 16000)),
        np.zeros(16000, np.float32),
        np.zeros((1, 16000), np.int16),
    ],
)
def test_other_items_are_refused(encoder: Wav2Clip, items: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"expected float32 \(B, 16000\)"):
        encoder.encode(items)


@pytest.mark.skipif(not cpu_computes_bfloat16(), reason="the encoder refuses bfloat16 on a processor that has none")
def test_bfloat16_is_close(weights_file: Path, windows: FloatArray, golden: dict[str, NDArray[Any]]) -> None:
    rows = Wav2Clip(weights=str(weights_file), batch_size=4, dtype="bfloat16").encode(windows)
    wanted = golden["embedding_each_alone"]
    cosines = (rows * wanted).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(wanted, axis=1)
    assert cosines.min() > 0.9999


def test_the_specification_says_what_counts(encoder: Wav2Clip) -> None:
    spec = encoder.spec(16, "pyav", "18.1", "cuda")
    assert (spec.stream, spec.dim, spec.model, spec.audio_window) == ("wav2clip", 512, "wav2clip", "1s@16000Hz")
    assert (spec.geometry, spec.interpolation, spec.decode_device) == ("", "", "cpu")
    assert spec.weights_sha256 == encoder.weights_sha256
    assert encoder.needs.audio_rate * encoder.needs.window_s == 16000


def test_random_weights_are_the_same_everywhere_and_follow_the_seed(windows: FloatArray) -> None:
    first, again = (create("wav2clip", weights="random", batch_size=4) for _ in range(2))
    rows = first.encode(windows)
    np.testing.assert_array_equal(again.encode(windows), rows)
    spec = first.spec(16, "pyav", "1")
    assert (spec.weights, spec.weights_sha256) == ("random:0", RANDOM_SHA256)
    assert spec.untrained
    other = create("wav2clip", weights="random:1", batch_size=4)
    assert far(other.encode(windows), rows) > 0.1
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert (unit @ unit.T)[np.triu_indices(4, 1)].max() < 0.9, "an untrained encoder still tells sounds apart"


def test_what_training_left_in_the_file_is_not_loaded(tmp_path: Path) -> None:
    state = {name: torch.from_numpy(value) for name, value in golden_weights(shapes()).items()}
    extra = {"image_transform.sequential.0.weight": torch.ones(2), "audio_encoder.fc.bias": torch.ones(309)}
    path = tmp_path / "Wav2CLIP.pt"
    torch.save({"state_dict": {**state, **extra}, "epoch": 3}, path)
    assert Wav2Clip(weights=str(path)).weights_sha256
    del state["audio_encoder.spectrogram.window"]
    torch.save({"state_dict": {**state, "audio_encoder.layer5.0.conv1.weight": torch.ones(2)}}, path)
    with pytest.raises(WeightsError, match=r"2 differences: audio_encoder\.spectrogram\.window: missing; .*layer5"):
        Wav2Clip(weights=str(path))


def test_without_torchaudio_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def refusing(name: str, *rest: Any) -> Any:
        if name.startswith("torchaudio"):
            raise ImportError("No module named 'torchaudio'")
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(UsageError, match=r"pip install 'vadpipe\[audio\]'"):
        create("wav2clip", weights="random")


def test_it_is_registered_and_refuses_what_it_does_not_have() -> None:
    assert "wav2clip" in EXTRACTORS
    for options in ({"device": "tpu"}, {"dtype": "int8"}, {"batch_size": 0}, {"crops": "3"}):
        with pytest.raises(UsageError):
            create("wav2clip", weights="random", **options)
