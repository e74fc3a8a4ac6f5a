"""Text features of a head's class prompts, made once per run by the encoder that goes with the visual features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from vadpipe.errors import SpecMismatch, UsageError
from vadpipe.extractors.clip_vit import ClipVitB16, tokenize
from vadpipe.extractors.weights import is_named
from vadpipe.models.text_tower import TextTower
from vadpipe.spec import FeatureSpec


def class_text(classes: Sequence[str], prompts: Mapping[str, str], template: str) -> list[str]:
    """One text per class: its prompt, or its name with blanks for underscores, put into the template."""
    return [template.format(prompts.get(name, name.replace("_", " "))) for name in classes]


def text_features(
    texts: Sequence[str], spec: FeatureSpec, weights: str | None, device: str = "cpu"
) -> tuple[Tensor, str]:
    """CLIP text features (len(texts), 512) and the weights they came from.

    ``weights`` may be left out where the visual features' own are known (``openai``, ``random:…``); for CLIP features
    other weights are refused, because text and image would not share a space.
    """
    encoder, chosen = _text_encoder(spec, weights, device)
    return torch.from_numpy(encoder.encode_text(texts)), chosen


class TextInputs(NamedTuple):
    """What a head with learned prompts is built from, on the CPU.

    features (n, 512) float32, tokens (n, 77) int64
        CLIP's text features of the class prompts, ``normal`` first, and their tokens.
    tower
        CLIP's text tower, frozen. weights: where it comes from.
    """

    features: Tensor
    tokens: Tensor
    tower: TextTower
    weights: str


def text_inputs(texts: Sequence[str], spec: FeatureSpec, weights: str | None) -> TextInputs:
    """As :func:`text_features`, for heads that learn vectors around the class names and so need the tower itself."""
    tower, chosen = text_tower(spec, weights)
    tokens = torch.from_numpy(tokenize(texts))
    with torch.no_grad():
        return TextInputs(tower.encode(tokens), tokens, tower, chosen)


def text_tower(spec: FeatureSpec, weights: str | None) -> tuple[TextTower, str]:
    """CLIP's text tower on the CPU, and where it comes from; ``weights`` as for :func:`text_features`."""
    encoder, chosen = _text_encoder(spec, weights, "cpu")
    return TextTower.from_state(encoder.text_state()), chosen


def _text_encoder(spec: FeatureSpec, weights: str | None, device: str) -> tuple[ClipVitB16, str]:
    chosen = weights or (spec.weights if spec.stream == "clip" else "openai")
    if spec.stream == "clip" and weights is None and not is_named(spec.weights):
        raise UsageError(f"the features were made with weights {spec.weights}; pass --weights with that file")
    encoder = ClipVitB16(weights=chosen, device=device)
    if spec.stream == "clip" and encoder.spec(spec.frames_per_snippet, "", "").weights_sha256 != spec.weights_sha256:
        raise SpecMismatch(f"--weights {Path(chosen).name} are not the ones that the features were made with")
    return encoder, chosen
