"""LEC-VAD (ICML 2025): Gaussian-mixture smoothness and a prototype memory for complete events.

Legend: B videos, T snippets (<= max_snippets), d = dim, C anomaly categories, classes c = 0 … C with c = 0 normal,
``lengths`` (B,) real snippets. No public code exists; where the paper contradicts itself, the line says what we do.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vadpipe.head_config import LecVadConfig
from vadpipe.models import losses
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.layers import (
    CosineGraph,
    LocalTransformer,
    TransformerBlock,
    TwoBranchGraph,
    lowered,
    principal_components,
)
from vadpipe.models.zero_shot import own_probabilities


class LecVadOutput(NamedTuple):
    """What LEC-VAD says about a batch; values at padding are meaningless and never used.

    s_b (B, T, 2)
        Category-agnostic softmax scores, column 1 is anomalous.
    s_m (B, T, C+1)
        Class probabilities, column 0 normal.
    s_aware (B, T, C+1)
        Category-aware scores, s_m + gate * s_tv (either alone where a branch is off).
    s_gmm, mu, sigma
        Gaussian mixture scores (B, T) and its parameters (B, T, C+1).
    features (B, T, d), prototypes (B, C+1, d) or None
        F_video; F_aug, what the memory bank learns from.
    own (B, T, K) or None
        Probabilities of own categories, see :func:`vadpipe.models.zero_shot.own_probabilities`.
    """

    s_b: Tensor
    s_m: Tensor
    s_aware: Tensor
    s_gmm: Tensor
    mu: Tensor
    sigma: Tensor
    features: Tensor
    prototypes: Tensor | None
    own: Tensor | None = None

    @property
    def anomaly(self) -> Tensor:
        """(B, T) anomaly score at inference: mean of ``1 - s_m[:, :, 0]`` and ``s_b[:, :, 1]``."""
        return (1 - self.s_m[..., 0] + self.s_b[..., 1]) / 2

    @property
    def categories(self) -> Tensor:
        """(B, T, C+1) class probabilities: s_m; own categories' K columns behind them."""
        return self.s_m if self.own is None else torch.cat([self.s_m, self.own], dim=-1)


