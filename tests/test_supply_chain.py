"""Locks with digests, the audit that never passes in silence, licences, the bill of materials, the base image."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.scripts import ROOT, load_script
from vadpipe.extractors.weights_table import KNOWN

LOCKS = sorted((ROOT / "locks").glob("*.txt"))
LOCKED_LINE = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [^\\#@]+)? \\")
DIGEST_LINE = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
DIGEST = "sha256:" + "0123456789abcdef" * 4

lock = load_script("tools/lock.py")
audit = load_script("tools/audit.py")
sbom = load_script("tools/sbom.py")
licences = load_script("docs/make_licences.py")


def pins(path: Path) -> dict[str, str]:
    """Package name -> version of a lock or of constraints.txt."""
    found = re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.M)
    assert len(found) == len(dict(found))
    return dict(found)


def make(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL"}}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


# Locks


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_every_locked_package_has_an_exact_version_and_digests(path: Path) -> None:
    before = ""
    for line in path.read_text().splitlines():
        if line.startswith(" "):
            assert DIGEST_LINE.fullmatch(line), line
            assert before.endswith("\\")
        elif not line.startswith("#"):
            assert LOCKED_LINE.fullmatch(line), line
            assert not before.endswith("\\")
        before = line
    assert not before.endswith("\\")


def test_locks_are_the_ones_that_are_made() -> None:
    assert {path.stem for path in LOCKS} == set(lock.SETS)


@pytest.mark.parametrize("name", ["build", "core", "dev", "image"])
def test_locks_and_constraints_name_the_same_versions(name: str) -> None:
    constraints = pins(ROOT / "constraints.txt")
    assert pins(ROOT / "locks" / f"{name}.txt").items() <= constraints.items()


def test_every_constraint_has_digests_in_a_lock() -> None:
    together = pins(ROOT / "locks" / "dev.txt") | pins(ROOT / "locks" / "image.txt")
    assert together == pins(ROOT / "constraints.txt")


def required(name: str) -> set[str]:
    """Packages that pyproject.toml names for a lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = [text.removeprefix("--extra=") for text in lock.SETS[name] if text.startswith("--extra=")]
    texts = list(project["project"]["dependencies"])
    while extras:
        for text in project["project"]["optional-dependencies"][extras.pop()]:
            requirement = Requirement(text)
            if requirement.name == "vadpipe":
                extras += requirement.extras
            else:
                texts.append(text)
    return {canonicalize_name(Requirement(text).name) for text in texts}


@pytest.mark.parametrize("name", ["core", "dev", "image"])
def test_a_lock_has_what_pyproject_asks_for(name: str) -> None:
    assert required(name) <= pins(ROOT / "locks" / f"{name}.txt").keys(), "run make lock"


@pytest.mark.parametrize(
    ("file_name", "fits"),
    [
        ("six-1.17.0-py2.py3-none-any.whl", True),
        ("numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl", True),
        ("numpy-2.4.6-cp313-cp313-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl", True),
        ("safetensors-0.8.0-cp38-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl", True),
        ("decord-0.6.0-py3-none-manylinux2010_x86_64.whl", True),
        ("regex-1-cp315-abi3-manylinux_2_28_x86_64.whl", False),  # needs a newer Python than the lock is for
        ("numpy-2.4.6-cp310-cp310-manylinux_2_27_x86_64.whl", False),
        ("numpy-2.4.6-cp313-cp313t-manylinux_2_27_x86_64.whl", False),
        ("numpy-2.4.6-cp311-cp311-musllinux_1_2_x86_64.whl", False),
        ("numpy-2.4.6-cp311-cp311-macosx_14_0_arm64.whl", False),
        ("numpy-2.4.6-cp311-cp311-win_amd64.whl", False),
        ("numpy-2.4.6-pp311-pypy311_pp73-manylinux_2_27_x86_64.whl", False),
    ],
)
def test_wheels_of_other_systems_and_pythons_stay_out_of_the_locks(file_name: str, fits: bool) -> None:
    assert lock.wanted(file_name) is fits


def wheel(name: str, digest: str) -> dict[str, object]:
    return {"url": f"https://example.org/{name}", "hashes": {"sha256": digest}}


def test_a_source_is_locked_only_where_there_is_no_wheel() -> None:
    sdist = wheel("a-1.tar.gz", "ff")
    both = {"name": "a", "version": "1", "sdist": sdist, "wheels": [wheel("a-1-py3-none-any.whl", "00")]}
    assert lock.entry(both) == "a==1 \\\n    --hash=sha256:00\n"
    alone = {"name": "a", "version": "1", "sdist": sdist, "marker": "sys_platform == 'linux'"}
    assert lock.entry(alone) == "a==1 \\\n    --hash=sha256:ff\n"
    with pytest.raises(SystemExit, match="a 1 has neither"):
        lock.entry({"name": "a", "version": "1", "wheels": [wheel("a-1-cp311-cp311-win_amd64.whl", "00")]})


