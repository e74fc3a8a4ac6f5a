"""Which figures a report can draw: names, what they show, where the papers have them. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from vadpipe.errors import UsageError

FORMATS = ("png", "svg", "pdf")


@dataclass(frozen=True, slots=True)
class Kind:
    """One figure: its name, what it shows in a few words, the papers' own; whether it can only be drawn of a grid."""

    name: str
    shows: str
    source: str
    of_grid: bool = False


KINDS: tuple[Kind, ...] = (
    Kind("scores", "anomaly score against truth, a panel a video", "LEC-VAD Fig. 6; AVadCLIP Fig. 4, curves"),
    Kind("categories", "scores of the categories against truth", "LEC-VAD Fig. 7; AVadCLIP Fig. 4, fine-grained map"),
    Kind("masks", "Gaussian mixture prior against raw scores", "LEC-VAD Fig. 4"),
    Kind("tsne", "t-SNE of snippets before and after the head", "LEC-VAD Fig. 3"),
    Kind("grid", "test figures over hyper-parameters or settings", "LEC-VAD Fig. 5, Tables 5 to 7", of_grid=True),
    Kind("ranking", "precision over recall, and ROC, of frames", "no figure in the papers"),
    Kind("classes", "average precision of each class at each IoU", "no figure in the papers"),
    Kind("confusion", "category found in a video against its label", "no figure in the papers"),
)
"""Every figure, in the order of the index."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure that is drawn and written.

    kind, name
        What it shows; name of its files without suffix.
    caption
        What a reader has to know, one paragraph.
    cautions
        Warnings that stand in the picture too.
    files
        Names of its files, one a format.
    """

    kind: Kind
    name: str
    caption: str
    cautions: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())


def chosen_kinds(only: Sequence[str], *, grid: bool) -> tuple[Kind, ...]:
    """Kinds of these names, all that can be drawn for none; :class:`UsageError` for a name that is no figure."""
    names = [kind.name for kind in KINDS]
    if unknown := [name for name in only if name not in names]:
        raise UsageError(f"--only {unknown[0]}: no such figure; expected {', '.join(names)}")
    if "grid" in only and not grid:
        raise UsageError("--only grid draws what vadpipe train --grid has measured; pass --grid with its folder")
    return tuple(kind for kind in KINDS if (kind.name in only if only else grid or not kind.of_grid))


def chosen_formats(text: str) -> tuple[str, ...]:
    """``png,svg`` -> the formats; :class:`UsageError` for none, or one that is not known."""
    formats = tuple(dict.fromkeys(part.strip().lower().lstrip(".") for part in text.split(",") if part.strip()))
    if not formats or not set(formats) <= set(FORMATS):
        raise UsageError(f"--format: got {text!r}, expected one or more of {','.join(FORMATS)}")
    return formats
