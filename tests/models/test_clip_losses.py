"""Losses of VadCLIP and AVadCLIP on numbers that can be worked out by hand, and against loops over videos."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vadpipe.models import clip_losses


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_the_binary_loss_pools_one_snippet_in_sixteen_and_one_more() -> None:
    logits = torch.full((2, 20), -9.0)
    logits[0, 3], logits[0, 7], logits[0, 9] = logit(0.9), logit(0.7), logit(0.2)  # n = 20: the two highest, 0.8
    logits[1, 0], logits[1, 1], logits[1, 15] = logit(0.4), logit(0.3), 50.0  # n = 15: the highest; the rest is padding
    lengths, targets = torch.tensor([20, 15]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    wanted = -(math.log(0.8) + math.log(0.6)) / 2
    assert clip_losses.binary_loss(logits, targets, lengths).item() == pytest.approx(wanted, rel=1e-5)


def test_alignment_loss_by_hand() -> None:
    alignment = torch.tensor([[[0.0, math.log(3.0)]], [[0.0, 0.0]]])  # p = 1/4, 3/4 and 1/2, 1/2
    lengths, alpha = torch.tensor([1, 1]), torch.tensor([0.5, 0.25])
    one = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    nce = [-math.log(0.75), -math.log(0.5)]
    focal = [0.25 * 0.25**2 * nce[0], 0.5 * 0.5**2 * nce[1]]
    assert clip_losses.alignment_loss(alignment, one, lengths).item() == pytest.approx(sum(nce) / 2, rel=1e-5)
    got = clip_losses.alignment_loss(alignment, one, lengths, alpha).item()
    assert got == pytest.approx((sum(nce) + sum(focal)) / 4, rel=1e-5)
    both = torch.tensor([[1.0, 1.0], [1.0, 1.0]])  # several labels share the weight
    share = (-(math.log(0.25) + math.log(0.75)) / 2 - math.log(0.5)) / 2
    assert clip_losses.alignment_loss(alignment, both, lengths).item() == pytest.approx(share, rel=1e-5)


def usual(alignment: Tensor, targets: Tensor, lengths: list[int], alpha: Tensor) -> Tensor:
    """The loss as a loop over videos."""
    losses = []
    for video, target, n in zip(alignment, targets, lengths, strict=True):
        pooled = video[:n].topk(n // 16 + 1, dim=0).values.mean(dim=0)
        share = target / target.sum()
        nce = -(share * pooled.log_softmax(dim=0)).sum()
        p = (share * pooled.softmax(dim=0)).sum()
        losses.append((nce + (share * alpha).sum() * (1 - p) ** 2 * nce) / 2)
    return torch.stack(losses).mean()


def test_a_batch_is_the_mean_of_its_videos() -> None:
    torch.manual_seed(0)
    alignment, lengths = 5 * torch.randn(4, 50, 3), [50, 16, 31, 1]
    targets, alpha = torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0]]), torch.rand(3)
    got = clip_losses.alignment_loss(alignment, targets, torch.tensor(lengths), alpha)
    torch.testing.assert_close(got, usual(alignment, targets, lengths, alpha))


def test_text_separation_by_hand() -> None:
    text = torch.tensor([[2.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert clip_losses.text_separation(text).item() == pytest.approx((1 + 0 + math.sqrt(0.5)) / 3)


def test_distillation_by_hand() -> None:
    student, teacher = torch.zeros(1, 2, 2), torch.tensor([[[2.0, 4.0], [6.0, 100.0]]])
    theta = torch.tensor([[[math.log(0.5), math.log(2.0)], [0.0, 0.0]]])
    first = ((4 / (1e-6 + 1) + math.log(0.5)) + (16 / (1e-6 + 4) + math.log(2.0))) / 2
    second = (36 + 10000) / 2 / (1e-6 + 2)
    loss = clip_losses.distillation_loss
    assert loss(student, teacher, theta, torch.tensor([1])).item() == pytest.approx(first, rel=1e-5)
    assert loss(student, teacher, theta).item() == pytest.approx((first + second) / 2, rel=1e-5)
    assert loss(student, teacher, None, torch.tensor([1])).item() == pytest.approx(10.0)
    with pytest.raises(ValueError, match="teacher's features: got"):
        loss(student, teacher[:, :1], theta)


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = (torch.randn(1, 2, 2, requires_grad=True) for _ in range(2))
    torch.autograd.backward(clip_losses.distillation_loss(student, teacher, None))
    assert teacher.grad is None
    assert student.grad is not None


def test_certain_scores_have_finite_gradients() -> None:
    logits = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    loss = clip_losses.binary_loss(logits, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1]))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(100.0)  # as torch cuts it
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
