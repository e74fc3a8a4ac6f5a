"""The index of a report: every figure with its caption, as Markdown. Names are untrusted text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from vadpipe.pipeline.reporting.kinds import KINDS, Picture
from vadpipe.pipeline.reporting.material import Material, ScoredRun

INDEX = "figures.md"


def index_text(pictures: Sequence[Picture], material: Material | None, left_out: Mapping[str, str]) -> str:
    """Markdown: the runs, each picture with caption and warnings, and what was left out and why."""
    parts = ["# Figures", ""]
    if material is not None:
        parts += ["| run | head | features | selection | model sha256 |", "|---|---|---|---|---|"]
        parts += [_run_row(run) for series in material.series for run in series.runs]
        parts.append("")
    for picture in pictures:
        parts += [f"## {_text(picture.name)}", "", *_image(picture)]
        parts += [line for caution in picture.cautions for line in (f"**{_text(caution)}**", "")]
        parts += [_text(picture.caption), ""]
        parts += [f"As: {_text(picture.kind.source)}. Files: {', '.join(f'`{name}`' for name in picture.files)}", ""]
    if left_out:
        shows = {kind.name: kind.shows for kind in KINDS}
        parts += ["## Left out", ""]
        parts += [f"- {name} ({shows[name]}): {_text(reason)}" for name, reason in left_out.items()]
        parts.append("")
    return "\n".join(parts)


def _run_row(scored: ScoredRun) -> str:
    trained = scored.trained
    features = trained.spec.folder + (f" + {trained.audio_spec.folder}" if trained.audio_spec else "")
    cells = (scored.name, trained.config.head, features, trained.selection, trained.sha256)
    return "| " + " | ".join(_text(cell) for cell in cells) + " |"


def _image(picture: Picture) -> list[str]:
    shown = [name for name in picture.files if name.endswith((".png", ".svg"))]
    return [f"![{_text(picture.kind.shows)}]({shown[0]})", ""] if shown else []


def _text(text: str) -> str:
    """Text that Markdown prints as it is: its signs escaped, control characters made visible."""
    plain = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#$~])", r"\\\1", plain)
