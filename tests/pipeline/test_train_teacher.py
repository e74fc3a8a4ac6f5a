"""Distillation: who may teach whom, what the student is fed with, and that the teacher stays as it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.pipeline.heads import small_config, small_inputs
from tests.pipeline.planted import AUDIO_SPEC, CLASSES, SPEC, Planted, plant, plant_audio
from tests.test_cli import write_labels
from vadpipe.config import RunConfig, TrainConfig
from vadpipe.errors import DataError, SpecMismatch, UsageError
from vadpipe.models.checkpoint import TrainedHead, load_head, save_head
from vadpipe.models.heads import build_head
from vadpipe.pipeline.evaluate import evaluate
from vadpipe.pipeline.importing.checkpoint import SELECTION
from vadpipe.pipeline.project import clear_run, seen_parts
from vadpipe.pipeline.train import fit
from vadpipe.pipeline.training.bags import Bags
from vadpipe.pipeline.training.data import TrainingData, TrainRequest, find_training_data
from vadpipe.pipeline.training.record import RunInputs
from vadpipe.pipeline.training.run import Prepared, train_run
from vadpipe.pipeline.training.teacher import Teacher

SHORT = TrainConfig(lr=1e-3, batch_size=8, epochs=2)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """A project with both streams, and a trained audio-visual head in runs/teacher."""
    folder = tmp_path_factory.mktemp("project")
    planted = plant(folder / "features", 24)
    plant_audio(planted, silent=5)
    write_labels(folder, planted.records)
    train, val = (
        Bags(planted.store, SPEC, planted.part(part), CLASSES, audio_spec=AUDIO_SPEC) for part in ("train", "val")
    )
    fit(train, val, small_inputs(), small_config("avadclip", SHORT), folder / "runs" / "teacher")
    return folder, planted


def find(project: tuple[Path, Planted], config: RunConfig, **request: Any) -> tuple[TrainingData, list[str]]:
    told: list[str] = []
    given = {"teacher": project[0] / "runs" / "teacher", **request}
    labels, store = project[0] / "labels.csv", project[0] / "features"
    return find_training_data(TrainRequest(config, features=store, labels=labels, **given), told.append), told


def prepared(data: TrainingData) -> Prepared:
    """As ``prepare``, with the tests' small text tower in place of CLIP's."""

    def bags(records: Sequence[Any], spec: Any = data.spec, audio: Any = data.audio_spec) -> Bags:
        return Bags(data.store, spec, records, data.classes, audio_spec=audio)

    teacher = None
    if data.teacher is not None:
        assert data.request.teacher is not None
        both = bags(data.train, data.teacher.spec, data.teacher.audio_spec)
        seen = frozenset(video for ids in seen_parts(data.request.teacher).values() for video in ids)
        teacher = Teacher(data.teacher, both, data.audio_spec is not None, seen)
    inputs = replace(small_inputs(), video_dim=data.spec.dim)
    return Prepared(bags(data.train), bags(data.val), None, inputs, teacher, "small", "")


@pytest.mark.parametrize("distill", ["ukd", "mse"])
def test_a_student_learns_from_a_teacher_that_stays_as_it_is(
    project: tuple[Path, Planted], tmp_path: Path, distill: str
) -> None:
    folder, planted = project
    config = small_config("avadclip_student", SHORT, distill=distill, distill_weight=0.1)
    data, told = find(project, config, out=tmp_path / "student")
    assert any("teaches; the student sees its video stream" in text for text in told)
    assert any("have no sound-" in text for text in told)
    assert data.teacher is not None
    before = {name: value.clone() for name, value in data.teacher.head.state_dict().items()}
    result = train_run(data, prepared=prepared(data))
    assert all(torch.equal(value, before[name]) for name, value in data.teacher.head.state_dict().items())
    assert all(parameter.grad is None for parameter in data.teacher.head.parameters())
    assert [row["loss_distill"] for row in result.history] == sorted(
        (row["loss_distill"] for row in result.history), reverse=True
    )
    assert (tmp_path / "student" / "curve.png").is_file()
    facts, sha256 = result.trained.provenance, load_head(folder / "runs" / "teacher").sha256
    assert (facts["teacher"], facts["teacher_sha256"]) == ("teacher", sha256)
    assert result.trained.audio_spec is None
    seen = json.loads((tmp_path / "student" / "videos.json").read_text())
    assert set(seen["teacher"]) == {record.id for part in ("train", "val") for record in planted.part(part)}
    plain = small_config("avadclip_student", SHORT, distill="none")
    alone, _ = find(project, plain, teacher=None, out=tmp_path / "alone")
    other = train_run(alone, prepared=prepared(alone))
    assert other.trained.sha256 != result.trained.sha256
    assert "loss_distill" not in other.best


def test_a_student_may_listen_to_the_teachers_audio(project: tuple[Path, Planted], tmp_path: Path) -> None:
    """With modality = audio beside the video stream; as a first stream it would lose what is known of gaps in it."""
    _, planted = project
    with pytest.raises(SpecMismatch, match=r"the student's stream is sound-.*; name the teacher's"):
        find(project, replace(small_config("avadclip_student", SHORT), stream="sound"))
    listening = small_config("avadclip_student", SHORT, modality="audio")
    data, _ = find(project, listening, out=tmp_path / "run")
    ready = prepared(data)
    assert ready.teacher is not None
    batch = ready.teacher.bags.batch([0, 1])
    assert ready.teacher.for_student(batch) is batch
    assert replace(ready.teacher, student_audio=False).for_student(batch).audio is None
    trained = train_run(data, prepared=ready).trained
    assert (trained.spec, trained.audio_spec) == (SPEC, AUDIO_SPEC)
    assert evaluate(trained, planted.store, planted.part("test")).videos > 0  # silent videos are scored too


def test_another_teacher_is_another_run(project: tuple[Path, Planted], tmp_path: Path) -> None:
    folder, _ = project
    config = small_config("avadclip_student", SHORT)
    data, _ = find(project, config, out=tmp_path / "student")
    train_run(data, prepared=prepared(data))
    torch.manual_seed(9)
    told = small_config("avadclip")
    other = TrainedHead(build_head(told, small_inputs()), told, SPEC, CLASSES, "", audio_spec=AUDIO_SPEC)
    save_head(tmp_path / "other", other)
    changed, _ = find(project, config, out=tmp_path / "student", teacher=tmp_path / "other")
    with pytest.raises(UsageError, match="other data or settings"):
        train_run(changed, prepared=prepared(changed))
    clear_run(tmp_path / "student")
    assert train_run(changed, prepared=prepared(changed)).trained.provenance["teacher"] == "other"
    digest = hashlib.sha256((folder / "runs" / "teacher" / "model.safetensors").read_bytes()).hexdigest()
    assert digest == load_head(folder / "runs" / "teacher").sha256


def test_a_teachers_settings_and_specification_are_part_of_the_run(project: tuple[Path, Planted]) -> None:
    _, planted = project
    train = Bags(planted.store, SPEC, planted.part("train"), CLASSES)
    both = Bags(planted.store, SPEC, planted.part("train"), CLASSES, audio_spec=AUDIO_SPEC)
    told = small_config("avadclip")
    first = TrainedHead(build_head(told, small_inputs()), told, SPEC, CLASSES, "", sha256="ab", audio_spec=AUDIO_SPEC)
    others = (
        first,
        replace(first, config=small_config("avadclip", tau=0.5)),
        replace(first, spec=replace(SPEC, dtype="bfloat16")),
        replace(first, audio_spec=replace(AUDIO_SPEC, dtype="bfloat16")),
    )
    config = small_config("avadclip_student", SHORT)
    runs = [RunInputs(train, None, None, Teacher(other, both), small_inputs(), config, 0) for other in others]
    assert len({run.fingerprint() for run in runs}) == len(others)


@pytest.mark.parametrize("said", ["epoch 1 of 2, selected by frame_ap on the TEST set (paper-test)", SELECTION])
def test_a_student_says_that_its_teacher_was_chosen_on_the_test_set(
    project: tuple[Path, Planted], tmp_path: Path, said: str
) -> None:
    teacher = load_head(project[0] / "runs" / "teacher")
    save_head(tmp_path / "teacher", replace(teacher, selection=said))
    config = small_config("avadclip_student", replace(SHORT, epochs=1))
    data, told = find(project, config, out=tmp_path / "student", teacher=tmp_path / "teacher")
    assert any(text.startswith("WARNING: the teacher was chosen on the TEST set") for text in told)
    trained = train_run(data, prepared=prepared(data)).trained
    assert trained.provenance["teacher_selection"] == said
    assert trained.selection.endswith("validation videos; its teacher was chosen on the TEST set")
    assert trained.chosen_on_test
    assert "its teacher was chosen on the TEST set" in (tmp_path / "student" / "README.md").read_text()
    assert not teacher.chosen_on_test


def test_who_may_teach_whom(project: tuple[Path, Planted], tmp_path: Path) -> None:
    student = small_config("avadclip_student", SHORT)
    with pytest.raises(UsageError, match=r"learns from a teacher .*: pass --teacher RUN"):
        find(project, student, teacher=None)
    with pytest.raises(UsageError, match=r"lec_vad with these settings learns from no teacher.*avadclip-student"):
        find(project, small_config("lec_vad", SHORT))
    with pytest.raises(UsageError, match=r"learns from no teacher; leave it out$"):
        find(project, small_config("avadclip_student", SHORT, distill="none"))
    with pytest.raises(UsageError, match=r"it knows .*riot.*is to learn"):
        find(project, replace(student, classes=("normal", "riot", "fighting")))
    with pytest.raises(UsageError, match="max_snippets: got 999"):
        find(project, small_config("avadclip_student", SHORT, max_snippets=999))
    with pytest.raises(UsageError, match="padding: got 'released'"):
        find(project, small_config("avadclip_student", SHORT, padding="released"))
    blind = replace(small_config("avadclip"), audio_stream="sound")
    trained = TrainedHead(build_head(blind, small_inputs()), blind, replace(SPEC, stream="elsewhere"), CLASSES, "")
    save_head(tmp_path / "blind", replace(trained, audio_spec=AUDIO_SPEC))
    with pytest.raises(SpecMismatch, match=r"trained on elsewhere-.* and sound-.*student's stream is planted-"):
        find(project, student, teacher=tmp_path / "blind")


def test_fit_checks_for_a_teacher_itself(project: tuple[Path, Planted], tmp_path: Path) -> None:
    _, planted = project
    train, val = (Bags(planted.store, SPEC, planted.part(part), CLASSES) for part in ("train", "val"))
    config = small_config("avadclip_student", SHORT)
    with pytest.raises(UsageError, match="distill = 'ukd' needs a teacher"):
        fit(train, val, small_inputs(), config, tmp_path)
    told = small_config("avadclip")
    trained = TrainedHead(build_head(told, small_inputs()), told, SPEC, CLASSES, "", audio_spec=AUDIO_SPEC)
    with pytest.raises(UsageError, match="learns from no teacher"):
        fit(train, val, small_inputs(), small_config("vadclip"), tmp_path, teacher=Teacher(trained, train))
    with pytest.raises(UsageError, match="other videos"):
        fit(train, val, small_inputs(), config, tmp_path, teacher=Teacher(trained, val))


def test_audio_is_found_counted_and_saved(project: tuple[Path, Planted], tmp_path: Path) -> None:
    _, planted = project
    config = small_config("avadclip", replace(SHORT, epochs=1), standardise="columns")
    data, told = find(project, config, teacher=None, out=tmp_path / "run")
    silent = [record.id for record in planted.records[-5:] if record.split in ("train", "val")]
    total = len(data.train) + len(data.val)
    said = f"{len(silent)} of {total} videos have no {AUDIO_SPEC.folder} features: they count as videos without sound"
    assert f"note: {said}" in told
    trained = train_run(data, prepared=prepared(data)).trained
    assert trained.audio_spec == AUDIO_SPEC
    assert trained.provenance["training_videos_with_audio"] < len(data.train)
    audio = prepared(data).train.statistics(sound=True)[0]
    torch.testing.assert_close(trained.head.audio_input.mean, audio.float())
    with pytest.raises(UsageError, match="audio_stream wav2clip: 0 fit"):
        find(project, replace(config, audio_stream="wav2clip"), teacher=None)


def test_no_audio_at_all_is_an_error(tmp_path: Path) -> None:
    planted = plant(tmp_path / "features", 16)
    write_labels(tmp_path, planted.records)
    plant_audio(Planted(planted.store, planted.records[-1:]), silent=0)  # of a test video only, so the stream exists
    assert planted.records[-1].split == "test"
    request = TrainRequest(small_config("avadclip"), features=tmp_path / "features", labels=tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"none of the .* videos has sound-"):
        find_training_data(request)
