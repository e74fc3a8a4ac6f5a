"""Own categories for a trained head: their text goes where the trained classes' went, from the very same weights.

What a head makes of it is in :mod:`vadpipe.models.zero_shot`; docs/categories.md has the formula of every head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vadpipe.errors import SpecMismatch, UsageError
from vadpipe.extractors.clip_vit import CONTEXT_TOKENS, tokenize
from vadpipe.extractors.clip_vit import DIM as CLIP_DIM
from vadpipe.extractors.weights import is_named
from vadpipe.models.checkpoint import TrainedHead, load_tower
from vadpipe.models.prompts import PromptedHead
from vadpipe.models.zero_shot import mean_prompt, reachable
from vadpipe.pipeline.detecting.categories import OwnCategory, check_categories, load_categories, same_name
from vadpipe.pipeline.text import class_text, text_features, text_tower

_ADVICE = (
    "train lec_vad with --set model.zero_init=false --set model.vision_only_branch=false, "
    "or vadclip with --set model.residual=true"
)
_TOLERANCE = 1e-3  # relative; other processors and batches of texts give 1e-5, other weights about 1


def with_own_categories(
    trained: TrainedHead,
    categories: Path | Sequence[OwnCategory],
    weights: str | None = None,
    device: str = "cpu",
    say: Callable[[str], None] | None = None,
) -> TrainedHead:
    """Make a head that scores own categories too: its ``zero_shot``, last in ``classes``; trained scores are the same.

    categories
        A TOML file, see :func:`vadpipe.pipeline.detecting.categories.load_categories`, or what it holds. Those
        that the head was trained on stay the trained ones, whatever their prompts, and are said.
    weights
        CLIP's weights for the text, where the head does not name them or hold its own text tower.
    device
        Where text goes through CLIP. The head stays where it is.
    say
        Gets a line for people on each category that is not added and on each of the new head's ``notes``.

    :class:`UsageError` where the head's text alignment says nothing; :class:`SpecMismatch` for weights other than those
    that the head's own text came from.
    """
    given = load_categories(categories) if isinstance(categories, Path) else tuple(categories)
    check_categories(given)
    tell = say or (lambda _text: None)
    own = _untrained(trained, given, tell)
    if not own:
        return trained
    _require_alignment(trained)
    text = _own_text(trained, own, weights, device)
    head: Any = deepcopy(trained.head)
    head.set_own_categories(text)
    notes = (*trained.notes, *_notes(trained))
    for note in notes:
        tell(f"warning: {note}")
    prompts = trained.provenance.get("own_categories", {}) | {item.name: list(item.texts) for item in own}
    names = tuple(item.name for item in own)
    return replace(
        trained,
        head=head,
        classes=(*trained.classes, *names),
        zero_shot=frozenset(names),
        notes=notes,
        provenance={**trained.provenance, "own_categories": prompts},
    )


def _untrained(
    trained: TrainedHead, given: Sequence[OwnCategory], tell: Callable[[str], None]
) -> tuple[OwnCategory, ...]:
    """Those of ``given`` that the head was not trained on."""
    if trained.zero_shot:
        raise UsageError("this head has own categories already; name all of them at once")
    known = {same_name(name): name for name in trained.classes}
    for item in given:
        if name := known.get(same_name(item.name)):
            tell(f"note: the head was trained on {name!r}; its prompts in the categories file are not used")
    return tuple(item for item in given if same_name(item.name) not in known)


def _require_alignment(trained: TrainedHead) -> None:
    reach, model = trained.head.alignment_reach, trained.config.model
    if reach > 0:
        return
    why = "has no text alignment (model.cross_modal_branch is off)"
    if getattr(model, "cross_modal_branch", True):
        what = "nothing (weight 0)" if reach == 0 else "the opposite of likeness (a negative weight)"
        why = f"learned to read {what} from the alignment with text"
    raise UsageError(
        f"this {trained.config.head} head {why}, so it cannot score categories by their text; "
        f"{_ADVICE}, or leave out --categories"
    )


def _notes(trained: TrainedHead) -> tuple[str, ...]:
    """What results with own categories have to warn of."""
    notes = []
    classes, config = len(trained.classes), trained.config
    threshold = max(config.detect.r_ano, 1 / 2)  # as ScoreTrack.even_share
    _, highest = reachable(trained.head.alignment_reach, classes)
    if highest <= threshold:
        notes.append(
            f"own categories cannot score over {highest:.2f} with this head, whose text alignment has little weight; "
            f"an interval needs {threshold:.2g}, so none of them will be found"
        )
    if getattr(config.model, "vision_only_branch", False):
        notes.append(
            "own categories: this head names its own by the vision-only branch, beside which the text alignment "
            f"learns little; to find others, {_ADVICE}"
        )
    if unlike := _unlike(trained):
        notes.append(f"own categories: {unlike}")
    return tuple(notes)


def _unlike(trained: TrainedHead) -> str:
    """Why picture and text may not lie in one space; empty where nothing speaks against it."""
    spec, model = trained.spec, trained.config.model
    lost = "picture and text share only what the trained categories taught; such scores are hardly more than a guess"
    if spec.stream != "clip" and (spec.model != "imported" or spec.dim != CLIP_DIM):
        return f"the features ({spec.stream}) are not CLIP's: {lost}"
    if model.standardise == "pca":
        return f"the head turns features into principal components (model.standardise = 'pca'): {lost}"
    if spec.dim != model.dim:
        return f"the head projects features to {model.dim} columns: {lost}"
    if spec.stream != "clip":
        return f"whether the imported features ({spec.stream}) are those of CLIP ViT-B/16 is not known; else {lost}"
    return ""


def _own_text(trained: TrainedHead, own: Sequence[OwnCategory], weights: str | None, device: str) -> Tensor:
    """(K, d) text features of own categories, made together with those of the trained, which must come out again."""
    config, count = trained.config, len(trained.classes)
    texts = class_text(trained.classes, config.prompts, config.prompt_template)
    texts += [config.prompt_template.format(prompt) for item in own for prompt in item.texts]
    _check_lengths(texts[count:], own, config.model)
    if isinstance(trained.head, PromptedHead):
        features, kept = _prompted_features(trained, texts, weights), trained.head.prompts.class_text
        scale = features.norm(dim=-1, keepdim=True)
        made, kept = features[:count] / scale[:count], kept.cpu() / scale[:count]
    else:
        features = _encoded(trained, texts, weights, device)
        made, kept = (F.normalize(rows.float().cpu(), dim=-1) for rows in (features[:count], trained.head.text))
    if not torch.allclose(made, kept, rtol=0, atol=_TOLERANCE):
        raise SpecMismatch(
            "the weights of the text encoder are not the ones that this head's own text came from: its classes come "
            "out differently. Pass --weights clip=PATH with those it was trained with"
        )
    rows = iter(features[count:])
    return torch.stack([mean_prompt(torch.stack([next(rows) for _ in item.texts])) for item in own])


def _check_lengths(texts: Sequence[str], own: Sequence[OwnCategory], model: Any) -> None:
    """Refuse a prompt that CLIP cannot read, with its name."""
    room = CONTEXT_TOKENS - getattr(model, "prompt_prefix", 0) - getattr(model, "prompt_postfix", 0)
    names = [item.name for item in own for _ in item.texts]
    for name, text in zip(names, texts, strict=True):
        try:
            used = int(tokenize([text]).argmax()) + 1  # the end token is the largest number
        except UsageError as error:
            raise UsageError(f"category {name!r}: {error}") from error
        if used > room:
            raise UsageError(f"category {name!r}: {used} tokens, expected at most {room}; shorten {text[:60]!r}")
        if used == 2:
            raise UsageError(f"category {name!r}: CLIP reads nothing in the prompt {text!r:.60}")


def _prompted_features(trained: TrainedHead, texts: Sequence[str], weights: str | None) -> Tensor:
    """Texts between the head's learned vectors, by the tower beside its checkpoint or else the encoder's."""
    tower = load_tower(trained.folder) if trained.folder is not None else None
    if tower is None:
        tower, _ = text_tower(trained.spec, _weights(trained, weights))
    features: Tensor = trained.head.prompts.features_of(torch.from_numpy(tokenize(texts)), tower)
    return features


def _encoded(trained: TrainedHead, texts: Sequence[str], weights: str | None, device: str) -> Tensor:
    return text_features(texts, trained.spec, _weights(trained, weights), device)[0]


def _weights(trained: TrainedHead, weights: str | None) -> str | None:
    """What the user chose, or what the head says of its text; None leaves it to the head's CLIP features."""
    if weights is not None:
        return weights
    said = str(trained.provenance.get("text_weights", ""))
    if is_named(said):
        return said
    if trained.spec.stream == "clip":
        return None
    raise UsageError(
        f"own categories need the CLIP weights that this head's text came from ({said or 'not recorded'}); "
        "pass --weights clip=PATH"
    )
