"""VadCLIP: that it learns from video labels, and that training it costs one run of the text tower a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from tests.pipeline.heads import small_inputs
from vadpipe.head_config import VadClipConfig
from vadpipe.models.avadclip import AVadClip, AVadClipStudent
from vadpipe.models.vadclip import VadClip

TINY: dict[str, Any] = {"dim": 32, "layers": 1, "max_snippets": 64}


def planted(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Videos of noise, half of them with an incident of 6 snippets: features, lengths, targets, truth per snippet."""
    generator = torch.Generator().manual_seed(seed)
    video, lengths = torch.randn(count, 48, 16, generator=generator), torch.full((count,), 48)
    lengths[::3] = 40
    targets, truth = torch.zeros(count, 3), torch.zeros(count, 48)
    for row in range(count):
        category = 0 if row % 2 else 1 + row % 4 // 2
        targets[row, category] = 1
        if category:
            start = int(torch.randint(0, 34, (1,), generator=generator))
            video[row, start : start + 6, category] += 5
            truth[row, start : start + 6] = 1
    return video, lengths, targets, truth


@pytest.mark.parametrize("padding", ["masked", "released"])
def test_it_finds_incidents_and_their_category_from_video_labels(padding: str) -> None:
    torch.manual_seed(0)
    head = VadClip(VadClipConfig(**TINY, padding=padding), small_inputs())
    video, lengths, targets, _ = planted(48, 0)
    optimiser = torch.optim.AdamW(head.parameters(), lr=5e-4)
    for _ in range(50):
        optimiser.zero_grad()
        head.begin_step()
        torch.autograd.backward(head.loss(head(video, lengths), targets, lengths)["total"])
        head.end_step()
        optimiser.step()
    video, lengths, targets, truth = planted(24, 1)
    with torch.no_grad():
        out = head.eval()(video, lengths)
    real = torch.arange(48) < lengths[:, None]
    for scores in (out.logits, 1 - out.categories[..., 0]):
        assert average_precision_score(truth[real], scores[real]) > 0.7  # 0.06 by chance
    inside = (truth > 0) & real
    category = targets.argmax(dim=1)[:, None].expand(-1, 48)[inside]
    assert (out.categories[inside][:, 1:].argmax(dim=-1) + 1 == category).float().mean() > 0.8


def test_the_tower_sees_the_prompts_once_a_step_whatever_the_batch() -> None:
    head = VadClip(VadClipConfig(**TINY), small_inputs())
    seen: list[tuple[int, ...]] = []
    assert head.prompts.tower is not None
    handle = head.prompts.tower.register_forward_hook(lambda _module, given, _out: seen.append(tuple(given[0].shape)))
    video, lengths, targets, _ = planted(24, 0)
    for part in (slice(0, 24), slice(0, 2)):
        head.begin_step()
        torch.autograd.backward(head.loss(head(video[part], lengths[part]), targets[part], lengths[part])["total"])
        head.end_step()
    handle.remove()
    assert seen == [(3, 24, 32)] * 2  # start, 10 learned, 2 of the name, 10 learned, end


def test_heads_share_layers_and_no_ancestors_of_their_own() -> None:
    kinds = (VadClip, AVadClip, AVadClipStudent)
    assert not [(a, b) for a in kinds for b in kinds if a is not b and issubclass(a, b)]
