"""``vadpipe import checkpoint``: a head that VadCLIP's or AVadCLIP's authors released -> a run folder of vadpipe's own.

The class features are computed once, with the text tower that the file holds, so that detection needs no tower. What
the authors' features were exactly is not known: the run states vadpipe's own CLIP features, or stored ones that the
user names, and every detection says that this is unverified.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from vadpipe.errors import CheckpointError, UsageError, WeightsError
from vadpipe.extractors import media
from vadpipe.extractors.clip_vit import image_spec, tokenize
from vadpipe.extractors.state_file import read_tensors
from vadpipe.extractors.weights import KNOWN, file_sha256
from vadpipe.models.checkpoint import TrainedHead, load_head, save_head
from vadpipe.models.heads import build_head
from vadpipe.models.inputs import HeadInputs
from vadpipe.models.released import NESTS, RELEASED, WIDTH, ReleasedKind, Sorted, detect_kind, sort_state
from vadpipe.models.text_tower import TextTower
from vadpipe.pipeline.project import find_spec
from vadpipe.pipeline.text import class_text
from vadpipe.spec import FeatureSpec
from vadpipe.store import FeatureStore

SELECTION = "released by the authors; chosen on the test set as their code does"


@dataclass(frozen=True, slots=True)
class CheckpointRequest:
    """What to import.

    kind
        A key of :data:`RELEASED`, or ``auto``: recognised by the parameters' names.
    out
        Run folder, new; None for ``runs/<kind>``.
    features, stream, audio_stream
        Store that holds the features that the head is to score, and which of its streams. Without a store, ``clip``
        stands for vadpipe's own extraction with OpenAI's weights.
    dtype, decoder
        Of that extraction.
    keep_tower
        Also keep the file's text tower (250 MB), with which training can go on.
    """

    file: Path
    kind: str = "auto"
    out: Path | None = None
    features: Path | None = None
    stream: str = "clip"
    audio_stream: str = "wav2clip"
    dtype: str = "float32"
    decoder: str = "pyav"
    keep_tower: bool = True


@dataclass(frozen=True, slots=True)
class ImportedHead:
    """The run folder that was written and what is in it; reason: by what the kind was recognised."""

    folder: Path
    kind: ReleasedKind
    reason: str
    trained: TrainedHead
    notes: tuple[str, ...] = ()


def import_checkpoint(request: CheckpointRequest, say: Callable[[str], None] | None = None) -> ImportedHead:
    """Convert a released file to a run folder; ``say`` gets a line for each step that takes seconds.

    :class:`CheckpointError` for a file that cannot be read safely, or whose names, shapes or values do not fit.
    """
    tell = say or (lambda _text: None)
    if request.kind != "auto" and request.kind not in RELEASED:
        raise UsageError(f"--as: got {request.kind!r}, expected auto or one of {', '.join(RELEASED)}")
    if request.out is not None:
        _check_new(request.out)  # before the seconds that reading takes
    tell(f"reading {request.file}")
    try:
        state = read_tensors(request.file, NESTS, "Ask for the bare state dict, or save it as safetensors")
        digest = file_sha256(request.file)
    except WeightsError as error:
        raise CheckpointError(str(error)) from error
    kind, reason = RELEASED[request.kind] if request.kind != "auto" else None, "named by --as"
    if kind is None:
        kind, reason = detect_kind(state)
    tell(f"{kind.name}: {reason}")
    folder = request.out or Path("runs") / kind.name
    _check_new(folder)
    spec, audio_spec = _specs(request, kind)
    trained, tokens, tower, notes = _convert(state, kind, spec, audio_spec, tell)
    del state
    caution = _caution(spec, audio_spec)
    facts = {"caution": caution, "file": request.file.name, "file_sha256": digest, "kind": kind.name}
    trained.provenance.update(facts, project=kind.project, text_tower="of the file")
    save_head(folder, trained, (tower, tokens) if request.keep_tower else None)
    return ImportedHead(folder, kind, reason, load_head(folder), (*notes, caution))


def _check_new(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give another --out")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; give another --out, or remove it yourself")


def _convert(
    state: dict[str, torch.Tensor],
    kind: ReleasedKind,
    spec: FeatureSpec,
    audio_spec: FeatureSpec | None,
    tell: Callable[[str], None],
) -> tuple[TrainedHead, torch.Tensor, TextTower, tuple[str, ...]]:
    """The head with its values and class features, the prompts' tokens, the tower, and notes on what was left out."""
    config = kind.config(spec.stream, audio_spec.stream if audio_spec else "")
    empty = torch.zeros(len(kind.classes), WIDTH)
    audio_dim = audio_spec.dim if audio_spec else 0
    with torch.device("meta"):  # names and shapes only
        on_paper = build_head(config, HeadInputs(spec.dim, empty, audio_dim))
    parts = sort_state(state, kind, on_paper)
    tell("class features: 12 blocks of CLIP's text tower")
    tokens = torch.from_numpy(tokenize(class_text(kind.classes, config.prompts, config.prompt_template)))
    tower = TextTower.from_state(parts.tower)
    head = build_head(config, HeadInputs(spec.dim, empty, audio_dim, tokens, tower))
    missing, _ = head.load_state_dict(parts.head, strict=False)  # every other name and shape was checked before
    if missing != ["prompts.class_text"]:
        raise CheckpointError(f"{kind.head} has parameters that no released name stands for: {', '.join(missing)}")
    head.eval()  # computes the class features
    if not bool(torch.isfinite(head.state_dict()["prompts.class_text"]).all()):
        raise CheckpointError("the file's text tower gives class features that are not finite")
    return TrainedHead(head, config, spec, kind.classes, SELECTION, {}, "", audio_spec), tokens, tower, _notes(parts)


