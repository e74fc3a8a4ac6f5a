"""Padding, for every switch of VadCLIP, AVadCLIP and its student: what it may change, and what it must not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.pipeline.heads import small_inputs
from vadpipe.head_config import HEAD_CONFIGS
from vadpipe.models.heads import HEADS

INPUTS = small_inputs()
SWITCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "vadclip": ("vadclip", {}),
    "vadclip, window that divides nothing": ("vadclip", {"window": 7}),
    "vadclip, one window": ("vadclip", {"window": 64, "layers": 2}),
    "vadclip, released start": ("vadclip", {"zero_init": False}),
    "vadclip, no gate": ("vadclip", {"gate": False}),
    "vadclip, residual": ("vadclip", {"residual": True}),
    "vadclip, alignment score": ("vadclip", {"score": "alignment"}),
    "vadclip, columns": ("vadclip", {"standardise": "columns"}),
    "vadclip, pca": ("vadclip", {"standardise": "pca"}),
    "avadclip": ("avadclip", {"window": 4}),
    "avadclip, concat": ("avadclip", {"fusion": "concat"}),
    "avadclip, add": ("avadclip", {"fusion": "add"}),
    "avadclip, cross attention": ("avadclip", {"fusion": "cross_attention"}),
    "avadclip, no prompt, no focal": ("avadclip", {"av_prompt": False, "focal": False}),
    "avadclip, visual": ("avadclip", {"modality": "visual"}),
    "avadclip, audio": ("avadclip", {"modality": "audio"}),
    "avadclip, pca": ("avadclip", {"standardise": "pca", "residual": True}),
    "student": ("avadclip_student", {"window": 8}),
    "student, mse": ("avadclip_student", {"distill": "mse"}),
    "student, alone": ("avadclip_student", {"distill": "none", "av_prompt": False, "focal": False}),
    "student, audio": ("avadclip_student", {"modality": "audio"}),
}


def make(switch: str, **more: Any) -> Any:
    """A head with random weights everywhere, in eval mode."""
    name, model = SWITCHES[switch]
    settings = HEAD_CONFIGS[name](**{"dim": 32, "layers": 1, "max_snippets": 40, **model, **more})
    torch.manual_seed(0)
    head: Any = HEADS[name](settings, INPUTS)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if head.branches.gate is not None:
            head.branches.gate.fill_(0.02)  # inside its bounds
    for stream, dim in (("video", INPUTS.video_dim), ("audio", INPUTS.audio_dim)):
        if hasattr(head, f"{stream}_input"):
            rows = torch.randn(100, dim, dtype=torch.float64) + 1
            head.set_statistics(stream, rows.mean(dim=0), rows.T.cov(correction=0))
    return head.eval()


def batch(size: int = 20) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Video, lengths, audio, has_audio of three videos; the last has no audio."""
    generator = torch.Generator().manual_seed(1)
    video, audio = (torch.randn(3, size, dim, generator=generator) for dim in (INPUTS.video_dim, INPUTS.audio_dim))
    return video, torch.tensor([size, 13, 1]), audio, torch.tensor([True, True, False])


def dirty(x: Tensor, lengths: Tensor, more: int = 9) -> Tensor:
    """The same videos, padded by ``more`` snippets, with rubbish in all padding."""
    x = torch.cat([x, x.new_full((len(x), more, x.shape[2]), 50.0)], dim=1)
    for row, length in enumerate(lengths.tolist()):
        x[row, length:] = -30.0
    return x


@pytest.mark.parametrize("switch", list(SWITCHES))
@pytest.mark.parametrize("padding", ["masked", "released"])
def test_what_lies_in_the_padding_changes_no_score(switch: str, padding: str) -> None:
    head = make(switch, padding=padding)
    video, lengths, audio, has_audio = batch()
    clean = head(video, lengths, audio, has_audio)
    padded = head(dirty(video, lengths), lengths, dirty(audio, lengths), has_audio)
    alone = head(video[1:2, :13], lengths[1:2], audio[1:2, :13], has_audio[1:2])
    for name in ("logits", "alignment", "anomaly", "categories"):
        for row, length in enumerate(lengths.tolist()):
            one, other = getattr(clean, name)[row, :length], getattr(padded, name)[row, :length]
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(getattr(alone, name)[0], getattr(clean, name)[1, :13], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("switch", list(SWITCHES))
def test_losses_and_gradients_know_no_padding(switch: str) -> None:
    head = make(switch).train()
    for module in head.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    video, lengths, audio, has_audio = batch()
    targets = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1]])
    teacher = make("avadclip", window=4)
    gradients = []
    for views in ((video, audio), (dirty(video, lengths), dirty(audio, lengths))):
        with torch.no_grad():
            taught = teacher(views[0], lengths, views[1], has_audio)
        head.zero_grad()
        parts = head.loss(head(views[0], lengths, views[1], has_audio), targets, lengths, taught)
        torch.autograd.backward(parts["total"])
        gradients.append(
            {name: value.grad.clone() for name, value in head.named_parameters() if value.grad is not None}
        )
    assert gradients[0].keys() == {name for name, _ in head.named_parameters()}  # every parameter is used
    for name, gradient in gradients[0].items():
        assert torch.isfinite(gradient).all(), name
        scale = float(gradient.abs().max())
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-3 * scale + 2e-5, msg=name)


@pytest.mark.parametrize("switch", list(SWITCHES))
def test_paddings_agree_where_there_is_none(switch: str) -> None:
    video, _, audio, has_audio = batch(40)
    lengths = torch.full((3,), 40)
    masked, released = (make(switch, padding=kind)(video, lengths, audio, has_audio) for kind in ("masked", "released"))
    torch.testing.assert_close(masked.logits, released.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(masked.alignment, released.alignment, rtol=1e-4, atol=1e-4)


def test_released_padding_takes_part() -> None:
    video, lengths, audio, has_audio = batch()
    masked, released = (
        make("avadclip", padding=kind)(video, lengths, audio, has_audio) for kind in ("masked", "released")
    )
    assert (masked.alignment[1, :13] - released.alignment[1, :13]).abs().max() > 0.05
    assert released.logits.shape == (3, 20)
    assert released.features.shape == (3, 40, 32)


@pytest.mark.parametrize("lengths", [[0, 5, 5], [5, 21, 5]])
def test_lengths_that_cannot_be_are_refused(lengths: list[int]) -> None:
    video, _, audio, _ = batch()
    with pytest.raises(ValueError, match="lengths: got"):
        make("avadclip")(video, torch.tensor(lengths), audio)


def test_more_snippets_than_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at most max_snippets, 40"):
        make("vadclip")(torch.zeros(1, 41, INPUTS.video_dim), torch.tensor([41]))
