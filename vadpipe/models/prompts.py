"""Class prompts with learned context: ``[start] learned … name … learned [end]`` through CLIP's text tower.

Legend: C+1 classes with ``normal`` first, d columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vadpipe.errors import UsageError
from vadpipe.models.clip_branches import TwoBranches
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.text_tower import TextTower

CONTEXT_TOKENS = 77


class ClassPrompts(nn.Module):
    """Class features X_c (C+1, d) of learned prompts.

    Position 0 holds the start token, 1 … ``prefix`` learned vectors of the same number, then come the name's tokens;
    the end token stands ``postfix`` places after the name, and every other position holds the learned vector of its
    own number. What stands behind the last end token cannot matter and is cut.

    The tower sees the class prompts only, so its cost does not depend on the batch. Between :meth:`begin_step` and
    :meth:`end_step` it runs once for all micro-batches; without them, once per forward pass. In eval mode
    ``class_text`` is used, which is made anew whenever the module enters eval mode, and which checkpoints hold, so that
    scoring needs no tower.
    """

    class_text: Tensor
    tower: TextTower | None

    def __init__(self, inputs: HeadInputs, dim: int, prefix: int, postfix: int) -> None:
        super().__init__()
        if inputs.text.ndim != 2 or inputs.text.shape[1] != dim or len(inputs.text) < 2:
            raise ValueError(f"text: got {tuple(inputs.text.shape)}, expected (classes >= 2, {dim})")
        self.weight = nn.Parameter(nn.init.normal_(torch.empty(CONTEXT_TOKENS, dim), std=0.01))
        self.register_buffer("class_text", inputs.text.detach().float().clone())
        object.__setattr__(self, "tower", inputs.tower)  # not a submodule: stays out of parameters and state_dict
        self.places = prefix, postfix
        self._made: Tensor | None = None
        self._leaf: Tensor | None = None
        if inputs.tower is not None:
            if inputs.tokens is None or inputs.tokens.shape != (len(inputs.text), CONTEXT_TOKENS):
                raise ValueError(f"tokens: expected ({len(inputs.text)}, {CONTEXT_TOKENS}) with a text tower")
            if (inputs.tower.width, inputs.tower.dim) != (dim, dim):
                raise UsageError(f"model.dim: got {dim}, expected {inputs.tower.dim}, the text tower's width")
            self._place(inputs.tokens.cpu(), prefix, postfix)

    def _place(self, tokens: Tensor, prefix: int, postfix: int) -> None:
        """Keep the names' embedded tokens at their places: ``words`` (C+1, L, d), ``fixed`` (C+1, L, 1), ``ends``."""
        name_ends = tokens.argmax(dim=1)
        ends = name_ends + prefix + postfix
        length = int(ends.max()) + 1
        if length > CONTEXT_TOKENS:
            raise UsageError(
                f"prompt of class {int(ends.argmax())}: {length} tokens with the learned ones, expected at most "
                f"{CONTEXT_TOKENS}; shorten it or lower model.prompt_prefix and model.prompt_postfix"
            )
        assert self.tower is not None  # noqa: S101  # for the type checker; the caller has checked
        placed, fixed = torch.zeros(len(tokens), length, dtype=torch.int64), torch.zeros(len(tokens), length, 1)
        for row, (name_end, end) in enumerate(zip(name_ends.tolist(), ends.tolist(), strict=True)):
            target = [0, *range(prefix + 1, prefix + name_end), end]
            placed[row, target] = tokens[row, : name_end + 1]
            fixed[row, target] = 1.0
        with torch.no_grad():
            words = self.tower.token_embedding(placed.to(self.tower.positional_embedding.device))
        self.register_buffer("words", words.to(self.weight.device), persistent=False)
        self.register_buffer("fixed", fixed.bool(), persistent=False)
        self.register_buffer("ends", ends, persistent=False)

    def _compute(self) -> Tensor:
        if self.tower is None:
            raise UsageError("this head was loaded without CLIP's text tower: it can score, but not train")
        words, fixed, ends = self.get_buffer("words"), self.get_buffer("fixed"), self.get_buffer("ends")
        features: Tensor = self.tower(torch.where(fixed, words, self.weight[: words.shape[1]].float()), ends)
        return features

    @torch.no_grad()
    def features_of(self, tokens: Tensor, tower: TextTower) -> Tensor:
        """Features (n, d) of other names, tokens (n >= 2, 77), between the same learned vectors; on the CPU."""
        prefix, postfix = self.places
        dim = self.weight.shape[1]
        inputs = HeadInputs(0, torch.zeros(len(tokens), dim), tokens=tokens, tower=tower)
        twin = ClassPrompts(inputs, dim, prefix, postfix)
        twin.weight.copy_(self.weight)
        features: Tensor = twin.eval()()
        return features

    def forward(self) -> Tensor:
        """Class features (C+1, d) float32."""
        if not self.training:
            return self.class_text
        return self._compute() if self._leaf is None else self._leaf

    def begin_step(self) -> None:
        """Run the tower for an optimiser step; forward passes up to :meth:`end_step` use the result."""
        if self.training:
            self._made = self._compute()
            self._leaf = self._made.detach().requires_grad_()

    def end_step(self) -> None:
        """Send the gradients that the step's backward passes left at the class features through the tower, once."""
        made, leaf, self._made, self._leaf = self._made, self._leaf, None, None
        if made is not None and leaf is not None and leaf.grad is not None:
            torch.autograd.backward(made, leaf.grad)

    def train(self, mode: bool = True) -> ClassPrompts:
        """As ``nn.Module``; on the way to eval mode ``class_text`` is made anew where there is a tower."""
        super().train(mode)
        if not mode:
            self._made = self._leaf = None
            if self.tower is not None:
                with torch.no_grad():
                    self.class_text.copy_(self._compute())
        return self

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> ClassPrompts:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if self.tower is not None:
            self.tower._apply(fn)  # type: ignore[no-untyped-call]  # as above
        return self


class PromptedHead(nn.Module):
    """What heads with :class:`ClassPrompts` have in common: the optimiser step's begin and end, and no memory."""

    prompts: ClassPrompts
    branches: TwoBranches

    @property
    def alignment_reach(self) -> float:
        """Highest alignment logit there can be; 0 where own categories cannot be scored."""
        return self.branches.reach

    @property
    def own_count(self) -> int:
        """K, own categories that are scored behind the trained ones."""
        return 0 if self.branches.own_text is None else len(self.branches.own_text)

    def set_own_categories(self, text: Tensor) -> None:
        """Also score own categories by their text features (K, d), of :meth:`ClassPrompts.features_of`."""
        self.branches.own_text = text.float().to(self.prompts.weight.device)

    def begin_step(self) -> None:
        """Run the text tower once for the step; see :class:`ClassPrompts`."""
        self.prompts.begin_step()

    def end_step(self) -> None:
        """Send the step's gradients through the text tower to the learned context."""
        self.prompts.end_step()

    def step_sums(self, _out: Any) -> Tensor | None:
        """Nothing is summed: these heads have no memory."""
        return None

    def after_step(self, mean: Tensor | None) -> None:
        """Nothing to update."""
