"""The Python API: names, laziness, errors, callbacks; and the README's example, run as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import vadpipe
from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe import detect, evaluate, extract, load, train
from vadpipe.api_given import LoadOptions, Progress, Settings, Weights, checked_limits, choices, merged_settings, paths
from vadpipe.config import RunConfig
from vadpipe.errors import CheckpointError, UsageError, VadpipeError, VideoError
from vadpipe.extractors.media import decoder_version
from vadpipe.head_config import LecVadConfig
from vadpipe.models import HeadInputs, LecVad
from vadpipe.models.checkpoint import TrainedHead, save_head
from vadpipe.store import FeatureStore

ROOT = Path(__file__).parents[1]
FUNCTIONS = ("detect", "evaluate", "extract", "load", "train")


def test_importing_loads_neither_torch_nor_numpy_and_the_functions_no_torch() -> None:
    code = "import sys, vadpipe; print(*sys.modules)\nfrom vadpipe import load, Detection; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    first, second = (set(line.split()) for line in done.stdout.splitlines())
    assert first & {"torch", "numpy", "vadpipe.api"} == set()
    assert second & {"torch", "av", "click", "rich"} == set()
    assert "vadpipe.api" in second


def test_no_public_name_is_that_of_a_module() -> None:
    modules = {path.stem for path in (ROOT / "vadpipe").iterdir()}
    assert set(FUNCTIONS) <= set(vadpipe.__all__)
    assert set(vadpipe.__all__) & modules == set()
    with pytest.raises(AttributeError, match="no attribute 'detection_of'"):
        _ = vadpipe.detection_of


def test_every_argument_is_explained() -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    for name in FUNCTIONS:
        function = getattr(vadpipe, name)
        assert function.__doc__
        assert f"`{name}(" in page
    documented = load.__doc__ or ""
    assert all(name in documented for name in LoadOptions.__annotations__ if name != "on_note")
    assert set(Settings.__annotations__) == set(RunConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("weights", "given"),
    [
        (None, ()),
        ("random", ("random",)),
        (["random", "clip=a.pt"], ("random", "clip=a.pt")),
        ({"clip": "openai", "wav2clip": "random:3"}, ("clip=openai", "wav2clip=random:3")),
    ],
)
def test_weights(weights: Weights, given: tuple[str, ...]) -> None:
    assert choices(weights) == given


def test_paths_and_limits() -> None:
    assert paths("a.mp4") == paths(Path("a.mp4")) == [Path("a.mp4")]
    assert paths(["a", Path("b")]) == [Path("a"), Path("b")]
    assert checked_limits({"stall_s": 2.5, "max_pixels": 100}).max_pixels == 100
    with pytest.raises(UsageError, match="nonsense"):
        checked_limits({"nonsense": 1})


def test_settings_are_laid_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('head = "vadclip"\n[train]\nlr = 1e-3\nepochs = 7\n[prompts]\nriot = "a riot"\n')
    changes: Mapping[str, object] = {"train": {"epochs": 2}, "prompts": {"a.b": "c"}, "classes": ["normal", "riot"]}
    made = merged_settings(str(tmp_path / "a.toml"), changes)
    assert (made.head, made.train.lr, made.train.epochs) == ("vadclip", 1e-3, 2)
    assert made.prompts == {"riot": "a riot", "a.b": "c"}
    assert made.classes == ("normal", "riot")
    assert merged_settings(made, {}) == made
    assert merged_settings(None, {}) == RunConfig()
    assert merged_settings(None, {"head": "avadclip-student"}).head == "avadclip_student"
    with pytest.raises(UsageError, match=r"train\.epoch"):
        merged_settings(None, {"train": {"epoch": 3}})


def untrained_run(folder: Path) -> Path:
    """A run folder of a small head on the test's encoder."""
    spec = MeanColour().spec(16, "pyav", decoder_version("pyav"))
    network = LecVad(LecVadConfig(dim=32, heads=4, memory_blocks=1), HeadInputs(spec.dim, torch.randn(2, 32)))
    config = RunConfig(model=LecVadConfig(dim=32, heads=4, memory_blocks=1))
    save_head(folder, TrainedHead(network, config, spec, ("normal", "riot"), "none"))
    return folder


