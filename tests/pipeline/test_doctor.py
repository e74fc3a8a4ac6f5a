"""What ``vadpipe doctor`` finds: each look's good and failing side, with the command that mends it; one real run."""

from __future__ import annotations

import ctypes.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from tests.extractors import painted_videos
from tests.pipeline.mean_colour import MeanColour
from vadpipe.cli import cli
from vadpipe.errors import UsageError, VideoUnreadable, WeightsError
from vadpipe.extractors import media
from vadpipe.extractors.decoders import DECODERS
from vadpipe.extractors.painted import FRAMES, expected_numbers, paint, read_number
from vadpipe.extractors.weights_table import KNOWN
from vadpipe.pipeline import doctor
from vadpipe.pipeline.diagnosing import child as doctor_child
from vadpipe.pipeline.diagnosing import machine as doctor_machine
from vadpipe.pipeline.diagnosing import media as doctor_media
from vadpipe.pipeline.diagnosing import packages as doctor_packages
from vadpipe.pipeline.diagnosing import places as doctor_places
from vadpipe.pipeline.diagnosing.check import BROKEN, NOTE, OK, WARNING, Check, first_line
from vadpipe.pipeline.diagnosing.child import AskError, TooSlow, ask

Answer = Callable[..., dict[str, Any]]


def answering(answer: dict[str, Any] | str) -> Answer:
    """Takes the place of ``ask``; a text is a failure."""

    def answered(_task: str, *_arguments: object, timeout_s: float = 0) -> dict[str, Any]:
        if isinstance(answer, str):
            raise AskError(answer)
        return answer

    return answered


def test_painted_pictures_show_their_number() -> None:
    assert expected_numbers() == [0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44]
    assert [read_number(paint(number)) for number in (0, 1, FRAMES, 65535)] == [0, 1, FRAMES, 65535]
    assert read_number(painted_videos.paint(1234)) == 1234


# The machine


def test_an_old_python_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor_machine.python().state == OK
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    assert doctor_machine.python().state == BROKEN
    assert "python3.11" in doctor_machine.python().fix


# Packages


def test_packages_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {check.state for check in doctor_packages.packages(quick=True)} <= {OK, NOTE}
    monkeypatch.setattr(doctor_packages, "ask", lambda _task, *modules: dict.fromkeys(modules, ""))
    monkeypatch.setattr(doctor_packages, "_version", lambda name: "" if name in ("h5py", "torchaudio") else "2.11.9")
    monkeypatch.setattr(metadata, "requires", lambda _name: ["h5py>=3.12", "torch<2.13,>=2.11"])
    found = {check.name: check for check in doctor_packages.packages()}
    assert found["h5py"] == Check("h5py", BROKEN, "not installed", "pip install 'h5py>=3.12'")
    assert found["torchaudio"].state == NOTE
    assert found["torchaudio"].fix == "pip install 'vadpipe[audio]'"
    assert found["torch"] == Check("torch", OK, "2.11.9")


def test_a_package_that_does_not_load_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def answered(_task: str, *modules: object) -> dict[str, Any]:
        asked.append(modules)
        if "av" in modules:
            raise AskError("crashed (SIGSEGV)")
        return {str(name): "ImportError: no regex" if name == "open_clip" else "" for name in modules}

    monkeypatch.setattr(doctor_packages, "ask", answered)
    found = {check.name: check for check in doctor_packages.packages()}
    assert found["av"].found.endswith("cannot be loaded: crashed (SIGSEGV)")
    assert found["open_clip_torch"].found.endswith("cannot be loaded: ImportError: no regex")
    for name in ("av", "open_clip_torch"):
        assert (found[name].state, found[name].fix) == (BROKEN, f"pip install --force-reinstall {name}")
    assert found["numpy"].state == OK
    asked.clear()
    doctor_packages.packages(quick=True)
    assert not {"torch", "torchvision", "open_clip"} & {name for modules in asked for name in modules}


def test_a_child_imports_and_says_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_installed.py").write_text("import nothing_of_this_name")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    told = ask("import", "json", "half_installed")
    assert told["json"] == ""
    assert told["half_installed"] == "ModuleNotFoundError: No module named 'nothing_of_this_name'"


