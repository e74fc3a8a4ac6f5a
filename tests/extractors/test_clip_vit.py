"""CLIP ViT-B/16 against the golden values of the official implementation, and what extraction relies on."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tests.golden import golden_weights
from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors import EXTRACTORS, clip_vit, create, geometry
from vadpipe.extractors.clip_vit import ClipVitB16, normalise, tokenize
from vadpipe.extractors.compute import checked_dtype, cpu_computes_bfloat16
from vadpipe.extractors.weights import resolve

DATA = Path(__file__).parent.parent / "data"
RANDOM_SHA256 = "b099a021fb7913becd88038c79b6544ce6d09a678f3fe009d16c4cbcb7598208"
TEXTS = ["normal", "car accident", "a video of a street fight"]


def shapes() -> dict[str, tuple[int, ...]]:
    """Every parameter of both towers; the names take part in the golden formula, so they are checked with it."""
    with torch.device("meta"):
        network = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16-quickgelu"))
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    with np.load(DATA / "clip_golden.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("clip") / "golden.safetensors"
    save_file(golden_weights(shapes()), path)
    yield path
    path.unlink()  # 600 MB


@pytest.fixture(scope="module")
def encoder(weights_file: Path) -> ClipVitB16:
    return ClipVitB16(weights=str(weights_file), batch_size=4)


@pytest.fixture(scope="module")
def pictures(golden: dict[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """(5, 224, 224, 3): the two golden frames, noise, black, white."""
    frames = [geometry.apply(golden[name], clip_vit.GEOMETRY) for name in ("frame0", "frame2")]
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    return np.stack([*frames, noise, np.zeros_like(noise), np.full_like(noise, 255)])


@pytest.fixture(scope="module")
def rows(encoder: ClipVitB16, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Two batches of four, the second with three places empty."""
    return encoder.encode(pictures)


def relative_error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def test_pixels_are_normalised_as_officially(golden: dict[str, NDArray[Any]], pictures: NDArray[np.uint8]) -> None:
    pixels = normalise(torch.from_numpy(pictures[:2]))
    assert pixels.shape == (2, 3, 224, 224)
    assert relative_error(pixels.mean((2, 3)).numpy(), golden["pixels_mean"]) < 1e-5


def test_image_embeddings_are_the_official_ones(golden: dict[str, NDArray[Any]], rows: NDArray[np.float32]) -> None:
    assert rows.dtype == np.float32
    assert relative_error(rows[:2], golden["embedding"]) < 1e-4


def test_text_embeddings_are_the_official_ones(golden: dict[str, NDArray[Any]], encoder: ClipVitB16) -> None:
    np.testing.assert_array_equal(tokenize(TEXTS), golden["tokens"])
    got = encoder.encode_text(TEXTS)
    assert got.dtype == np.float32
    assert relative_error(got, golden["text_embedding"]) < 1e-4


def test_a_row_depends_on_its_own_picture_only(
    encoder: ClipVitB16, pictures: NDArray[np.uint8], rows: NDArray[np.float32]
) -> None:
    """Bit for bit: other neighbours, another place, and no neighbours at all."""
    order = [4, 2, 0, 1]
    np.testing.assert_array_equal(encoder.encode(pictures[order]), rows[order])
    np.testing.assert_array_equal(encoder.encode(pictures[1:2]), rows[1:2])