def test_wrong_requests_are_errors_of_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    wrong: dict[str, Callable[[], object]] = {
        "does not exist": lambda: extract("nowhere", weights="random"),
        "expected some of": lambda: extract(untrained_run(tmp_path / "r") / "config.json", streams="sight"),
        "vadpipe train first": load,
        "run nope: no trained head": lambda: evaluate("nope"),
        "vadpipe extract": train,
        "expected auto, cpu, cuda": lambda: load("r", device="gpu"),
        "unknown option featurs: expected some of student, features": lambda: load("r", featurs="f"),  # type: ignore[call-arg]
        "unknown option setings": lambda: detect("x.mp4", "r", setings={"r_ano": 1}),  # type: ignore[call-arg]
        "unknown setting detect.nonsense": lambda: load("r", device="cpu", settings={"nonsense": 1}),
    }
    for error, call in wrong.items():
        with pytest.raises(UsageError, match=error):
            call()
    (tmp_path / "r" / "model.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError):
        detect("x.mp4", "r", device="cpu")


def test_a_model_builds_its_encoder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    built: list[str] = []

    def create(stream: str, **_options: object) -> MeanColour:
        built.append(stream)
        return MeanColour()

    monkeypatch.setattr("vadpipe.pipeline.detect.create", create)
    clips = [painted_videos.write(tmp_path / f"{name}.mp4", 40) for name in "ab"]
    told: list[Progress] = []
    run = untrained_run(tmp_path / "run")
    options: LoadOptions = {"device": "cpu", "features": tmp_path / "features"}
    model = load(run, **options)
    assert model.categories == ("normal", "riot")
    first, second = model.detect(str(clips[0]), on_progress=told.append), model.detect(clips[1])
    assert built == ["clip"]
    assert (told[-1].what, round(told[-1].done), round(told[-1].total or 0)) == ("frames", 40, 40)
    assert [found.clip.id for found in (first, second)] == ["a", "b"]
    assert first.scores.per_frame().shape == (40,)
    again = detect(clips[0], run, **options)
    assert built == ["clip"]  # all is stored
    np.testing.assert_array_equal(again.scores.anomaly, first.scores.anomaly)
    (tmp_path / "bad.mp4").write_text("no video")
    with pytest.raises(VideoError):
        model.detect(tmp_path / "bad.mp4")
    assert issubclass(VideoError, VadpipeError)
    assert capsys.readouterr() == ("", "")


def make_project(folder: Path) -> None:
    """Videos with labels, splits and truth, such as the README's example expects them."""
    labels, truth = ["video,label,split"], []
    for number in range(8):
        label, split = ("normal", "fighting")[number % 2], ("train", "train", "val", "test")[number // 2]
        path = folder / "videos" / f"{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        painted_videos.write(path, 64, Fraction(25))
        labels.append(f"{number},{label},{split}")
        if label == "fighting":
            truth.append(f"{number} fighting 16 48")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")
    (folder / "annotations.txt").write_text("\n".join(truth) + "\n")
    (folder / "new").mkdir()
    for name in "ab":
        painted_videos.write(folder / "new" / f"{name}.mp4", 40)


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = (ROOT / "README.md").read_text().partition("## From Python\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"```python\n(.*?)```", section, re.S)
    small = 'train={"epochs": 3}, model={"dim": 32, "heads": 4, "memory_blocks": 1}'  # the whole head takes 10 s
    assert 'train={"epochs": 3}' in example
    example = example.replace('train={"epochs": 3}', small)
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    for module in ("detect", "extracting.run"):  # CLIP, whose two towers take seconds each to build, is left out
        monkeypatch.setattr(f"vadpipe.pipeline.{module}.create", lambda _stream, **_options: MeanColour())
    text = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr("vadpipe.pipeline.training.run.text_features", lambda *_: (text, "random:0"))
    values: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), values)  # it is the document that is under test
    figure, *clips = capsys.readouterr().out.splitlines()
    assert 0 <= float(figure) <= 1
    assert [line.split()[0] for line in clips if "highest score of a frame" in line] == ["new/a.mp4", "new/b.mp4"]
    assert len(FeatureStore("features").specs()) == 1
    assert (tmp_path / "runs" / "lec_vad-clip-seed0" / "model.safetensors").is_file()


def test_blocks_of_the_reference_are_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    assert len(blocks) > 6
    for block in blocks:
        compile(block, "docs/python.md", "exec")
