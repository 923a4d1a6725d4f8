"""`inktex quantize`."""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("bundle", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The bundle to write, a folder.")
@click.option(
    "--calibration", required=True, type=_PATH, help="An ink set; training ink, never a test set."
)
@click.option("--samples", default=256, show_default=True, help="Formulas to calibrate with.")
@click.option("--seed", default=1, show_default=True, help="Of the choice of formulas.")
@click.option("--only", is_flag=True, help="Leave the float32 graphs out of the result.")
def quantize(
    bundle: Path, output: Path, calibration: Path, samples: int, seed: int, only: bool
) -> None:
    """Add an INT8 variant to a bundle, calibrated on real ink.

    The encoder is quantised statically (unsigned activations, signed weights, per channel), the
    step's weights dynamically. The result is a new bundle; the first stays as it is.

    \b
    Examples:
      inktex quantize my-bundle -o my-int8 --calibration train.inkset
      inktex quantize my-bundle -o my-small --calibration train.inkset --only
    """
    from ..core.bundle import Bundle
    from ..training.inkset import load_inkset
    from .onnx_int8 import add_int8

    result = add_int8(
        Bundle.open(bundle), output, load_inkset(calibration), samples, seed, keep_fp32=not only
    )
    for name, record in result.manifest.files.items():
        click.echo(f"{record.size:>12,}  {output / name}")
