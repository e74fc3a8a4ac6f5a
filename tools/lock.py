"""Write constraints.txt and locks/: ``make lock``. Runs where locks/supply.txt is installed (uv and packaging).

uv resolves once for every Linux machine and every Python at a time, and takes the digests from the package index
without downloading a file; pip's own `lock` command knows only the Python that it runs on. What uv says is thinned out
here: files of other systems, of other Pythons and sources beside wheels are not in the locks, so pip refuses them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
LOCKS = ROOT / "locks"

SETS: Mapping[str, tuple[str, ...]] = {
    "build": (),  # [build-system] requires
    "core": ("pyproject.toml",),
    "dev": ("pyproject.toml", "--extra=dev"),
    "image": (
        "pyproject.toml",
        *(f"--extra={name}" for name in ("audio", "decord", "ray", "report", "tensorboard", "torchcodec", "video3d")),
    ),
    "supply": ("--group=supply",),
}
"""File in locks/ -> what uv resolves for it."""

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
_TAGS = {f"cp{version.replace('.', '')}" for version in PYTHONS}


def wanted(file_name: str) -> bool:
    """Whether a wheel is for CPython of ``PYTHONS`` on Linux with glibc on one of ``MACHINES``."""
    return any(
        _fits_python(tag.interpreter, tag.abi) and _fits_platform(tag.platform)
        for tag in parse_wheel_filename(file_name)[3]
    )


def _fits_python(interpreter: str, abi: str) -> bool:
    if abi == "abi3":  # of this Python or an older one
        return interpreter.startswith("cp3") and int(interpreter[3:]) <= int(PYTHONS[-1].partition(".")[2])
    return interpreter in {"py3", "py2.py3", *_TAGS, *(tag.replace("cp", "py") for tag in _TAGS)} and abi in {
        "none",
        *_TAGS,
    }


def _fits_platform(platform: str) -> bool:
    return platform == "any" or re.fullmatch(rf"(many)?linux.*_({'|'.join(MACHINES)})", platform) is not None


def always(marker: str) -> bool:
    """Whether a marker holds on all of ``PYTHONS`` and ``MACHINES``, so that the lock need not say it."""
    environments = (
        {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{version}.9",
            "python_version": version,
            "sys_platform": "linux",
        }
        for version, machine in product(PYTHONS, MACHINES)
    )
    return all(Marker(marker).evaluate(environment) for environment in environments)


def entry(package: Mapping[str, Any]) -> str:
    """One package of a pylock table as pip reads it: pin, marker where one is needed, a digest for each file."""
    files = [wheel for wheel in package.get("wheels", ()) if wanted(_file_name(wheel))]
    if not files:
        files = [package["sdist"]] if "sdist" in package else []
    if not files:
        sys.exit(f"lock: {package['name']} {package['version']} has neither a wheel for Linux nor a source")
    marker = package.get("marker", "")
    condition = f" ; {marker}" if marker and not always(marker) else ""
    digests = sorted({file["hashes"]["sha256"] for file in files})
    lines = [f"{package['name']}=={package['version']}{condition}", *(f"    --hash=sha256:{text}" for text in digests)]
    return " \\\n".join(lines) + "\n"


def _file_name(wheel: Mapping[str, Any]) -> str:
    return str(wheel.get("name") or wheel["url"].rpartition("/")[2].partition("#")[0]).replace("%2B", "+")


def supply_constraints(constraints: Path, upgrade: Sequence[str], folder: Path) -> Path:
    """Versions for locks/supply.txt, not all of which are in constraints.txt: those it has, unless upgraded."""
    tools, both = folder / "supply.txt", folder / "supply-constraints.txt"
    before = LOCKS / "supply.txt"
    known = pins(before.read_text(encoding="utf-8")) if before.exists() else ()
    tools.write_text("".join(f"{pin}\n" for pin in known), encoding="utf-8")  # as in main: uv keeps what it finds there
    _uv(*SETS["supply"], *upgrade, f"--constraints={constraints}", f"--output-file={tools}")
    every = {*pins(constraints.read_text(encoding="utf-8")), *pins(tools.read_text(encoding="utf-8"))}
    both.write_text("".join(f"{pin}\n" for pin in sorted(every)), encoding="utf-8")
    return both


def resolve(name: str, arguments: Sequence[str], constraints: Path, folder: Path) -> str:
    """Return the text of one lock."""
    target = folder / f"pylock.{name}.toml"
    if name == "build":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
        (folder / "build.in").write_text("\n".join(project["build-system"]["requires"]), encoding="utf-8")
        arguments = [str(folder / "build.in")]
    _uv(*arguments, f"--constraints={constraints}", "--format=pylock.toml", f"--output-file={target}")
    packages = tomllib.loads(target.read_text(encoding="utf-8"))["packages"]
    head = f"# {_HEADS[name]}\n# Made by `make lock`; docs/supply-chain.md says how to check it.\n"
    return head + "".join(entry(package) for package in sorted(packages, key=lambda package: str(package["name"])))


_HEADS = {
    "build": "What builds the package and the sources among the locked packages. Installed before everything else.",
    "core": "The core: what `make demo` installs.",
    "dev": "The core and the extra `dev`: what `make test` installs.",
    "image": "The core and the extras of the Docker image.",
    "supply": "What `make lock` and `make audit` run, each in an environment of its own.",
}


def pins(text: str) -> Iterator[str]:
    """Bare ``name==version`` of a resolved requirements file, sorted."""
    yield from sorted({line.partition(" ")[0] for line in text.splitlines() if re.match(r"[a-z0-9]", line)})


def _uv(*arguments: str) -> None:
    command = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--universal", "--no-header"]
    settled = ["--no-annotate", f"--python-version={PYTHONS[0]}", "--fork-strategy=fewest"]
    done = subprocess.run([*command, *settled, *arguments], cwd=ROOT, env=_environment(), check=False)
    if done.returncode:
        sys.exit(f"lock: uv found no solution (exit code {done.returncode}); constraints.txt and locks/ are as before")


def _environment() -> dict[str, str]:
    """The environment with pip's index handed to uv, which reads none of pip's settings."""
    found = dict(os.environ)
    index = found.get("PIP_INDEX_URL") or _pip_setting("global.index-url")
    if index:
        found.setdefault("UV_DEFAULT_INDEX", index)
    return found


def _pip_setting(name: str) -> str:
    command = [sys.executable, "-m", "pip", "config", "get", name]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    """Resolve everything, and only then replace the files."""
    parser = argparse.ArgumentParser(description="Write constraints.txt and locks/*.txt.")
    parser.add_argument("--upgrade", nargs="*", metavar="NAME", help="take newer versions: of these, or of all")
    names = parser.parse_args().upgrade
    upgrade = [] if names is None else [f"--upgrade-package={name}" for name in names] or ["--upgrade"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        every = folder / "constraints.txt"
        every.write_bytes(CONSTRAINTS.read_bytes())  # uv keeps the versions that it finds in its output file
        _uv("pyproject.toml", "--all-extras", *upgrade, f"--output-file={every}")
        head = [line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
        every.write_text("\n".join([*head, *pins(every.read_text(encoding="utf-8"))]) + "\n", encoding="utf-8")
        chosen = {"supply": supply_constraints(every, upgrade, folder)}
        texts = {name: resolve(name, given, chosen.get(name, every), folder) for name, given in SETS.items()}
        CONSTRAINTS.write_bytes(every.read_bytes())
    LOCKS.mkdir(exist_ok=True)
    for name, text in texts.items():
        (LOCKS / f"{name}.txt").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
