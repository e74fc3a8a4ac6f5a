"""Importing released checkpoints: golden outputs, losses and gradients through the command, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.models.released_files import DATA, blank, golden
from vadpipe.cli import cli
from vadpipe.errors import CheckpointError, UsageError
from vadpipe.extractors.clip_vit import ClipVitB16
from vadpipe.extractors.media import decoder_version
from vadpipe.models.checkpoint import TOWER_FILE, TrainedHead, load_head
from vadpipe.models.released import RELEASED, own_name
from vadpipe.pipeline.importing.checkpoint import SELECTION, CheckpointRequest, import_checkpoint
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore
from vadpipe.tracks import FeatureTrack, TimeGrid

GOLDEN = {
    "vadclip_ucf": "vadclip_ucf",
    "vadclip_xd": "vadclip_xd",
    "avadclip_xd_teacher": "avadclip_teacher",
    "avadclip_xd_student": "avadclip_student",
}
PICTURE = FeatureSpec("released-xd_violence", 512, "imported", "imported")
SOUND = FeatureSpec("wav2clip-xd", 512, "imported", "imported")
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Picture and sound of one video, as imported from a release, and a stream that no released head fits."""
    made = FeatureStore(tmp_path_factory.mktemp("store"))
    for spec in (PICTURE, SOUND, FeatureSpec("i3d-xd", 1024, "imported", "imported")):
        rows = np.zeros((2, spec.dim), np.float32)
        made.write(FeatureTrack(rows, TimeGrid(Fraction(24), 32), spec, "video"))
    return made


def write(folder: Path, kind: str) -> Path:
    """A released file with golden values, for each kind in another of the forms that are taken."""
    state = golden(kind)
    if kind == "avadclip_xd_student":  # safetensors hold no views: the image tower stays away
        kept = {name: value for name, value in state.items() if not name.startswith("clipmodel.visual.")}
        save_file(kept, folder / "model.safetensors")
        return folder / "model.safetensors"
    if kind == "vadclip_xd":
        torch.save({"epoch": 7, "model_state_dict": {f"module.{k}": v for k, v in state.items()}}, folder / "model.pth")
    else:
        torch.save(state, folder / "model.pth")
    return folder / "model.pth"


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory, store: FeatureStore) -> Iterator[Callable[[str], Path]]:
    """Kind -> run folder that the command made of its file, once; removed at the end, for they are large."""
    folder = tmp_path_factory.mktemp("runs")
    made: dict[str, Path] = {}

    def run(kind: str) -> Path:
        if kind not in made:
            file, out = write(folder, kind), folder / kind
            streams = ["--features", str(store.root), "--stream", PICTURE.stream, "--audio-stream", SOUND.stream]
            command = ["import", "checkpoint", str(file), "--out", str(out), "--json", "-q"]
            command += streams if RELEASED[kind].uses_audio else []
            done = CliRunner().invoke(cli, command, catch_exceptions=False)
            assert done.exit_code == 0, done.stderr
            assert json.loads(done.stdout)["kind"] == kind
            file.unlink()
            made[kind] = out
        return made[kind]

    yield run
    shutil.rmtree(folder)


def close(got: Tensor, expected: Any) -> None:
    wanted = np.asarray(expected)
    np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=0, atol=TOLERANCE * float(np.abs(wanted).max()))


def given(trained: TrainedHead) -> tuple[Tensor, ...]:
    """The golden inputs that a head takes: picture, lengths, and sound where it uses it."""
    with np.load(DATA / "heads" / "inputs.npz") as arrays:
        picture, sound = (torch.from_numpy(arrays[name].astype(np.float32)) for name in ("visual", "audio"))
        lengths = torch.from_numpy(arrays["lengths"])
    return (picture, lengths, sound) if trained.audio_spec is not None else (picture, lengths)


def in_training(head: Any) -> Any:
    """The head with gradients, but without dropout: the golden gradients are of eval mode."""
    head.train()
    for part in head.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
    return head


