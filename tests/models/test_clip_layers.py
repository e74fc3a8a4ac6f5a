"""Blocks of VadCLIP and AVadCLIP against plain formulas, video by video and snippet by snippet."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from vadpipe.models.clip_layers import (
    Attention,
    GraphConvolution,
    Mlp,
    Snippets,
    WindowTransformer,
    distance_adjacency,
    quick_gelu,
    similarity_adjacency,
)
from vadpipe.models.temporal_conv import CausalConvolution, TemporalConvNet


def test_similar_snippets_share_and_padding_gets_nothing() -> None:
    x = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [0.0, 3.0], [9.0, 9.0]]])
    got = similarity_adjacency(x, torch.tensor([[True, True, True, False]]))
    e = math.e
    row, other = [e / (2 * e + 1), e / (2 * e + 1), 1 / (2 * e + 1), 0.0], [1 / (e + 2), 1 / (e + 2), e / (e + 2), 0.0]
    torch.testing.assert_close(got[0, :3], torch.tensor([row, row, other]))


def test_similarities_of_seven_tenths_and_less_count_as_none() -> None:
    angle = [math.acos(value) for value in (1.0, 0.69, 0.71)]
    x = torch.tensor([[[math.cos(a), math.sin(a)] for a in angle]])
    row = similarity_adjacency(x, None)[0, 0]
    torch.testing.assert_close(row, torch.tensor([1.0, 0.0, 0.71]).softmax(dim=0))


def test_distance_falls_off_by_e() -> None:
    near = distance_adjacency(4, torch.device("cpu"))
    torch.testing.assert_close(near[1], torch.exp(-torch.tensor([1.0, 0.0, 1.0, 2.0]) / math.e))
    assert distance_adjacency(4, torch.device("cpu")) is near


def test_a_matrix_made_while_scoring_can_be_trained_with() -> None:
    with torch.inference_mode():
        near = distance_adjacency(11, torch.device("cpu"))
    weight = torch.ones(11, requires_grad=True)
    torch.autograd.backward((near @ weight).sum())
    assert weight.grad is not None


@pytest.mark.parametrize("size", [12, 10])
def test_windows_are_attention_with_a_block_mask(size: int) -> None:
    torch.manual_seed(0)
    layer, x = WindowTransformer(8, 2, 2, 4), torch.randn(3, size, 8)
    block = torch.arange(size) // 4
    wanted = x
    for inner in layer.resblocks:
        wanted = inner(wanted, (block[:, None] == block[None, :])[None, None])
    got = layer(x, Snippets(torch.full((3,), size), size, size))
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-5)


def test_attention_is_torchs_own() -> None:
    torch.manual_seed(0)
    ours, theirs, x = Attention(8, 2), torch.nn.MultiheadAttention(8, 2, batch_first=True), torch.randn(3, 5, 8)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [2, 200])
def test_the_mlp_is_the_same_for_few_and_many_rows(rows: int) -> None:
    torch.manual_seed(0)
    mlp, x = Mlp(8), torch.randn(rows, 8)
    torch.testing.assert_close(mlp(x), mlp.c_proj(quick_gelu(mlp.c_fc(x))), rtol=1e-5, atol=1e-6)


def test_a_graph_convolution_is_a_x_w_plus_its_residual() -> None:
    torch.manual_seed(0)
    x, adjacency = torch.randn(2, 6, 8), torch.rand(2, 6, 6)
    same, half = GraphConvolution(8, 8), GraphConvolution(8, 4)
    assert half.residual is not None
    assert half.residual.bias is not None
    torch.testing.assert_close(same(x, adjacency), quick_gelu((adjacency @ x) @ same.weight + x), rtol=1e-5, atol=1e-5)
    slid = F.pad(x, (0, 0, 2, 2)).unfold(1, 5, 1)  # (2, 6, 8, 5)
    residual = torch.einsum("btik,oik->bto", slid, half.residual.weight) + half.residual.bias
    wanted = quick_gelu((adjacency @ x) @ half.weight + residual)
    torch.testing.assert_close(half(x, adjacency), wanted, rtol=1e-5, atol=1e-5)


def test_weight_norm_is_torchs_own() -> None:
    torch.manual_seed(0)
    ours, x = CausalConvolution(6, 2), torch.randn(2, 6, 9)
    theirs = torch.nn.utils.parametrizations.weight_norm(torch.nn.Conv1d(6, 6, 2, dilation=2))
    theirs.load_state_dict(
        {
            "bias": ours.bias,
            "parametrizations.weight.original0": ours.weight_g * 1.5,
            "parametrizations.weight.original1": ours.weight_v,
        }
    )
    with torch.no_grad():
        ours.weight_g.mul_(1.5)
    torch.testing.assert_close(ours(x), theirs(F.pad(x, (2, 0))), rtol=1e-5, atol=1e-6)


def test_sound_is_heard_from_the_past_only() -> None:
    torch.manual_seed(0)
    net, x = TemporalConvNet(8, 0.0), torch.randn(1, 30, 8, requires_grad=True)
    torch.autograd.backward(net(x)[0, 20].sum())
    assert x.grad is not None
    heard = x.grad[0].abs().sum(dim=1).nonzero().flatten()
    assert int(heard.max()) == 20
    assert int(heard.min()) >= 20 - 2 * (1 + 2 + 4)


def test_real_rows_are_taken_and_put_back() -> None:
    snippets, x = Snippets(torch.tensor([2, 3]), 3, 8), torch.arange(12.0).view(2, 3, 2)
    rows = snippets.take(x)
    assert rows.tolist() == [[0, 1], [2, 3], [6, 7], [8, 9], [10, 11]]
    assert snippets.put(rows)[0].tolist() == [[0, 1], [2, 3], [0, 0]]
    assert torch.equal(snippets.put(rows), snippets.clear(x))
    released = Snippets(torch.tensor([2, 3]), 3, 5, masked=False)
    assert released.enter(x)[0].tolist() == [[0, 1], [2, 3], [0, 0], [0, 0], [0, 0]]
    assert len(released.take(released.enter(x))) == 10
