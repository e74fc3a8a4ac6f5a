"""Text for heads with learned prompts: the tower that is handed over gives the encoder's own features."""

from __future__ import annotations

import torch

from vadpipe.extractors.clip_vit import tokenize
from vadpipe.pipeline.text import class_text, text_features, text_inputs
from vadpipe.spec import FeatureSpec

SPEC = FeatureSpec("planted", 16, "imported", "imported")


def test_the_tower_gives_the_encoders_features() -> None:
    texts = class_text(("normal", "car_accident"), {"normal": "an ordinary scene"}, "{}")
    assert texts == ["an ordinary scene", "car accident"]
    features, weights = text_features(texts, SPEC, "random:3")
    made = text_inputs(texts, SPEC, "random:3")
    assert made.weights == weights
    assert made.tokens.tolist() == tokenize(texts).tolist()
    torch.testing.assert_close(made.features, features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.tower.encode(made.tokens), made.features)
    assert not made.features.requires_grad
