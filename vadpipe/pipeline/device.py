"""Which device a command or a function computes on. Imports torch only where the answer needs it."""

from __future__ import annotations

from vadpipe.errors import UsageError


def check_device_name(device: str) -> None:
    """:class:`UsageError` unless ``device`` reads ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; it need not be there."""
    if device != "auto" and device.partition(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"device: got {device!r}, expected auto, cpu, cuda or cuda:N")


def resolve_device(device: str) -> str:
    """``auto`` -> ``cuda`` where there is one, else ``cpu``; an explicit device that is not there is an error."""
    check_device_name(device)
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not torch.cuda.is_available():
        raise UsageError(f"--device {device}: torch sees no GPU; use cpu or auto, and see vadpipe doctor")
    return device
