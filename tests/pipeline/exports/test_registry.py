"""The forms as a whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.exports import examples
from vadpipe.pipeline.exports import EXPORTERS
from vadpipe.pipeline.exports.forms import distinct_names, milliseconds, visible
from vadpipe.tracks import Interval

PAGE = Path(__file__).parents[3] / "docs" / "exports.md"


def test_every_form_is_there_and_explained() -> None:
    assert list(EXPORTERS) == ["activitynet", "labelstudio", "fiftyone", "webvtt", "srt", "csv", "tsv"]
    page = PAGE.read_text()
    for name, exporter in EXPORTERS.items():
        assert exporter.name == name
        row = next(row for row in page.splitlines() if row.startswith(f"| `{name}`"))
        assert all(f"`{suffix}`" in row for suffix in (exporter.suffix, *exporter.beside))
        assert ("one a video" in row) == exporter.per_video


@pytest.mark.parametrize("name", EXPORTERS)
def test_zero_shot_is_told_and_trained_is_not(name: str) -> None:
    ((_, content), *_) = EXPORTERS[name].files([examples.gate()])
    assert content.count(b"zero-shot, uncalibrated") == 1
    assert b"zero-shot" not in EXPORTERS[name].render([examples.varying()])


def test_suffixes_are_distinct() -> None:
    suffixes = [suffix for item in EXPORTERS.values() for suffix in (item.suffix, *item.beside)]
    assert len(suffixes) == len(set(suffixes))


def test_they_load_without_torch() -> None:
    code = "import sys, vadpipe.pipeline.exports.frames; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_of_three() -> None:
    assert distinct_names([*examples.namesakes(), examples.quiet()]) == ["/a/gate.mp4", "/b/gate.mp4", "quiet"]


def test_milliseconds_by_hand() -> None:
    assert milliseconds(Interval("riot", 1.0004, 1.0016, 0, 1)) == (1000, 1002)
    assert milliseconds(Interval("riot", 1.0006, 1.0007, 0, 1)) == (1001, 1002)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b", "a b"), ("a\nb", r"a\nb"), ("\x1b", r"\x1b"), ("\u2028\udc80\u202e", r"\u2028\udc80\u202e"), (" ", "' '")],
)
def test_visible_by_hand(text: str, shown: str) -> None:
    assert visible(text) == shown
