"""CLIP ViT-B/16 with OpenAI's numbers: the 512-d projected embedding of a picture or a text, not normalised.

Legend: B items, n texts, D = 512.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from open_clip.transformer import QuickGELU

from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors import Needs
from vadpipe.extractors.batches import crop_geometry, picture_rows, picture_spec
from vadpipe.extractors.compute import checked_compute
from vadpipe.extractors.untrained import random_values, state_sha256
from vadpipe.extractors.weights import Weights, accept, read_state, resolve
from vadpipe.spec import FeatureSpec

ARCHITECTURE = "ViT-B-16-quickgelu"
"""open_clip's name. Its plain ``ViT-B-16`` takes the same file without a warning and is 0.7 % off (texts: 1.5 %)."""

GEOMETRY = "short224-center224"
DIM = 512
CONTEXT_TOKENS = 77

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_IMAGE = "visual."
_NOT_PARAMETERS = ("input_resolution", "context_length", "vocab_size")  # numbers that OpenAI's archive also holds


class ClipVitB16:
    """The image and the text tower; each takes memory only once it is used.

    weights
        ``openai``, a path, ``random`` or ``random:SEED``; names and shapes of a file are checked at once.
    device
        ``cpu``, ``cuda`` or ``cuda:1``.
    dtype
        Of the image tower's weights and arithmetic. ``float32`` gives the published numbers. ``bfloat16`` is weights
        in bfloat16, not autocast (which is slower than float32 on a CPU), and needs a processor that computes in it.
        Texts are few and always computed in float32. Results are float32 either way.
    batch_size
        Pictures (crops, where there are several) that the image network sees at once; None: 32, on a GPU 256.
    crops
        ``center``: short side to 224, centre crop, as published. ``5`` or ``10``: crops of the stretched picture, as
        the released features of VadCLIP and AVadCLIP have them.

    :class:`UsageError` for a device or dtype that this machine does not have; :class:`WeightsError` for weights that
    are missing or do not fit.
    """

    def __init__(
        self,
        *,
        weights: str = "openai",
        device: str = "cpu",
        dtype: str = "float32",
        seed: int = 0,
        batch_size: int | None = None,
        crops: str = "center",
    ) -> None:
        self.needs = Needs(geometry=crop_geometry(crops, GEOMETRY, "clip-stretch256x340"))
        self.dtype = dtype
        self._device, self._image_dtype, self.batch_size = checked_compute(device, dtype, batch_size, cpu=32, cuda=256)
        self._network = _skeleton()
        self._shapes = {name: tuple(value.shape) for name, value in self._network.state_dict().items()}
        self._weights = resolve(weights, seed=seed)
        self._file_state = {} if self._weights.is_random else _file_state(self._weights, self._shapes)
        self._random_sha256 = ""
        self._loaded: set[str] = set()

    def spec(
        self, frames_per_snippet: int, decoder: str, decoder_version: str, decode_device: str = "cpu"
    ) -> FeatureSpec:
        """The specification of image features made by this encoder from frames of that decoder."""
        facts = (frames_per_snippet, decoder, decoder_version, decode_device)
        return image_spec(self._weights.name, self.weights_sha256, self.dtype, *facts, needs=self.needs)

    @property
    def weights_sha256(self) -> str:
        """Digest of the weights' file; of the image tower's float32 values where the weights are random."""
        if self._weights.is_random and not self._random_sha256:
            names = [name for name in self._shapes if name.startswith(_IMAGE)]
            state = ((name, _initial(name, self._shapes[name], self._weights.seed)) for name in names)
            self._random_sha256 = state_sha256(state)
        return self._weights.sha256 or self._random_sha256

    def encode(self, items: Any) -> NDArray[np.float32]:
        """(B, h, w, 3) uint8 RGB, numpy or torch -> (B, 512) float32, or (B, crops, 512); ValueError for anything else.

        h, w are 224 x 224, and 256 x 340 for several crops. A row depends on its picture only, bit for bit, whatever B
        and the picture's place in it.
        """
        self._load(image=True)
        return picture_rows(items, self.needs, DIM, self.batch_size, self._device, self._encode_batch)

    def _encode_batch(self, pictures: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self._network.encode_image(normalise(pictures).to(self._image_dtype))
        return rows

    def encode_text(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """N texts -> (n, 512) float32; :class:`UsageError` for a text of more than 75 tokens."""
        tokens = tokenize(texts)
        if not len(tokens):
            return np.empty((0, DIM), dtype=np.float32)
        self._load(image=False)
        with torch.inference_mode():
            rows: torch.Tensor = self._network.encode_text(torch.from_numpy(tokens).to(self._device))
        embedding: NDArray[np.float32] = rows.cpu().numpy()
        return embedding

    def text_state(self) -> dict[str, torch.Tensor]:
        """The text tower's parameters, CLIP's names -> float32 values on the device; shared, so not to be changed."""
        self._load(image=False)
        return {name: value for name, value in self._network.state_dict().items() if not name.startswith(_IMAGE)}

    def _load(self, *, image: bool) -> None:
        """Give one tower its values, once; they leave ``_file_state``, so that nothing is held twice."""
        tower = "image" if image else "text"
        if tower in self._loaded:
            return
        dtype = self._image_dtype if image else torch.float32
        names = [name for name in self._shapes if name.startswith(_IMAGE) == image]
        state = {name: self._take(name).to(self._device, dtype) for name in names}
        self._network.load_state_dict(state, strict=False, assign=True)
        self._network.requires_grad_(requires_grad=False)
        if not image:
            self._network.attn_mask = _causal_mask().to(self._device)
        self._loaded.add(tower)

    def _take(self, name: str) -> torch.Tensor:
        if self._weights.is_random:
            return torch.from_numpy(_initial(name, self._shapes[name], self._weights.seed))
        return self._file_state.pop(name)


def image_spec(
    weights: str,
    weights_sha256: str,
    dtype: str,
    frames_per_snippet: int,
    decoder: str,
    decoder_version: str,
    decode_device: str = "cpu",
    needs: Needs = Needs(GEOMETRY),  # noqa: B008  # a frozen value
) -> FeatureSpec:
    """The specification of image features, without the weights at hand."""
    return picture_spec(
        needs,
        frames_per_snippet,
        decoder,
        decoder_version,
        decode_device,
        stream="clip",
        dim=DIM,
        model="clip-vit-b-16",
        weights=weights,
        weights_sha256=weights_sha256,
        dtype=dtype,
    )


def normalise(images: torch.Tensor) -> torch.Tensor:
    """(B, h, w, 3) uint8 -> (B, 3, h, w) float32: scaled to 0 … 1, then OpenAI's mean and deviation per channel."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return images.permute(0, 3, 1, 2).contiguous().float().div_(255).sub_(mean).div_(std)


def tokenize(texts: Sequence[str]) -> NDArray[np.int64]:
    """N texts -> (n, 77) int64 CLIP tokens, zeros behind the end token.

    :class:`UsageError` for a text that does not fit (open_clip would cut it silently); ValueError for a bare string.
    """
    if isinstance(texts, str):
        raise ValueError(f"texts: got the string {texts!r}, expected a sequence of strings")
    tokenizer = open_clip.SimpleTokenizer()
    for text in texts:
        if (length := len(tokenizer.encode(text))) > CONTEXT_TOKENS - 2:
            raise UsageError(f"text of {length} tokens, expected at most {CONTEXT_TOKENS - 2}: {text[:60]!r}")
    if not texts:
        return np.zeros((0, CONTEXT_TOKENS), dtype=np.int64)
    tokens: NDArray[np.int64] = tokenizer(list(texts), context_length=CONTEXT_TOKENS).numpy()
    return tokens


def _skeleton() -> Any:
    """The network without values: no memory, no slow initialisation, no network access."""
    config = open_clip.get_model_config(ARCHITECTURE)
    if config is None:
        raise WeightsError(f"open_clip {open_clip.__version__} knows no {ARCHITECTURE}: install the tested version")
    with torch.device("meta"):
        network = open_clip.CLIP(**config).eval()
    require_quick_gelu(network)
    return network


def require_quick_gelu(network: Any) -> None:
    """Raise :class:`WeightsError` unless every block of both towers has the activation of OpenAI's weights."""
    blocks = [*network.visual.transformer.resblocks, *network.transformer.resblocks]
    others = {type(block.mlp.gelu).__name__ for block in blocks if not isinstance(block.mlp.gelu, QuickGELU)}
    if others:
        raise WeightsError(
            f"activation: got {', '.join(sorted(others))}, expected QuickGELU; features would be off by about 1 %. "
            f"Build {ARCHITECTURE}"
        )


def _file_state(weights: Weights, shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    state = {name: tensor for name, tensor in read_state(weights).items() if name not in _NOT_PARAMETERS}
    accept(weights, state, shapes)
    return state


def _causal_mask() -> torch.Tensor:
    # a buffer outside the checkpoint: (77, 77), minus infinity above the diagonal
    return torch.full((CONTEXT_TOKENS, CONTEXT_TOKENS), -math.inf).triu_(1)


def _initial(name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Value of one parameter of an untrained network, ``shape`` float32.

    Scales follow CLIP's own initialisation, with three changes that let an untrained image tower tell pictures apart
    (cosine between frames of different films 0.34, against 0.98 without them): the class token starts at exactly zero,
    so that it holds nothing but what attention brings from the picture; queries and keys are doubled, so that it does
    not average all patches alike; and positions weigh 0.3 of a patch.
    """
    kind = name.removesuffix(".weight")
    if not shape:
        return np.array(math.log(1 / 0.07), dtype=np.float32)  # logit_scale
    if len(shape) == 1:
        ones = "ln_" in name and name.endswith("weight")
        return np.full(shape, 1.0 if ones else 0.0, dtype=np.float32)
    if kind == "visual.positional_embedding":
        values = random_values(name, shape, 0.3, seed)
        values[0] = 0.0
        return values
    if kind.endswith("in_proj_weight"):
        values = random_values(name, shape, shape[1] ** -0.5, seed)
        if name.startswith(_IMAGE):
            values[: 2 * shape[1]] *= 2.0
        return values
    return random_values(name, shape, _initial_std(kind, shape), seed)


def _initial_std(kind: str, shape: tuple[int, ...]) -> float:
    if kind in ("token_embedding", "positional_embedding"):
        return 0.02 if kind.startswith("token") else 0.01
    if kind in ("visual.proj", "text_projection"):
        return float(shape[0] ** -0.5)
    std = float(math.prod(shape[1:]) ** -0.5)
    residual = kind.endswith(("out_proj", "c_proj"))  # 24 of them add up in 12 layers
    return std * 24**-0.5 if residual else std
