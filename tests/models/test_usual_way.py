"""The heads against the field's usual way (benchmarks/usual_step.py): the same losses and gradients, at a tiny size."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.pipeline.heads import DIM, TEXT, small_config, small_inputs
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.layers import attend
from vadpipe.models.released import released_name

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SNIPPETS, LENGTHS = 24, torch.tensor([24, 13, 1])
SETTINGS: dict[str, dict[str, Any]] = {
    "vadclip": {"window": 7, "padding": "released"},
    "avadclip": {"window": 4, "padding": "released"},
    "avadclip_student": {"window": 8, "padding": "released"},
    "lec_vad": {"window": 8},
}


def make(name: str) -> tuple[Any, HeadInputs]:
    """A head whose features are as wide as it is, with random values everywhere, but no saturated scores."""
    small = small_inputs()
    inputs = HeadInputs(DIM, TEXT, DIM, small.tokens, small.tower)
    config = small_config(name, zero_init=False, **SETTINGS[name])
    of_head: Any = config.model  # a dataclass, whichever head's
    model = replace(of_head, max_snippets=SNIPPETS)
    config = replace(config, model=model, detect=replace(config.detect, window=SNIPPETS))
    torch.manual_seed(0)
    head = build_head(config, inputs)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return head.train(), inputs


@pytest.mark.parametrize("name", list(SETTINGS))
def test_losses_and_gradients_are_those_of_the_usual_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    file, kind = ("usual_lec_vad", "UsualLecVad") if name == "lec_vad" else ("usual_step", "UsualClip")
    head, inputs = make(name)
    usual = getattr(importlib.import_module(file), kind)(head).train()
    generator = torch.Generator().manual_seed(1)
    real = torch.arange(SNIPPETS)[None, :, None] < LENGTHS[:, None, None]
    video, audio = (torch.randn(3, SNIPPETS, DIM, generator=generator) * real for _ in range(2))
    targets = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1]])
    out = head(video, LENGTHS, audio)
    student = name == "avadclip_student"
    taught = torch.randn(3, SNIPPETS, DIM, generator=generator)
    parts = head.loss(out, targets, LENGTHS, out._replace(features=taught) if student else None)
    wanted = usual.losses(
        usual(video, LENGTHS, inputs.tokens, None if student else audio), targets, LENGTHS, taught if student else None
    )
    assert parts.keys() == wanted.keys()
    for part, value in wanted.items():
        torch.testing.assert_close(parts[part], value, rtol=1e-4, atol=1e-6)
    torch.autograd.backward(parts["total"])
    torch.autograd.backward(wanted["total"])
    theirs = {key: value.grad for key, value in usual.named_parameters() if value.grad is not None}
    own = {released_name(key): parameter.grad for key, parameter in head.named_parameters()}
    assert len(own.keys() & theirs.keys()) >= 10
    for key in own.keys() & theirs.keys():
        close(own[key], theirs[key])


def close(own: Tensor | None, wanted: Tensor) -> None:
    """Assert that two gradients agree to a thousandth of the largest value."""
    assert own is not None
    torch.testing.assert_close(own, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()) + 1e-7)


@pytest.mark.parametrize("length", [4, 64, 65])
@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_bfloat16_is_attention(length: int, masked: bool) -> None:
    generator = torch.Generator().manual_seed(length)
    q, k, v = (torch.randn(3, 2, length, 16, generator=generator).bfloat16().requires_grad_() for _ in range(3))
    allowed = (torch.arange(length) < torch.tensor([[1], [2], [length]]))[:, None, None, :] if masked else None
    wanted = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=allowed)
    expected = torch.autograd.grad(wanted.square().sum(), (q, k, v))
    got = attend(q, k, v, allowed)
    torch.testing.assert_close(got.float(), wanted, rtol=0.02, atol=0.02)
    for own, value in zip(torch.autograd.grad(got.float().square().sum(), (q, k, v)), expected, strict=True):
        scale = float(value.abs().max())
        torch.testing.assert_close(own.float(), value.float(), rtol=0.02, atol=0.02 * scale + 1e-3)
