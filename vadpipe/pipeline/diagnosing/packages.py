"""What ``vadpipe doctor`` finds of packages: versions, whether these are in vadpipe's ranges, and whether they load."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from importlib import metadata

from vadpipe.pipeline.diagnosing.check import BROKEN, NOTE, OK, WARNING, Check
from vadpipe.pipeline.diagnosing.child import AskError, ask

CORE = {
    "numpy": "numpy",
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip_torch": "open_clip",
    "av": "av",
    "pillow": "PIL.Image",
    "h5py": "h5py",
    "safetensors": "safetensors.numpy",
    "matplotlib": "matplotlib.figure",
    "click": "click",
    "rich": "rich.console",
}
"""Distribution -> module of what everybody needs."""

WITH_TORCH = ("torch", "torchvision", "open_clip_torch")
_EXTRAS = {
    "torchaudio": ("audio", "sound for the stream wav2clip"),
    "pytorchvideo": ("video3d", "the stream i3d-r50"),
    "tensorboard": ("tensorboard", "train --tensorboard"),
    "scikit-learn": ("report", "the t-SNE of vadpipe report"),
}
_COMPARED = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_PLACES = 4  # of a version: 2.11 is 2.11.0.0


def packages(*, quick: bool = False) -> list[Check]:
    """Packages that vadpipe needs, each imported (``quick``: but for those with torch), and those of its extras."""
    there = [name for name in CORE if _version(name) and not (quick and name in WITH_TORCH)]
    problems, ranges = _imported(there), _ranges()
    found = [_needed(name, problems.get(name, ""), ranges.get(_normal(name), "")) for name in CORE]
    return found + [_optional(name, *extra, ranges.get(_normal(name), "")) for name, extra in _EXTRAS.items()]


def _needed(name: str, problem: str, wanted: str) -> Check:
    version = _version(name)
    if not version:
        return Check(name, BROKEN, "not installed", f"pip install {_quoted(name, wanted)}")
    if problem:
        return Check(name, BROKEN, f"{version} cannot be loaded: {problem}", f"pip install --force-reinstall {name}")
    if not fits(version, wanted):
        return Check(name, BROKEN, f"{version}, expected {wanted}", f"pip install {_quoted(name, wanted)}")
    return Check(name, OK, version)


def _optional(name: str, extra: str, purpose: str, wanted: str) -> Check:
    version = _version(name)
    fix = f"pip install 'vadpipe[{extra}]'"
    if not version:
        return Check(name, NOTE, f"not installed; for {purpose}", fix)
    return Check(name, OK, version) if fits(version, wanted) else Check(name, WARNING, f"{version}, not {wanted}", fix)


def _imported(names: Sequence[str]) -> dict[str, str]:
    """Distribution -> why it cannot be imported; of one that takes its process with it, too."""
    try:
        told = ask("import", *(CORE[name] for name in names))
        return {name: str(told[CORE[name]]) for name in names}
    except AskError as error:
        if len(names) == 1:
            return {names[0]: str(error)}
        return {name: problem for each in names for name, problem in _imported([each]).items()}


def _ranges() -> dict[str, str]:
    """Distribution, its name normalized -> the versions that this vadpipe is for, such as ``<2.13,>=2.11``."""
    try:
        lines: Iterable[str] = metadata.requires("vadpipe") or ()
    except metadata.PackageNotFoundError:  # run from its folder
        return {}
    found: dict[str, str] = {}
    for line in lines:
        named = re.match(r"([\w.-]+)(?:\[[^]]*\])?\s*([<>=!~][^;]*)", line)
        if named:
            found.setdefault(_normal(named[1]), named[2].strip())
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def fits(version: str, wanted: str) -> bool:
    """Whether a version is in a range of ``<``, ``<=``, ``>`` and ``>=``; other comparisons are not looked at."""
    bounds = re.findall(r"(<=|>=|<|>)\s*([\d.]+)", wanted)
    return all(_COMPARED[sign](_numbers(version), _numbers(bound)) for sign, bound in bounds)


def _numbers(version: str) -> tuple[int, ...]:
    numbers = [int(part) for part in re.findall(r"\d+", (re.match(r"[\d.]*", version) or [""])[0])]
    return tuple((numbers + [0] * _PLACES)[:_PLACES])


def _quoted(name: str, wanted: str) -> str:
    return f"'{name}{wanted}'" if wanted else name


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""
