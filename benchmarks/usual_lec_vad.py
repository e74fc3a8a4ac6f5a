"""LEC-VAD's equations as they stand, in the style of the field's public code: a yardstick of benchmarks/train_step.py.

LEC-VAD has no public code. As in benchmarks/usual_step.py every video is padded and computed whole, attention has a
mask of blocks over the whole sequence, and similarities, mixture masks (eq. 12, T x T) and losses are made video by
video; ``F_m`` (B, T, C+1, 2d) exists. Readings where the paper is silent are those of vadpipe.models.lec_vad.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from usual_step import Losses, similarities, top_means


class Block(nn.Module):
    """A pre-norm transformer block on (B, L, d) with a mask (B x heads, L, L), True where nothing may be seen."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, L, d) -> (B, L, d)."""
        normed = self.norm_attention(x)
        x = x + self.attention(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        out: Tensor = x + self.mlp(self.norm_mlp(x))
        return out


class UsualLecVad(nn.Module):
    """The LEC-VAD head with its default graph, for features as wide as the head; ``head`` gives all values."""

    text: Tensor
    memory: Tensor

    def __init__(self, head: Any) -> None:
        super().__init__()
        config, self.config, d = head.config, head.config, head.config.dim
        self.register_buffer("text", torch.empty_like(head.text))
        self.register_buffer("memory", torch.empty_like(head.memory))
        self.positions = nn.Embedding(config.max_snippets, d)
        self.local = nn.ModuleDict({"blocks": _blocks(config.local_layers, d, config.heads)})
        self.graph = nn.ModuleDict({"weight": nn.Linear(d, d, bias=False)})
        self.norm = nn.LayerNorm(d)
        self.score_binary, self.score_classes = nn.Linear(d, 2), nn.Linear(d, len(head.text))
        self.memory_blocks = _blocks(config.memory_blocks, d, config.heads)
        self.kernel = nn.Linear(2 * d, 2)
        self.cross_modal_gate = nn.Parameter(torch.zeros(())) if config.zero_init else None
        state = dict(head.state_dict())
        halves = state.pop("kernel_class.weight"), state.pop("kernel_video.weight")
        state |= {"kernel.weight": torch.cat(halves, dim=1), "kernel.bias": state.pop("kernel_video.bias")}
        for name in ("mean", "std", "components"):
            del state[name]
        names = {"attention.qkv.": "attention.in_proj_", "attention.out.": "attention.out_proj."}
        self.load_state_dict({_renamed(name, names): value for name, value in state.items()})

    def _mask(self, lengths: Tensor, size: int) -> Tensor:
        """(B x heads, T, T): True outside a snippet's window, and at padding but for the snippet itself."""
        index = torch.arange(size, device=lengths.device)
        apart = index[:, None] // self.config.window != index[None, :] // self.config.window
        padded = (index[None, :] >= lengths[:, None])[:, None, :] & (index[:, None] != index[None, :])
        mask: Tensor = (apart | padded).repeat_interleave(self.config.heads, dim=0)
        return mask

    def encode_video(self, video: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, d) -> F_video (B, T, d)."""
        x = video + self.positions(torch.arange(video.shape[1], device=video.device))
        real = torch.arange(video.shape[1], device=video.device)[None, :] < lengths[:, None]
        x, mask = x * real.unsqueeze(-1), self._mask(lengths, video.shape[1])
        blocks: Any = self.local["blocks"]
        for block in blocks:
            x = block(x, mask)
        mixed = F.gelu(self.graph["weight"](similarities(x, lengths, None).matmul(x)))
        out: Tensor = self.norm(x + mixed if self.config.residual else mixed)
        return out

    def forward(self, video: Tensor, lengths: Tensor, _tokens: Tensor, _audio: Tensor | None = None) -> dict[str, Any]:
        """Features (B, T, d) -> what the losses need."""
        features = self.encode_video(video, lengths)
        s_b, s_m = self.score_binary(features).softmax(dim=-1), self.score_classes(features).softmax(dim=-1)
        text = self.text.unsqueeze(0).repeat(len(video), 1, 1)
        weights = text @ features.transpose(1, 2) / features.shape[2] ** 0.5
        padded = torch.arange(video.shape[1], device=video.device)[None, None, :] >= lengths[:, None, None]
        prompts = weights.masked_fill(padded, float("-inf")).softmax(dim=-1) @ features
        learned = torch.cat([prompts, self.memory.unsqueeze(0).repeat(len(video), 1, 1)], dim=1)
        for block in self.memory_blocks:
            learned = block(learned)
        learned = learned[:, : text.shape[1]]
        s_tv = F.normalize(features, dim=-1) @ F.normalize(prompts + learned, dim=-1).transpose(1, 2)
        size, classes = video.shape[1], text.shape[1]
        joined = torch.cat(
            [
                learned.unsqueeze(1).expand(-1, size, -1, -1),
                features.unsqueeze(2).expand(-1, -1, classes, -1),
            ],
            dim=-1,
        )
        kernel = self.kernel(joined)
        gate = 1.0 if self.cross_modal_gate is None else (30.0 * self.cross_modal_gate).clamp(-1, 1)
        out = {"s_b": s_b, "s_m": s_m, "s_aware": s_m + gate * s_tv, "learned": learned}
        return out | {"mu": kernel[..., 0].sigmoid(), "sigma": F.softplus(kernel[..., 1]) + 1e-3}

    def losses(self, out: dict[str, Any], targets: Tensor, lengths: Tensor, _taught: Tensor | None = None) -> Losses:
        """The parts by the names of ours; the memory learns after them."""
        config = self.config
        anomalous = (targets[:, 1:].sum(dim=1) > 0).float()
        pooled = top_means(out["s_aware"].float(), lengths, 0)
        share = targets / targets.sum(dim=1, keepdim=True)
        top = top_means(out["s_b"].float(), lengths, 0).clamp(1e-6, 1 - 1e-6)
        gaps, distances = [], []
        for row, length in enumerate(lengths.tolist()):
            s_b, s_m = out["s_b"][row, :length].float(), out["s_m"][row, :length].float()
            gaps.append((1 - s_m[:, 0] - s_b[:, 1]).abs().mean())
            mixture = self._mixture(s_m, out["mu"][row, :length].float(), out["sigma"][row, :length].float())
            distances.append(((mixture.diagonal() - s_b[:, 1]).square().sum() + 1e-12).sqrt())
        parts = {
            "agnostic": F.binary_cross_entropy(top[:, 1], anomalous),
            "aware": -torch.mean(torch.sum(share * F.log_softmax(pooled / config.tau, dim=1), dim=1)),
            "gmm": torch.stack(distances).mean(),
            "reg": torch.stack(gaps).mean(),
        }
        total = parts["agnostic"] + parts["aware"] + config.lambda_gmm * parts["gmm"] + config.gamma_reg * parts["reg"]
        self.memory.lerp_(out["learned"].detach().float().mean(dim=0), 1 - config.memory_momentum)
        return {"total": total, **parts}

    def _mixture(self, alpha: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
        """Eq. 12: (n, C+1) of one video -> (n, n), summed over the anomaly classes."""
        place = (torch.arange(1, len(mu) + 1, device=mu.device) / len(mu))[None, :, None]
        gap = (place - mu[:, None, 1:]) ** 2
        return (alpha[:, None, 1:] * torch.exp(-self.config.gmm_beta * gap / sigma[:, None, 1:] ** 2)).sum(dim=-1)


def _blocks(count: int, dim: int, heads: int) -> nn.ModuleList:
    return nn.ModuleList(Block(dim, heads) for _ in range(count))


def _renamed(name: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        name = name.replace(old, new)
    return name