@pytest.mark.parametrize("kind", list(GOLDEN))
def test_an_imported_head_is_the_released_one(kind: str, run_of: Callable[[str], Path]) -> None:
    """Outputs, losses and gradient norms; the teacher is also the student's, on the same inputs."""
    trained = load_head(run_of(kind), with_tower=True)
    values = given(trained)
    with torch.no_grad():
        out = trained.head(*values)
    with np.load(DATA / "heads" / f"{GOLDEN[kind]}.npz") as arrays:
        for row, length in enumerate((256, 100)):
            close(out.logits[row, :length], arrays["binary_logits"][row, :length])
            close(out.alignment[row, :length], arrays["align_logits"][row, :length])
        close(out.text[:, :16], arrays["text"])
        for name, found in (("fused", out.features), ("features", out.features), ("theta", out.theta)):
            if name in arrays:
                close(found[..., :8], arrays[name])
    teacher = None
    if kind == "avadclip_xd_student":
        taught = load_head(run_of("avadclip_xd_teacher"))
        with torch.no_grad():
            teacher = taught.head(*given(taught))
    expected = json.loads((DATA / "heads" / f"{GOLDEN[kind]}.json").read_text())
    head = in_training(trained.head)
    parts = head.loss(head(*values), torch.tensor(expected["labels"]), values[1], teacher)
    for name, own in (("bce", "bce"), ("align", "align"), ("text", "text"), ("ukd", "distill")):
        if f"loss_{name}" in expected:
            close(parts[own], expected[f"loss_{name}"])
    total = parts["bce"] + parts["align"] if kind.startswith("vadclip") else parts["total"]
    torch.autograd.backward(total)
    for name, norm in expected["grad_norm"].items():
        close(head.get_parameter(own_name(name)).grad.norm(), norm)


def test_a_run_says_what_it_is(run_of: Callable[[str], Path]) -> None:
    trained = load_head(run_of("avadclip_xd_teacher"))
    assert (trained.spec, trained.audio_spec, trained.selection) == (PICTURE, SOUND, SELECTION)
    assert trained.classes == ("normal", "fighting", "shooting", "riot", "abuse", "car accident", "explosion")
    facts = trained.provenance
    assert (facts["kind"], facts["file"], len(facts["file_sha256"])) == ("avadclip_xd_teacher", "model.pth", 64)
    assert f"that the features {PICTURE.folder} and {SOUND.folder} equal those is unverified" in trained.caution
    assert trained.caution in (run_of("avadclip_xd_teacher") / "README.md").read_text()
    with np.load(DATA / "heads" / "avadclip_teacher.npz") as arrays:
        close(trained.head.prompts.class_text[:, :16], arrays["text"])  # as stored: no tower was read


def file(path: Path, kind: str, **changes: Tensor | None) -> Path:
    """A file of zeros; ``changes`` exchange, add or (None) take out tensors."""
    state = {name: value for name, value in {**blank(kind), **changes}.items() if value is not None}
    torch.save(state, path)
    return path