def test_no_pictures_and_no_texts_give_no_rows(encoder: ClipVitB16) -> None:
    assert encoder.encode(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 512)
    assert encoder.encode_text([]).shape == (0, 512)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 224, 224, 3), np.float32), np.zeros((1, 3, 224, 224), np.uint8), np.zeros(3, np.uint8)]
)
def test_other_shapes_and_types_are_refused(encoder: ClipVitB16, images: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        encoder.encode(images)


def test_the_specification_names_everything_that_changes_a_row(encoder: ClipVitB16, weights_file: Path) -> None:
    spec = encoder.spec(frames_per_snippet=4, decoder="pyav", decoder_version="18.1.0")
    assert (spec.stream, spec.dim, spec.model, spec.dtype) == ("clip", 512, "clip-vit-b-16", "float32")
    assert (spec.geometry, spec.interpolation) == ("short224-center224", "pil-bicubic-antialias-u8")
    assert (spec.frames_per_snippet, spec.decoder, spec.decoder_version) == (4, "pyav", "18.1.0")
    assert spec.weights == "golden.safetensors"
    assert spec.weights_sha256 == hashlib.sha256(weights_file.read_bytes()).hexdigest()
    assert not spec.untrained


def test_bfloat16_is_close_where_the_processor_has_it(weights_file: Path, golden: dict[str, NDArray[Any]]) -> None:
    if not cpu_computes_bfloat16():
        with pytest.raises(UsageError, match="use float32"):
            ClipVitB16(weights=str(weights_file), dtype="bfloat16")
        return
    encoder = ClipVitB16(weights=str(weights_file), dtype="bfloat16", batch_size=1)
    assert encoder.spec(16, "pyav", "18").dtype == "bfloat16"
    got = encoder.encode(geometry.apply(golden["frame0"], clip_vit.GEOMETRY)[None])[0]
    expected = golden["embedding"][0]
    assert got.dtype == np.float32
    assert got @ expected / (np.linalg.norm(got) * np.linalg.norm(expected)) > 0.9998
    assert relative_error(got, expected) > 1e-4  # it was not float32 under another name


def test_random_weights_are_pinned_and_tell_pictures_apart(pictures: NDArray[np.uint8]) -> None:
    encoder = create("clip", weights="random", seed=0, batch_size=4)
    spec = encoder.spec(16, "pyav", "18")
    assert spec.untrained
    assert spec.weights == "random:0"
    assert spec.weights_sha256 == RANDOM_SHA256
    rows = encoder.encode(pictures[:4])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert (unit @ unit.T)[np.triu_indices(4, 1)].max() < 0.8


def test_weights_that_do_not_fit_are_refused_at_once(tmp_path: Path) -> None:
    save_file({"visual.proj": np.zeros((512, 768), np.float32)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors does not fit the network, 302 differences: .*missing"):
        create("clip", weights=str(tmp_path / "other.safetensors"))


def test_numbers_in_openais_archive_are_no_parameters(tmp_path: Path) -> None:
    parameters = {"visual.proj": torch.ones(2, 3)}
    torch.save(parameters | {"input_resolution": torch.tensor(224)}, tmp_path / "a.pt")
    state = clip_vit._file_state(resolve(str(tmp_path / "a.pt")), {"visual.proj": (2, 3)})
    assert list(state) == ["visual.proj"]


def test_another_activation_is_refused() -> None:
    with torch.device("meta"):
        plain = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16"))
    with pytest.raises(WeightsError, match="got GELU, expected QuickGELU"):
        clip_vit.require_quick_gelu(plain)


def test_long_texts_are_refused_instead_of_cut() -> None:
    assert tokenize(["a " * 75]).shape == (1, 77)
    with pytest.raises(UsageError, match="text of 76 tokens, expected at most 75"):
        tokenize(["short", "a " * 76])
    with pytest.raises(ValueError, match="expected a sequence"):
        tokenize("fighting")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu9"}, "device: got 'tpu9'"),
        ({"device": "meta"}, "device: got 'meta'"),
        ({"device": "cuda:99"}, "torch sees"),
        ({"dtype": "float16"}, "dtype: got 'float16', expected one of float32, bfloat16"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"weights": "opneai"}, "weights: got 'opneai'"),
    ],
)
def test_a_wrong_option_is_a_usage_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create("clip", **({"weights": "random"} | options))


def test_an_unknown_extractor_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=f"got 'clap', expected one of {', '.join(sorted(EXTRACTORS))}"):
        create("clap")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx512f avx512_bf16", True), ("amx_bf16 amx_tile", True), ("fpu avx512f avx512_bf16_not", False)],
)
def test_bfloat16_needs_a_processor_that_computes_in_it(
    flags: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: amx_bf16 in its name\nflags\t\t: {flags}\n")
    assert cpu_computes_bfloat16(tmp_path / "cpuinfo") is expected
    assert not cpu_computes_bfloat16(tmp_path / "missing")
    monkeypatch.setattr("vadpipe.extractors.compute.cpu_computes_bfloat16", lambda: expected)
    if expected:
        assert checked_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
    else:
        with pytest.raises(UsageError, match="use float32"):
            checked_dtype("bfloat16", torch.device("cpu"))


FAULTS = """
import resource, torch
from vadpipe.extractors.compute import keep_freed_blocks

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64, 1 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(min(faults() for _ in range(4)), keep_freed_blocks(), min(faults() for _ in range(8)))
"""


def test_freed_memory_is_kept_for_the_next_batch() -> None:
    """256 MB are taken and given back, in a process of its own because the setting stays."""
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, told, after = done.stdout.split()
    assert told == str(platform.libc_ver()[0] == "glibc")
    if told == "True":
        assert int(before) > 100
        assert int(after) < int(before) / 10


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, vadpipe.extractors, vadpipe.extractors.weights; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