def test_versions_out_of_range_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = {"2.11.0": True, "2.11": True, "2.12.9+cu130": True, "2.13": False, "2.10.9": False, "3": False}
    assert {version: doctor_packages.fits(version, "<2.13,>=2.11") for version in fitting} == fitting
    assert doctor_packages.fits("1.0", "")
    monkeypatch.setattr(doctor_packages, "ask", lambda _task, *modules: dict.fromkeys(modules, ""))
    monkeypatch.setattr(doctor_packages, "_version", lambda _name: "3.2")
    lines = ["open-clip-torch>=3.3", 'torchaudio<2.12,>=2.11; extra == "audio"']
    monkeypatch.setattr(metadata, "requires", lambda _name: lines)
    found = {check.name: check for check in doctor_packages.packages()}
    assert found["open_clip_torch"] == Check(
        "open_clip_torch", BROKEN, "3.2, expected >=3.3", "pip install 'open_clip_torch>=3.3'"
    )
    assert found["torchaudio"].state == WARNING

    def unknown(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", unknown)  # run from its folder
    assert {check.state for check in doctor_packages.packages()} == {OK}


@pytest.mark.parametrize(
    ("find", "state", "found"),
    [
        (lambda name: f"lib{name}.so.61", OK, "libavcodec.so.61"),
        (lambda _name: None, NOTE, "none of the system"),
        (lambda name: None if name == "avdevice" else name, NOTE, "missing: avdevice"),
    ],
)
def test_ffmpeg_libraries(
    find: Callable[[str], str | None], state: str, found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", find)
    check = doctor_machine.ffmpeg_libraries()
    assert check.state == state
    assert found in check.found
    assert ("apt-get install --yes ffmpeg" in check.fix) == (state == NOTE)


GPU = {"name": "A GPU", "memory_gib": 80.0}


@pytest.mark.parametrize(
    ("answer", "driver", "states", "said"),
    [
        ("libtorch_cpu.so: cannot open", False, [BROKEN], "pip install --force-reinstall torch"),
        ({"version": "2.11.0", "cuda": None, "gpus": []}, False, [OK, NOTE, NOTE], "for the CPU alone"),
        ({"version": "2.11.0", "cuda": "13.0", "gpus": []}, True, [OK, WARNING, NOTE], "docker run --gpus all"),
        ({"version": "2.11.0", "cuda": None, "gpus": []}, True, [OK, WARNING, NOTE], "the build for CUDA"),
        (
            {"version": "2.11.0", "cuda": "13.0", "gpus": [GPU], "nvdec_library": False},
            True,
            [OK, OK, NOTE],
            "NVIDIA_DRIVER_CAPABILITIES",
        ),
    ],
)
def test_torch_and_gpus(
    answer: dict[str, Any] | str, driver: bool, states: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_machine, "ask", answering(answer))
    monkeypatch.setattr(doctor_machine, "_NVIDIA", Path(__file__) if driver else Path("no such device"))
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    found = doctor_machine.accelerator(None, has_torchcodec=True)
    assert [check.state for check in found] == states
    assert any(said in check.found + check.fix for check in found)


@pytest.mark.parametrize(
    ("answer", "has_torchcodec", "painted", "state", "said"),
    [
        ({"shown": expected_numbers()}, True, Path("x.mp4"), OK, "12 painted frames"),
        ({"shown": [0, 0, 8]}, True, Path("x.mp4"), WARNING, "other frames"),
        ("no such device", True, Path("x.mp4"), WARNING, "does not decode: no such device"),
        ({"shown": []}, False, Path("x.mp4"), NOTE, "torchcodec"),
        ({"shown": []}, True, None, NOTE, "not tried"),
    ],
)
def test_nvdec(
    answer: dict[str, Any] | str,
    has_torchcodec: bool,
    painted: Path | None,
    state: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor_machine, "ask", answering(answer))
    check = doctor_machine._nvdec(painted, has_library=True, has_torchcodec=has_torchcodec)
    assert check.state == state
    assert said in check.found


# Decoders


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("painted") / "painted.mp4"
    check = doctor_media.painted_video(path)
    assert check.state == OK
    assert "with its own FFmpeg" in check.found
    return path


@pytest.mark.parametrize("name", ["pyav", "decord"])
def test_a_decoder_shows_the_right_frames(name: str, painted: Path) -> None:
    check = doctor_media.decoder(name, painted)
    assert check.state == OK, check
    assert "12 painted frames" in check.found


def test_a_decoder_that_shows_other_frames_is_found(tmp_path: Path) -> None:
    late = tmp_path / "late.mp4"
    painted_videos.write(late, 60)
    shifted = painted_videos.write_cut(tmp_path / "shifted.mp4", late, 24)
    check = doctor_media.decoder("pyav", shifted)
    assert check.state == BROKEN
    assert "shows the frames [24, 28" in check.found
    assert check.fix == "pip install --force-reinstall av"
    assert doctor_media.decoder("decord", shifted).state == WARNING  # nobody needs it


def test_a_decoder_that_is_missing_or_does_not_load(painted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_name: str) -> str:
        raise UsageError("cannot load FFmpeg's shared libraries\nmore")

    monkeypatch.setattr(media, "decoder_version", missing)
    monkeypatch.setattr(metadata, "version", lambda _name: "1.0")
    check = doctor_media.decoder("torchcodec", painted)
    assert (check.state, check.found) == (WARNING, "cannot load FFmpeg's shared libraries")
    assert "apt-get install --yes ffmpeg" in check.fix
    assert doctor_media.decoder("pyav", painted).state == BROKEN

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    assert doctor_media.decoder("decord", painted) == Check(
        "decoder decord", NOTE, "not installed", DECODERS["decord"].install
    )
    assert doctor_media.decoder("pyav", painted).state == BROKEN
    assert doctor_media.painted_video(painted).fix == "pip install av"


def test_a_decoder_that_fails(painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*_: Any, **_options: Any) -> Any:
        raise VideoUnreadable("no frames")

    assert doctor_media.decoder("pyav", tmp_path / "none.mp4").found.startswith("not tried")
    monkeypatch.setattr(media, "open_media", unreadable)
    assert doctor_media.decoder("pyav", painted).found == "does not decode: no frames"
    monkeypatch.setattr(doctor_media, "ask", answering("crashed (SIGSEGV)"))
    check = doctor_media.painted_video(tmp_path / "x.mp4")
    assert (check.state, check.found) == (BROKEN, "cannot write a video: crashed (SIGSEGV)")


# Places


def file_of(state: str, sha256: str = "", origin: str = "", reason: str = "") -> SimpleNamespace:
    ok = state == "present"
    return SimpleNamespace(state=state, ok=ok, sha256=sha256, origin=origin, reason=reason, path=Path("a b.pt"))


@pytest.mark.parametrize(
    ("file", "state", "fix"),
    [
        (file_of("missing"), NOTE, "vadpipe weights get openai"),
        (file_of("present", "ab" * 32, "published"), OK, ""),
        (file_of("present"), NOTE, "vadpipe weights verify openai"),
        (file_of("damaged", reason="another digest"), BROKEN, "rm 'a b.pt' && vadpipe weights get openai"),
    ],
)
def test_weights(file: SimpleNamespace, state: str, fix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vadpipe.pipeline.weights.look", lambda _name: file)
    check = doctor_places.weights("openai")
    assert (check.state, check.fix) == (state, fix)


def test_weights_that_cannot_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_name: str) -> Any:
        raise WeightsError("cannot be read")

    monkeypatch.setattr("vadpipe.pipeline.weights.look", fail)
    assert doctor_places.weights("openai").state == BROKEN
    assert doctor_places.weights("c3d-sports1m").state == WARNING


def test_a_damaged_file_in_the_cache_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VADPIPE_WEIGHTS", str(tmp_path))
    (tmp_path / KNOWN["openai"].file_name).write_bytes(b"another file")
    check = doctor_places.weights("openai")
    assert check.state == BROKEN
    assert "sha256" in check.found
    assert check.fix.startswith(f"rm {tmp_path}")


def test_the_weights_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VADPIPE_WEIGHTS", str(tmp_path / "not" / "yet"))
    assert doctor_places.weights_folder().state == OK
    assert list(tmp_path.iterdir()) == []  # it only looks
    monkeypatch.setattr(os, "access", lambda *_: False)
    check = doctor_places.weights_folder()
    assert (check.state, "no permission" in check.found) == (WARNING, True)
    (tmp_path / "file").touch()
    monkeypatch.setenv("VADPIPE_WEIGHTS", str(tmp_path / "file"))
    assert doctor_places.weights_folder().state == BROKEN


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        ({"whole": True, "locks": True}, OK, "its locks work"),
        ({"whole": True, "locks": False}, NOTE, "HDF5_USE_FILE_LOCKING=FALSE"),
        ({"whole": False, "locks": True}, BROKEN, "other values"),
        ("crashed (SIGBUS)", BROKEN, "crashed (SIGBUS)"),
    ],
)
def test_the_store(
    answer: dict[str, Any] | str, state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_places, "ask", answering(answer))
    check = doctor_places.store_folder(tmp_path)
    assert check.state == state
    assert said in check.found + check.fix
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_a_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "features").write_text("a file")
    check = doctor_places.store_folder(tmp_path)
    assert (check.state, "is no folder" in check.found) == (BROKEN, True)
    (tmp_path / "features").unlink()
    (tmp_path / "features").symlink_to(tmp_path / "gone")
    assert doctor_places.store_folder(tmp_path).state == BROKEN


