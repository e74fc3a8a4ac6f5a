"""What ``vadpipe doctor`` looks at on the disks: weights, and the folders that are written to."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path

from vadpipe.errors import UsageError, WeightsError
from vadpipe.extractors.weights_cache import cache_folder
from vadpipe.extractors.weights_table import KNOWN, default_weights
from vadpipe.pipeline.diagnosing.check import BROKEN, NOTE, OK, WARNING, Check
from vadpipe.pipeline.diagnosing.child import AskError, ask

_LITTLE_GIB = 1.0
_DEFAULT_STREAM = "clip"
_MB_AN_HOUR = 12  # of CLIP features: 5625 rows of 512 float32 at 25 frames/s and stride 16


def weights(name: str) -> Check:
    """Whether a published file is here and has the digest that it must have."""
    from vadpipe.pipeline.weights import look

    title = f"weights {name}"
    is_default = name == default_weights(_DEFAULT_STREAM)
    known = KNOWN[name]
    size = f", {known.size_bytes / 1e6:.0f} MB" if known.size_bytes else ""
    try:
        file = look(name)
    except (UsageError, WeightsError) as error:
        return Check(title, BROKEN if is_default else WARNING, str(error), "export VADPIPE_WEIGHTS=FOLDER")
    if file.state == "missing":
        what = f"not here; downloaded at the first use of the stream {known.stream}{size}"
        return Check(title, NOTE, what, f"vadpipe weights get {name}")
    if not file.ok:
        fix = f"rm {shlex.quote(str(file.path))} && vadpipe weights get {name}"
        return Check(title, BROKEN if is_default else WARNING, file.reason, fix)
    if not file.sha256:
        what = f"{file.path}: no digest is published, and none is recorded yet"
        return Check(title, NOTE, what, f"vadpipe weights verify {name}")
    return Check(title, OK, f"{file.path}: sha256 {file.sha256[:12]}… as {file.origin}")


def weights_folder() -> Check:
    """Whether downloads can be kept, and how much room there is."""
    title, fix = "weights cache", "export VADPIPE_WEIGHTS=FOLDER   (one that you can write to)"
    try:
        folder = cache_folder()
        problem = _why_not_writable(folder)
    except UsageError as error:
        return Check(title, BROKEN, str(error), fix)
    if problem:
        return Check(title, WARNING, f"{folder}: {problem}", fix)
    return _with_room(title, folder, f"{folder}: can be written", fix)


def store_folder(project: Path) -> Check:
    """Whether features can be kept in the project folder: HDF5 written and read back there; its locks; room."""
    store = project / "features"
    title, fix = "feature store", "vadpipe extract … --out FOLDER   (on a disk that can be written), or cd to one"
    if (store.exists() or store.is_symlink()) and not store.is_dir():
        return Check(title, BROKEN, f"{store}: is no folder, so extract cannot write there", f"{fix}; or rename it")
    folder = store if store.is_dir() else project
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as temporary:
            facts = ask("store", temporary, timeout_s=60)
    except OSError as error:
        return Check(title, BROKEN, f"{folder}: cannot be written ({error.strerror or error})", fix)
    except AskError as error:
        return Check(title, BROKEN, f"{folder}: HDF5 cannot be written there: {error}", fix)
    if not facts["whole"]:
        return Check(title, BROKEN, f"{folder}: HDF5 reads other values than were written", fix)
    if not facts["locks"]:
        what = f"{folder}: HDF5 works; its file locks do not, which vadpipe does without, but other programs may not"
        return Check(title, NOTE, what, "export HDF5_USE_FILE_LOCKING=FALSE   (for those)")
    hours = shutil.disk_usage(folder).free / 1e6 / _MB_AN_HOUR
    found = f"{folder}: HDF5 can be written, its locks work; room for about {hours:,.0f} hours of video"
    return _with_room(title, folder, found, fix)


def _with_room(title: str, folder: Path, found: str, fix: str) -> Check:
    free = shutil.disk_usage(_existing(folder)).free / 1024**3
    told = f"{found}; {free:,.1f} GiB free"
    return Check(title, WARNING if free < _LITTLE_GIB else OK, told, fix if free < _LITTLE_GIB else "")


def _why_not_writable(folder: Path) -> str:
    """Empty where files can be made in ``folder``, or in the nearest folder above it where it is not there yet."""
    place = _existing(folder)
    if not os.access(place, os.W_OK | os.X_OK):
        return f"no permission to write in {place}"
    try:
        with tempfile.TemporaryFile(dir=place):
            return ""
    except OSError as error:
        return f"cannot be written ({error.strerror or error})"


def _existing(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