def test_a_marker_stays_where_it_decides_something() -> None:
    newer = {"name": "a", "version": "1", "marker": "python_full_version >= '3.13'"}
    assert lock.entry({**newer, "wheels": [wheel("a-1-py3-none-any.whl", "00")]}).startswith(
        "a==1 ; python_full_version >= '3.13' \\\n"
    )


def test_installations_ask_for_digests_and_local_ones_for_no_index() -> None:
    planned = (
        make("--dry-run", "--always-make", "test", "demo", "wheel-check").stdout + (ROOT / "Dockerfile").read_text()
    )
    installs = re.findall(r"(?:pip|--no-input) (?:install|wheel)\b[^;&\n]*", planned)
    assert len(installs) >= 11
    for line in installs:
        assert "--require-hashes" in line or ("--no-index" in line and "--no-deps" in line), line


def test_pip_refuses_a_file_whose_digest_is_not_the_locked_one(tmp_path: Path) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    shutil.make_archive(str(folder / "nothing-1.0"), "gztar", tmp_path, ".")
    (tmp_path / "lock.txt").write_text(f"nothing==1.0 \\\n    --hash={DIGEST}\n")
    settled = ["--no-index", "--no-deps", f"--find-links={folder}", "--disable-pip-version-check", "--no-cache-dir"]
    command = [sys.executable, "-m", "pip", "download", "--require-hashes", f"--dest={tmp_path}", *settled]
    done = subprocess.run([*command, "-r", tmp_path / "lock.txt"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr


STAND_IN_UV = """#!{python}
import pathlib, re, sys
given = {{}}
for text in sys.argv[1:]:
    given.setdefault(text.partition("=")[0], []).append(text.partition("=")[2])
def pins(path):
    return dict(re.findall(r"^([a-z0-9-]+)==(\\S+)", pathlib.Path(path).read_text(), re.M)) if path.exists() else {{}}
out = pathlib.Path(given["--output-file"][0])
wanted = ["tool", "both", "new"] if "--group" in given else ["a", "both"]
upgraded = wanted if "--upgrade" in given else given.get("--upgrade-package", [])
found = {{name: "9" for name in wanted}}
if out.suffix == ".txt":  # a pylock table that is there already is another matter
    found |= {{name: version for name, version in pins(out).items() if name in wanted and name not in upgraded}}
for path in given.get("--constraints", []):
    found |= {{name: version for name, version in pins(pathlib.Path(path)).items() if name in wanted}}
if out.suffix == ".txt":
    out.write_text("".join(f"{{name}}=={{version}}\\n" for name, version in found.items()))
else:
    out.write_text("".join(
        f'[[packages]]\\nname="{{name}}"\\nversion="{{version}}"\\n'
        f'wheels=[{{{{name="{{name}}-{{version}}-py3-none-any.whl", hashes={{{{sha256="00"}}}}}}}}]\\n'
        for name, version in found.items()))
"""


@pytest.mark.parametrize(
    ("given", "a", "both", "tool"),
    [([], "1", "1", "1"), (["--upgrade", "tool"], "1", "1", "9"), (["--upgrade"], "9", "9", "9")],
    ids=["none", "one", "all"],
)
def test_make_lock_keeps_versions_unless_they_are_to_be_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], a: str, both: str, tool: str
) -> None:
    (tmp_path / "uv").write_text(STAND_IN_UV.format(python=sys.executable))
    (tmp_path / "uv").chmod(0o755)
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "supply.txt").write_text(
        "both==1 \\\n    --hash=sha256:00\ntool==1 \\\n    --hash=sha256:00\n"
    )
    (tmp_path / "constraints.txt").write_text("# head\na==1\nboth==1\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("ROOT", "CONSTRAINTS", "LOCKS"):
        monkeypatch.setattr(
            lock, name, tmp_path / {"ROOT": "", "CONSTRAINTS": "constraints.txt", "LOCKS": "locks"}[name]
        )
    monkeypatch.setattr(lock, "_environment", dict)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(sys, "argv", ["lock.py", *given])
    lock.main()
    assert pins(tmp_path / "constraints.txt") == {"a": a, "both": both}
    assert pins(tmp_path / "locks" / "core.txt") == {"a": a, "both": both}
    assert pins(tmp_path / "locks" / "supply.txt") == {"both": both, "tool": tool, "new": "9"}


# Audit

STAND_IN = """#!{python}
import json, pathlib, sys
given = dict(text.split("=", 1) for text in sys.argv[1:] if "=" in text)
pins = [line.split("==") for line in pathlib.Path(given["--requirement"]).read_text().split()]
answers = {answers!r}
if answers is None:
    sys.exit("ConnectionError: no route to the database")
found = []
for name, version in pins:
    known = answers.get(f"{{name}}=={{version}}", answers.get(name, answers["*"]))
    found.append({{"name": name, "skip_reason": known}} if isinstance(known, str) else
                 {{"name": name, "version": version, "vulns": known}})
pathlib.Path(given["--output"]).write_text(json.dumps({{"dependencies": found, "fixes": []}}))
sys.exit(any(one.get("vulns") for one in found))
"""
BAD = [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["9.9"], "description": ""}]