def test_little_room_and_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_places, "ask", answering({"whole": True, "locks": True}))
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: SimpleNamespace(free=12e6))
    check = doctor_places.store_folder(tmp_path)
    assert (check.state, "about 1 hours" in check.found) == (WARNING, True)

    def full(**_options: Any) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryDirectory", full)
    check = doctor_places.store_folder(tmp_path)
    assert (check.state, "Read-only file system" in check.found) == (BROKEN, True)
    (line,) = doctor.run_checks(tmp_path, quick=True)
    assert (line.state, line.fix) == (BROKEN, "export TMPDIR=FOLDER   (one that you can write to)")


# Throughput, and looks apart


def test_throughput_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"frames_per_s": 200.0, "name": "2 CPU cores", "stride": 16}
    monkeypatch.setattr(doctor, "ask", answering(facts))
    check = doctor.throughput(tmp_path, 5.0)
    assert check.state == OK
    assert "1 hour of video at stride 16 takes about 8 min" in check.found  # 90 000 frames / 200 = 450 s

    def slow(*_: object, **_options: float) -> dict[str, Any]:
        raise TooSlow("no answer within 185 s")

    monkeypatch.setattr(doctor, "ask", slow)
    check = doctor.throughput(tmp_path, 5.0)
    assert (check.state, "no answer" in check.found) == (WARNING, True)
    monkeypatch.setattr(doctor, "ask", answering("No module named 'regex'"))
    check = doctor.throughput(tmp_path, 5.0)
    assert (check.state, check.found) == (BROKEN, "CLIP cannot be run: No module named 'regex'")
    assert "--force-reinstall open_clip_torch" in check.fix
    assert [doctor.in_words(seconds) for seconds in (12.3, 450, 36_300)] == ["12 s", "8 min", "10 h 5 min"]


