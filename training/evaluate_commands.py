"""`inktex evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..runtimes import options as reading

if TYPE_CHECKING:
    from ..core.confidence import Calibration
    from ..core.metrics import Score
    from ..core.recognizer import Recognizer
    from .evaluation import Sample

_PATH = click.Path(path_type=Path)
_POSITIVE = click.IntRange(min=1)
_NBEST = 5  # readings of each formula on the page of errors


@click.command()
@click.argument("model", type=_PATH)
@click.argument("source", type=_PATH)
@click.option("--captions", type=_PATH, help="For images: lines of IDENTIFIER, tab, caption.")
@click.option(
    "--runtime",
    metavar="NAME",
    help="Of a bundle; `inktex runtimes` lists them. [default: onnxruntime]",
)
@click.option(
    "--precision",
    default="auto",
    metavar="NAME",
    help="Of a bundle: fp32, int8. [default: the bundle's first for that runtime]",
)
@click.option(
    "--beam", type=_POSITIVE, default=1, show_default=True, help="Hypotheses; 1 is greedy."
)
@reading.grammar
@click.option(
    "--rescore/--no-rescore",
    default=None,
    help="Rank a beam's hypotheses by both directions. [default: as the bundle says]",
)
@click.option("--limit", type=_POSITIVE, help="Read only so many, spread over the data.")
@click.option(
    "--split",
    type=click.Choice(["all", "validation"]),
    default="all",
    show_default=True,
    help="Of an ink set: all of it, or what the training on it held out.",
)
@click.option("--errors", type=_PATH, metavar="HTML", help="Write a page of what was read wrongly.")
@click.option("--errors-limit", type=_POSITIVE, help="The most errors on that page.")
@click.option("-o", "--output", type=_PATH, help="Write every reading as a JSON line.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option("--record", metavar="NAME", help="Write the scores into the bundle, as NAME.")
@click.option(
    "--calibrate",
    is_flag=True,
    help="Fit how sure the bundle may be to these readings, and write it into the bundle: for "
    "greedy search, or with --beam for beams.",
)
@click.option("--reliability", type=_PATH, metavar="PNG", help="Draw confidence and accuracy.")
def evaluate(
    model: Path,
    source: Path,
    captions: Path | None,
    runtime: str | None,
    precision: str,
    beam: int,
    grammar: bool,
    rescore: bool | None,
    limit: int | None,
    split: str,
    errors: Path | None,
    errors_limit: int | None,
    output: Path | None,
    as_json: bool,
    record: str | None,
    calibrate: bool,
    reliability: Path | None,
) -> None:
    """Score a bundle or a checkpoint on an ink set or on images.

    Both are read as a bundle's users read: one formula at a time, with the same preparation,
    search and grammar; a bundle by its runtime, without torch, a checkpoint in torch and float32.
    What cannot be read counts as wrong.

    \b
    Examples:
      inktex evaluate my-bundle 2014.inkset --beam 5 --errors errors.html
      inktex evaluate my-bundle 2014-images.zip --captions 2014.tsv --precision int8
      inktex evaluate my-bundle 2014.inkset --runtime openvino
      inktex evaluate runs/edge/last.safetensors train.inkset --split validation
      inktex evaluate my-bundle train.inkset --split validation --calibrate
      inktex evaluate my-bundle train.inkset --split validation --calibrate --beam 5
    """
    from ..core.errors import DataError
    from ..runtimes import bundle_folder
    from .error_analysis import analyse
    from .evaluation import read_all, write_readings
    from .reliability import cross_validated, draw_reliability, fit_calibration, of_readings

    _check_model(model, {"--record": record is not None, "--calibrate": calibrate})
    _check_files({"--errors": errors, "--output": output, "--reliability": reliability})
    if errors_limit is not None and errors is None:
        raise DataError("--errors-limit: expected --errors PAGE.html with it, found none")
    model = Path(bundle_folder(model))  # after what refuses to write into the one that comes along
    samples = _samples(source, captions, model if split == "validation" else None, limit)
    recognizer, runtime, precision = _recognizer(model, runtime, precision)
    both = recognizer.manifest.decoding.rescore and rescore is not False
    search = _search(beam, grammar, both)
    nbest = min(beam, _NBEST) if errors is not None else 1
    readings = read_all(
        recognizer, samples, beam=beam, nbest=nbest, constrain=grammar, rescore=rescore
    )
    analysis = analyse(readings)
    if output is not None:
        write_readings(output, readings)
    if errors is not None:
        from .error_page import write_error_page

        write_error_page(
            errors,
            f"{model} on {source}",
            f"ExpRate {100 * analysis.score.exact:.2f} %; {runtime} {precision}, {search}",
            samples,
            readings,
            recognizer.manifest.preprocessing,
            errors_limit,
        )
    curves = {}
    if any(not each.problem for each in readings):
        curves["as it is"] = of_readings(readings)
    if calibrate:
        curves["calibrated, on what it was not fitted to"] = cross_validated(readings)
        _calibrate(model, beam, fit_calibration(readings))
    if reliability is not None:
        draw_reliability(reliability, curves)
    if record is not None:
        _record(model, runtime, precision, record, search, analysis.score)
    if as_json:
        settings = {"runtime": runtime, "precision": precision, "beam": beam, "grammar": grammar}
        settings |= {"rescored": both and beam > 1, "split": split}
        told = {name: each.to_dict() for name, each in curves.items()}
        head = {"model": str(model), "data": str(source), **settings}
        report = {**head, **analysis.to_dict(), "confidence": told}
        click.echo(json.dumps(report, ensure_ascii=False))
        return
    from .score_tables import score_tables

    click.echo(f"{model} on {source}: {runtime} {precision}, {search}\n")
    click.echo(f"{score_tables(analysis)}\n")
    for name, each in curves.items():
        click.echo(f"{name}: {each}")


def _check_model(model: Path, wanted: Mapping[str, bool]) -> None:
    """Refuse options, by name, that write into a bundle, where there is none to be written to."""
    from ..core.bundle import check_replaceable
    from ..core.errors import DataError

    for option, is_wanted in wanted.items():
        if is_wanted and not model.is_dir():
            raise DataError(f"{option}: expected a bundle to write into, found {model}")
    if any(wanted.values()):
        check_replaceable(model)


def _check_files(files: Mapping[str, Path | None]) -> None:
    """Refuse, before anything is read, files that could not be written."""
    from ..core.replacement import check_writable

    for option, path in files.items():
        if path is not None:
            check_writable(path, option)


def _samples(
    source: Path, captions: Path | None, held_out_by: Path | None, limit: int | None
) -> list[Sample]:
    """What is to be read.

    Args:
        held_out_by: the model of which only what its training held out is wanted.
    """
    from ..core.errors import DataError
    from .evaluation import load_samples
    from .split import spread

    samples = load_samples(source, captions)
    if held_out_by is not None:
        samples = _validation_only(samples, source, held_out_by)
    samples = spread(samples, limit)
    if not samples:
        raise DataError(f"{source}: expected formulas to read, found none; choose other data")
    return samples


def _recognizer(model: Path, runtime: str | None, precision: str) -> tuple[Recognizer, str, str]:
    """What reads, on which runtime and in which precision."""
    from ..core.errors import DataError

    if model.is_dir():
        from ..core.bundle import Bundle
        from ..runtimes import load

        bundle = Bundle.open(model)
        runtime = runtime or "onnxruntime"
        precision = bundle.variant(_target(runtime), precision).precision
        return load(bundle, runtime=runtime, precision=precision), runtime, precision
    if not model.exists():
        raise DataError(
            f"expected a bundle (a folder) or a checkpoint (a file) at {model}, found nothing"
        )
    if runtime is not None:
        raise DataError(
            f"--runtime {runtime}: a checkpoint is read by torch; export it, and evaluate that "
            "bundle"
        )
    if precision not in ("auto", "fp32"):
        raise DataError(
            f"--precision {precision}: a checkpoint is read in fp32; export and quantize it, and "
            "evaluate that bundle"
        )
    from .checkpoint import Checkpoint
    from .decoding import reader

    checkpoint = Checkpoint.load(model)
    network, rendering = checkpoint.trained_network(), checkpoint.recipe.rendering
    return reader(network, checkpoint.vocabulary, rendering), "torch", "fp32"


def _target(runtime: str) -> str:
    """Without the provider: of "onnxruntime:cuda", "onnxruntime"."""
    return runtime.partition(":")[0]


def _search(beam: int, grammar: bool, rescored: bool) -> str:
    """How was searched, as the manifest and people are told.

    >>> _search(1, True, True), _search(5, False, False), _search(5, True, True)
    ('greedy', 'beam 5 without grammar', 'beam 5 rescored')
    """
    width = "greedy" if beam == 1 else f"beam {beam} rescored" if rescored else f"beam {beam}"
    return width if grammar else f"{width} without grammar"


def _calibrate(model: Path, beam: int, calibration: Calibration) -> None:
    """Write a calibration into the manifest, for searches of that kind."""
    from dataclasses import replace

    from ..core.bundle import Bundle, write_bundle

    bundle = Bundle.open(model)
    if beam == 1:
        manifest = replace(bundle.manifest, confidence=calibration)
    else:
        manifest = replace(bundle.manifest, beam_confidence=calibration)
    write_bundle(model, manifest, bundle.contents())


def _record(
    model: Path, runtime: str, precision: str, name: str, search: str, result: Score
) -> None:
    """Write a score into the variant's `exp_rate` in the manifest, under NAME and the search."""
    from dataclasses import replace

    from ..core.bundle import Bundle, write_bundle

    bundle = Bundle.open(model)
    variants = list(bundle.manifest.variants)
    number = variants.index(bundle.variant(_target(runtime), precision))
    scores: dict[str, Any] = dict(variants[number].exp_rate)
    scores[name] = {**scores.get(name, {}), search: result.to_dict()}
    variants[number] = replace(variants[number], exp_rate=scores)
    write_bundle(model, replace(bundle.manifest, variants=tuple(variants)), bundle.contents())