class LecVad(nn.Module):
    """The LEC-VAD head.

    ``text`` (C+1, d) are the class prompts' CLIP text features, computed once by the caller and kept in the
    checkpoint. ``mean``, ``std`` (d_in,) and ``components`` (d_in, d) hold the training snippets' statistics where
    ``standardise`` asks for them, else they change nothing.

    Differs from the paper: the options to standardise. A learned projection of 1280 columns has more weights than some
    tens of videos have snippets, and learns them by heart; principal components do not.
    """

    text: Tensor
    memory: Tensor
    own_text: Tensor | None
    mean: Tensor
    std: Tensor
    components: Tensor

    def __init__(self, config: LecVadConfig, inputs: HeadInputs) -> None:
        super().__init__()
        d, input_dim, text, self.config = config.dim, inputs.video_dim, inputs.text, config
        if text.ndim != 2 or text.shape[1] != d or len(text) < 2:
            raise ValueError(f"text: got {tuple(text.shape)}, expected (classes >= 2, {d})")
        self.register_buffer("mean", torch.zeros(input_dim))
        self.register_buffer("std", torch.ones(input_dim))
        self.register_buffer("text", F.normalize(text.float(), dim=-1) * d**0.5)
        self.register_buffer("memory", self.text.clone())
        self.register_buffer("own_text", None, persistent=False)
        self.input_dropout = nn.Dropout(config.input_dropout)
        pca = config.standardise == "pca"
        self.register_buffer("components", torch.zeros(input_dim if pca else 0, d))
        self.project = nn.Identity() if input_dim == d or pca else nn.Linear(input_dim, d)
        self.positions = nn.Embedding(config.max_snippets, d)
        nn.init.normal_(self.positions.weight, std=0.01)
        self.local = LocalTransformer(
            d, config.heads, config.local_layers, config.window, config.window_overlap, config.dropout
        )
        graph = CosineGraph if config.graph == "cosine" else TwoBranchGraph
        self.graph = graph(d, config.residual)
        self.norm = nn.LayerNorm(d)
        self.score_binary = nn.Linear(d, 2)
        self.score_classes = nn.Linear(d, len(text))
        self.memory_blocks = nn.ModuleList(
            TransformerBlock(d, config.heads, config.dropout) for _ in range(config.memory_blocks)
        )
        # One linear layer on the concatenation [F_aug[c]; F_video[t]] is the sum of two: F_m is never materialised.
        self.kernel_video = nn.Linear(d, 2)
        self.kernel_class = nn.Linear(d, 2, bias=False)
        # Steps of AdamW are about the learning rate long: with this factor the gate can open in some hundred of them.
        self.gate_per_step = 30.0
        self.cross_modal_gate = nn.Parameter(torch.zeros(())) if config.zero_init else None
        if config.zero_init:  # all snippets start equal; MIL reinforces whatever the first random scores prefer
            for layer in (self.score_binary, self.score_classes):
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)

    def set_statistics(self, _stream: str, mean: Tensor, covariance: Tensor) -> None:
        """Take the training snippets' mean (d_in,) and covariance (d_in, d_in), float64, as ``standardise`` asks."""
        if self.config.standardise == "columns":
            self.mean.copy_(mean)
            self.std.copy_(covariance.diagonal().sqrt().clamp(min=1e-6))
        if self.config.standardise == "pca":
            self.mean.copy_(mean)
            self.components.copy_(principal_components(covariance, self.config.dim))

    def encode(self, video: Tensor, lengths: Tensor) -> Tensor:
        """Features (B, T, d_in) -> F_video (B, T, d): projection, positions, local transformer, graph."""
        mask = losses.snippet_mask(lengths, video.shape[1])
        x = video if self.config.standardise == "none" else (video - self.mean) / self.std
        if self.config.standardise == "pca":
            x = x @ self.components
        x = self.project(self.input_dropout(x))
        if self.config.positions:
            x = x + self.positions.weight[: video.shape[1]]
        x = self.local(x * mask[..., None], mask)
        out: Tensor = self.norm(self.graph(x, mask))
        return out

    def forward(
        self, video: Tensor, lengths: Tensor, _audio: Tensor | None = None, _has_audio: Tensor | None = None
    ) -> LecVadOutput:
        """Features (B, T, d_in) with ``lengths`` (B,) -> :class:`LecVadOutput`; audio is not looked at."""
        features = lowered(self.encode(video, lengths))
        s_b = self.score_binary(features).float().softmax(dim=-1)
        s_m = self.score_classes(features).float().softmax(dim=-1)
        s_aware, prototypes, classes, own = s_m, None, self.text.expand(len(video), -1, -1), None
        if self.config.cross_modal_branch:
            prompts = self._vision_prompts(self.text, features, lengths)
            prototypes = self._augment(prompts, self.memory) if self.config.memory_bank else None
            classes = prompts if prototypes is None else prototypes
            s_tv = _cosines(features, prompts if prototypes is None else prompts + prototypes)
            own = self._own(prompts, s_tv, features, lengths)
            if self.config.vision_only_branch:
                s_aware = s_m + self._gate() * s_tv
            else:  # the paper defines s_m only with the vision-only branch, but eqs. 9, 12 and inference need it
                s_aware, s_m = s_tv, (s_tv.float() / self.config.tau).softmax(dim=-1)
        s_gmm, mu, sigma = self._mixture(features, classes, s_m, lengths)
        return LecVadOutput(s_b, s_m, s_aware, s_gmm, mu, sigma, features, prototypes, own)

    def _gate(self) -> Tensor | float:
        """Weight of s_tv in s_aware: learned from 0 where ``zero_init``, else 1.

        Differs from the paper, which adds s_tv as it is. Its start is random, like that of the scoring layers without
        ``zero_init``, and divided by tau it decides alone which snippets eq. 7 reinforces (docs/log.md).
        """
        return 1.0 if self.cross_modal_gate is None else (self.gate_per_step * self.cross_modal_gate).clamp(-1, 1)

    def _own(self, prompts: Tensor, s_tv: Tensor, features: Tensor, lengths: Tensor) -> Tensor | None:
        """(B, T, K) probabilities of own categories: eqs. 4 and 5 with their text, F_tv (B, C+1, d) the trained ones'.

        Each goes through the memory blocks beside the trained classes and their memory, none beside another own one.
        The memory has no row for it: what eq. 11 starts from, the text, is far from what the blocks know by then.
        """
        if self.own_text is None:
            return None
        own = self._vision_prompts(self.own_text, features, lengths)
        if self.config.memory_bank:
            beside = [torch.cat([prompts, own[:, index : index + 1]], dim=1) for index in range(self.own_count)]
            own = own + torch.stack([self._augment(each, self.memory)[:, -1] for each in beside], dim=1)
        weight = (self._gate() if self.config.vision_only_branch else 1.0) / self.config.tau
        return own_probabilities(weight * s_tv.float(), weight * _cosines(features, own).float())

    @property
    def alignment_reach(self) -> float:
        """Highest alignment logit there can be, gate / tau; 0 and less where own categories cannot be scored."""
        if not self.config.cross_modal_branch:
            return 0.0
        with torch.no_grad():
            return (float(self._gate()) if self.config.vision_only_branch else 1.0) / self.config.tau

    @property
    def own_count(self) -> int:
        """K, own categories that are scored behind the trained ones."""
        return 0 if self.own_text is None else len(self.own_text)

    def set_own_categories(self, text: Tensor) -> None:
        """Also score own categories by the text features (K, d) of their prompts."""
        self.own_text = F.normalize(text.float(), dim=-1).to(self.text.device) * self.config.dim**0.5

    def _vision_prompts(self, text: Tensor, features: Tensor, lengths: Tensor) -> Tensor:
        """Eq. 4, F_tv (B, C+1, d): text (C+1, d) attends to the video's real snippets."""
        text = text.expand(len(features), -1, -1)
        if not self.config.vision_prompt:
            return text
        mask = losses.snippet_mask(lengths, features.shape[1])[:, None, :]
        return F.scaled_dot_product_attention(text, features, features, attn_mask=mask)

    def _augment(self, prompts: Tensor, memory: Tensor) -> Tensor:
        """F_aug (B, C+1, d): m self-attention blocks on [F_tv; M], first C+1 rows."""
        x = torch.cat([prompts, memory.expand(len(prompts), -1, -1)], dim=1)
        for block in self.memory_blocks:
            x = block(x)
        return x[:, : prompts.shape[1]]

    def _mixture(
        self, features: Tensor, classes: Tensor, s_m: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Eq. 12. Paper sums c = 0 … C; then a well-fitted normal snippet would score 1 and eq. 8 push it up: 1 … C."""
        kernel = (self.kernel_video(features)[:, :, None, :] + self.kernel_class(classes)[:, None, :, :]).float()
        mu, sigma = kernel[..., 0].sigmoid(), F.softplus(kernel[..., 1]) + 1e-3
        first = 0 if self.config.gmm_include_normal else 1
        s_gmm = losses.gaussian_mixture_scores(
            s_m[..., first:], mu[..., first:], sigma[..., first:], lengths, self.config.gmm_beta
        )
        return s_gmm, mu, sigma

    def loss(self, out: LecVadOutput, targets: Tensor, lengths: Tensor, _teacher: object = None) -> dict[str, Tensor]:
        """Eq. 10 and its parts as scalars: ``total``, ``agnostic``, ``aware``, ``gmm``, ``reg``.

        targets (B, C+1) multi-hot; a video is anomalous where any class but 0 is set.
        """
        config = self.config
        anomalous = (targets[:, 1:].sum(dim=1) > 0).float()
        parts = {
            "agnostic": losses.agnostic_loss(out.s_b, anomalous, lengths, literal=config.literal_agnostic),
            "aware": losses.aware_loss(out.s_aware, targets, lengths, config.tau),
            "gmm": losses.gmm_loss(out.s_gmm, out.s_b, lengths),
            "reg": losses.consistency_loss(out.s_m, out.s_b, lengths),
        }
        total = parts["agnostic"] + parts["aware"] + config.lambda_gmm * parts["gmm"] + config.gamma_reg * parts["reg"]
        return {"total": total, **parts}

    def begin_step(self) -> None:
        """Nothing here is made anew for a step: the text features are fixed."""

    def end_step(self) -> None:
        """Nothing waits for the gradients."""

    def step_sums(self, out: LecVadOutput) -> Tensor | None:
        """Sum of F_aug over the batch's videos, (C+1, d) float32."""
        return None if out.prototypes is None else out.prototypes.detach().float().sum(dim=0)

    @torch.no_grad()
    def after_step(self, mean: Tensor | None) -> None:
        """Eq. 11, ``M <- eta M + (1 - eta) F_aug``; call once per training step, never in evaluation.

        The paper is silent on batches: F_aug (C+1, d) is the mean over all videos of the step.
        """
        if mean is not None:
            self.memory.lerp_(mean, 1 - self.config.memory_momentum)


def _cosines(features: Tensor, classes: Tensor) -> Tensor:
    """Eq. 5, s_tv (B, T, C+1) of features (B, T, d) and F_ctg (B, C+1, d)."""
    length = torch.linalg.vector_norm(features, dim=-1, keepdim=True, dtype=torch.float32).clamp(min=1e-12)
    cosines: Tensor = features @ F.normalize(classes, dim=-1).transpose(1, 2) / length
    return cosines
