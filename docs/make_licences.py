"""Write docs/licences.md from the locked packages' own metadata: ``make licences``. A test compares the page with the
lock and with the table of weights.

A package that is not installed here in its locked version (one of another extra or of a newer Python) is fetched as a
wheel, against its digest in locks/, and only read.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from email.message import Message
from email.parser import Parser
from importlib import metadata
from pathlib import Path

from vadpipe.extractors.weights_table import KNOWN

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
SHIPPED = ("core", "dev", "image")

FROM_ITS_FILES: Mapping[str, str] = {
    "axe-playwright-python": "MIT",
    "cuda-toolkit": "none; it has no code, only the list of NVIDIA's packages",
    "torchcodec": "BSD-3-Clause",
}
"""What the files of a package say whose metadata states no licence."""

_HEAD = """# Licences

Made by `make licences`; do not edit. vadpipe itself is under Apache-2.0. This page repeats what publishers state in
their packages' metadata and beside their weights; it is no legal advice.

## Locked packages
The last column says which of the locks brings a package: `core` (`make demo`), `dev` (`make test`), `image` (Docker).
A star: the metadata states none, this is what the files of the package say.

| package | version | licence | in |
| --- | --- | --- | --- |
"""

_WEIGHTS = """
## Weights
Not part of vadpipe: downloaded on demand from their publishers, or named with `--weights`.

| name | model | licence |
| --- | --- | --- |
"""


def blocks(lock: str) -> dict[str, str]:
    """Package name -> its lines in a file of locks/."""
    text = (ROOT / "locks" / f"{lock}.txt").read_text(encoding="utf-8")
    return {block.partition("==")[0]: block for block in re.split(r"(?m)^(?=[a-z0-9])", text) if "==" in block}


def pin(block: str) -> str:
    """``name==version`` of a block."""
    return re.split(r"[\s;\\]", block, maxsplit=1)[0]


def locked() -> dict[str, str]:
    """Package name -> a block of it, over all of ``SHIPPED``."""
    return dict(sorted({name: text for lock in SHIPPED for name, text in blocks(lock).items()}.items()))


def installed(name: str, version: str) -> Message | None:
    """Metadata of a package in this environment, if it is there in this version."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    return Parser().parsestr(found.read_text("METADATA") or "") if found.version == version else None


def fetched(wanted: Iterable[str], folder: Path) -> dict[str, Message]:
    """Metadata of wheels, downloaded for a Python that has them all; markers are left out for that."""
    lines = [re.sub(r" ; .*(?= \\$)", "", block, flags=re.M) for block in wanted]
    (folder / "wanted.txt").write_text("".join(lines), encoding="utf-8")
    settled = ["--quiet", "--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version=3.13"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", *settled]
    subprocess.run([*command, f"--dest={folder}", f"--requirement={folder / 'wanted.txt'}"], check=True)
    found = {}
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            (member,) = (name for name in wheel.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            message = Parser().parsestr(wheel.read(member).decode())
        found[re.sub(r"[-_.]+", "-", str(message["Name"])).lower()] = message
    return found


def licence(name: str, message: Message) -> str:
    """What a package states: its expression, else its classifiers, else the first line of the free text."""
    if message["License-Expression"]:
        return str(message["License-Expression"])
    rows = [str(row).split(" :: ") for row in message.get_all("Classifier", [])]
    stated = [row[-1] for row in rows if row[0] == "License" and row[-1] != "OSI Approved"]
    free = str(message["License"] or "").strip().partition("\n")[0].strip(" =")
    if (
        free
        and free != "UNKNOWN"
        and not free.startswith("Copyright")
        and len(free) <= 60
        and (not stated or stated[0] in _VAGUE)
    ):
        stated = [free]
    if stated:
        return ", ".join(stated)
    if name in FROM_ITS_FILES:
        return f"{FROM_ITS_FILES[name]} *"
    sys.exit(f"licences: {name} states none; look into its files and add it to FROM_ITS_FILES in {__file__}")


_VAGUE = {"BSD License", "Other/Proprietary License"}  # the free text says which


def page() -> str:
    """Return the whole page."""
    found: dict[str, Message] = {}
    missing = []
    for name, block in locked().items():
        message = installed(name, pin(block).partition("==")[2])
        if message is None:
            missing.append(block)
        else:
            found[name] = message
    with tempfile.TemporaryDirectory() as temporary:
        found |= fetched(missing, Path(temporary)) if missing else {}
    members = {lock: blocks(lock) for lock in SHIPPED}
    rows = [
        f"| {name} | {pin(block).partition('==')[2]} | {licence(name, found[name])} "
        f"| {', '.join(lock for lock in SHIPPED if name in members[lock])} |\n"
        for name, block in locked().items()
    ]
    weights = [f"| `{name}` | {known.model} | {known.licence} |\n" for name, known in KNOWN.items()]
    return _HEAD + "".join(rows) + _WEIGHTS + "".join(weights)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
