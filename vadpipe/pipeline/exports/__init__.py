"""Detections in the forms that other tools read. Each module writes one family; :data:`EXPORTERS` lists them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from vadpipe.detection import Detection
from vadpipe.pipeline.exports.activitynet import activitynet
from vadpipe.pipeline.exports.fiftyone import fiftyone
from vadpipe.pipeline.exports.labelstudio import configuration, labelstudio
from vadpipe.pipeline.exports.subtitles import srt, webvtt
from vadpipe.pipeline.exports.tables import csv_table, tsv_table

Render = Callable[[Sequence[Detection]], bytes]


@dataclass(frozen=True, slots=True)
class Exporter:
    """One form.

    suffix
        Of the file, with its dot: ``.vtt``, ``.activitynet.json``.
    per_video
        One file a video; else one file for all.
    render
        Detections (exactly one where ``per_video``) -> the file's content.
    beside
        Suffix -> content of files that the tool wants with it.
    """

    name: str
    suffix: str
    per_video: bool
    render: Render
    beside: Mapping[str, Render] = field(default_factory=dict)

    def files(self, detections: Sequence[Detection]) -> Iterator[tuple[str, bytes]]:
        """Suffix and content of each file, the form's own first."""
        yield self.suffix, self.render(detections)
        for suffix, render in self.beside.items():
            yield suffix, render(detections)


EXPORTERS: Mapping[str, Exporter] = {
    exporter.name: exporter
    for exporter in (
        Exporter("activitynet", ".activitynet.json", per_video=False, render=activitynet),
        Exporter(
            "labelstudio",
            ".labelstudio.json",
            per_video=False,
            render=labelstudio,
            beside={".labelstudio.xml": configuration},
        ),
        Exporter("fiftyone", ".fiftyone.json", per_video=False, render=fiftyone),
        Exporter("webvtt", ".vtt", per_video=True, render=webvtt),
        Exporter("srt", ".srt", per_video=True, render=srt),
        Exporter("csv", ".csv", per_video=False, render=csv_table),
        Exporter("tsv", ".tsv", per_video=False, render=tsv_table),
    )
}
"""The forms of ``--export``, by name; docs/exports.md says what reads each."""
