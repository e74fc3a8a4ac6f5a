"""Own categories in every head: what they change (nothing that was trained), and by which formula they are scored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.pipeline.heads import small_config, small_inputs
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.prompts import PromptedHead
from vadpipe.models.zero_shot import mean_prompt, own_probabilities, reachable

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "lec_vad": ("lec_vad", {"zero_init": False}),
    "lec_vad without memory": ("lec_vad", {"zero_init": False, "memory_bank": False}),
    "lec_vad cross-modal only": ("lec_vad", {"zero_init": False, "vision_only_branch": False}),
    "lec_vad without vision prompt": ("lec_vad", {"zero_init": False, "vision_prompt": False}),
    "vadclip": ("vadclip", {"zero_init": False}),
    "vadclip released padding": ("vadclip", {"zero_init": False, "padding": "released", "score": "alignment"}),
    "avadclip": ("avadclip", {"zero_init": False}),
    "avadclip_student": ("avadclip_student", {"zero_init": False}),
    "gated vadclip": ("vadclip", {}),
    "gated lec_vad": ("lec_vad", {}),
}
OWN = torch.randn(3, 32, generator=torch.Generator().manual_seed(3))


def build(case: str) -> Any:
    name, model = CASES[case]
    torch.manual_seed(0)
    head = build_head(small_config(name, **model), small_inputs())
    for gate in (getattr(head, "cross_modal_gate", None), getattr(getattr(head, "branches", None), "gate", None)):
        if gate is not None:
            gate.data.fill_(0.01)  # 0.3 by the factor of 30
    return head.eval()


def batch() -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    video, audio = torch.randn(2, 20, 16, generator=generator), torch.randn(2, 20, 8, generator=generator)
    return video, torch.tensor([20, 13]), audio, torch.ones(2, 20, dtype=torch.bool)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_own_categories_change_nothing_that_was_trained(case: str) -> None:
    head = build(case)
    before, names = head(*batch()), list(head.state_dict())
    head.set_own_categories(OWN)
    after = head(*batch())
    assert head.own_count == 3
    assert after.categories.shape == (2, 20, 6)
    torch.testing.assert_close(after.categories[..., :3], before.categories, rtol=0, atol=0)
    torch.testing.assert_close(after.anomaly, before.anomaly, rtol=0, atol=0)
    assert list(head.state_dict()) == names  # outside the checkpoint
    own = after.categories[..., 3:]
    assert ((own > 0) & (own < 1)).all()
    head.set_own_categories(OWN[1:2])  # each stands alone: the others in the file do not count
    torch.testing.assert_close(head(*batch()).categories[..., 3], own[..., 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_padding_does_not_change_own_categories_unless_released(case: str) -> None:
    head = build(case)
    head.set_own_categories(OWN)
    video, lengths, audio, heard = batch()
    whole = head(video, lengths, audio, heard).categories
    alone = head(video[1:, :13], lengths[1:], audio[1:, :13], heard[1:, :13]).categories
    torch.testing.assert_close(whole[1:, :13], alone, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "case", ["vadclip", "vadclip released padding", "avadclip", "avadclip_student", "gated vadclip"]
)
@torch.no_grad()
def test_the_text_of_a_trained_class_gives_its_alignment(case: str) -> None:
    head = build(case)
    head.set_own_categories(head.prompts()[1:2])
    out = head(*batch())
    odds = out.alignment[..., 1] - out.alignment.logsumexp(dim=-1)  # against all three, itself among them
    for row, length in enumerate((20, 13)):
        torch.testing.assert_close(out.own[row, :length, 0], odds[row, :length].sigmoid())


@torch.no_grad()
def test_lec_vads_formula_by_hand() -> None:
    head = build("lec_vad without vision prompt")
    head.config = replace(head.config, memory_bank=False)
    head.set_own_categories(OWN)
    out = head(*batch())
    unit = torch.nn.functional.normalize
    rows = unit(out.features[0, 4], dim=-1)
    text = torch.cat([unit(head.text, dim=-1), unit(OWN, dim=-1)])  # F_tv is the text itself without a vision prompt
    weights = ((text @ rows) / head.config.tau).exp()
    torch.testing.assert_close(out.own[0, 4], weights[3:] / (weights[3:] + weights[:3].sum()))


def test_a_closed_or_missing_alignment_reaches_nothing() -> None:
    assert build("lec_vad").alignment_reach == pytest.approx(1 / 0.07)
    assert build("gated lec_vad").alignment_reach == pytest.approx(0.3 / 0.07)
    assert build("gated vadclip").alignment_reach == pytest.approx(0.3 / 0.07)
    for name in ("lec_vad", "vadclip", "avadclip", "avadclip_student"):
        assert build_head(small_config(name), small_inputs()).alignment_reach == 0.0
    assert build_head(small_config("lec_vad", cross_modal_branch=False), small_inputs()).alignment_reach == 0.0


def test_an_own_category_stands_alone_against_all_trained_ones() -> None:
    trained, own = torch.tensor([0.0, 1.0, 2.0]).log1p(), torch.tensor([4.0, 1.0]).log()  # exp: 1, 2, 3 and 4, 1
    torch.testing.assert_close(own_probabilities(trained, own), torch.tensor([4 / 10, 1 / 7]))
    assert reachable(0.0, 4) == (0.2, 0.2)
    lowest, highest = reachable(0.5, 2)
    torch.testing.assert_close(
        own_probabilities(torch.full((2,), -0.5), torch.tensor([0.5])), torch.tensor([highest]), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(
        own_probabilities(torch.full((2,), 0.5), torch.tensor([-0.5])), torch.tensor([lowest]), rtol=1e-6, atol=0
    )
    assert reachable(1e6, 4)[1] == 1.0


def test_prompts_are_averaged_as_unit_vectors() -> None:
    mean = mean_prompt(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))  # lengths 3 and 1: neither counts more
    torch.testing.assert_close(mean, torch.full((2,), 2 / 2**0.5))
    assert mean_prompt(torch.tensor([[3.0, 4.0]])).tolist() == [3.0, 4.0]


@torch.no_grad()
def test_other_names_between_the_learned_vectors() -> None:
    given = small_inputs()
    head = build("vadclip")
    assert isinstance(head, PromptedHead)
    assert given.tokens is not None
    torch.testing.assert_close(head.prompts.features_of(given.tokens, given.tower), head.prompts.class_text)
    swapped = head.prompts.features_of(given.tokens.flip(0), given.tower)
    torch.testing.assert_close(swapped, head.prompts.class_text.flip(0))
    loaded = build_head(small_config("vadclip", zero_init=False), HeadInputs(16, torch.zeros(3, 32))).eval()
    loaded.load_state_dict(head.state_dict())  # without a tower of its own
    torch.testing.assert_close(loaded.prompts.features_of(given.tokens, given.tower), head.prompts.class_text)
