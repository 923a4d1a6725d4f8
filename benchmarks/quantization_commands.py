"""`inktex benchmark quantization` and `calibration`: what fewer bits do to a recognizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from . import options

_PATH = click.Path(path_type=Path)
_COUNT = click.IntRange(min=1)
_SEED = click.IntRange(min=0)
_CALIBRATION = click.option(
    "--calibration",
    required=True,
    type=_PATH,
    metavar="INKSET",
    help="Training ink; what training held out of it is the validation set.",
)


@click.command()
@click.argument("bundle", type=_PATH)
@_CALIBRATION
@click.option("-o", "--output", required=True, type=_PATH, help="A folder for table and report.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="NAME=INKSET",
    help="Other formulas to read, for reporting only: 2014=2014.inkset.",
)
@click.option(
    "--targets", callback=options.names, default="onnx,openvino,executorch", show_default=True,
    metavar="LIST",
)  # fmt: skip
@click.option(
    "--precisions",
    callback=options.names,
    default="all",
    show_default=True,
    metavar="LIST",
    help="Some of those that a target has.",
)
@click.option(
    "--methods",
    callback=options.names,
    default="mse,minmax,percentile,entropy",
    show_default=True,
    metavar="LIST",
    help="Of finding ranges; the first is also that of the controlled rows.",
)
@click.option(
    "--max-drop",
    type=float,
    metavar="POINTS",
    help="Add rows whose accuracy is controlled to lose no more.",
)
@click.option("--aware", type=_PATH, metavar="BUNDLE", help="Float32, of `inktex train --qat`.")
@click.option("--checkpoint", type=_PATH, help="What the bundle is of, for executorch and coreml.")
@click.option("--aware-checkpoint", type=_PATH, help="What --aware is of, likewise.")
@click.option("--samples", default=256, show_default=True, help="Formulas to calibrate with.")
@click.option("--seed", type=_SEED, default=1, show_default=True, help="Of their choice.")
@click.option(
    "--timed", type=_COUNT, default=100, show_default=True, help="Formulas that times are taken of."
)
@click.option(
    "--forced", type=_COUNT, default=64, show_default=True, help="As of `inktex quantize`."
)
@options.limit
def quantization(
    bundle: Path,
    calibration: Path,
    output: Path,
    sets: tuple[str, ...],
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    methods: tuple[str, ...],
    max_drop: float | None,
    aware: Path | None,
    checkpoint: Path | None,
    aware_checkpoint: Path | None,
    samples: int,
    seed: int,
    timed: int,
    forced: int,
    limit: int | None,
) -> None:
    """Compare every form of quantisation with float32: accuracy, size, time, memory.

    Reads validation and every --set greedily with each form, and tells the points of ExpRate lost
    formula by formula, with their confidence interval. Times are ratios to float32 on the same
    runtime, taken in turn. The folder gets table.md, rows.json, pareto.png and report.html; rows
    that are in it already stay there, and are not measured again: other targets, an --aware and a
    --max-drop may follow in later calls.

    \b
    Examples:
      inktex benchmark quantization fp32 --calibration train.inkset -o table
      inktex benchmark quantization fp32 --calibration train.inkset -o table --max-drop 0.5 \\
        --set 2014=2014.inkset --set 2016=2016.inkset --aware qat-fp32
    """
    from ..core.errors import DataError, InktexError
    from ..core.replacement import make_folder
    from ..quantization.calibration_data import split_for
    from ..quantization.record import Record
    from ..quantization.source import QuantizationSource, calibration_images
    from ..quantization.trials import Trials
    from ..training.checkpoint import Checkpoint
    from ..training.inkset import fingerprint, load_inkset
    from ..training.split import spread
    from .formulas import formula_of
    from .quantization import VALIDATION, Comparison, digests, header, ways
    from .quantization_report import write_report
    from .report import row_of, table
    from .reporting import begin

    opened, report = begin("quantization", bundle, None, timed=True)
    trained = _compatible(opened, aware)
    training, validation = split_for(opened, load_inkset(calibration))
    expressions = {VALIDATION: validation}
    for text in sets:
        name, _, path = text.partition("=")
        if not name or not path or name in expressions:
            raise DataError(f"--set: expected NAME=INKSET, each name once, found {text!r}")
        expressions[name] = load_inkset(Path(path))
    expressions = {name: spread(each, limit) for name, each in expressions.items()}
    images = calibration_images(opened, training, samples, seed)
    rows_asked = ways(targets, precisions, methods, max_drop is not None, trained is not None)
    facts = report["environment"]
    question = {
        "files": digests(opened, opened.variant("onnxruntime", "fp32")),
        "sets": {name: fingerprint(each) for name, each in expressions.items()},
        "calibration": [fingerprint(training), samples, seed],
        "measured": [timed, forced],
        "machine": [facts[name] for name in ("cpu", "processors", "onnxruntime")],
    }
    record = Record(output / "state.json", question)
    if record.others:
        raise DataError(
            f"{output}: expected rows of the same bundle, sets, calibration, formulas and machine, "
            f"found {record.others} findings of others; name another folder with -o"
        )
    make_folder(output, "-o")
    sources: dict[tuple[str, bool], QuantizationSource] = {}

    def source(method: str, is_aware: bool) -> QuantizationSource:
        if (method, is_aware) not in sources:
            path = aware_checkpoint if is_aware else checkpoint
            sources[method, is_aware] = QuantizationSource(
                trained if is_aware and trained else opened,
                images,
                method,
                seed,
                Checkpoint.load(path) if path else None,
            )
        return sources[method, is_aware]

    comparison = Comparison(
        opened,
        source,
        {name: Trials(opened, each, forced) for name, each in expressions.items()},
        [formula_of(each) for each in spread(validation, timed)],
        record,
        max_drop or 0.0,
        trained,
        f"{facts['date'][:10]}, commit {facts['commit'] or 'unknown'}",
        lambda text: click.echo(f"inktex: {text}", err=True),
    )
    click.echo(table(header(expressions), []))
    problems: dict[str, str] = {}
    for way in rows_asked:
        try:
            click.echo(row_of(comparison.row(way).cells()))
        except InktexError as error:
            problems[str(way)] = str(error)
            click.echo(f"inktex: left out: {way}: {error}", err=True)
        rows = comparison.rows()
        if rows:
            write_report(output, report, rows, problems)


@click.command()
@click.argument("bundle", type=_PATH)
@_CALIBRATION
@click.option(
    "--samples",
    "counts",
    callback=options.counts,
    default="16,32,64,128,256,512",
    show_default=True,
    metavar="LIST",
    help="Formulas to calibrate with.",
)
@click.option(
    "--seeds", type=_COUNT, default=3, show_default=True, help="Draws of each number of formulas."
)
@click.option("--methods", callback=options.names, default="mse", show_default=True, metavar="LIST")
@click.option("--target", default="onnx", show_default=True, metavar="NAME")
@options.limit
@options.json_report
def calibration(
    bundle: Path,
    calibration: Path,
    counts: tuple[int, ...],
    seeds: int,
    methods: tuple[str, ...],
    target: str,
    limit: int | None,
    json_file: Path | None,
) -> None:
    """How many formulas calibration needs: INT8 with more and more of them, several times.

    Tells how far each agrees with float32 on validation, token by token after the right ones, and
    the points of ExpRate that it loses; the mean of all draws, and from the least to the greatest.

    \b
    Examples:
      inktex benchmark calibration fp32 --calibration train.inkset --json calibration.json
    """
    from ..core.errors import DataError
    from ..core.paired import paired_drop
    from ..quantization.calibration_data import split_for
    from ..quantization.quantizers import quantizer
    from ..quantization.source import QuantizationSource, calibration_images
    from ..quantization.trials import Trials
    from ..training.inkset import load_inkset
    from ..training.split import spread
    from .report import row_of, table
    from .reporting import begin, end

    opened, report = begin("calibration", bundle, json_file)
    training, validation = split_for(opened, load_inkset(calibration))
    if max(counts) > len(training):
        raise DataError(
            f"--samples: expected at most {len(training)} formulas, which {calibration} has to "
            f"calibrate with, found {max(counts)}"
        )
    trials = Trials(opened, spread(validation, limit), forced=len(validation))
    before = trials.reference_right()
    names = ("method", "formulas", "tokens equal %", "divergence", "points lost")
    click.echo(table(names, []))
    rows: list[dict[str, Any]] = []
    for method in methods:
        for count in counts:
            found = []
            for seed in range(1, seeds + 1):
                images = calibration_images(opened, training, count, seed)
                source = QuantizationSource(opened, images, method, seed)
                made = quantizer(target, "int8", source).make(())
                agreement = trials.agreement(*made)
                drop = paired_drop(before, trials.right(*made))
                found.append((100 * agreement.share, agreement.divergence, drop.points))
                rows.append(
                    {
                        "method": method,
                        "samples": count,
                        "seed": seed,
                        "agreement": agreement.share,
                        "divergence": agreement.divergence,
                        **drop.to_dict(),
                    }
                )
                end(report, json_file, rows=rows)
            shares, divergences, drops = zip(*found, strict=True)
            cells = [_spread(shares, ".2f"), _spread(divergences, ".1e"), _spread(drops, "+.2f")]
            click.echo(row_of([method, count, *cells]))


def _spread(values: tuple[float, ...], form: str) -> str:
    """The mean of some values, the least and the greatest."""
    mean = sum(values) / len(values)
    return f"{mean:{form}} ({min(values):{form}} to {max(values):{form}})"


def _compatible(bundle: Any, aware: Path | None) -> Any:
    """The bundle that was trained to be quantised.

    Raises:
        BundleError: it writes other tokens, or sees formulas otherwise.
    """
    from ..core.bundle import Bundle
    from ..core.errors import BundleError

    if aware is None:
        return None
    found = Bundle.open(aware)
    for name in ("vocabulary", "interface", "preprocessing"):
        if getattr(found.manifest, name) != getattr(bundle.manifest, name):
            raise BundleError(
                f"--aware: expected a bundle with the {name} of {bundle.path}, found another in "
                f"{aware}; train it with --from the same checkpoint"
            )
    return found
