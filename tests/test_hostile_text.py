"""Small texts that mean a lot of work: nesting, numbers, keys, columns. Every reader ends at once, with its own error.

The limits of :mod:`vadpipe.outside` are what each test is about; with the standard library's parsers alone these end in
RecursionError, in ValueError from within ``int``, in gigabytes of memory or in minutes of work.
"""

from __future__ import annotations

import gzip
import json
import os
import tomllib
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pipeline.stored_features import CLIP as SPEC
from vadpipe import outside
from vadpipe.config import TrainConfig, load_config
from vadpipe.datasets.annotations import _split_id, read_annotations
from vadpipe.datasets.folder import read_labels
from vadpipe.datasets.ground_truth import names_no_videos, read_truth
from vadpipe.datasets.lists import list_rows, read_list
from vadpipe.errors import CheckpointError, DataError, StoreError, UsageError, VadpipeError, WeightsError
from vadpipe.extractors import weights_cache
from vadpipe.extractors.state_file import read_tensors
from vadpipe.extractors.weights_cache import expected_digest, file_sha256
from vadpipe.extractors.weights_table import KNOWN
from vadpipe.manifest import VideoRecord, read_manifest, read_text
from vadpipe.models import checkpoint
from vadpipe.models.checkpoint import load_head
from vadpipe.outside import MOST_SETTINGS, parse_json, parse_toml, read_json, read_regular, read_toml
from vadpipe.pipeline.calibrating.file import head_digest, read_calibration
from vadpipe.pipeline.detecting.categories import load_categories
from vadpipe.pipeline.features.export_files import exported_window, read_states
from vadpipe.pipeline.project import seen_parts
from vadpipe.pipeline.quarantine import QUARANTINE_FILE, Quarantine
from vadpipe.pipeline.reporting.grid import read_grids
from vadpipe.pipeline.storing.files import check_file
from vadpipe.pipeline.storing.gc import used_folders
from vadpipe.pipeline.storing.pack import read_pack
from vadpipe.pipeline.training.grid_file import read_grid
from vadpipe.pipeline.training.record import read_history
from vadpipe.pipeline.training.state import STATE_FILE, TrainState
from vadpipe.track_file import read_attributes, read_track
from vadpipe.track_file import read_grid as read_track_grid

DEEP = "[" * 100_000
LONG = "9" * 5000
BOMBS: dict[str, str | bytes] = {
    "deep list": DEEP,
    "deep list, closed": DEEP + "]" * 100_000,
    "deep object": '{"a":' * 100_000,
    "deep in an object": '{"schema": ' + DEEP + "]" * 100_000 + "}",
    "long number": '{"schema": ' + LONG + "}",
    "name twice": '{"schema": 1, "schema": 2}',
    "not a number": '{"schema": NaN, "sha256": Infinity}',
    "no UTF-8": b"\xff\xfe{}",
    "nothing": "",
    "zero bytes": b"\0" * 1000,
    "a list": "[]",
    "a number": "1e999999",
}