def test_a_run_on_our_own_features_needs_no_store_and_no_tower(tmp_path: Path) -> None:
    path = file(tmp_path / "model_ucf.pth", "vadclip_ucf")
    said: list[str] = []
    request = CheckpointRequest(path, out=tmp_path / "run", dtype="bfloat16", keep_tower=False)
    result = import_checkpoint(request, said.append)
    assert (result.kind.name, result.reason) == ("vadclip_ucf", "it has no audio path and 2 temporal blocks")
    assert not (tmp_path / "run" / TOWER_FILE).exists()
    own = ClipVitB16(weights="random", dtype="bfloat16").spec(16, "pyav", decoder_version("pyav"))
    assert result.trained.spec.differences(own).keys() == {"weights", "weights_sha256"}
    assert result.trained.spec.weights == "openai"
    assert any("image tower" in text for text in result.notes)
    assert said[0] == f"reading {path}"
    with pytest.raises(UsageError, match="is not empty"):
        import_checkpoint(request)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("vadclip_xd", {"kind": "vadclip"}, "expected auto or one of vadclip_ucf"),
        ("vadclip_xd", {"stream": "clip-xd"}, "pass --features"),
        ("vadclip_xd", {"decoder": "none"}, "decoder"),
        ("vadclip_xd", {"dtype": "int8"}, "dtype"),
        ("vadclip_xd", {"features": ..., "stream": "i3d-xd"}, "got 1024 columns"),
        ("vadclip_xd", {"features": ..., "stream": "clip"}, "0 fit"),
        ("avadclip_xd_teacher", {}, "needs audio features too"),
        ("avadclip_xd_teacher", {"features": ..., "stream": PICTURE.stream}, "--audio-stream wav2clip: 0 fit"),
    ],
)
def test_wrong_requests_write_nothing(
    kind: str, options: dict[str, Any], said: str, tmp_path: Path, store: FeatureStore
) -> None:
    path = file(tmp_path / "model.pth", kind)
    given = {**options, "features": store.root} if "features" in options else options
    with pytest.raises(UsageError, match=said):
        import_checkpoint(CheckpointRequest(path, out=tmp_path / "run", **given))
    assert not (tmp_path / "run").exists()


def test_out_is_checked_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for name, said in (("file", "is no folder; give another --out"), ("full", "is not empty")):
        with pytest.raises(UsageError, match=said):
            import_checkpoint(CheckpointRequest(tmp_path / "none.pth", out=tmp_path / name))


class _Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_bad_files_are_one_message_and_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    whole = file(tmp_path / "model_xd.pth", "vadclip_xd").read_bytes()
    torch.save({"model_state_dict": blank("vadclip_xd"), "hook": _Evil()}, "evil.pth")
    Path("cut.pth").write_bytes(whole[: len(whole) // 2])
    Path("model.onnx").write_bytes(whole)
    nan = torch.full((512,), float("nan"))
    file(Path("nan.pth"), "vadclip_xd", **{"linear.bias": nan})
    file(Path("huge.pth"), "vadclip_xd", **{"linear.bias": torch.full((512,), 1e300, dtype=torch.float64)})
    file(Path("less.pth"), "vadclip_xd", **{"linear.bias": None})
    file(Path("foreign.pth"), "vadclip_xd", **dict.fromkeys(blank("vadclip_xd"), None), conv=torch.ones(1))
    for name, said in (
        ("evil.pth", "no plain state dict"),
        ("cut.pth", "no plain state dict"),
        ("model.onnx", "got suffix '.onnx'"),
        ("gone.pth", "cannot be read"),
        ("nan.pth", "1 with NaN or infinity: linear.bias"),
        ("huge.pth", "1 with NaN or infinity: linear.bias"),
        ("less.pth", "1 missing: linear.bias"),
        ("foreign.pth", "('conv', …) are those of no released checkpoint"),
    ):
        with pytest.raises(CheckpointError) as caught:
            import_checkpoint(CheckpointRequest(Path(name), out=Path("run")))
        assert said in str(caught.value)
    with pytest.raises(CheckpointError, match=r"no vadclip_ucf .*12 missing: temporal\.resblocks\.1"):
        import_checkpoint(CheckpointRequest(Path("model_xd.pth"), kind="vadclip_ucf", out=Path("run")))
    assert not Path("run").exists()
    assert not Path("executed").exists()


def test_class_features_that_overflow_are_refused(tmp_path: Path) -> None:
    huge = torch.tensor(3e38).expand(512, 512)
    ones = torch.ones(512)
    path = file(
        tmp_path / "a.pth",
        "vadclip_xd",
        **{"clipmodel.text_projection": huge, "clipmodel.ln_final.bias": ones},
    )
    with pytest.raises(CheckpointError, match="class features that are not finite"):
        import_checkpoint(CheckpointRequest(path, out=tmp_path / "run"))
