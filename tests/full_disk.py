"""Fill a small disk of its own with a store, then with a pack: ``python -m tests.full_disk FOLDER``; prints JSON.

To be run in a mount namespace (``unshare``), so that the disk goes with the process.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path
from typing import Any

from tests.test_store import SPEC, track
from vadpipe.errors import StoreError
from vadpipe.pipeline.storing.pack import files_to_pack, pack_store
from vadpipe.store import FeatureStore

NO_MOUNT = 77


def fill(root: Path) -> dict[str, Any]:
    """Write until the disk is full; what was said, and what can be read then."""
    store, written, said = FeatureStore(root / "store"), list[str](), list[str]()
    for number in range(1000):
        try:
            store.write(track(f"{number}", 16 * 400))
            written.append(f"{number}")
        except StoreError as error:
            said.append(str(error))
            break
    ids = store.ids(SPEC)
    for name in ids:
        store.read(SPEC, name)
    try:
        pack_store(store.root, files_to_pack(store.root), root / "pack")
    except StoreError as error:
        said.append(str(error))
    left = [str(path) for path in root.rglob("*.tmp")]
    return {"written": written, "ids": ids, "said": said, "left": left, "pack": (root / "pack" / "pack.json").exists()}


if __name__ == "__main__":
    if ctypes.CDLL(None).mount(b"none", sys.argv[1].encode(), b"tmpfs", 0, b"size=256k"):
        sys.exit(NO_MOUNT)
    print(json.dumps(fill(Path(sys.argv[1]))))
