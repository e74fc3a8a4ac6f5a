"""Learned class prompts: where each token goes, when the tower runs, and what gradients reach the learned vectors."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.pipeline.heads import small_inputs
from vadpipe.errors import UsageError
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.prompts import ClassPrompts

START, END = 62, 63


class Recorder:
    """Stands in front of a tower and keeps what it is given."""

    def __init__(self, prompts: ClassPrompts) -> None:
        self.given: list[tuple[Tensor, Tensor]] = []
        self.tower = prompts.tower
        object.__setattr__(prompts, "tower", self)

    def __call__(self, embedded: Tensor, ends: Tensor) -> Any:
        assert self.tower is not None
        self.given.append((embedded, ends))
        return self.tower(embedded, ends)


def inputs(*names: list[int]) -> HeadInputs:
    """Inputs whose classes are named by these tokens."""
    tokens = torch.zeros(len(names), 77, dtype=torch.int64)
    for row, name in enumerate(names):
        tokens[row, : len(name) + 2] = torch.tensor([START, *name, END])
    return replace(small_inputs(), text=torch.randn(len(names), 32), tokens=tokens)


def test_every_token_has_its_place() -> None:
    given = inputs([7], [8, 9, 10])
    prompts = ClassPrompts(given, 32, prefix=2, postfix=3)
    recorder = Recorder(prompts)
    prompts()
    (embedded, ends), learned = recorder.given[0], prompts.weight
    word = given.tower.token_embedding.weight
    assert ends.tolist() == [1 + 2 + 1 + 3, 1 + 2 + 3 + 3]
    wanted = [
        [word[START], learned[1], learned[2], word[7], learned[4], learned[5], learned[6], word[END]],
        [word[START], learned[1], learned[2], word[8], word[9], word[10], *learned[6:9], word[END]],
    ]
    assert embedded.shape[:2] == (2, 10)  # cut behind the last end token, out of 77
    for row, places in enumerate(wanted):
        torch.testing.assert_close(embedded[row, : len(places)], torch.stack(places), rtol=0, atol=0)


def test_without_learned_vectors_it_is_clips_own_text_feature() -> None:
    given = inputs([7], [8, 9])
    assert given.tokens is not None
    torch.testing.assert_close(ClassPrompts(given, 32, 0, 0)(), given.tower.encode(given.tokens))


def test_a_step_runs_the_tower_once_and_gives_the_same_gradients() -> None:
    prompts = ClassPrompts(inputs([7], [8, 9], [5]), 32, 4, 4)
    parts = [torch.randn(3, 32) for _ in range(3)]
    for part in parts:  # by itself: the tower runs for each
        torch.autograd.backward((prompts().sin() * part).sum())
    assert prompts.weight.grad is not None
    alone, prompts.weight.grad = prompts.weight.grad, None
    recorder = Recorder(prompts)
    prompts.begin_step()
    for part in parts:
        torch.autograd.backward((prompts().sin() * part).sum())
    assert prompts.weight.grad is None
    prompts.end_step()
    assert len(recorder.given) == 1
    torch.testing.assert_close(prompts.weight.grad, alone)
    prompts.end_step()  # nothing is left to send
    torch.testing.assert_close(prompts.weight.grad, alone)


def test_a_step_whose_losses_ignore_the_classes_ends_quietly() -> None:
    prompts = ClassPrompts(inputs([7], [8]), 32, 4, 4)
    prompts.begin_step()
    prompts.end_step()
    assert prompts.weight.grad is None


def test_eval_mode_uses_the_stored_features_which_follow_the_weights() -> None:
    prompts = ClassPrompts(inputs([7], [8]), 32, 4, 4)
    recorder = Recorder(prompts)
    with torch.no_grad():
        prompts.weight.add_(torch.randn_like(prompts.weight))
    trained = prompts().detach()
    torch.testing.assert_close(prompts.eval()(), trained)
    calls = len(recorder.given)
    prompts()
    assert len(recorder.given) == calls
    assert not prompts().requires_grad
    assert prompts.train()().requires_grad


def test_a_head_that_was_loaded_to_score_scores_but_does_not_train() -> None:
    trained = ClassPrompts(inputs([7], [8]), 32, 4, 4).eval()
    state = trained.state_dict()
    assert sorted(state) == ["class_text", "weight"]
    loaded = ClassPrompts(HeadInputs(16, torch.zeros(2, 32)), 32, 4, 4).eval()
    loaded.load_state_dict(state)
    torch.testing.assert_close(loaded.eval()(), trained())
    with pytest.raises(UsageError, match="without CLIP's text tower"):
        loaded.train()()
    with pytest.raises(UsageError, match="without CLIP's text tower"):
        loaded.begin_step()


def test_copies_share_the_tower_and_moves_take_it_along() -> None:
    prompts = ClassPrompts(inputs([7], [8]), 32, 4, 4)
    twin = copy.deepcopy(prompts)
    assert prompts.tower is not None
    assert twin.tower is prompts.tower
    assert twin.weight is not prompts.weight
    assert [name for name, _ in prompts.named_parameters()] == ["weight"]
    torch.testing.assert_close(twin(), prompts())
    prompts.double()
    assert prompts.tower.text_projection.dtype == torch.float64


def test_names_that_do_not_fit_and_inputs_that_do_not_match_are_refused() -> None:
    with pytest.raises(UsageError, match="prompt of class 1: 78 tokens"):
        ClassPrompts(inputs([7], list(range(1, 57))), 32, 10, 10)
    with pytest.raises(ValueError, match="tokens: expected"):
        ClassPrompts(replace(inputs([7], [8]), tokens=None), 32, 10, 10)
    with pytest.raises(ValueError, match="text: got"):
        ClassPrompts(inputs([7], [8]), 16, 10, 10)
    with pytest.raises(UsageError, match="expected 32, the text tower's width"):
        ClassPrompts(replace(inputs([7], [8]), text=torch.zeros(2, 16)), 16, 10, 10)
