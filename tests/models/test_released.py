"""Released checkpoints by their names: what they are recognised by, where each parameter goes, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.released_files import blank, names
from vadpipe.errors import CheckpointError
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.released import IGNORED, RELEASED, Sorted, detect_kind, own_name, released_name, sort_state

TWICE = "temporalconvnet.network.1.conv2.bias"  # the second copy of net.4.bias


def on_paper(kind: str) -> nn.Module:
    released = RELEASED[kind]
    config = released.config("clip", "sound" if released.uses_audio else "")
    with torch.device("meta"):
        inputs = HeadInputs(512, torch.zeros(len(released.classes), 512), 512 if released.uses_audio else 0)
        head: nn.Module = build_head(config, inputs)
        return head


def sort(kind: str, changes: dict[str, Tensor | None], prefix: str = "") -> Sorted:
    """Sort a released file in which some tensors were exchanged, added or (None) taken out."""
    state = {name: value for name, value in {**blank(kind), **changes}.items() if value is not None}
    return sort_state({prefix + name: value for name, value in state.items()}, RELEASED[kind], on_paper(kind))


@pytest.mark.parametrize("kind", list(RELEASED))
def test_every_released_name_has_its_place(kind: str) -> None:
    assert detect_kind(names(kind))[0].name == kind
    parts = sort(kind, {})
    assert parts.head.keys() == on_paper(kind).state_dict().keys() - {"prompts.class_text"}
    assert len(parts.tower) == 149
    assert [parts.ignored[reason] for _, reason in IGNORED] == [1, 152, 1]
    assert parts.unequal == 0
    assert {released_name(name) for name in parts.head} <= names(kind).keys()
    assert all(own_name(released_name(name)) == name for name in parts.head)


def test_kinds_say_what_no_file_shows() -> None:
    seen: dict[str, tuple[Any, int]] = {
        name: (kind.config("clip", "sound" if kind.uses_audio else "").model, len(kind.classes))
        for name, kind in RELEASED.items()
    }
    told = {name: (model.layers, model.window, model.score, classes) for name, (model, classes) in seen.items()}
    assert told == {
        "vadclip_ucf": (2, 8, "binary", 14),
        "vadclip_xd": (1, 64, "alignment", 7),
        "avadclip_xd_teacher": (2, 4, "alignment", 7),
        "avadclip_xd_student": (1, 64, "alignment", 7),
    }
    assert all(model.padding == "released" for model, _ in seen.values())
    assert [name for name, kind in RELEASED.items() if kind.uses_audio] == ["avadclip_xd_teacher"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gc1.weight": None, "linear.bias": None}, "2 missing: gc1.weight, linear.bias"),
        ({"clipmodel.transformer.resblocks.11.ln_1.bias": None}, "1 missing: clipmodel.transformer.resblocks.11.ln_1"),
        ({"surprise": torch.zeros(1)}, "1 unknown: surprise"),
        ({"temporal.resblocks.2.ln_1.bias": torch.zeros(512)}, "1 unknown: temporal.resblocks.2.ln_1.bias"),
        ({"clipmodel.extra": torch.zeros(1)}, "1 unknown: clipmodel.extra"),
        ({f"x{number}": torch.zeros(1) for number in range(9)}, "9 unknown: x0, x1, x2, x3 and 5 more"),
        ({"alpha": torch.zeros(2)}, r"1 of another shape: alpha \(2,\) instead of \(7,\)"),
        ({"linear.bias": torch.zeros(512, dtype=torch.int64)}, "1 not of floating point: linear.bias torch.int64"),
        ({"linear.bias": torch.zeros(512, dtype=torch.complex64)}, "1 not of floating point: linear.bias"),
        ({"linear.bias": torch.full((512,), float("nan"))}, "1 with NaN or infinity: linear.bias"),
        ({"clipmodel.ln_final.bias": torch.full((512,), float("inf"))}, "1 with NaN or infinity: clipmodel.ln_final"),
    ],
)
def test_what_does_not_fit_is_listed(changes: dict[str, Tensor | None], said: str) -> None:
    with pytest.raises(CheckpointError, match=f"no avadclip_xd_teacher .*{said}"):
        sort("avadclip_xd_teacher", changes)


def test_a_file_of_another_kind_is_refused() -> None:
    state, kind = blank("vadclip_ucf"), RELEASED["vadclip_xd"]
    with pytest.raises(CheckpointError, match=r"12 unknown: temporal\.resblocks\.1"):
        sort_state(state, kind, on_paper("vadclip_xd"))
    with pytest.raises(CheckpointError, match="no released checkpoint known here"):
        detect_kind(["conv1.weight"])
    with pytest.raises(CheckpointError, match="nothing"):
        detect_kind([])


def test_parallel_wrappers_and_half_precision_are_taken() -> None:
    wrapped = sort("vadclip_xd", {"linear.bias": torch.full((512,), 0.1, dtype=torch.float16)}, prefix="module.")
    bias = wrapped.head["video.linear.bias"]
    assert bias.dtype == torch.float32
    assert bias[0].item() == pytest.approx(0.1, abs=1e-4)
    mixed = {**blank("vadclip_xd"), "module.linear.bias": torch.zeros(512)}
    with pytest.raises(CheckpointError, match=r"1 unknown: module\.linear\.bias"):
        sort_state(mixed, RELEASED["vadclip_xd"], on_paper("vadclip_xd"))


def test_of_two_copies_the_later_counts_and_either_may_be_missing() -> None:
    first, second = TWICE.replace("conv2", "net.4"), TWICE
    one, two = torch.ones(512), torch.full((512,), 2.0)
    place = "audio.network.1.conv2.bias"
    assert (own_name(first), own_name(second), released_name(place)) == (place, place, first)
    both = sort("avadclip_xd_teacher", {first: one, second: two})
    assert (both.head[place][0].item(), both.unequal) == (1.0, 1)
    for missing in (first, second):
        alone = sort("avadclip_xd_teacher", {first: one, second: one, missing: None})
        assert (alone.head[place][0].item(), alone.unequal) == (1.0, 0)
    with pytest.raises(CheckpointError, match=f"1 missing: {first}"):
        sort("avadclip_xd_teacher", {first: None, second: None})
