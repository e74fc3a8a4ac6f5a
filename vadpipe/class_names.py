"""What a class, which is also a label and a category, may be called: one rule for all who make and read such names.

A name stands in tables, pictures, file names' parts and model cards; and a head that was trained with one has to load.
"""

from __future__ import annotations

from collections.abc import Sequence

MOST_CLASSES = 1000
LONGEST_CLASS = 200


def why_no_class(name: object) -> str:
    """What is wrong with a name, in words that end with the rule; empty where nothing is."""
    if not isinstance(name, str):
        return f"got {name!r:.80}, expected a text"
    if len(name) > LONGEST_CLASS:
        return f"got {name!r:.80}…, {len(name)} characters, expected at most {LONGEST_CLASS}"
    if not name or not name.isprintable():
        return f"got {name!r:.80}, expected a printable name"
    return ""


def why_no_classes(names: Sequence[object]) -> str:
    """The same for all classes of a head, of which there may be up to a thousand."""
    if len(names) > MOST_CLASSES:
        return f"got {len(names)} names, expected at most {MOST_CLASSES}"
    return next((why for why in map(why_no_class, names) if why), "")
