"""Names that lead elsewhere, or are code where they are shown: in lists that are read, in all that is written."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.detected import small_head
from tests.pipeline.exports.examples import detection, grid_of
from vadpipe.cli_output import print_detection, print_json, print_table, progress, say, visible
from vadpipe.datasets.annotations import read_annotations
from vadpipe.datasets.folder import labels_from_folders, read_labels
from vadpipe.datasets.lists import list_lengths, read_list
from vadpipe.errors import DataError, UsageError, VadpipeError
from vadpipe.manifest import VideoRecord, check_id, read_manifest
from vadpipe.models.checkpoint import model_card
from vadpipe.pipeline.detecting.categories import load_categories
from vadpipe.pipeline.detecting.clips import clip_name
from vadpipe.pipeline.detecting.places import file_name
from vadpipe.pipeline.evaluating.report import csv_cell, latex_text
from vadpipe.pipeline.exports import EXPORTERS
from vadpipe.pipeline.exports.tables import guarded
from vadpipe.pipeline.pages.markup import element, text
from vadpipe.pipeline.reporting.index import _text as markdown_text
from vadpipe.pipeline.storing.files import is_place
from vadpipe.store import FeatureStore, safe_name
from vadpipe.tracks import Interval

PLACES = [
    *("../../etc/passwd", "/etc/passwd", "..", ".", "...", "~", "~root", "a/../../b", "..\\..\\boot.ini", "C:\\x"),
    *("//h/x", "a\0b", "a\nb", "a\rb", "a\tb", "\x1b[2J", "\x7f", "\x85", "\ud800", "a\udcffb"),
    *("CON", "NUL", "COM1.mp4", "aux", "a.", "a ", " a", "a. .", ".hidden", "-rf", "--out=x", "$(x)", "`x`", "a;b"),
    *("a|b", "x" * 300, "x" * 100_000, "é" * 300, "\u202egpj.exe", "a\u2028b", "\ufeffa", "a\u200bb", "A", "a", "ﬁ"),
    *("Å", "A\u030a"),
]
TEXTS = [
    "<script>alert(1)</script>",
    '"onload="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "javascript:alert(1)",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1+1",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://evil/\x07link\x1b]8;;\x07",
    "\x1b]52;c;ZXZpbA==\x07",
    "bell\x07\x08\x7f\x9b31m",
    "[red]x[/red] [link=http://evil]y[/link] [/] [",
    "\u202egpj\u2066x",
    "a\n\n00:00:00.000 --> 00:00:09.000\nevil",
    "a --> b",
    "$\\frac{1}{0}$ $",
    "\\input{/etc/passwd} % & # _",
    "[x](javascript:alert(1)) ![y](http://evil/z.png) | `code`",
    "{0.__class__} %s %d {}",
]


def inside(folder: Path, path: Path) -> bool:
    return path.parent.resolve() == folder.resolve() and len(path.name.encode("utf-8", "surrogateescape")) < 256


def ids_of(read: Callable[[Path], Any], path: Path, content: str) -> list[str]:
    """Ids that a reader takes out of a file; none where it refuses it."""
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        found = read(path)
    except VadpipeError as error:
        return [] if len(str(error)) < 2000 else [str(error)]
    return [getattr(getattr(item, "record", item), "id", item) for item in found]


READERS: list[tuple[str, Callable[[Path], Any], Callable[[str], str]]] = [
    ("labels.csv", read_labels, lambda name: f"video,label\n{_cell(name)},x\n"),
    ("m.jsonl", read_manifest, lambda name: _record(name)),
    ("ucf.list", lambda path: read_list(path, "ucf_crime"), lambda name: f"/home/x/Arson{name}.npy\n"),
    ("c.csv", lambda path: read_list(path, "ucf_crime"), lambda name: f"path,label\n{_cell(name)},Arson\n"),
    ("order.txt", list_lengths, lambda name: f"{name}\n"),
    (
        "truth.txt",
        lambda path: read_annotations(path, {"b": VideoRecord("b", frozenset({"x"}))}, {"b": grid_of(100)}),
        lambda name: f"b 1 2\n{name} 3 4\n",
    ),
]


def _cell(name: str) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([name])
    return out.getvalue().rstrip("\r\n")


def _record(name: str) -> str:
    record = {"id": name, "labels": ["x"], "intervals": [], "split": "train", "num_frames": 5, "fps": None}
    return json.dumps(record)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader[0])
@pytest.mark.parametrize("name", PLACES, ids=lambda name: repr(name)[:20])
def test_no_name_of_a_list_leads_out_of_a_folder(tmp_path: Path, reader: Any, name: str) -> None:
    file, read, write = reader
    for video in ids_of(read, tmp_path / file, write(name)):
        assert check_id(video) == video
        assert inside(tmp_path, tmp_path / f"{file_name(video)}.json")
        assert is_place(f"clip-0123abcd/{safe_name(video)}")
        store = FeatureStore(tmp_path / "store")
        assert (store.root / safe_name(video)).resolve().is_relative_to(store.root.resolve())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0", "a\n", "\x1b", "\x85", "\ud800", "x" * 1001])
def test_what_is_no_id(name: str) -> None:
    with pytest.raises(DataError):
        check_id(name)


def test_ids_that_differ_in_case_or_in_form_have_places_of_their_own() -> None:
    names = ["A", "a", "Å", "A\u030a", "Å", "ﬁ", "fi", "a.", "a", "a ", " a", "x" * 300, "x" * 301]
    places = {safe_name(name).casefold() for name in names}
    assert len(places) == len(set(names))
    assert all(place.isascii() and not place.endswith((".", " ")) for place in places)


@pytest.mark.parametrize("name", PLACES + TEXTS, ids=lambda name: repr(name)[:20])
def test_clips_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    made = clip_name(name, 1, Interval(name, 0.0, 1.0, 0, 25, 0.5))
    assert inside(tmp_path, tmp_path / made)
    assert made.isprintable()
    assert not made.startswith((".", "-"))


def test_folders_named_after_labels_are_checked_too(tmp_path: Path) -> None:
    for name in ("a|b\x1b[31m", "\x1b]52;c;x\x07"):
        folder = tmp_path / "videos" / name
        folder.mkdir(parents=True)
        (folder / "v.mp4").touch()
        with pytest.raises(DataError, match="printable") as caught:
            labels_from_folders(tmp_path / "videos")
        assert "\x1b" not in visible(str(caught.value))
        (folder / "v.mp4").unlink()
        folder.rmdir()


@pytest.mark.parametrize("name", [name for name in TEXTS if not name.strip().isprintable()])
def test_own_categories_are_printable(tmp_path: Path, name: str) -> None:
    path = tmp_path / "c.toml"
    for told in (f"name = {json.dumps(name)}", f'name = "x"\nprompts = [{json.dumps(name)}]'):
        path.write_text(f"[[category]]\n{told}\n")
        with pytest.raises(UsageError, match="expected no line ends") as caught:
            load_categories(path)
        assert name not in str(caught.value)


def controls(shown: str) -> list[str]:
    return [char for char in shown if not char.isprintable() and char != "\n"]


@pytest.mark.parametrize("name", TEXTS, ids=lambda name: repr(name)[:20])
def test_the_terminal_gets_text(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = detection(name, grid_of(48), (name, 0, 16, 0.5), path=f"/x/{name}.mp4")
    say(f"failed: {name}: because of {name}")
    print_table(name, ["video", name.replace("\n", " ")][:1], [[name]])
    print_detection(found)
    with progress(quiet=True) as bars:
        task = bars.add_task(name, total=3, note=name)
        shown = [column.render(bars.tasks[task]) for column in (bars.columns[0], bars.columns[-1])]  # type: ignore[union-attr]
    assert all(not controls(str(each)) for each in shown)
    assert all(str(each) == visible(name) for each in shown)  # [red] stands there as it is
    told = capsys.readouterr()
    assert controls(told.out + told.err) == []
    if name.isprintable() and len(name) < 40:
        assert name in told.out


@pytest.mark.parametrize("name", TEXTS, ids=lambda name: repr(name)[:20])
def test_json_is_exact(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"video": name, name: [name]})
    told = capsys.readouterr().out
    assert told.isascii()
    assert json.loads(told) == {"video": name, name: [name]}


def rendered(kind: str, found: Sequence[Any]) -> str:
    return "\n".join(content.decode() for _, content in EXPORTERS[kind].files(found))


@pytest.mark.parametrize("name", TEXTS, ids=lambda name: repr(name)[:20])
def test_tables_hold_no_formulas(name: str) -> None:
    found = detection(name, grid_of(48), (name, 0, 16, 0.5), path=name)
    rows = list(csv.reader(io.StringIO(rendered("csv", [found]), newline="")))
    assert len(rows) == 2
    texts = rows[1][:4]
    for cell in (*texts, guarded(name), csv_cell(name)):
        assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert len(rendered("tsv", [found]).splitlines()) == 2 or "\u2028" in name


@pytest.mark.parametrize("name", TEXTS, ids=lambda name: repr(name)[:20])
def test_a_name_makes_no_cue(name: str) -> None:
    found = detection(name, grid_of(48), (name, 0, 16, 0.5))
    vtt, srt = rendered("webvtt", [found]), rendered("srt", [found])
    assert sum("-->" in line for line in vtt.splitlines()) == 1
    assert sum(" --> 00:" in line for line in srt.splitlines()) == 1
    assert "<" not in vtt.replace("<v ", "")
    assert controls(vtt.replace("\n", "")) == controls(srt.replace("\r\n", "")) == []


@pytest.mark.parametrize("name", TEXTS, ids=lambda name: repr(name)[:20])
def test_markup_is_text(name: str) -> None:
    shown = text(name)
    assert not set("<>\"'") & set(shown)
    made = element("a", name, title=name)
    assert made.count("<") == 2
    assert made.count('"') == 2
    if name.isprintable():
        assert html.unescape(shown) == name


@pytest.mark.parametrize("name", TEXTS, ids=lambda name: repr(name)[:20])
def test_a_model_card_holds_no_links_pictures_or_html(name: str) -> None:
    head = small_head()
    facts = {"source": name, name: 1}
    card = model_card(replace(head, classes=("normal", name), selection=name, provenance=facts), "0" * 64)
    plain = model_card(
        replace(head, classes=("normal", "x"), selection="x", provenance={"source": "x", "x": 1}), "0" * 64
    )
    assert len(card.split("\n")) == len(plain.split("\n"))
    assert controls(card) == []
    assert "<" not in card
    assert "](" not in card.replace("\\](", "")
    assert card.count("`") == plain.count("`")
    rows = [line for line in card.split("\n") if line.startswith("| ")]
    assert all(line.replace("\\\\", "").replace("\\|", "").count("|") == 3 for line in rows)


@pytest.mark.parametrize("name", TEXTS, ids=lambda name: repr(name)[:20])
def test_an_index_of_figures_and_a_latex_table_hold_text(name: str) -> None:
    shown = markdown_text(name)
    assert controls(shown.replace("\n", "")) == []
    assert "<" not in shown
    assert "](" not in shown.replace("\\](", "")
    made = latex_text(name)
    assert controls(made) == []
    assert "\\input" not in made
    assert "\\frac" not in made
