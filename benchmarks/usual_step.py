"""The field's usual way to train these heads: the yardstick of benchmarks/train_step.py.

The same parameters, under the names of the released checkpoints, and the same losses, computed as the public code does:
every video is padded to ``max_snippets`` and all of it is computed; ``nn.MultiheadAttention`` over the whole sequence
with a T x T mask of blocks; similarities softmaxed video by video; the distances made anew for every batch and repeated
for every video; the text tower over all 77 positions with a causal mask, in every forward pass; top-k and losses in
loops over videos; weight norm by torch's hook.

Legend: B videos, T snippets, d columns, C+1 classes with ``normal`` first, ``lengths`` of the real snippets.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vadpipe.models.released import released_name
from vadpipe.models.text_tower import TextTower

Losses = dict[str, Tensor]


class QuickGelu(nn.Module):
    """``x sigmoid(1.702 x)``."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return x * torch.sigmoid(1.702 * x)


def mlp(dim: int) -> nn.Sequential:
    """CLIP's four times wide layers under CLIP's names."""
    layers = nn.Sequential()
    layers.add_module("c_fc", nn.Linear(dim, 4 * dim))
    layers.add_module("gelu", QuickGelu())
    layers.add_module("c_proj", nn.Linear(4 * dim, dim))
    return layers