def test_throughput_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_child, "_CPU", (1, 4))
    monkeypatch.setattr("vadpipe.extractors.create", lambda _stream, **_options: MeanColour())
    facts = doctor_child.measure_speed(str(tmp_path), "0.01", "cpu")
    assert facts["frames_per_s"] > 0
    assert (facts["device"], facts["stride"]) == ("cpu", 16)


def test_a_child_answers_or_says_why_not(tmp_path: Path) -> None:
    assert ask("store", tmp_path) == {"whole": True, "locks": True}
    with pytest.raises(AskError, match=r"No such file or directory|unable to"):
        ask("store", tmp_path / "none")
    with pytest.raises(TooSlow, match=r"no answer within 0 s"):
        ask("store", tmp_path, timeout_s=0.001)


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "said"),
    [
        (-11, "", "", "crashed (SIGSEGV)"),
        (-250, "", "", "crashed (signal 250)"),
        (1, "", "a\nlast words\n", "last words"),
        (3, "", "", "ended with exit code 3"),
        (0, "chatter", "", "cannot be read"),
        (0, "[]", "", "cannot be read"),
        (0, "", "", "cannot be read"),
    ],
)
def test_how_a_child_may_end(code: int, stdout: str, stderr: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = SimpleNamespace(returncode=code, stdout=stdout, stderr=stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(AskError) as error:
        ask("torch")
    assert said in str(error.value)


def test_a_look_that_fails_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_options: bool) -> Check:
        raise RuntimeError("what nobody thought of\nmore")

    monkeypatch.setattr(doctor_packages, "packages", fail)
    begun: list[str] = []
    found = {check.name: check for check in doctor.run_checks(tmp_path, quick=True, on_begin=begun.append)}
    assert found["packages"].state == WARNING
    assert "RuntimeError: what nobody thought of" in found["packages"].found
    assert found["decoder pyav"].state == OK
    assert begun[0] == "python"
    assert "throughput" not in begun
    assert not {"GPU", "NVDEC", "torch loads", "decoder torchcodec", "throughput"} & set(found)
    assert first_line(ValueError()) == "ValueError"


# The command


def test_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VADPIPE_WEIGHTS", str(tmp_path / "weights"))
    done = CliRunner().invoke(cli, ["doctor", "--quick", "--json"])
    told = json.loads(done.stdout)
    assert (done.exit_code, told["ok"]) == (0, True), told
    states = {check["name"]: check["state"] for check in told["checks"]}
    assert states["decoder pyav"] == states["feature store"] == states["weights cache"] == "ok"
    assert states["weights openai"] == "note"
    assert all(check["fix"] for check in told["checks"] if check["state"] != "ok")
    assert list(tmp_path.iterdir()) == []


def test_what_is_broken_is_said_in_words_and_in_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [Check("a", OK, "fine"), Check("b", WARNING, "odd", "do this"), Check("c\x1b[1m", BROKEN, "no", "do that")]
    monkeypatch.setattr(doctor, "run_checks", lambda *_, **__: iter(lines))
    done = CliRunner().invoke(cli, ["doctor"])
    assert done.exit_code == 1
    assert "warning: b: do this" in done.stdout
    assert "broken: c\\x1b[1m: do that" in done.stdout
    assert "1 ok, 0 note, 1 warning, 1 broken" in done.stdout
    assert "\x1b" not in done.stdout
    monkeypatch.setattr(doctor, "run_checks", lambda *_, **__: iter(lines[:2]))
    assert CliRunner().invoke(cli, ["doctor"]).exit_code == 0
