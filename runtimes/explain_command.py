"""`inktex explain`: where the recognizer looked as it wrote each token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options

if TYPE_CHECKING:
    from ..core.attention import Explanation

_EPILOG = """\b
Examples:
  inktex explain examples/09-quadratic-formula.png -o attention.png
  inktex explain x.inkml --bundle runs/abm-bundle -o attention.png
  inktex explain x.inkml --json    for programs: the centre of attention of every token
"""


@click.command(epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("-o", "--output", metavar="PNG", type=click.Path(path_type=Path), help="The picture.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of the LaTeX.")
@click.option(
    "--layer",
    type=click.IntRange(min=1),
    metavar="N",
    help="Of the decoder, 1 is the first. [default: the last]",
)
@options.beam
@options.bundle("The recognizer to look into.")
@options.runtime
@options.precision
@options.grammar
def explain(
    path: Path,
    output: Path | None,
    as_json: bool,
    layer: int | None,
    beam: int | None,
    bundle: str | None,
    runtime: str,
    precision: str,
    grammar: bool,
) -> None:
    """Draw where the recognizer looked as it wrote each token of FILE, over the ink.

    The picture has a panel for every token, in the order in which they were written. With --json
    the centres of attention are in pixels of the image as the recognizer saw it, x to the right
    and y down.
    """
    from . import load

    if output is None and not as_json:
        raise click.UsageError("expected -o PICTURE.png, --json, or both, found neither")
    if output is not None:
        _check_output(output)
    recognizer = load(bundle, runtime, precision)
    found = recognizer.explain(path, beam=beam, constrain=grammar, name=str(path))
    found.maps(layer)  # raises where there is no such layer, before anything is written
    if output is not None:
        _draw(found, layer, output)
    if as_json:
        click.echo(json.dumps({"path": str(path), **_facts(found, layer)}))
    else:
        click.echo(found.latex)


def _check_output(output: Path) -> None:
    from ..core.errors import InputError

    if output.suffix.lower() != ".png" or output.is_dir():
        raise InputError(f"--output: expected the name of a .png file, found {output}")
    if not output.parent.is_dir():
        raise InputError(f"--output: expected a folder at {output.parent}, found none; make it")


def _draw(found: Explanation, layer: int | None, output: Path) -> None:
    """Write the picture; an existing file is replaced only when all is written."""
    from ..core.attention import draw_attention
    from ..core.replacement import replacing

    with replacing(output) as partial:
        draw_attention(found, layer).save(partial, format="png", optimize=True)


def _facts(found: Explanation, layer: int | None) -> dict[str, Any]:
    height, width = found.image.shape
    layers = len(found.attention)
    return {
        "latex": found.latex,
        "image": {"width": width, "height": height},
        "layers": layers,
        "layer": layers if layer is None else layer,
        "tokens": [
            {"token": token, "x": round(x, 1), "y": round(y, 1)}
            for token, (x, y) in zip(found.tokens, found.centres(layer).tolist(), strict=True)
        ],
    }