def _validation_only(samples: list[Sample], source: Path, model: Path) -> list[Sample]:
    """The samples that the model's training held out.

    Raises:
        DataError: these are images, or the model does not tell its training, or it was trained on
            other data, so that what is held out here was not held out there.
    """
    from ..core.errors import DataError
    from .inkset import SUFFIX, fingerprint, load_inkset
    from .split import split_as_trained

    if source.suffix != SUFFIX:
        raise DataError(f"--split validation: expected an ink set, found the images {source}")
    recipe, data = _training(model)
    if not {"validation_share", "seed"} <= recipe.keys():
        raise DataError(
            f"--split validation: expected a model that tells the split of its training, found "
            f"none in {model}"
        )
    _, held_out = split_as_trained(load_inkset(source), recipe)
    wanted, found = data.get("validation", {}).get("fingerprint"), fingerprint(held_out)
    if wanted not in (None, found):
        raise DataError(
            f"--split validation: expected the data that {model} was trained on, whose held-out "
            f"part has the fingerprint {wanted}, found {found} in {source}: it changed since, or "
            "is another set"
        )
    kept = {each.identifier for each in held_out}
    return [each for each in samples if each.identifier in kept]


def _training(model: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The recipe of a bundle or checkpoint and what it tells of its data."""
    if not model.is_dir():
        from .checkpoint import Checkpoint

        checkpoint = Checkpoint.load(model)
        return checkpoint.recipe.to_dict(), checkpoint.provenance
    from ..core.bundle import Bundle

    # as it stands there: a bundle outlives the settings that this version knows
    told = Bundle.open(model).manifest.provenance
    recipe, data = told.get("recipe"), told.get("data")
    return recipe if isinstance(recipe, dict) else {}, data if isinstance(data, dict) else {}
