"""What ``vadpipe detect --export`` writes, read by the tools it is written for.

    python -m venv /tmp/tools
    /tmp/tools/bin/pip install fiftyone label-studio-sdk mmengine-lite pandas polars srt webvtt-py
    /tmp/tools/bin/pip install --no-deps mmaction2
    /tmp/tools/bin/python -m benchmarks.check_exports [FOLDER]

From the repository's root; the tools take about 1.5 GB, and vadpipe itself need not be installed beside them. Without
FOLDER the forms of the tests' examples are made and checked, odd names included. With one, every file in it that has
the suffix of a form is (names that are not there are not compared). Prints a row for each form and tool; the exit code
is 1 where a tool refuses a file, and where one is not installed. docs/exports.md has the last figures.
"""

from __future__ import annotations

import html
import importlib
import io
import json
import os
import sys
import tempfile
import types
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution, version
from itertools import groupby
from pathlib import Path
from typing import Any

Check = Callable[[Path], str]


def main() -> None:
    if len(sys.argv) > 1:
        fine = check_folder(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_examples(Path(folder))
            fine = check_folder(Path(folder))
    sys.exit(not fine)


def write_examples(folder: Path) -> None:
    """All examples in one file of each form that takes several videos, and one file a video of the others."""
    from tests.pipeline.exports import examples
    from vadpipe.pipeline.exports import EXPORTERS

    for exporter in EXPORTERS.values():
        groups = [[item] for item in examples.everything()] if exporter.per_video else [examples.everything()]
        for number, group in enumerate(groups):
            for suffix, content in exporter.files(group):
                (folder / f"examples-{number:02}{suffix}").write_bytes(content)


def check_folder(folder: Path) -> bool:
    fine = True
    for suffix, tool, check in CHECKS:
        files = sorted(path for path in folder.rglob(f"*{suffix}") if not path.name.endswith(".frames.csv"))
        try:
            told = f"{tool} {version(tool)}"
            said = [check(path) for path in files]
        except PackageNotFoundError:
            told, said, fine = tool, ["not installed"], False
        except Exception as error:  # whatever a tool raises is its answer
            said, fine = [f"REFUSED {type(error).__name__}: {error}"], False
        print(f"{suffix:20} {told:26} {len(files):3} files  {summed(said) or 'none'}")
    return fine


def summed(texts: list[str]) -> str:
    """One text for all files: counts of the same thing are added, as in ``12 cues``."""
    counted = [text.split(" ", 1) for text in texts if text.split(" ", 1)[0].isdigit()]
    if not counted or len(counted) < len(texts):
        return "; ".join(texts)
    rows = sorted(counted, key=lambda row: row[1])
    return ", ".join(f"{sum(int(n) for n, _ in group)} {what}" for what, group in groupby(rows, key=lambda row: row[1]))


def activitynet(path: Path) -> str:
    """ActivityNet's evaluator as MMAction2 has it; with the results as the truth the mean AP has to be 1.

    Its module is loaded by itself: the package wants mmcv, which is for training.
    """
    place = distribution("mmaction2").locate_file("mmaction/evaluation/functional")
    package = types.ModuleType("activitynet_evaluation")
    package.__path__ = [str(place)]
    sys.modules[package.__name__] = package
    evaluation = importlib.import_module("activitynet_evaluation.eval_detection")
    results = json.loads(path.read_text("utf-8"))["results"]
    # The evaluator strips the two letters "v_" that stand before ids in the truth's form for features.
    truth = {f"v_{name}": {"annotations": entries} for name, entries in results.items()}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "truth.json").write_text(json.dumps(truth))
        reader = evaluation.ActivityNetLocalization(str(Path(folder) / "truth.json"), str(path))
        mean_ap, _ = reader.evaluate()
    assert len(reader.prediction) == sum(map(len, results.values()))
    assert abs(mean_ap.min() - 1) < 1e-9, mean_ap
    return f"{len(reader.prediction)} predictions, mean AP 1 against themselves"


