"""Wav2CLIP: the 512-d embedding, in CLIP's space, of one second of sound.

A ResNet-18 on the logarithm of a power spectrogram, then two linear layers (Wu et al., "Wav2CLIP: Learning Robust Audio
Representations From CLIP", 2022; parameters are named as in the released checkpoint).

Legend: N windows, S = 16000 samples of a window, 257 frequencies, 46 columns of the spectrogram, D = 512.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from vadpipe.errors import UsageError
from vadpipe.extractors import Needs
from vadpipe.extractors.batches import CROPS, item_rows
from vadpipe.extractors.compute import checked_compute
from vadpipe.extractors.untrained import mirrored_values, state_sha256
from vadpipe.extractors.weights import Weights, accept, read_state, resolve
from vadpipe.spec import FeatureSpec

DIM = 512
RATE = 16_000
WINDOW_S = 1.0

_FFT, _HOP = 512, 353
_SAMPLES = round(RATE * WINDOW_S)
_WINDOW = "audio_encoder.spectrogram.window"
_OF_TRAINING = ("image_transform.", "audio_encoder.fc.")  # in the released checkpoint, not in the embedding


class Wav2ClipNetwork(nn.Module):
    """The network; parameters and the spectrogram's window, a stored buffer, are named as in the released checkpoint.

    :class:`UsageError` where torchaudio is missing or does not fit the installed torch.
    """

    audio_encoder: Any
    audio_transform: Any

    def __init__(self) -> None:
        super().__init__()
        encoder = ResNet(BasicBlock, [2, 2, 2, 2])
        encoder.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
        encoder.fc = nn.Identity()
        encoder.spectrogram = _spectrogram()
        self.audio_encoder = encoder
        self.audio_transform = nn.Module()
        self.audio_transform.sequential = nn.Sequential(
            nn.Linear(DIM, DIM), nn.ReLU(), nn.Dropout(0.1), nn.Linear(DIM, DIM)
        )

    def log_spectra(self, windows: Tensor) -> Tensor:
        """(N, S) float32 -> (N, 1, 257, 46) float32: log(power + 1e-7), both ends of a window mirrored."""
        power: Tensor = self.audio_encoder.spectrogram(windows)
        return (power[:, None] + 1e-7).log()

    def embed(self, spectra: Tensor) -> Tensor:
        """(N, 1, 257, 46) standardised, in the weights' dtype -> (N, 512) in that dtype."""
        out: Tensor = self.audio_transform.sequential(self.audio_encoder(spectra))
        return out

    def forward(self, windows: Tensor) -> Tensor:
        """(N, S) float32 -> (N, 512) in the weights' dtype, each window on its own."""
        spectra = standardised(self.log_spectra(windows))
        weight: Tensor = self.audio_encoder.conv1.weight
        return self.embed(spectra.to(weight.dtype, memory_format=torch.channels_last))


def standardised(spectra: Tensor, *, whole_batch: bool = False) -> Tensor:
    """Subtract the mean and divide by the deviation + 1e-9, of each item of (N, 1, 257, 46) float32.

    Differs from the released code, which takes both over the whole batch (``whole_batch``): there an embedding depends
    on the other windows that came with it (cosine about 0.975 on real sound). In float64, because in float32 a
    constant spectrogram, as of silence, becomes its own rounding error divided by itself instead of zeros.
    """
    axes = (0, 1, 2, 3) if whole_batch else (1, 2, 3)
    exact = spectra.double()
    deviation, mean = torch.std_mean(exact, dim=axes, keepdim=True)
    return ((exact - mean) / (deviation + 1e-9)).float()


