"""The table of published encoder weights: where each file is, under which terms, and how it is recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vadpipe.errors import UsageError

__all__ = ["KNOWN", "KnownWeights", "default_weights"]


@dataclass(frozen=True, slots=True)
class KnownWeights:
    """A published file.

    model, licence
        What it is and under which terms its publisher gives it away.
    url, file_name
        Where it is, how it is called in the cache folder.
    sha256
        What it must hash to (hexadecimal). Empty where no digest is published: then the first file that comes is
        recorded, and every later one has to be the same (:mod:`vadpipe.extractors.weights_cache`).
    size_bytes
        None where it is not known.
    torchscript
        True for an archive that holds code; False for safetensors and state dicts. Opened as code only with ``sha256``.
    stream
        The stream whose encoder it belongs to.
    """

    model: str
    url: str
    file_name: str
    sha256: str
    licence: str
    size_bytes: int | None = None
    torchscript: bool = False
    stream: str = "clip"


_OPENAI_SHA256 = "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"

KNOWN: Mapping[str, KnownWeights] = MappingProxyType(
    {
        "openai": KnownWeights(
            model="CLIP ViT-B/16",
            # the publisher names the folder after the file's digest
            url=f"https://openaipublic.azureedge.net/clip/models/{_OPENAI_SHA256}/ViT-B-16.pt",
            file_name="ViT-B-16.pt",
            sha256=_OPENAI_SHA256,
            licence="MIT",
            torchscript=True,
        ),
        "i3d-inception-kinetics": KnownWeights(
            model="Inception-I3D RGB, Kinetics-400",
            url="https://github.com/hassony2/kinetics_i3d_pytorch/raw/master/model/model_rgb.pth",
            file_name="i3d_rgb.pt",  # under which the same conversion is circulated
            sha256="",
            licence="Apache 2.0 (DeepMind's weights), converted by MIT-licensed code",
            stream="i3d-inception",
        ),
        "i3d-r50-kinetics": KnownWeights(
            model="I3D ResNet-50 8x8, Kinetics-400",
            url="https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/kinetics/I3D_8x8_R50.pyth",
            file_name="I3D_8x8_R50.pyth",
            sha256="",
            licence="Apache 2.0 (the library's; none is stated for the file)",
            stream="i3d-r50",
        ),
        "c3d-sports1m": KnownWeights(
            model="C3D, Sports-1M",
            # the publisher's own address; it is not encrypted, so the recorded digest is worth as much as the network
            url="http://imagelab.ing.unimore.it/files/c3d_pytorch/c3d.pickle",
            file_name="c3d.pickle",
            sha256="",
            licence="MIT (the converter's repository; none is stated for the file, made from Facebook's C3D)",
            stream="c3d",
        ),
        "wav2clip-vggsound": KnownWeights(
            model="Wav2CLIP, VGGSound",
            url="https://github.com/descriptinc/lyrebird-wav2clip/releases/download/v0.1.0-alpha/Wav2CLIP.pt",
            file_name="Wav2CLIP.pt",
            sha256="",
            licence="MIT (the authors' repository)",
            stream="wav2clip",
        ),
    }
)
"""Name -> published file. The first of a stream is its default."""


def default_weights(stream: str) -> str:
    """The name in ``KNOWN`` that a stream uses unless told otherwise; :class:`UsageError` where there is none."""
    for name, known in KNOWN.items():
        if known.stream == stream:
            return name
    streams = dict.fromkeys(known.stream for known in KNOWN.values())
    raise UsageError(f"weights: no published weights for the stream {stream!r}, only for {', '.join(streams)}")
