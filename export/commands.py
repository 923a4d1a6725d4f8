"""`inktex export` and `inktex verify`."""

from __future__ import annotations

import json
from pathlib import Path

import click

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("weights", type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The bundle to write, a folder.")
@click.option(
    "--average",
    "others",
    multiple=True,
    type=_PATH,
    help="Average these weights in: a checkpoint, a bundle, default. More than one if repeated.",
)
@click.option(
    "--beams",
    type=click.IntRange(min=1),
    help="That a search follows by default: 1, or the bundle's.",
)
@click.option(
    "--padding",
    type=click.IntRange(min=0),
    metavar="PX",
    help="Paper to the right and below, by default as much as in training, or in the bundle: less "
    "is faster; choose it on validation.",
)
@click.option(
    "--rescore/--no-rescore",
    default=None,
    help="Rank a beam's hypotheses by both directions of writing; a bundle's as it does.",
)
@click.option("--licence", help="Of the weights; by default that of CROHME, or of the bundle.")
@click.option(
    "--to",
    "targets",
    default="onnx",
    show_default=True,
    metavar="LIST",
    help="For which runtimes, the preferred one first: onnx, openvino, ort, executorch, tensorrt, "
    "coreml, coreml18.",
)
def export(
    weights: Path,
    output: Path,
    others: tuple[Path, ...],
    beams: int | None,
    padding: int | None,
    rescore: bool | None,
    licence: str | None,
    targets: str,
) -> None:
    """Write weights as a bundle: encoder graph, step graph, manifest, golden arrays.

    WEIGHTS are a checkpoint of `inktex train`, or a bundle ("default" is the one that comes with
    inktex), whose weights are taken as they are, rounded ones too: so it gets to other runtimes.

    The mean of trainings that began at the same weights, and of these weights, may read better than
    each; whether it does is for validation to tell.

    \b
    Examples:
      inktex export runs/edge/last.safetensors -o my-bundle
      inktex export runs/edge/last.safetensors -o my-bundle --to openvino,onnx
      inktex export default -o my-bundle --to onnx,executorch,coreml
      inktex export runs/more/last.safetensors -o my-bundle --average default
    """
    from ..core.manifest import Decoding
    from ..core.preparation import size_limits
    from ..training.bundle_weights import bundle_source
    from ..training.checkpoint import Checkpoint
    from ..training.preprocessing import PADDING_PX
    from ..training.warm_start import bundle_at, load_source
    from ..training.weight_averaging import averaged
    from .checkpoint_bundle import WEIGHTS_LICENCE, export_bundle

    names = [name.strip() for name in targets.split(",") if name.strip()]
    given = bundle_at(weights)
    if given is None:
        origin, source = None, Checkpoint.load(weights)
        decoding, paper, terms = Decoding(0), PADDING_PX, WEIGHTS_LICENCE
    else:
        origin, source = given.manifest, bundle_source(given).checkpoint()
        decoding, terms = origin.decoding, origin.licence
        _, paper, _ = size_limits(origin.preprocessing)
    bundle = export_bundle(
        averaged(source, [load_source(each) for each in others]),
        output,
        licence or terms,
        beams or decoding.beams,
        names,
        paper if padding is None else padding,
        decoding.rescore if rescore is None else rescore,
        origin,
    )
    for name, record in bundle.manifest.files.items():
        click.echo(f"{record.size:>12,}  {output / name}")


@click.command()
@click.argument("bundle", type=_PATH)
@click.option("--checkpoint", type=_PATH, help="Compare with torch, not only with golden arrays.")
@click.option("--ink", type=_PATH, help="An ink set whose formulas both decode.")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Formulas taken of it.",
)
@click.option("--runtime", default="all", show_default=True, help="One runtime's variants only.")
@click.option("--precision", default="all", show_default=True, help="fp32, int8 or all.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def verify(
    bundle: Path,
    checkpoint: Path | None,
    ink: Path | None,
    limit: int,
    runtime: str,
    precision: str,
    as_json: bool,
) -> None:
    """Prove that a bundle computes what torch computed; exit status 2 if it does not.

    \b
    Examples:
      inktex verify my-bundle
      inktex verify my-bundle --checkpoint runs/edge/last.safetensors --ink 2014.inkset
    """
    from ..core.bundle import Bundle
    from ..core.errors import InputError, ParityError
    from ..runtimes import bundle_folder
    from ..training.checkpoint import Checkpoint
    from ..training.inkset import load_inkset
    from ..training.split import spread
    from .parity import compare_with_golden, compare_with_torch

    if ink is not None and checkpoint is None:
        raise InputError("--ink: comparing on ink needs the weights too; add --checkpoint")
    opened = Bundle.open(bundle_folder(bundle))
    source = Checkpoint.load(checkpoint) if checkpoint else None
    chosen = spread(load_inkset(ink), limit) if ink else []
    variants = [
        each
        for each in opened.manifest.variants
        if runtime in ("all", each.target) and precision in ("all", each.precision)
    ]
    if not variants:
        opened.variant(runtime, precision)  # says which there are
    reports = [compare_with_golden(opened, each) for each in variants]
    if source is not None:
        reports += [compare_with_torch(opened, each, source, chosen) for each in variants]
    if as_json:
        click.echo(json.dumps({"reports": [report.to_dict() for report in reports]}))
    else:
        click.echo("\n".join(map(str, reports)))
    failed = [report.variant for report in reports if not report.passed]
    if failed:
        raise ParityError(
            f"{bundle}: expected agreement within the tolerances, found {', '.join(failed)} "
            "beyond them; do not ship this bundle: export it again, or keep more in float32"
        )
