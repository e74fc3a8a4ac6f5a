"""LEC-VAD's equations against loops that anyone can check by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vadpipe.models import consistency_loss, gaussian_mixture_scores, gmm_loss, topk_mean
from vadpipe.models.losses import agnostic_loss, aware_loss, gaussian_mixture_masks, snippet_mask

GENERATOR = torch.Generator().manual_seed(3)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=GENERATOR)


def test_topk_mean_takes_one_sixteenth_and_at_least_one() -> None:
    scores = torch.tensor([[[0.1], [0.9], [0.5], [0.7]]])
    assert topk_mean(scores, torch.tensor([4])).item() == pytest.approx(0.9)
    assert topk_mean(scores, torch.tensor([4]), k_divisor=2).item() == pytest.approx(0.8)
    assert topk_mean(scores, torch.tensor([1])).item() == pytest.approx(0.1)


@pytest.mark.parametrize(("length", "k"), [(1, 1), (15, 1), (16, 1), (31, 1), (32, 2), (47, 2), (48, 3)])
def test_topk_mean_k_is_the_floor(length: int, k: int) -> None:
    scores = random(1, 48, 3)
    expected = scores[0, :length].sort(dim=0, descending=True).values[:k].mean(dim=0)
    torch.testing.assert_close(topk_mean(scores, torch.tensor([length]))[0], expected)


def test_topk_mean_pools_each_class_and_video_on_its_own() -> None:
    scores, lengths = random(3, 40, 2), torch.tensor([40, 17, 33])
    pooled = topk_mean(scores, lengths)
    for video, length in enumerate(lengths.tolist()):
        for column in range(2):
            own = sorted(scores[video, :length, column].tolist(), reverse=True)[: max(length // 16, 1)]
            assert pooled[video, column].item() == pytest.approx(sum(own) / len(own))


def test_padding_never_counts() -> None:
    lengths = torch.tensor([5, 3])
    s_m, s_b = random(2, 6, 3).softmax(-1), random(2, 6, 2).softmax(-1)
    alpha, mu, sigma = random(2, 6, 2), random(2, 6, 2), random(2, 6, 2) + 0.1
    changed = [tensor.clone() for tensor in (s_m, s_b, alpha, mu, sigma)]
    padding = ~snippet_mask(lengths, 6)
    for tensor in changed:
        tensor[padding] = 77.0
    targets = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]])

    def everything(m: torch.Tensor, b: torch.Tensor, a: torch.Tensor, c: torch.Tensor, s: torch.Tensor) -> list[float]:
        mixture = gaussian_mixture_scores(a, c, s, lengths)
        return [
            consistency_loss(m, b, lengths).item(),
            gmm_loss(mixture, b, lengths).item(),
            agnostic_loss(b, torch.tensor([1, 0]), lengths).item(),
            aware_loss(m, targets, lengths).item(),
            mixture.sum().item(),
        ]

    assert everything(*changed) == everything(s_m, s_b, alpha, mu, sigma)


def test_gaussian_mixture_scores_follow_equation_12() -> None:
    alpha, mu, sigma = random(2, 4, 3), random(2, 4, 3), random(2, 4, 3) + 0.05
    lengths = torch.tensor([4, 3])
    scores = gaussian_mixture_scores(alpha, mu, sigma, lengths, beta=0.7)
    for video, length in enumerate(lengths.tolist()):
        for t in range(4):
            expected = 0.0
            for c in range(3):
                gap = (t + 1) / length - mu[video, t, c].item()
                expected += alpha[video, t, c].item() * math.exp(-0.7 * gap**2 / sigma[video, t, c].item() ** 2)
            assert scores[video, t].item() == pytest.approx(expected if t < length else 0.0, rel=1e-5)


def test_mixture_scores_are_the_diagonal_of_the_masks() -> None:
    alpha, mu, sigma = random(7, 3), random(7, 3), random(7, 3) + 0.05
    masks = gaussian_mixture_masks(alpha, mu, sigma)
    scores = gaussian_mixture_scores(alpha[None], mu[None], sigma[None], torch.tensor([7]))
    torch.testing.assert_close(masks.diagonal(), scores[0])


def test_gmm_loss_is_a_distance_with_a_finite_gradient_at_zero() -> None:
    s_b = torch.tensor([[[0.2, 0.8], [0.6, 0.4]]], requires_grad=True)
    loss = gmm_loss(torch.tensor([[0.5, 0.8]]), s_b, torch.tensor([2]))
    assert loss.item() == pytest.approx(math.sqrt(0.3**2 + 0.4**2))
    same = gmm_loss(s_b[..., 1].detach(), s_b, torch.tensor([2]))
    torch.autograd.backward(same)
    assert s_b.grad is not None
    assert torch.isfinite(s_b.grad).all()


def test_two_columns_or_the_anomaly_column_alone_are_the_same() -> None:
    s_gmm, s_b, s_m, lengths = random(2, 5), random(2, 5, 2), random(2, 5, 3), torch.tensor([5, 2])
    assert gmm_loss(s_gmm, s_b, lengths) == gmm_loss(s_gmm, s_b[..., 1], lengths)
    assert consistency_loss(s_m, s_b, lengths) == consistency_loss(s_m, s_b[..., 1], lengths)


def test_consistency_loss_by_hand() -> None:
    s_m = torch.tensor([[[0.7, 0.3], [0.1, 0.9]]])
    s_b = torch.tensor([[[0.5, 0.5], [0.1, 0.9]]])
    assert consistency_loss(s_m, s_b, torch.tensor([2])).item() == pytest.approx((0.2 + 0.0) / 2, abs=1e-6)


def test_agnostic_loss_literal_pools_normal_on_its_own() -> None:
    s_b = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]])
    normal, lengths = torch.tensor([0]), torch.tensor([2])
    assert agnostic_loss(s_b, normal, lengths, literal=True).item() == pytest.approx(-math.log(0.9))
    assert agnostic_loss(s_b, normal, lengths).item() == pytest.approx(-math.log(1 - 0.8))


def test_aware_loss_shares_several_labels_equally() -> None:
    s_aware = torch.tensor([[[0.5, 0.2, 0.9]]])
    logs = (s_aware[0, 0] / 0.07).log_softmax(-1)
    loss = aware_loss(s_aware, torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([1]))
    assert loss.item() == pytest.approx(-(logs[1] + logs[2]).item() / 2, rel=1e-5)


@pytest.mark.parametrize("lengths", [[0, 3], [3, 7], [-1, 2]])
def test_impossible_lengths_are_refused(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="lengths"):
        topk_mean(random(2, 6, 2), torch.tensor(lengths))
