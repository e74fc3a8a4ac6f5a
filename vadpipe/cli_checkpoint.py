"""``vadpipe import checkpoint``: heads that others released."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vadpipe.cli_options import PATH, decoder_option, json_option, quiet_option
from vadpipe.cli_output import print_json, print_table, say


@click.command(name="checkpoint", short_help="Import a released head as a run folder.")
@click.argument("file", type=PATH)
@click.option(
    "--as", "kind", default="auto", show_default=True, help="vadclip_ucf, vadclip_xd, avadclip_xd_teacher or …_student."
)
@click.option("--out", type=PATH, help="Run folder.  [default: runs/<kind>]")
@click.option("--features", type=PATH, help="Store with the features that the head is to score.")
@click.option("--stream", default="clip", show_default=True, help="Its stream; without --features, our own CLIP.")
@click.option("--audio-stream", default="wav2clip", show_default=True, help="Its audio stream, for the teacher.")
@click.option("--dtype", default="float32", show_default=True, help="Of our own CLIP: float32 or bfloat16.")
@click.option("--no-text-tower", is_flag=True, help="Do not keep CLIP's text tower (250 MB): scores, no training.")
@decoder_option
@json_option
@quiet_option
def import_checkpoint(file: Path, no_text_tower: bool, as_json: bool, quiet: bool, **settings: Any) -> None:
    """Import FILE, a .pth or .safetensors that VadCLIP's or AVadCLIP's authors released, as a run folder.

    Which one it is shows in its parameters' names and is printed. Names, shapes and values are checked; nothing in the
    file is run.

    \b
    Examples:
      vadpipe import checkpoint model_xd.pth
      vadpipe import checkpoint model_xd_t.pth --features features --stream released-xd_violence --audio-stream sound-xd
    """  # noqa: D301  # \b is click's mark for a paragraph that keeps its lines
    from vadpipe.pipeline.importing.checkpoint import CheckpointRequest
    from vadpipe.pipeline.importing.checkpoint import import_checkpoint as run

    request = CheckpointRequest(file, keep_tower=not no_text_tower, **settings)
    result = run(request, None if quiet else say)
    for note in result.notes:
        say(f"note: {note}")
    trained = result.trained
    streams = [spec.folder for spec in (trained.spec, trained.audio_spec) if spec is not None]
    if as_json:
        told = {"run": str(result.folder), "kind": result.kind.name, "reason": result.reason, "features": streams}
        print_json({**told, "classes": list(trained.classes), "sha256": trained.sha256, "notes": list(result.notes)})
        return
    rows = [["kind", f"{result.kind.name} ({result.reason})"], ["head", trained.config.head]]
    rows += [["classes", ", ".join(trained.classes)], ["features", " and ".join(streams)]]
    rows.append(["selection", trained.selection])
    print_table(f"imported to {result.folder}", ["", ""], rows)
