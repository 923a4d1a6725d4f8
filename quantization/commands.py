"""`inktex quantize`."""

from __future__ import annotations

from pathlib import Path

import click

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)


@click.command()
@click.argument("bundle", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The bundle to write, a folder.")
@click.option(
    "--calibration",
    required=True,
    type=_PATH,
    help="An ink set, or a zip or folder of ink or images; training data, never a test set.",
)
@click.option(
    "--to",
    "precisions",
    default="int8",
    show_default=True,
    metavar="LIST",
    help="int8; int8-arm, dynamic8, int8-nncf; weights8, weights4, palette6, palette4 (the weights "
    "alone); fp16.",
)
@click.option(
    "--targets",
    default="onnx",
    show_default=True,
    metavar="LIST",
    help="The preferred one first: onnx, ort, openvino, tensorrt, executorch, coreml, coreml18.",
)
@click.option(
    "--max-drop",
    type=float,
    metavar="POINTS",
    help="Keep layers in float32 until ExpRate on validation falls by no more.",
)
@click.option(
    "--validation",
    type=_PATH,
    help="An ink set with captions.  [default: held out of --calibration as in training]",
)
@click.option(
    "--samples", default=256, show_default=True, help="Formulas to calibrate with, 16 at least."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=1, show_default=True,
    help="Of the choice of formulas.",
)  # fmt: skip
@click.option(
    "--method",
    type=click.Choice(["mse", "minmax", "percentile", "entropy"]),
    default="mse",
    show_default=True,
    help="How the ranges of activations are found.",
)
@click.option(
    "--forced",
    type=_COUNT,
    default=64,
    show_default=True,
    help="Formulas that tell, token by token, how much a layer hurts.",
)
@click.option("--beam", type=_COUNT, default=1, show_default=True, help="Of the search measured.")
@click.option("--checkpoint", type=_PATH, help="What the bundle is of, for executorch and coreml.")
@click.option("--only", is_flag=True, help="Leave what is in the bundle out of the result.")
def quantize(
    bundle: Path,
    output: Path,
    calibration: Path,
    precisions: str,
    targets: str,
    max_drop: float | None,
    validation: Path | None,
    samples: int,
    seed: int,
    method: str,
    forced: int,
    beam: int,
    checkpoint: Path | None,
    only: bool,
) -> None:
    """Add quantised variants to a bundle, calibrated on real ink; the first stays as it is.

    With --max-drop accuracy is measured on formulas: every layer is tried in 8 bits alone, and
    those that hurt most stay in float32, as few as it takes. Which, and why, is in the result's
    manifest. What was measured is kept in OUTPUT.quantizing until the bundle is written: the same
    command goes on after an interruption. Where --max-drop cannot be held, nothing is written.

    \b
    Examples:
      inktex quantize my-bundle -o my-int8 --calibration train.inkset
      inktex quantize my-bundle -o my-int8 --calibration train.inkset --max-drop 0.5
      inktex quantize my-bundle -o my-small --calibration train.inkset --only
      inktex quantize my-bundle -o all --calibration train.inkset --targets onnx,openvino
      inktex quantize my-bundle -o tiny --calibration train.inkset --to weights4 --only
    """
    from ..core.bundle import Bundle
    from ..runtimes import bundle_folder
    from ..training.checkpoint import Checkpoint
    from ..training.inkset import load_inkset
    from ..training.processes import say
    from .calibration_data import load_calibration, split_for
    from .quantized_bundle import Settings, quantize_bundle
    from .quantizers import forms_of

    settings = Settings(
        forms_of(targets, precisions), samples, seed, method, max_drop, forced, beam
    )
    if validation is not None and max_drop is None:
        raise click.UsageError("--validation: expected --max-drop with it, found none")
    opened = Bundle.open(bundle_folder(bundle))
    if only and output.resolve() == opened.path.resolve():
        raise click.UsageError(
            "--only: expected another place than that of BUNDLE, whose float32 graphs would be "
            f"lost, found {output}"
        )
    calibrating = load_calibration(calibration)
    validating = load_inkset(validation) if validation else []
    if max_drop is not None and validation is None:
        calibrating, validating = split_for(opened, calibrating)
    result = quantize_bundle(
        opened,
        output,
        calibrating,
        settings,
        validating,
        checkpoint=Checkpoint.load(checkpoint) if checkpoint else None,
        keep_fp32=not only,
        state=output.parent / f"{output.name or output.absolute().name}.quantizing",
        say=say,
    )
    for name, record in result.manifest.files.items():
        click.echo(f"{record.size:>12,}  {output / name}")
    for variant in result.manifest.variants:
        told = variant.exp_rate.get("quantization")
        if isinstance(told, dict):
            low, high = told["drop_interval"]
            click.echo(
                f"{variant.target} {variant.precision}: {100 * told['exact']:.2f} % of "
                f"{told['count']} formulas, {told['drop']:+.2f} points lost "
                f"[{low:+.2f}, {high:+.2f}]"
            )