def labelstudio(path: Path) -> str:
    """Label Studio's own checks of a configuration, of tasks, and of predictions against the configuration."""
    from label_studio_sdk.label_interface import LabelInterface
    from label_studio_sdk.label_interface.objects import TaskValue

    interface = LabelInterface(path.with_suffix(".xml").read_text("utf-8"))
    interface.validate()
    regions = 0
    for task in json.loads(path.read_text("utf-8")):
        TaskValue.model_validate_json(json.dumps(task))
        assert interface.validate_task({"data": task["data"]})
        for prediction in task["predictions"]:
            errors = interface.validate_prediction(prediction, return_errors=True)
            assert errors == [], errors
            regions += len(prediction["result"])
    return f"{regions} regions valid"


def fiftyone(path: Path) -> str:
    """FiftyOne's importer for the form, without its database: every sample's path and temporal detections."""
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    from fiftyone.utils.data.importers import FiftyOneTemporalDetectionDatasetImporter

    written = json.loads(path.read_text("utf-8"))
    importer = FiftyOneTemporalDetectionDatasetImporter(labels_path=str(path))
    count = 0
    with importer:
        for video, _, label, _ in importer:
            rows = written["labels"][video]
            for row, found in zip(rows, label.detections, strict=True):
                assert found.label == written["classes"][row["label"]]
                assert list(found.support) == row["support"]
                assert found.confidence == row["confidence"]
                assert {name: found[name] for name in row["attributes"]} == row["attributes"]
            count += len(rows)
    return f"{count} temporal detections"


def webvtt(path: Path) -> str:
    import webvtt as reader

    cues = reader.from_buffer(io.StringIO(path.read_text("utf-8"), newline="")).captions
    for cue in cues:
        assert cue.start < cue.end
        assert html.unescape(cue.lines[1]).startswith("score ")
    return f"{len(cues)} cues"


def srt(path: Path) -> str:
    import srt as reader

    cues = list(reader.parse(path.read_bytes().decode()))
    assert all(cue.end > cue.start and "score " in cue.content for cue in cues)
    return f"{len(cues)} cues"


def by_pandas(path: Path) -> str:
    """As people call it, quoting and all."""
    import pandas as pd

    tab = path.suffix == ".tsv"
    return table(pd.read_csv(path, sep="\t" if tab else ",", keep_default_na=False, dtype=str).to_dict("records"), tab)


def by_polars(path: Path) -> str:
    """TSV without quoting, which it would look for in the middle of a cell too."""
    import polars as pl

    tab = path.suffix == ".tsv"
    form: dict[str, Any] = {"separator": "\t", "quote_char": None} if tab else {}
    frame = pl.read_csv(path, infer_schema=False, **form)
    return table(frame.to_dicts(), tab)


def table(rows: list[dict[Any, Any]], tsv: bool) -> str:
    """Every name comes back, where the rows are those of the examples."""
    from tests.pipeline.exports import examples
    from vadpipe.pipeline.exports.tables import COLUMNS, plain

    assert all(tuple(row) == COLUMNS and float(row["end_s"]) > float(row["start_s"]) for row in rows)
    if any(row["video"] == "brief" for row in rows):
        told = [tuple(plain(row[name], tsv=tsv) for name in ("video", "category")) for row in rows]
        assert told == [(item.clip.id, span.category) for item in examples.everything() for span in item.intervals]
    return f"{len(rows)} rows"


CHECKS: tuple[tuple[str, str, Check], ...] = (
    (".activitynet.json", "mmaction2", activitynet),
    (".labelstudio.json", "label-studio-sdk", labelstudio),
    (".fiftyone.json", "fiftyone", fiftyone),
    (".vtt", "webvtt-py", webvtt),
    (".srt", "srt", srt),
    (".csv", "pandas", by_pandas),
    (".csv", "polars", by_polars),
    (".tsv", "pandas", by_pandas),
    (".tsv", "polars", by_polars),
)

if __name__ == "__main__":
    main()
