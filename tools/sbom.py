"""Print what is installed as a CycloneDX 1.6 document (JSON). The Docker image is built with it; docs/supply-chain.md.

Standard library only, so that nothing is added to the image to describe it. Python packages come from the environment
that runs this, Debian packages from dpkg where there is one. Wheels that carry libraries of their own (PyAV and its
FFmpeg, torch) are one component each: their metadata does not say what is inside.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def canonical(name: str) -> str:
    """Package name in the form in which two spellings of it are equal."""
    return re.sub(r"[-_.]+", "-", name).lower()


def python_packages() -> dict[str, metadata.Distribution]:
    """Canonical name -> distribution of this environment, the first on the path where there are two."""
    found: dict[str, metadata.Distribution] = {}
    for one in metadata.distributions():
        if "Name" in one.metadata:  # a broken folder has none
            found.setdefault(canonical(one.metadata["Name"]), one)
    return dict(sorted(found.items()))


def python_component(name: str, one: metadata.Distribution) -> Component:
    """One Python package; ``licenses`` only where its metadata states one."""
    reference = f"pkg:pypi/{name}@{quote(one.version)}"
    component = {"type": "library", "bom-ref": reference, "name": name, "version": one.version, "purl": reference}
    if "License-Expression" in one.metadata:
        return {**component, "licenses": [{"expression": one.metadata["License-Expression"]}]}
    stated = [line.rpartition(" :: ")[2] for line in one.metadata.get_all("Classifier", []) if line[:7] == "License"]
    if not stated and "License" in one.metadata:
        stated = [line.strip() for line in one.metadata["License"].strip().splitlines()[:1]]
    return {**component, "licenses": [{"license": {"name": text}} for text in stated]} if stated else component


def requirements(name: str, packages: dict[str, metadata.Distribution], *, extras: bool) -> list[str]:
    """Names that a package requires and that are there. What only an extra asks for counts with ``extras``."""
    texts = [text for text in packages[name].requires or () if extras or not re.search(r";.*\bextra\b", text)]
    names = {canonical(match[0]) for text in texts if (match := re.match(r"[A-Za-z0-9._-]+", text))}
    return sorted(names & packages.keys() - {name})


def debian_components(listing: str, system: dict[str, str]) -> Iterator[Component]:
    """One component for each installed package; lines are ``name<tab>version<tab>architecture<tab>state``."""
    for line in sorted(set(filter(None, listing.splitlines()))):
        name, version, architecture, state = line.split("\t")
        if state != "installed":  # removed, but its settings were kept
            continue
        codename = f"&distro={system['VERSION_CODENAME']}" if "VERSION_CODENAME" in system else ""
        path = f"{system.get('ID', 'debian')}/{name}@{quote(version, safe='')}"
        reference = f"pkg:deb/{path}?arch={architecture}{codename}"
        yield {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}


def dpkg_listing() -> str:
    """Every installed package as dpkg knows it; nothing on a system without dpkg."""
    command = [
        "dpkg-query",
        "--show",
        "--showformat=${Package}\\t${Version}\\t${Architecture}\\t${db:Status-Status}\\n",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        return ""


def document(subject: str, debian: Sequence[Component]) -> dict[str, Any]:
    """The whole document. ``subject`` is the package that it is about; it has to be installed."""
    packages = python_packages()
    components = {name: python_component(name, one) for name, one in packages.items()}
    about = {**components.pop(subject), "type": "application"}
    references = {name: component["bom-ref"] for name, component in components.items()}
    listed = [*components.values(), *debian]
    graph = [
        {
            "ref": references.get(name, about["bom-ref"]),
            "dependsOn": [references[other] for other in requirements(name, packages, extras=name == subject)],
        }
        for name in packages
    ]
    content = json.dumps([about, listed], sort_keys=True)
    made = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made)),
            "lifecycles": [{"phase": "build"}],
            "component": about,
            "properties": [
                {"name": "python", "value": platform.python_version()},
                {"name": "machine", "value": platform.machine()},
            ],
        },
        "components": listed,
        "dependencies": graph,
    }


def main() -> None:
    """Write the document to a file or to standard output."""
    parser = argparse.ArgumentParser(description="Print what is installed as a CycloneDX document.")
    parser.add_argument("--out", type=Path, help="file to write, instead of standard output")
    out = parser.parse_args().out
    debian: list[Component] = []
    if listing := dpkg_listing():
        debian = list(debian_components(listing, platform.freedesktop_os_release()))
    if "vadpipe" not in python_packages():
        sys.exit(f"sbom: vadpipe is not installed for {sys.executable}; run it with the Python that vadpipe runs on")
    text = json.dumps(document("vadpipe", debian), indent=1) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
