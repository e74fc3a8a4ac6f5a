"""How the conformance tests run on decoders that depend on the machine, or that are slow to start."""

from __future__ import annotations

import pytest

from tests.extractors.in_process import InProcess
from vadpipe.errors import UsageError
from vadpipe.extractors import media


@pytest.fixture(autouse=True)
def suit_the_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at a test's parameter ``decoder``: skip, visibly, where this machine lacks it; torchcodec runs in here.

    Importing torch takes a child seconds. That torchcodec works in a real one is a test of its own module.
    """
    callspec = getattr(request.node, "callspec", None)
    name = callspec.params.get("decoder") if callspec is not None else None
    if name is None:
        return
    try:
        media.decoder_version(name)
    except UsageError as error:
        pytest.skip(str(error))
    if name == "torchcodec":
        monkeypatch.setattr(media, "DecodeProcess", InProcess)