def run_audit(tmp_path: Path, answers: dict[str, object] | None) -> subprocess.CompletedProcess[str]:
    """``make audit`` with a stand-in for pip-audit that knows ``answers`` (package -> advisories or a refusal)."""
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "python").symlink_to(Path(sys.executable).resolve())
    program = scripts / "pip-audit"
    program.write_text(STAND_IN.format(python=sys.executable, answers=answers))
    program.chmod(0o755)
    return make("audit", f"SUPPLY={tmp_path}")


def test_audit_passes_where_the_database_knows_what_is_known(tmp_path: Path) -> None:
    done = run_audit(tmp_path, {"*": [], audit.KNOWN_BAD: BAD})
    assert done.returncode == 0, done.stderr
    assert re.search(r"no known vulnerability in \d{3} locked packages", done.stdout)


def test_audit_lists_vulnerabilities_with_their_fix(tmp_path: Path) -> None:
    done = run_audit(tmp_path, {"*": [], audit.KNOWN_BAD: BAD, "torch": BAD})
    assert done.returncode != 0
    assert "torch 2.11.0: PYSEC-1, CVE-1; fixed in 9.9" in done.stdout
    assert "have known vulnerabilities" in done.stderr


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        (None, "ConnectionError: no route to the database"),
        ({"*": [], "pillow": "not found there"}, "not found there"),
        ({"*": [], audit.KNOWN_BAD: BAD, "torch": "not found there"}, "No answer for 1 of"),
        ({"*": []}, "knows no vulnerability of pillow==9.0.0"),
    ],
    ids=["unreachable", "mirror without advisories", "one package unknown", "empty database"],
)
def test_audit_that_could_not_ask_fails_and_says_so(
    tmp_path: Path, answers: dict[str, object] | None, reason: str
) -> None:
    done = run_audit(tmp_path, answers)
    assert done.returncode != 0
    assert "NOT AUDITED" in done.stderr
    assert reason in done.stderr
    assert "make audit AUDIT=" in done.stderr
    assert "no known vulnerability in" not in done.stdout


def test_audit_asks_about_everything_that_is_locked() -> None:
    asked = set(audit.locked())
    for path in [ROOT / "constraints.txt", *LOCKS]:
        assert {f"{name}=={version}" for name, version in pins(path).items()} <= asked


# Licences


def test_the_page_on_licences_has_every_locked_package_in_its_version() -> None:
    rows = re.findall(
        r"^\| ([a-z0-9-]+) \| (\d\S*) \| (.*?) \| (.*?) \|$", (ROOT / "docs" / "licences.md").read_text(), re.M
    )
    assert {row[0]: row[1] for row in rows} == pins(ROOT / "constraints.txt"), "run make licences"
    for name, _, stated, where in rows:
        assert stated.strip(" *"), name
        assert where == ", ".join(one for one in licences.SHIPPED if name in pins(ROOT / "locks" / f"{one}.txt"))


def test_the_page_on_licences_has_every_known_weight() -> None:
    rows = re.findall(r"^\| `(\S+)` \| (.*?) \| (.*?) \|$", (ROOT / "docs" / "licences.md").read_text(), re.M)
    assert rows == [(name, known.model, known.licence) for name, known in KNOWN.items()], "run make licences"
    assert all(known.licence for known in KNOWN.values())


@pytest.mark.parametrize(
    ("fields", "stated"),
    [
        ([("License-Expression", "MIT"), ("License", "old text")], "MIT"),
        ([("Classifier", "License :: OSI Approved :: MIT License"), ("License", "LICENSE.txt")], "MIT License"),
        ([("Classifier", "License :: OSI Approved"), ("License", "Apache 2.0")], "Apache 2.0"),
        ([("Classifier", "License :: OSI Approved :: BSD License"), ("License", "BSD-3-Clause")], "BSD-3-Clause"),
        ([("Classifier", "License :: OSI Approved :: BSD License"), ("License", "Copyright (c) 1")], "BSD License"),
        ([("License", "UNKNOWN")], "BSD-3-Clause *"),  # by hand, from the licence file of torchcodec
    ],
)
def test_licence_prefers_what_says_most(fields: list[tuple[str, str]], stated: str) -> None:
    message = Message()
    for name, value in fields:
        message[name] = value
    assert licences.licence("torchcodec", message) == stated


