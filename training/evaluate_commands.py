"""`inktex evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..core.metrics import Score
    from .evaluation import Reading, Sample

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=_PATH)
@click.argument("source", type=_PATH)
@click.option("--captions", type=_PATH, help="For images: lines of IDENTIFIER, tab, caption.")
@click.option("--precision", default="auto", show_default=True, help="Of a bundle: fp32, int8.")
@click.option("--beam", default=1, show_default=True, help="Hypotheses; 1 is greedy.")
@click.option("--grammar/--no-grammar", default=True, help="Well-formed LaTeX only.")
@click.option("--limit", type=int, help="Read only so many, spread over the data.")
@click.option("--split", type=click.Choice(["all", "validation"]), default="all", show_default=True)
@click.option("-o", "--output", type=_PATH, help="Write every reading as a JSON line.")
@click.option("--json", "as_json", is_flag=True, help="Print the scores as JSON.")
@click.option("--record", metavar="NAME", help="Write the scores into the bundle, as NAME.")
def evaluate(
    model: Path,
    source: Path,
    captions: Path | None,
    precision: str,
    beam: int,
    grammar: bool,
    limit: int | None,
    split: str,
    output: Path | None,
    as_json: bool,
    record: str | None,
) -> None:
    """Score a bundle or a checkpoint on an ink set or on images.

    A bundle is read as its users read it, one formula at a time and without torch; a checkpoint
    greedily, in torch.

    \b
    Examples:
      inktex evaluate my-bundle 2014.inkset --beam 5
      inktex evaluate my-bundle 2014-images.zip --captions 2014.tsv --precision int8
      inktex evaluate runs/edge/last.safetensors train.inkset --split validation
    """
    from ..core.errors import DataError
    from .evaluation import load_samples, score_readings, write_readings

    if record is not None and not model.is_dir():
        raise DataError(f"--record: expected a bundle to write scores into, found {model}")
    samples = load_samples(source, captions)
    if split == "validation":
        samples = _validation_only(samples, source, model)
    if limit is not None and limit < len(samples):
        samples = [samples[i * len(samples) // limit] for i in range(limit)]
    if model.is_dir():
        readings = _read_with_bundle(model, samples, precision, beam, grammar)
    else:
        readings = _read_with_checkpoint(model, samples)
    result = score_readings(readings)
    if output is not None:
        write_readings(output, readings)
    if record is not None:
        _record(model, precision, record, beam, result)
    click.echo(json.dumps(result.to_dict()) if as_json else _table(result))


def _record(model: Path, precision: str, name: str, beam: int, result: Score) -> None:
    """Write a score into the variant's `exp_rate` in the manifest, under NAME and the search."""
    from dataclasses import replace

    from ..core.bundle import Bundle, write_bundle

    bundle = Bundle.open(model)
    variants = list(bundle.manifest.variants)
    number = variants.index(bundle.variant("onnxruntime", precision))
    search = "greedy" if beam == 1 else f"beam {beam}"
    scores: dict[str, Any] = dict(variants[number].exp_rate)
    scores[name] = {**scores.get(name, {}), search: result.to_dict()}
    variants[number] = replace(variants[number], exp_rate=scores)
    write_bundle(model, replace(bundle.manifest, variants=tuple(variants)), bundle.contents())


def _read_with_bundle(
    model: Path, samples: list[Sample], precision: str, beam: int, grammar: bool
) -> list[Reading]:
    from ..runtimes import load
    from .evaluation import read_all

    recognizer = load(model, precision=precision)

    def read(source: Any) -> tuple[tuple[str, ...], float]:
        result = recognizer(source, beam=beam, constrain=grammar)
        return result.tokens, result.confidence

    return read_all(read, samples)


def _read_with_checkpoint(model: Path, samples: list[Sample]) -> list[Reading]:
    import numpy as np

    from ..core.errors import DataError
    from .checkpoint import Checkpoint
    from .decoding import greedy_captions
    from .evaluation import Reading
    from .inkset import Expression

    if any(isinstance(each.source, bytes) for each in samples):
        raise DataError(
            "a checkpoint is evaluated on ink; export a bundle with `inktex export` to evaluate "
            "on images"
        )
    checkpoint = Checkpoint.load(model)
    expressions = [
        Expression(
            each.identifier,
            "",
            # the caption is not needed to read, and may hold tokens unknown to the vocabulary
            (),
            tuple(stroke.astype(np.float32) for stroke in each.source),
            (),
        )
        for each in samples
    ]
    captions = greedy_captions(checkpoint.trained_network(), expressions, checkpoint.vocabulary)
    return [
        Reading(each.identifier, each.caption, tuple(caption), float("nan"))
        for each, caption in zip(samples, captions, strict=True)
    ]


def _validation_only(samples: list[Sample], source: Path, model: Path) -> list[Sample]:
    """The samples that the model's training held out."""
    from .inkset import load_inkset
    from .recipes import recipe_from_dict
    from .split import split_expressions

    if model.is_dir():
        from ..core.bundle import Bundle

        recipe = recipe_from_dict(dict(Bundle.open(model).manifest.provenance)["recipe"])  # type: ignore[arg-type]
    else:
        from .checkpoint import Checkpoint

        recipe = Checkpoint.load(model).recipe
    _, held_out = split_expressions(load_inkset(source), recipe.validation_share, recipe.seed)
    kept = {each.identifier for each in held_out}
    return [each for each in samples if each.identifier in kept]


def _table(result: Score) -> str:
    values = result.to_dict()
    return "\n".join(
        f"{name:>20}  {value:.4f}" if isinstance(value, float) else f"{name:>20}  {value}"
        for name, value in values.items()
    )