def _notes(parts: Sorted) -> tuple[str, ...]:
    notes = [f"left out: {reason} (tensors: {count})" for reason, count in parts.ignored.items()]
    if parts.unequal:
        notes.append(
            f"{parts.unequal} tensors of the audio path are in the file twice, with different values; "
            "those under net.* are used, as the authors' code does"
        )
    return tuple(notes)


def _specs(request: CheckpointRequest, kind: ReleasedKind) -> tuple[FeatureSpec, FeatureSpec | None]:
    """Specifications of the features that the run is to score."""
    store = FeatureStore(request.features) if request.features is not None else None
    if store is not None:
        spec = find_spec(store, request.stream)
        spec.require_picture()
    elif request.stream == "clip":
        if request.dtype not in ("float32", "bfloat16"):
            raise UsageError(f"--dtype: got {request.dtype!r}, expected float32 or bfloat16")
        version = media.decoder_version(request.decoder)
        digest = KNOWN["openai"].sha256
        spec = image_spec("openai", digest, request.dtype, kind.frames_per_snippet, request.decoder, version)
    else:
        raise UsageError(f"--stream {request.stream}: pass --features with the store that holds it")
    specs = [spec]
    if kind.uses_audio:
        if store is None:
            raise UsageError(
                f"{kind.name} needs audio features too: import them with vadpipe import features, then pass "
                "--features, --stream and --audio-stream with what the store holds"
            )
        specs.append(find_spec(store, request.audio_stream, "--audio-stream"))
    for given in specs:
        if (given.dim, given.frames_per_snippet) != (WIDTH, kind.frames_per_snippet):
            raise UsageError(
                f"{given.folder}: got {given.dim} columns and {given.frames_per_snippet} frames per row, "
                f"expected {WIDTH} and {kind.frames_per_snippet}, on which {kind.name} was trained"
            )
    return spec, specs[1] if kind.uses_audio else None


def _caution(spec: FeatureSpec, audio_spec: FeatureSpec | None) -> str:
    """What every result of the head has to warn of."""
    told = " and ".join(given.folder for given in (spec, audio_spec) if given is not None)
    return (
        "the head was released by other authors, who do not say in full how their features were made; "
        f"that the features {told} equal those is unverified"
    )
