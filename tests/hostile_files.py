"""Files that attack whoever reads them. The canary is a pickle that writes a file: :func:`Canary.fires` shows that it
would, read as such files usually are; everything that vadpipe reads must leave it alone.
"""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch


class _Write:
    """Pickled as a call of ``Path.write_bytes``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_bytes, (self.path, b"run")


class Canary:
    """``mark`` appears once the pickle is run."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "canary"
        self.pickled = pickle.dumps(_Write(self.mark), 2)

    @property
    def has_run(self) -> bool:
        return self.mark.exists()

    def fires(self, content: bytes) -> bool:
        """Whether plain pickle runs it; the mark is gone afterwards."""
        try:
            pickle.loads(content)
        except Exception:  # what it makes after it has run is of no interest
            return self._taken()
        return self._taken()

    def fires_in_numpy(self, path: Path) -> bool:
        """Whether numpy with pickles allowed runs it."""
        with np.errstate(all="ignore"):
            try:
                loaded = np.load(path, allow_pickle=True)
                _ = [loaded[name] for name in loaded] if isinstance(loaded, np.lib.npyio.NpzFile) else loaded
            except Exception:  # as above
                return self._taken()
        return self._taken()

    def fires_in_torch(self, path: Path) -> bool:
        """Whether torch.load, told to trust the file, runs it."""
        try:
            torch.load(path, weights_only=False)
        except Exception:  # as above
            return self._taken()
        return self._taken()

    def _taken(self) -> bool:
        found = self.mark.exists()
        self.mark.unlink(missing_ok=True)
        return found

    def npy(self, rows: int = 1) -> bytes:
        """An ``.npy`` of objects."""
        return npy(f"{{'descr': '|O', 'fortran_order': False, 'shape': ({rows},), }}", self.pickled)

    def npz(self) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr("arr_0.npy", self.npy())
        return out.getvalue()

    def torch_zip(self) -> bytes:
        """As torch.save writes since 1.6: a zip with ``data.pkl``."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for name, content in (("data.pkl", self.pickled), ("version", b"3\n"), ("byteorder", b"little")):
                archive.writestr(f"archive/{name}", content)
        return out.getvalue()

    def torch_legacy(self) -> bytes:
        """As torch.save wrote before: pickles of a magic number, a version, facts of the machine, then the content."""
        system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
        head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
        return b"".join(head) + self.pickled + pickle.dumps([], 2)

    def torch_tar(self) -> bytes:
        """As torch.save wrote before 0.1.10: a tar file with pickles in it."""
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                info = tarfile.TarInfo(name)
                info.size = len(self.pickled)
                archive.addfile(info, io.BytesIO(self.pickled))
        return out.getvalue()


def npy(header: str, values: bytes = bytes(64), version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """An ``.npy`` file with this header, whatever it says."""
    told = header.encode("latin-1") + b"\n"
    kind = "<H" if version[0] == 1 else "<I"
    return b"\x93NUMPY" + bytes(version) + struct.pack(kind, len(told) if length is None else length) + told + values


def safetensors(header: bytes, values: bytes = bytes(64), length: int | None = None) -> bytes:
    """A safetensors file with this header, whatever it says."""
    return struct.pack("<Q", len(header) if length is None else length) + header + values