def placed(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def run_of(folder: Path, name: str, content: str | bytes) -> Path:
    placed(folder / name, content)
    return folder


def _resumed(folder: Path) -> TrainState:
    """Of a run that has no state a new one begins: then this fails by itself, as it should for a missing file."""
    head = torch.nn.Linear(1, 1)
    state = TrainState.resume_or_start(folder, head, TrainConfig(), "")
    raise FileNotFoundError(f"a new run begins at {state.epoch}")


JSON_READERS: dict[str, Callable[[Path, Any], object]] = {
    "manifest": lambda folder, text: read_manifest(placed(folder / "m.jsonl", text)),
    "segments": lambda folder, text: read_truth(placed(folder / "a.json", text), {}, {}),
    "calibration": lambda folder, text: read_calibration(placed(folder / "c.json", text), ""),
    "digest of a head": lambda folder, text: head_digest(run_of(folder, "config.json", text)),
    "head": lambda folder, text: load_head(run_of(folder, "config.json", text)),
    "states": lambda folder, text: read_states(placed(folder / "a.states.json", text), 3),
    "pack": lambda folder, text: read_pack(run_of(folder, "pack.json", text)),
    "history": lambda folder, text: read_history(run_of(folder, "metrics.jsonl", text or "x")),
    "videos of a run": lambda folder, text: seen_parts(run_of(folder, "videos.json", text)),
    "results of a grid": lambda folder, text: read_grids(placed(folder / "g.json", text)),
    "runs of gc": lambda folder, text: used_folders([run_of(folder, "config.json", text)]),
    "record of weights": lambda folder, text: expected_digest(
        next(known for known in KNOWN.values() if not known.sha256),
        placed(folder / "x.pt.json", text).with_name("x.pt"),
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize("reader", JSON_READERS)
def test_json_is_refused_in_a_word(tmp_path: Path, reader: str, bomb: str) -> None:
    if reader == "manifest" and bomb in ("nothing",):
        assert read_manifest(placed(tmp_path / "m.jsonl", "")) == []
        return
    with pytest.raises(VadpipeError) as caught:
        JSON_READERS[reader](tmp_path, BOMBS[bomb])
    assert len(str(caught.value)) < 600


def test_the_standard_parser_falls_over_these() -> None:
    """Else the tests above would show nothing."""
    with pytest.raises(RecursionError):
        json.loads(DEEP)
    with pytest.raises(ValueError, match="Exceeds the limit"):
        json.loads(LONG)
    with pytest.raises(RecursionError):
        tomllib.loads(f"a = {DEEP}")
    assert json.loads('{"a": 1, "a": 2}') == {"a": 2}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"a = {DEEP}", "nested too deeply"),
        ("a = " + "{a = " * 20_000, "nested too deeply"),
        (f"a = {LONG}", "Exceeds the limit"),
        ("a" + ".a" * 60_000 + " = 1", "dots"),
        ("[" + "a." * 60_000 + "b]", "dots"),
        ("x = {" + "a." * 60_000 + "b = 1}", "dots"),
        ("\n".join(f"k{number} = 1" for number in range(10**5)), "bytes"),
        ("a = 1\na = 2", "overwrite"),
    ],
)
@pytest.mark.parametrize("read", [load_config, load_categories, read_grid])
def test_toml_is_refused_in_a_word(tmp_path: Path, read: Callable[[Path], object], text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        read(placed(tmp_path / "x.toml", text))
    assert len(str(caught.value)) < 600


def test_settings_of_the_command_line_are_no_way_round() -> None:
    for value in (DEEP, LONG, "{a = " * 20_000):
        with pytest.raises(UsageError) as caught:
            load_config(None, [f"train.lr={value}"])
        assert len(str(caught.value)) < 600


def test_real_settings_are_far_below_the_limits() -> None:
    for path in (Path(__file__).parents[1] / "configs").rglob("*.toml"):
        assert path.stat().st_size < MOST_SETTINGS / 10
        read_toml(path)


def test_what_json_may_hold() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, -2.5, 18446744073709551615], "b": null}') == {
        "a": [1, -2.5, 2**64 - 1],
        "b": None,
    }
    with pytest.raises(ValueError, match="too large a number"):
        parse_json(b"[" + b"1" * 21 + b"]")
    assert parse_json("[NaN]") != parse_json("[NaN]")
    with pytest.raises(ValueError, match="NaN is no number"):
        parse_json("[NaN]", finite=True)
    with pytest.raises(ValueError, match="'b' is there twice"):
        parse_json('{"a": {"b": 1, "c": 2, "b": 1}}')
    assert parse_json('"' + "[" * 200_000 + '"') == "[" * 200_000
    assert parse_toml('p = "a.b.c"\nt.u.v = 1') == {"p": "a.b.c", "t": {"u": {"v": 1}}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("video,label" + ",c" * 10**6 + "\na,x\n", "1000002 columns"),
        ('video,label\n"a,x\n' + "b,y\n" * 1000, "CSV"),
        ("video,label\n" + "a" * 200_000 + ",x\n", "field larger"),
        ("video,label\na\0b,x\n", r"holds '\\x00'"),
        (f"video,label,frames\na,x,{LONG}\n", "frames: got"),
        ("video,label,frames\na,x,-1\n", "expected 0 or more"),
        ("video,label,fps\na,x,1e999\n", "fps: got"),
        ("video,label,fps\na,x,1/0\n", "fps: got"),
        ("video,label\n" + "a,x," * 100_000 + "\n", "cells"),
        ("video,label\na," + "x|" * 60_000 + "y\n" + "b," + "|" * 100, "label: got"),
    ],
)
def test_tables_are_refused_in_a_word(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_labels(placed(tmp_path / "labels.csv", text))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("words", [200_000])
def test_a_line_of_very_many_words_takes_no_time(tmp_path: Path, words: int) -> None:
    """Looking for the id among all its beginnings would copy the line once for each word: some 40 GB here."""
    path = placed(tmp_path / "a.txt", "a " * words)
    records = {"b": VideoRecord("b", frozenset({"x"}))}
    with pytest.raises(DataError):
        read_annotations(path, records, {})


def test_an_id_is_looked_for_in_the_beginning_of_a_line_only() -> None:
    name = "a " * 400 + "b"
    records = {name: VideoRecord(name, frozenset({"x"}))}
    assert _split_id(f"{'f/' * 2000}{name} 1 2", records) == (name, ["1", "2"])
    assert _split_id(f"{'f/' * 2600}{name} 1 2", records) == ("a", [])


def test_no_interval_of_a_list_begins_nowhere(tmp_path: Path) -> None:
    span = {"category": "x", "start_frame": 0, "end_frame": 5, "start_s": 0.0, "end_s": 1.0, "score": 1.0}
    row = {"id": "v", "labels": ["x"], "intervals": [span], "split": "test", "num_frames": 5, "fps": None}
    path = placed(tmp_path / "m.jsonl", json.dumps(row))
    assert len(read_manifest(path)) == 1
    for number in (float("nan"), float("inf")):
        placed(path, json.dumps({**row, "intervals": [{**span, "score": number}]}))
        with pytest.raises(DataError, match="no number of JSON"):
            read_manifest(path)


def test_what_is_quoted_in_a_message_is_short(tmp_path: Path) -> None:
    long, span = "a-" * 10**5 + "=", {"category": "a-" * 10**5 + "="}
    row = {"id": "v", "labels": ["x"], "intervals": [], "split": "test", "num_frames": 5, "fps": None}
    for changed in ({"intervals": [span]}, {"labels": [[long]]}, {"num_frames": long}, {"split": long}, {long: 1},
                    {"labels": [long]}, {"id": [long]}):  # fmt: skip
        with pytest.raises(DataError) as caught:
            read_manifest(placed(tmp_path / "m.jsonl", json.dumps({**row, **changed})))
        assert len(str(caught.value)) < 800, changed.keys()
    for setting in (f"model.graph={long}", f"head={long}", f"{long}1", f"prompt_template={long}", f"classes=['{long}']",
                    f"audio_stream={long}", "a." * 201 + "b=1", f"train.{long}.x=1",
                    f"train.schedule={long}"):  # fmt: skip
        with pytest.raises(UsageError) as told:
            load_config(None, [setting])
        assert len(str(told.value)) < 800, setting[:30]
    with pytest.raises(UsageError, match="got 201 dots, expected at most"):
        load_config(None, ["a." * 201 + "b=1"])


def test_lists_of_long_lines_are_refused_in_a_word(tmp_path: Path) -> None:
    for text in ("a" * 500_000, "x,y\n" * 3 + '"', "a\0.npy", "|" * 1000):
        with pytest.raises(DataError) as caught:
            read_list(placed(tmp_path / "x.list", text), "ucf_crime")
        assert len(str(caught.value)) < 600


class TestSizes:
    """What is too large is refused before it is parsed, whether it says so or not."""

    def test_a_regular_file_has_a_limit(self, tmp_path: Path) -> None:
        path = placed(tmp_path / "x", b"12345")
        assert read_regular(path, 5) == b"12345"
        with pytest.raises(ValueError, match="over 4 bytes"):
            read_regular(path, 4)

    def test_no_more_memory_is_asked_for_than_a_file_takes(self, tmp_path: Path) -> None:
        path = placed(tmp_path / "x", b"12345")
        tracemalloc.start()
        try:
            assert read_regular(path, 256 << 20) == b"12345"
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()

    def test_a_file_that_grows_meanwhile_has_the_same_limit(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Files of the system tell no size at all, and hold something."""
        path = placed(tmp_path / "x", b"a" * 200_000)
        told, true = os.stat(placed(tmp_path / "y", b"a")), os.fstat  # noqa: PTH116  # what fstat gives

        monkeypatch.setattr(os, "fstat", lambda handle: told if true(handle).st_size == 200_000 else true(handle))
        assert read_regular(path, 200_000) == b"a" * 200_000
        with pytest.raises(ValueError, match="over 199999 bytes"):
            read_regular(path, 199_999)
        assert read_regular("/proc/self/status", 1 << 16).startswith(b"Name:")

    def test_a_leased_file_is_waited_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """File servers lend leases; who opens such a file without waiting is refused."""
        path, true, flags = placed(tmp_path / "x.json", "{}"), os.open, list[int]()

        def leased(place: Any, mode: int, *more: Any) -> int:
            flags.append(mode)
            if mode & os.O_NONBLOCK:
                raise BlockingIOError(11, "Resource temporarily unavailable")
            return true(place, mode, *more)

        monkeypatch.setattr(os, "open", leased)
        assert read_json(path) == {}
        assert len(flags) == 2
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(OSError, match="pipe"):
            read_json(tmp_path / "pipe")

    def test_an_open_file_waits_as_usual(self, tmp_path: Path) -> None:
        with outside.open_regular(placed(tmp_path / "x", "1")) as file:
            assert os.get_blocking(file.fileno())

    def test_a_pipe_is_told_what_to_do(self, tmp_path: Path) -> None:
        """As ``--config <(…)`` is one."""
        os.mkfifo(tmp_path / "pipe")
        for read in (load_config, read_labels, read_manifest):
            with pytest.raises(UsageError, match="a pipe; write its content to a file first"):
                read(tmp_path / "pipe")

    def test_the_caps_are_those_of_the_page(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert (MOST_SETTINGS, outside.MOST_JSON, checkpoint._MOST_BYTES) == (256 << 10, 64 << 20, 4 << 20)
        large = placed(tmp_path / "config.json", b" " * ((4 << 20) + 1))
        with pytest.raises(CheckpointError, match="over 4194304 bytes"):
            load_head(tmp_path)
        assert large.stat().st_size < outside.MOST_JSON
        os.truncate(large, (64 << 20) + 1)  # a hole
        with pytest.raises(ValueError, match="over 67108864 bytes"):
            read_json(large)

    def test_a_record_of_weights_is_short(self, tmp_path: Path) -> None:
        known = next(known for known in KNOWN.values() if not known.sha256)
        record = {"schema": weights_cache.SCHEMA, "sha256": "0" * 64, "recorded": "2026-01-01T00:00:00+00:00"}
        path = placed(tmp_path / "x.pt.json", json.dumps(record)).with_name("x.pt")
        assert expected_digest(known, path) is not None
        placed(tmp_path / "x.pt.json", json.dumps(record) + " " * 10_000)
        with pytest.raises(WeightsError, match="over 10000 bytes"):
            expected_digest(known, path)

    def test_only_regular_files_are_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        for place in (tmp_path / "pipe", Path("/dev/zero"), Path("/dev/null")):
            with pytest.raises(OSError, match="no regular file"):
                read_regular(place, 5)
        with pytest.raises(IsADirectoryError):
            read_regular(tmp_path, 5)
        with pytest.raises(OSError, match="null byte"):
            read_regular("a\0b", 5)

    @pytest.mark.parametrize("read", [read_labels, read_manifest, list_rows, lambda path: read_text(path)])
    def test_lists_that_fill_a_disk_are_not_read(self, tmp_path: Path, read: Callable[[Path], Any]) -> None:
        path = tmp_path / "x"
        with path.open("wb") as file:
            os.truncate(file.fileno(), 1 << 40)  # a hole: a tebibyte for nothing
        with pytest.raises(DataError, match="over 268435456 bytes"):
            list(read(path))

    def test_packed_lists_are_not_unpacked_without_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = placed(tmp_path / "x.csv.gz", gzip.compress(b"a" * 10_000_000))
        assert path.stat().st_size < 20_000
        with pytest.raises(DataError, match="unpacks to more"):
            read_text(path, 1 << 20)
        monkeypatch.setattr(outside, "MOST_JSON", 1 << 20)
        assert len(read_text(path)) == 10_000_000

    @pytest.mark.parametrize(
        "read",
        [
            load_config,
            load_categories,
            read_grid,
            read_labels,
            read_manifest,
            read_json,
            names_no_videos,
            lambda path: list(list_rows(path)),
            lambda path: read_calibration(path, ""),
            lambda path: read_states(path, 1),
            lambda path: head_digest(path.parent),
            lambda path: read_attributes(path),
            lambda path: read_track(path, SPEC, "v"),
            lambda path: read_track_grid(path, "v"),
            lambda path: check_file(path, "x"),
            lambda path: read_tensors(path.rename(path.with_suffix(".pt"))),
            lambda path: read_tensors(path.rename(path.with_suffix(".safetensors"))),
            lambda path: file_sha256(path),
            lambda path: Quarantine(path.rename(path.with_name(QUARANTINE_FILE)).parent)._entries["x"],
            lambda path: _resumed(path.rename(path.with_name(STATE_FILE)).parent),
        ],
    )
    @pytest.mark.parametrize("kind", ["pipe", "folder", "device", "missing"])
    def test_what_is_no_file_is_not_waited_for(self, tmp_path: Path, read: Callable[[Path], Any], kind: str) -> None:
        path = tmp_path / "config.json"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        elif kind == "device":
            path.symlink_to("/dev/zero")
        with pytest.raises((VadpipeError, OSError, KeyError)) as caught:
            read(path)
        assert read is read_json or kind == "missing" or isinstance(caught.value, VadpipeError)


def test_an_export_is_known_by_a_file_that_may_be_anything(tmp_path: Path) -> None:
    for bomb in BOMBS.values():
        placed(tmp_path / "features.json", bomb)
        assert exported_window(tmp_path) == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"classes": "normal"}, "classes"),
        ({"classes": []}, "classes"),
        ({"classes": ["normal", "\x1b[31m"]}, "classes"),
        ({"classes": ["normal", "a\u202eb"]}, "classes"),
        ({"classes": ["normal", "x" * 201]}, "classes"),
        ({"classes": ["normal", 7]}, "classes"),
        ({"classes": ["normal", "a", "a"]}, "'a' is there twice"),
        ({"classes": [f"c{number}" for number in range(1001)]}, "classes"),
        ({"selection": ["x"]}, "selection"),
        ({"provenance": "x"}, "provenance"),
        ({"sha256": 7}, "digests"),
        ({"sha256": "../../x"}, "another sha256|cannot be read"),
    ],
)
def test_a_head_is_described_by_names_and_facts(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    described = {"schema": "vadpipe.head/1", "config": {}, "spec": {}, "classes": ["normal", "x"], "selection": ""}
    placed(tmp_path / "config.json", json.dumps({**described, "provenance": {}, "sha256": "0" * 64, **changed}))
    with pytest.raises(CheckpointError, match=said):
        load_head(tmp_path)


def test_a_pack_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    for name in ("../x.tar", "/etc/passwd", "shard-00000.tar/../../x", "", "shard-00000.tar\n"):
        shard = {"name": name, "bytes": 1, "files": 1, "sha256": "0" * 64}
        placed(tmp_path / "pack.json", json.dumps({"schema": "vadpipe.pack/1", "shards": [shard]}))
        with pytest.raises(StoreError, match=r"pack\.json"):
            read_pack(tmp_path)