class Block(nn.Module):
    """CLIP's transformer block on (L, B, d), with a mask (L, L)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads)
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.mlp = mlp(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(L, B, d) -> (L, B, d)."""
        normed = self.ln_1(x)
        x = x + self.attn(normed, normed, normed, need_weights=False, attn_mask=mask)[0]
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Blocks(nn.Module):
    """Several blocks under CLIP's names."""

    def __init__(self, dim: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(dim, heads) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(L, B, d) -> (L, B, d)."""
        for block in self.resblocks:
            x = block(x, mask)
        return x


class Tower(nn.Module):
    """CLIP's text tower over all positions, frozen."""

    def __init__(self, own: TextTower) -> None:
        super().__init__()
        width, blocks = own.width, own.transformer.resblocks
        attention: Any = blocks[0].attn
        self.token_embedding = nn.Embedding(*own.token_embedding.weight.shape)
        self.positional_embedding = nn.Parameter(torch.empty_like(own.positional_embedding))
        self.transformer = Blocks(width, attention.heads, len(blocks))
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(torch.empty_like(own.text_projection))
        self.load_state_dict(own.state_dict())
        self.requires_grad_(requires_grad=False)

    def forward(self, embedded: Tensor, ends: Tensor) -> Tensor:
        """(n, 77, d) and the end tokens' positions (n,) -> (n, d)."""
        size = embedded.shape[1]
        mask = torch.full((size, size), -math.inf, device=embedded.device).triu(1)
        x = (embedded + self.positional_embedding).permute(1, 0, 2)
        x = self.ln_final(self.transformer(x, mask).permute(1, 0, 2))
        features: Tensor = x[torch.arange(len(x)), ends] @ self.text_projection
        return features


class Graph(nn.Module):
    """``A (X W)``, the order of the public code, and a residual."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, dim))
        self.residual = nn.Conv1d(width, dim, 5, padding=2) if width != dim else None

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, dim)."""
        mixed = adjacency.matmul(x.matmul(self.weight))
        out: Tensor = mixed + (x if self.residual is None else self.residual(x.permute(0, 2, 1)).permute(0, 2, 1))
        return out


class Chomp(nn.Module):
    """Cut what the padding at the end added."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, T + size) -> (B, d, T)."""
        return x[:, :, : -self.size].contiguous()


class Causal(nn.Module):
    """Two weight-normed convolutions that look back, and a residual."""

    def __init__(self, dim: int, back: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            with warnings.catch_warnings():  # the old parametrisation is what the released names come from
                warnings.simplefilter("ignore", FutureWarning)
                convolution = nn.utils.weight_norm(nn.Conv1d(dim, dim, 2, padding=back, dilation=back))
            layers += [convolution, Chomp(back), nn.ReLU(), nn.Dropout(dropout)]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(B, d, T) -> (B, d, T)."""
        return F.relu(self.net(x) + x)


class AudioNet(nn.Module):
    """AVadCLIP's audio path."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.network = nn.Sequential(*(Causal(dim, back, dropout) for back in (1, 2, 4)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        out: Tensor = self.network(x.permute(0, 2, 1))
        return out.permute(0, 2, 1)


class Fusion(nn.Module):
    """Eqs. 1-3 of AVadCLIP, one product after the other."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gate_proj = nn.Sequential(nn.Linear(2 * dim, dim), nn.Sigmoid())
        self.residual_proj = nn.Sequential(nn.Linear(2 * dim, dim), nn.GELU(), nn.Linear(dim, dim))

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        """(B, T, d) each."""
        both = torch.cat([video, audio], dim=-1)
        gate: Tensor = self.gate_proj(both)
        out: Tensor = video + gate * self.residual_proj(both)
        return out


class _Residual(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv1d(dim, dim, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.conv(x)
        return out


class _Variance(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        first, wide, last = nn.Conv1d(dim, dim, 1), nn.Conv1d(dim, dim, 3, padding=1), nn.Conv1d(dim, dim, 1)
        self.theta = nn.Sequential(first, nn.ReLU(), wide, last, nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.theta(x)
        return out


class Refinement(nn.Module):
    """The student's convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*(_Residual(dim) for _ in range(3)))
        self.theta = _Variance(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, d) -> features and theta, (B, T, d) each."""
        x = x.permute(0, 2, 1)
        features: Tensor = self.conv(x)
        theta: Tensor = self.theta(x)
        return features.permute(0, 2, 1), -theta.permute(0, 2, 1)


class UsualClip(nn.Module):
    """VadCLIP, AVadCLIP or its student, for features as wide as the head.

    ``head``: one of ours with the same settings, whose values are taken over.
    """

    def __init__(self, head: Any) -> None:
        super().__init__()
        config, self.config = head.config, head.config
        d, half = config.dim, config.dim // 2
        self.temporal = Blocks(d, config.heads, config.layers)
        self.gc1, self.gc2, self.gc3, self.gc4 = Graph(d, half), Graph(half, half), Graph(d, half), Graph(half, half)
        self.linear, self.classifier = nn.Linear(d, d), nn.Linear(d, 1)
        self.mlp1, self.mlp2 = mlp(d), mlp(d)
        self.gelu = QuickGelu()
        self.frame_position_embeddings = nn.Embedding(config.max_snippets, d)
        self.text_prompt_embeddings = nn.Embedding(77, d)
        if hasattr(head, "audio"):
            self.temporalconvnet = AudioNet(d, config.audio_dropout)
            self.temporalgatedresidual = Fusion(d)
        if hasattr(head, "refine"):
            self.fe_net = Refinement(d)
        if hasattr(head, "alpha"):
            self.alpha = nn.Parameter(torch.empty_like(head.alpha))
        values = {released_name(name): value for name, value in head.state_dict().items()}
        self.load_state_dict({name: value for name, value in values.items() if not name.endswith("class_text")})
        self.clipmodel = Tower(head.prompts.tower)
        self.register_buffer("mask", self._blocks_mask(), persistent=False)

    def _blocks_mask(self) -> Tensor:
        size, window = self.config.max_snippets, self.config.window
        mask = torch.full((size, size), -math.inf)
        for start in range(0, size, window):
            mask[start : start + window, start : start + window] = 0
        return mask

    def encode_video(self, video: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, d) padded to ``max_snippets`` -> (B, T, d)."""
        order = torch.arange(video.shape[1], device=video.device).unsqueeze(0).expand(len(video), -1)
        x = video.permute(1, 0, 2) + self.frame_position_embeddings(order).permute(1, 0, 2)
        x = self.temporal(x, self.get_buffer("mask")).permute(1, 0, 2)
        similar, near = similarities(x, lengths), distances(len(x), x.shape[1]).to(x.device)
        left, right = self.gelu(self.gc1(x, similar)), self.gelu(self.gc3(x, near))
        left, right = self.gelu(self.gc2(left, similar)), self.gelu(self.gc4(right, near))
        out: Tensor = self.linear(torch.cat((left, right), 2))
        return out

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Tokens (C+1, 77) of the class names -> class features (C+1, d)."""
        words, before, after = self.clipmodel.token_embedding(tokens), *self._context()
        rows = self.text_prompt_embeddings(torch.arange(77, device=tokens.device)).unsqueeze(0)
        rows, ends = rows.repeat(len(tokens), 1, 1), []
        for row in range(len(tokens)):
            end = int(tokens[row].argmax())
            rows[row, 0] = words[row, 0]
            rows[row, before + 1 : before + end] = words[row, 1:end]
            rows[row, before + end + after] = words[row, end]
            ends.append(before + end + after)
        out: Tensor = self.clipmodel(rows, torch.tensor(ends))
        return out

    def _context(self) -> tuple[int, int]:
        return self.config.prompt_prefix, self.config.prompt_postfix

    def forward(self, video: Tensor, lengths: Tensor, tokens: Tensor, audio: Tensor | None = None) -> dict[str, Tensor]:
        """Features (B, T, d), audio alike, and tokens (C+1, 77) -> what the losses need."""
        text, x = self.encode_text(tokens), self.encode_video(video, lengths)
        out: dict[str, Tensor] = {}
        if hasattr(self, "temporalconvnet"):
            x = self.temporalgatedresidual(x, self.temporalconvnet(audio))
        if hasattr(self, "fe_net"):
            x, out["theta"] = self.fe_net(x)
        logits = self.classifier(x + self.mlp2(x))
        own = logits.permute(0, 2, 1) @ x
        own = own / own.norm(dim=-1, keepdim=True)
        classes = text.unsqueeze(0) + own.expand(len(x), len(text), own.shape[2])
        classes = classes + self.mlp1(classes)
        unit = x / x.norm(dim=-1, keepdim=True)
        classes = classes / classes.norm(dim=-1, keepdim=True)
        alignment = unit @ classes.permute(0, 2, 1).type(unit.dtype) / self.config.tau
        return {"logits": logits, "alignment": alignment, "text": text, "features": x, **out}

    def losses(self, out: dict[str, Tensor], targets: Tensor, lengths: Tensor, taught: Tensor | None = None) -> Losses:
        """The parts by the names of ours."""
        alpha, text = getattr(self, "alpha", None), torch.zeros(1, device=targets.device)
        normal = out["text"][0] / out["text"][0].norm()
        for row in range(1, len(out["text"])):
            text = text + (normal @ (out["text"][row] / out["text"][row].norm())).abs()
        parts = {
            "bce": binary_loss(out["logits"].float(), targets, lengths),
            "align": classes_loss(out["alignment"].float(), targets, lengths, alpha),
            "text": text[0] / (len(out["text"]) - 1),
        }
        total = parts["bce"] + parts["align"] + self.config.text_weight * parts["text"]
        if taught is not None:
            theta, gap = out["theta"].float(), taught - out["features"].float()
            parts["distill"] = torch.mean(gap**2 / (1e-6 + 2 * theta.exp()) + theta)
            total = total + self.config.distill_weight * parts["distill"]
        return {"total": total, **parts}


def similarities(x: Tensor, lengths: Tensor, threshold: float | None = 0.7) -> Tensor:
    """(B, T, d) -> (B, T, T), zeros at padding; cosines up to ``threshold`` count as 0."""
    cosines = x.matmul(x.permute(0, 2, 1))
    norm = x.norm(dim=2, keepdim=True)
    cosines = cosines / (norm.matmul(norm.permute(0, 2, 1)) + 1e-20)
    out = torch.zeros_like(cosines)
    for row, length in enumerate(lengths.tolist()):
        own = cosines[row, :length, :length]
        out[row, :length, :length] = (own if threshold is None else F.threshold(own, threshold, 0)).softmax(dim=1)
    return out


def distances(batch: int, size: int) -> Tensor:
    """(B, T, T) ``exp(-|i - j| / e)``."""
    index = np.arange(size, dtype=np.float32)
    near = torch.exp(-torch.from_numpy(np.abs(index[:, None] - index[None, :])) / math.e)
    return near.unsqueeze(0).repeat(batch, 1, 1)


def top_means(scores: Tensor, lengths: Tensor, more: int) -> Tensor:
    """(B, T, n) -> (B, n): mean of the max(floor(length / 16) + more, 1) highest, video by video."""
    rows = []
    for row, length in enumerate(lengths.tolist()):
        rows.append(scores[row, :length].topk(max(length // 16 + more, 1), dim=0).values.mean(dim=0, keepdim=True))
    return torch.cat(rows)


def binary_loss(logits: Tensor, targets: Tensor, lengths: Tensor) -> Tensor:
    """Logits (B, T, 1)."""
    return F.binary_cross_entropy(top_means(logits.sigmoid(), lengths, 1)[:, 0], 1 - targets[:, 0])


def classes_loss(alignment: Tensor, targets: Tensor, lengths: Tensor, alpha: Tensor | None) -> Tensor:
    """Alignment map (B, T, C+1)."""
    share, pooled = targets / targets.sum(dim=1, keepdim=True), top_means(alignment, lengths, 1)
    nce = -torch.mean(torch.sum(share * F.log_softmax(pooled, dim=1), dim=1))
    if alpha is None:
        return nce
    p = torch.sum(share * pooled.softmax(dim=1), dim=1)
    entropy = torch.sum(share * F.log_softmax(pooled, dim=1), dim=1)
    focal = -torch.sum(share * alpha, dim=1) * (1 - p) ** 2 * entropy
    return (nce + focal.mean()) / 2
