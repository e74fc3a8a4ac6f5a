"""Snippets without sound inside a video that has some: each is treated as one of a video without sound."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.test_padding import SWITCHES, batch, dirty, make
from vadpipe.models.clip_layers import Snippets

AUDIO_VISUAL = ("avadclip", "avadclip, concat", "avadclip, add", "avadclip, cross attention", "avadclip, pca")
ALL = (*AUDIO_VISUAL, "avadclip, audio", "student, audio")


def some(lengths: Tensor, size: int) -> Tensor:
    """(B, size): the first video is heard from snippet 6 on but not in 12, the second up to 4, the third never."""
    heard = torch.zeros(3, size, dtype=torch.bool)
    heard[0, 6:] = heard[1, :5] = True
    heard[0, 12] = False
    return heard


@pytest.mark.parametrize("switch", ALL)
@pytest.mark.parametrize("padding", ["masked", "released"])
def test_flags_of_videos_are_flags_of_all_their_snippets(switch: str, padding: str) -> None:
    head = make(switch, padding=padding)
    video, lengths, audio, has_audio = batch()
    rows = has_audio[:, None] & (torch.arange(20) < lengths[:, None])
    one, other = head(video, lengths, audio, has_audio), head(video, lengths, audio, rows)
    torch.testing.assert_close(one.logits, other.logits)
    torch.testing.assert_close(one.alignment, other.alignment)


@pytest.mark.parametrize("switch", AUDIO_VISUAL)
def test_snippets_without_sound_keep_their_video_features(switch: str) -> None:
    head = make(switch)
    video, lengths, audio, _ = batch()
    heard = some(lengths, 20)
    out = head(video, lengths, audio, heard)
    seen = head._see(video[:1], Snippets(torch.tensor([20]), 20, 40))
    torch.testing.assert_close(out.features[0, ~heard[0]], seen[~heard[0]])
    assert (out.features[0, heard[0]] - seen[heard[0]]).abs().max() > 0.01


@pytest.mark.parametrize("switch", ALL)
@pytest.mark.parametrize("padding", ["masked", "released"])
def test_what_stands_where_there_is_no_sound_changes_no_score(switch: str, padding: str) -> None:
    head = make(switch, padding=padding)
    video, lengths, audio, _ = batch()
    heard = some(lengths, 20)
    rubbish = torch.where(heard[..., None], audio, torch.full_like(audio, 40.0))
    one, other = head(video, lengths, audio, heard), head(video, lengths, rubbish, heard)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(one.logits[row, :length], other.logits[row, :length])
        torch.testing.assert_close(one.alignment[row, :length], other.alignment[row, :length])
    louder = head(video, lengths, torch.where(heard[..., None], 3 * audio, audio), heard)
    assert (louder.logits[0] - one.logits[0]).abs().max() > 0.001


@pytest.mark.parametrize("switch", ALL)
def test_padding_changes_no_score_whatever_its_flags(switch: str) -> None:
    head = make(switch)
    video, lengths, audio, _ = batch()
    heard = some(lengths, 20)
    more = torch.cat([heard, torch.ones(3, 9, dtype=torch.bool)], dim=1)
    more[1, 13:] = more[2, 1:] = True
    clean = head(video, lengths, audio, heard)
    padded = head(dirty(video, lengths), lengths, dirty(audio, lengths), more)
    for row, length in enumerate(lengths.tolist()):
        one, other = clean.logits[row, :length], padded.logits[row, :length]
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("switch", ALL)
def test_gradients_stay_finite_without_any_sound(switch: str) -> None:
    assert switch in SWITCHES
    head = make(switch).train()
    video, lengths, audio, _ = batch()
    out = head(video, lengths, audio, torch.zeros(3, 20, dtype=torch.bool))
    (out.logits[0].sum() + out.alignment[0].sum()).backward()
    assert all(torch.isfinite(value.grad).all() for value in head.parameters() if value.grad is not None)


def test_nobody_listens_to_a_snippet_without_sound() -> None:
    """Cross-attention: one heard snippet is all there is to attend to, so every snippet gets the same from it."""
    head = make("avadclip, cross attention")
    video, audio = torch.randn(1, 8, 32), torch.randn(8, 32)
    heard = torch.zeros(1, 8, dtype=torch.bool)
    heard[0, 3] = True
    snippets = Snippets(torch.tensor([8]), 8, 40)
    added = head.fusion(video[0], audio, snippets, heard) - video[0]
    torch.testing.assert_close(added, added[:1].expand(8, -1), rtol=1e-4, atol=1e-5)