class Wav2Clip:
    """The encoder of windows of sound.

    weights
        ``wav2clip-vggsound``, a path, ``random`` or ``random:SEED``; names and shapes of a file are checked at once.
    device, dtype
        As of :func:`vadpipe.extractors.create`. The spectrogram is computed in float32 either way.
    batch_size
        Windows the network sees at once; None: 16, on a GPU 256.
    crops
        Sound has none: the same for every choice.

    :class:`UsageError` for a device or dtype that this machine does not have, and without torchaudio;
    :class:`WeightsError` for weights that are missing or do not fit.
    """

    needs = Needs(audio_rate=RATE, window_s=WINDOW_S)

    def __init__(
        self,
        *,
        weights: str = "wav2clip-vggsound",
        device: str = "cpu",
        dtype: str = "float32",
        seed: int = 0,
        batch_size: int | None = None,
        crops: str = "center",
    ) -> None:
        if crops not in CROPS:
            raise UsageError(f"crops: got {crops!r}, expected one of {', '.join(CROPS)}")
        self.dtype = dtype
        self._device, self._dtype, self.batch_size = checked_compute(device, dtype, batch_size, cpu=16, cuda=256)
        with torch.device("meta"):
            self.network = Wav2ClipNetwork().eval()
        self._weights = resolve(weights, seed=seed)
        state = self._state()
        self.weights_sha256 = self._weights.sha256 or state_sha256(
            (name, value.numpy()) for name, value in state.items() if value.is_floating_point()
        )
        self._load(state)

    def spec(
        self,
        frames_per_snippet: int,
        decoder: str,
        decoder_version: str,
        decode_device: str = "cpu",  # noqa: ARG002  # the protocol's
    ) -> FeatureSpec:
        """The specification of sound features made by this encoder from what that decoder gives.

        Sound is decoded and resampled on the CPU, whatever decodes the pictures: ``decode_device`` changes nothing.
        """
        return FeatureSpec(
            stream="wav2clip",
            dim=DIM,
            model="wav2clip",
            weights=self._weights.name,
            weights_sha256=self.weights_sha256,
            frames_per_snippet=frames_per_snippet,
            dtype=self.dtype,
            decoder=decoder,
            decoder_version=decoder_version,
            audio_window=f"{WINDOW_S:g}s@{RATE}Hz",
        )

    def encode(self, items: Any) -> NDArray[np.float32]:
        """(B, 16000) float32 samples, numpy or torch -> (B, 512) float32; ValueError for anything else.

        A row depends on its window only, bit for bit, whatever B and the window's place in it.
        """
        rows = item_rows(items, (_SAMPLES,), torch.float32, 1, _uncut, DIM, self.batch_size, self._device, self.network)
        return rows[:, 0]

    def _state(self) -> dict[str, Tensor]:
        shapes = {name: tuple(value.shape) for name, value in self.network.state_dict().items()}
        if self._weights.is_random:
            return {name: torch.from_numpy(_initial(name, shape, self._weights.seed)) for name, shape in shapes.items()}
        return _file_state(self._weights, shapes)

    def _load(self, state: dict[str, Tensor]) -> None:
        network = self.network
        network.load_state_dict({name: value.to(self._device) for name, value in state.items()}, assign=True)
        window = network.audio_encoder.spectrogram.window
        network.to(dtype=self._dtype)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's types
        network.audio_encoder.spectrogram.window = window  # stays in float32
        network.requires_grad_(requires_grad=False)


def _uncut(windows: Tensor) -> Tensor:
    return windows[:, None]


def _spectrogram() -> Any:
    try:
        from torchaudio.transforms import Spectrogram
    except (ImportError, OSError, RuntimeError) as error:  # a build for another torch fails in its own ways
        raise UsageError(
            f"the stream wav2clip needs torchaudio, which cannot be imported ({error}). "
            "Install it with: pip install 'vadpipe[audio]'"
        ) from error
    return Spectrogram(n_fft=_FFT, hop_length=_HOP)


def _file_state(weights: Weights, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    state = {name: value for name, value in read_state(weights).items() if not name.startswith(_OF_TRAINING)}
    accept(weights, state, shapes)
    return state


def _initial(name: str, shape: tuple[int, ...], seed: int) -> NDArray[Any]:
    """Value of one parameter of an untrained network that tells sounds apart; batch norms change nothing."""
    last = name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if name == _WINDOW:  # Hann; rounded, so that its bits are the same on every machine
        steps = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FFT) / _FFT)
        return (np.round(steps * 2**20) / 2**20).astype(np.float32)
    if len(shape) == 1:
        return np.full(shape, 1.0 if last in ("weight", "running_var") else 0.0, dtype=np.float32)
    return mirrored_values(name, shape, seed)
