"""Which crops a stored track holds: their numbers, as its feature specification says them."""

from __future__ import annotations

import re
from pathlib import Path

from vadpipe.errors import DataError, UsageError
from vadpipe.extractors import geometry as geometries
from vadpipe.manifest import read_manifest
from vadpipe.spec import FeatureSpec
from vadpipe.store import MANIFEST

_NUMBERS = r"([0-9](?:,[0-9])*)"
_IMPORTED = re.compile(rf"(?:released, )?crops {_NUMBERS}(?:; test {_NUMBERS})?")


def stored_crops(spec: FeatureSpec, count: int, split: str | None = None) -> tuple[int, ...]:
    """Numbers of the ``count`` crops of one track, in their order.

    Imported features name the crops that were taken in ``spec.geometry`` (``crops 0,5``, and after ``; test`` those of
    test videos; without any it is crop 0). Vadpipe's own five or ten crops are numbered from 0.

    split
        What the video was imported as; needed where training and test videos have as many crops, but others, as in the
        released lists of UCF-Crime.

    :class:`DataError` where the specification names another number of crops, or leaves open which they are.
    """
    if (match := _IMPORTED.fullmatch(spec.geometry)) is not None:
        train, test = (tuple(int(number) for number in (text or match[1]).split(",")) for text in match.groups())
        named = {train, test} if split is None else {test if split == "test" else train}
        fitting = [numbers for numbers in named if len(numbers) == count]
    else:
        fitting = [tuple(range(count))] if count == _own_crops(spec.geometry) else []
    if len(fitting) != 1:
        raise DataError(
            f"which its crops are ({count} of them) is not known: its specification has the geometry {spec.geometry!r}"
            + (f", and no {MANIFEST} beside it says its split" if fitting else "")
        )
    return fitting[0]


def imported_splits(spec: FeatureSpec, store: Path) -> dict[str, str]:
    """Id -> split, as an import of released features into ``store`` noted it; {} where no crop number depends on it."""
    manifest = store / MANIFEST
    match = _IMPORTED.fullmatch(spec.geometry)
    if match is None or match[2] is None or not manifest.is_file():
        return {}
    try:
        return {record.id: record.split for record in read_manifest(manifest)}
    except DataError:
        return {}  # then it is not known which the crops are, which is said


def _own_crops(geometry: str) -> int:
    """Crops of one of vadpipe's geometries; 1 for sound and for words that are no geometry of its own."""
    try:
        return geometries.crops(geometry)
    except UsageError:
        return 1