def test_a_package_without_a_licence_is_not_passed_over() -> None:
    with pytest.raises(SystemExit, match="unheard-of states none"):
        licences.licence("unheard-of", Message())


# Bill of materials


def test_bill_of_materials_has_every_installed_package_and_no_dangling_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where another test has imported Ray, it has added a folder of packages of its own to this process.
    monkeypatch.setattr(sys, "path", [place for place in sys.path if "ray" not in Path(place).parts])
    out = tmp_path / "sbom.json"
    command = [sys.executable, str(ROOT / "tools" / "sbom.py"), "--out", str(out)]
    done = subprocess.run(command, env={**os.environ, "SOURCE_DATE_EPOCH": "0"}, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["timestamp"] == "1970-01-01T00:00:00Z"
    about = document["metadata"]["component"]
    assert about["purl"].startswith("pkg:pypi/vadpipe@")
    assert about["licenses"] == [{"expression": "Apache-2.0"}]
    listed = {one["name"]: one for one in document["components"] if one["purl"].startswith("pkg:pypi/")}
    assert set(listed) == set(sbom.python_packages()) - {"vadpipe"}
    assert listed["torch"]["purl"] == "pkg:pypi/torch@2.11.0"
    references = [about["bom-ref"], *(one["bom-ref"] for one in document["components"])]
    assert len(set(references)) == len(references)
    graph = {one["ref"]: set(one["dependsOn"]) for one in document["dependencies"]}
    assert set(graph) | set().union(*graph.values()) <= set(references)
    assert listed["torch"]["bom-ref"] in graph[about["bom-ref"]]
    assert listed["numpy"]["bom-ref"] in graph[listed["h5py"]["bom-ref"]]


def test_bill_of_materials_lists_debian_packages_that_are_installed() -> None:
    listing = "ffmpeg\t7:6.1.1-3ubuntu5\tamd64\tinstalled\nold\t1\tall\tconfig-files\n"
    system = {"ID": "ubuntu", "VERSION_CODENAME": "noble"}
    purl = "pkg:deb/ubuntu/ffmpeg@7%3A6.1.1-3ubuntu5?arch=amd64&distro=noble"
    assert list(sbom.debian_components(listing, system)) == [
        {"type": "library", "bom-ref": purl, "name": "ffmpeg", "version": "7:6.1.1-3ubuntu5", "purl": purl}
    ]


def test_the_image_says_where_its_bill_of_materials_is() -> None:
    text = (ROOT / "Dockerfile").read_text()
    written = re.findall(r"--out (\S+)", text)
    assert re.findall(r'vadpipe\.sbom="(.*)"', text) == written
    assert text.rindex("pip install") < text.index("sbom.py --out")  # nothing is installed after it was written
    ignored = (ROOT / ".dockerignore").read_text().split()
    for source in re.findall(r"^COPY ((?!--from)[^\n]+) \S+$", text, re.M):
        for name in source.split():
            assert {f"!{name}", f"!{Path(name).parts[0]}"} & set(ignored), name


# Base image


def base_image(tmp_path: Path, answer: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """``make pin-base`` in a copy, with a stand-in for Docker that answers with ``answer``; and the Dockerfile then."""
    for name in ("Makefile", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\necho '{answer}'\n")
    docker.chmod(0o755)
    done = make("pin-base", f"DOCKER={docker}", cwd=tmp_path)
    return done, (tmp_path / "Dockerfile").read_text()


def test_pin_base_writes_the_digest_behind_the_tag_and_replaces_an_older_one(tmp_path: Path) -> None:
    done, text = base_image(tmp_path, DIGEST)
    assert done.returncode == 0, done.stderr
    (line,) = re.findall(r"^FROM \S+:.*$", text, re.M)
    assert re.fullmatch(rf"FROM nvidia/cuda:\S+-base-ubuntu24\.04@{DIGEST} AS python", line)
    newer = DIGEST.replace("0", "1")
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho {newer}\n")
    assert make("pin-base", f"DOCKER={tmp_path / 'docker'}", cwd=tmp_path).returncode == 0
    assert (tmp_path / "Dockerfile").read_text() == text.replace(DIGEST, newer)


@pytest.mark.parametrize("answer", ["", "sha256:0123", "no such image"])
def test_pin_base_invents_no_digest(tmp_path: Path, answer: str) -> None:
    done, text = base_image(tmp_path, answer)
    assert done.returncode != 0
    assert "gave no digest of nvidia/cuda:" in done.stderr
    assert text == (ROOT / "Dockerfile").read_text()


def test_the_page_says_whether_the_base_image_is_pinned() -> None:
    pinned = "@sha256:" in (ROOT / "Dockerfile").read_text()
    says_not = "The base image is not pinned by digest yet" in (ROOT / "docs" / "supply-chain.md").read_text()
    assert pinned is not says_not
