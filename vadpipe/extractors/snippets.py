"""Encoders of whole snippets: what the three 3D networks share. Each network is a file of its own.

Legend: B snippets, N of them at once, F frames of a snippet, D columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vadpipe.errors import UsageError
from vadpipe.extractors import Needs
from vadpipe.extractors.batches import crop_geometry, picture_rows, picture_spec
from vadpipe.extractors.compute import checked_compute
from vadpipe.extractors.untrained import mirrored_values, state_sha256
from vadpipe.extractors.weights import accept, read_state, resolve
from vadpipe.shapes_only import shapes_only
from vadpipe.spec import FeatureSpec

FRAMES = 16
"""Frames of a snippet, for all three networks."""


@dataclass(frozen=True, slots=True)
class SnippetNetwork:
    """One 3D network and what belongs to it.

    stream, model, dim
        As in the feature specification.
    geometry, has_crops
        Of its centre crop; whether five and ten crops of 224 x 224 make sense for it.
    build
        The network on the current device; its ``forward`` takes (N, 3, F, h, w) and gives (N, D) float32.
    prepare
        (N, F, h, w, 3) uint8 -> (N, 3, F, h, w) float32, as the network was trained.
    left_out
        Beginnings of parameter names that published files hold beside the network: its classifier.
    flattened
        Positions of each channel that a linear layer sees side by side, where the network has one.
    """

    stream: str
    model: str
    dim: int
    geometry: str
    build: Callable[[], nn.Module]
    prepare: Callable[[torch.Tensor], torch.Tensor]
    left_out: tuple[str, ...] = ()
    has_crops: bool = True
    flattened: int = 1


class SnippetEncoder:
    """A 3D network on snippets of 16 frames; it takes memory only once it is used.

    weights
        A known name, a path, ``random`` or ``random:SEED``; names and shapes of a file are checked at once.
    device
        ``cpu``, ``cuda`` or ``cuda:1``.
    dtype
        Of weights and arithmetic; the pooling at the end is always in float32. ``float32`` gives the published
        numbers. ``bfloat16`` needs a processor that computes in it. Results are float32 either way.
    batch_size
        Snippets (crops of them, where there are several) that the network sees at once; None: 4, on a GPU 32.
    crops
        ``center``, ``5`` or ``10``.

    :class:`UsageError` for a device, dtype or crops that cannot be had; :class:`WeightsError` for weights that are
    missing or do not fit.
    """

    def __init__(
        self,
        network: SnippetNetwork,
        *,
        weights: str,
        device: str = "cpu",
        dtype: str = "float32",
        seed: int = 0,
        batch_size: int | None = None,
        crops: str = "center",
    ) -> None:
        if crops != "center" and not network.has_crops:
            raise UsageError(f"crops: got {crops!r}, but {network.stream} has the centre crop only: use center")
        self.network = network
        self.needs = Needs(geometry=crop_geometry(crops, network.geometry), frames=FRAMES)
        self.dtype = dtype
        self._device, self._dtype, self.batch_size = checked_compute(device, dtype, batch_size, cpu=4, cuda=32)
        with shapes_only():
            self._module = network.build().eval()
        self._shapes = {name: tuple(value.shape) for name, value in _parameters(self._module)}
        self._weights = resolve(weights, seed=seed)
        self._file_state = {} if self._weights.is_random else self._read()
        self._random_sha256 = ""
        self._loaded = False

    def spec(
        self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
    ) -> FeatureSpec:
        """The specification of this encoder's features; :class:`UsageError` unless snippets have 16 frames."""
        return picture_spec(
            self.needs,
            frames_per_snippet,
            decoder,
            decoder_version,
            decode_device,
            stream=self.network.stream,
            dim=self.network.dim,
            model=self.network.model,
            weights=self._weights.name,
            weights_sha256=self.weights_sha256,
            dtype=self.dtype,
        )

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights' file; of the network's float32 values where the weights are random."""
        if self._weights.is_random and not self._random_sha256:
            self._random_sha256 = state_sha256((name, self._initial(name)) for name in self._shapes)
        return self._weights.sha256 or self._random_sha256

    def encode(self, items: Any) -> NDArray[np.float32]:
        """(B, 16, h, w, 3) uint8 RGB, numpy or torch -> (B, D) float32, or (B, crops, D).

        h, w are those of the geometry, 256 x 340 for several crops; ValueError for anything else. A row depends on its
        snippet only, bit for bit, whatever B and the snippet's place in it.
        """
        self._load()
        size = (self.network.dim, self.batch_size, self._device)
        return picture_rows(items, self.needs, *size, lambda part: self.features(self.network.prepare(part)))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(N, 3, F, h, w) float32, prepared -> (N, D) float32 on the device; N is up to the caller."""
        self._load()
        with torch.inference_mode():
            pixels = pixels.to(self._device, self._dtype).contiguous(memory_format=torch.channels_last_3d)
            rows: torch.Tensor = self._module(pixels)
            return rows

    def _load(self) -> None:
        """Give the network its values, once; they leave ``_file_state``, so that nothing is held twice."""
        if self._loaded:
            return
        state = {name: self._on_device(self._take(name)) for name in self._shapes}
        self._module.load_state_dict(state, strict=False, assign=True)
        self._module.requires_grad_(requires_grad=False)
        self._loaded = True

    def _take(self, name: str) -> torch.Tensor:
        if self._weights.is_random:
            return torch.from_numpy(self._initial(name))
        return self._file_state.pop(name)

    def _on_device(self, value: torch.Tensor) -> torch.Tensor:
        value = value.to(self._device, self._dtype)
        return value.contiguous(memory_format=torch.channels_last_3d) if value.ndim == 5 else value

    def _read(self) -> dict[str, torch.Tensor]:
        state = {
            name: tensor
            for name, tensor in read_state(self._weights).items()
            if not name.startswith(self.network.left_out) and not _is_counter(name)
        }
        accept(self._weights, state, self._shapes)
        return state

    def _initial(self, name: str) -> NDArray[np.float32]:
        """Value of one parameter of an untrained network: norms that do nothing, no biases, mirrored filters."""
        shape = self._shapes[name]
        if len(shape) == 1:
            ones = name.endswith(("weight", "running_var"))
            return np.full(shape, 1.0 if ones else 0.0, dtype=np.float32)
        if len(shape) == 2:
            by_channel = (shape[0], shape[1] // self.network.flattened, self.network.flattened)
            return mirrored_values(name, by_channel, self._weights.seed).reshape(shape)
        return mirrored_values(name, shape, self._weights.seed)


def _parameters(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    return ((name, value) for name, value in module.state_dict().items() if not _is_counter(name))


def _is_counter(name: str) -> bool:
    # batch norms count the batches of their training, which nothing reads; some files leave the counters out
    return name.endswith("num_batches_tracked")
