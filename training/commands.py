"""`inktex data`, `inktex train` and `inktex evaluate`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..core.metrics import Score
    from .evaluation import Reading, Sample

_PATH = click.Path(path_type=Path)

# glibc gives freed tensors back to the system and faults them in again at every step, which takes
# a third to a half of the time of a training; these settings keep them.
_ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_TOP_PAD_": "268435456",
}


@click.group()
def data() -> None:
    """Import data sets and look at them.

    \b
    Examples:
      inktex data import train.zip -o train.inkset --captions train.tsv
      inktex data inspect train.inkset
    """


@data.command("import")
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.option("-o", "--output", required=True, type=_PATH, help="The .inkset file to write.")
@click.option("--captions", type=_PATH, help="Lines of IDENTIFIER, tab, caption; they win.")
@click.option("--report", type=_PATH, help="Write what was skipped, and why, as JSON.")
def import_(
    sources: tuple[Path, ...], output: Path, captions: Path | None, report: Path | None
) -> None:
    """Import InkML (zips, folders, files) into one compact file.

    \b
    Examples:
      inktex data import crohme/inkml/train.zip -o train.inkset
      inktex data import 2014.zip --captions 2014.tsv -o 2014.inkset --report skipped.json
    """
    from ..core.errors import DataError
    from ..core.progress import Progress
    from .crohme import count_ink_files, import_inkml, read_captions
    from .inkset import SUFFIX, fingerprint, save_inkset

    if output.suffix != SUFFIX:
        raise DataError(f"-o: expected a name that ends in {SUFFIX}, found {output.name!r}")
    if not output.parent.is_dir():
        raise DataError(f"-o: expected an existing folder, found none at {output.parent}")
    for path in (*sources, *([captions] if captions else [])):
        if not path.exists():
            raise DataError(f"expected data at {path}, found nothing; check the path")
    known = read_captions(captions) if captions else None
    with Progress(count_ink_files(sources), "files read") as progress:
        expressions, result = import_inkml(sources, known, progress)
    if report is not None:
        content = {"skipped": result.skipped, "disagreements": result.disagreements}
        report.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    if not expressions:
        raise DataError(f"nothing could be imported:\n{result}")
    save_inkset(output, expressions)
    click.echo(result)
    click.echo(f"{output}: {output.stat().st_size:,} bytes, fingerprint {fingerprint(expressions)}")


@data.command()
@click.argument("source", type=_PATH)
def inspect(source: Path) -> None:
    """Count what is in an ink set.

    \b
    Example:
      inktex data inspect train.inkset
    """
    import numpy as np

    from ..core.errors import DataError
    from .inkset import fingerprint, load_inkset

    expressions = load_inkset(source)
    if not expressions:
        raise DataError(f"{source} holds no expression; import some with `inktex data import`")
    lengths = np.array([len(each.caption) for each in expressions])
    writers = {each.writer for each in expressions if each.writer}
    tokens = {token for each in expressions for token in each.caption}
    p50, p95, most = np.percentile(lengths, [50, 95, 100]).astype(int)
    click.echo(f"{len(expressions)} expressions, fingerprint {fingerprint(expressions)}")
    click.echo(f"{len({each.caption for each in expressions})} distinct captions")
    click.echo(f"{len(writers)} writers named, {sum(not e.writer for e in expressions)} unnamed")
    click.echo(f"{len(tokens)} tokens; captions of {p50} (median), {p95} (95 %), {most} (longest)")


@click.command()
@click.argument("source", type=_PATH)
@click.option("--recipe", default="edge", show_default=True, help="Which recipe.")
@click.option("--budget", required=True, help="150m, 2.5h, 40epochs or 1000steps.")
@click.option("-o", "--output", type=_PATH, help="Folder for checkpoints and log.")
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Override a setting.")
@click.option("--resume", type=_PATH, help="Go on from this checkpoint, exactly.")
@click.option("--from", "source_model", type=_PATH, help="Take the first weights from here.")
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes on this machine.",
)
@click.option("--accelerator", default="auto", show_default=True, help="cpu, gpu or auto.")
@click.option("--validate-every", default="10m", show_default=True, help="Time between checks.")
def train(
    source: Path,
    recipe: str,
    budget: str,
    output: Path | None,
    settings: tuple[str, ...],
    resume: Path | None,
    source_model: Path | None,
    devices: int,
    accelerator: str,
    validate_every: str,
) -> None:
    """Train a recognizer on an ink set until the budget is spent.

    The learning rate follows the budget. Ctrl-C leaves a checkpoint from which --resume goes on.

    \b
    Examples:
      inktex train train.inkset --budget 150m -o runs/edge
      inktex train train.inkset --budget 150m -o runs/edge --resume runs/edge/last.safetensors
      inktex train train.inkset --budget 40epochs --set optimisation.batch_size=16
    """
    if sys.platform == "linux" and not _ALLOCATOR.keys() & os.environ.keys():
        # read once, when a process starts
        os.execve(
            sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **_ALLOCATOR}
        )
    from ..core.errors import DataError
    from .budget import Budget
    from .checkpoint import Checkpoint
    from .inkset import load_inkset
    from .recipes import named
    from .split import split_expressions
    from .trainer import train as run

    amount = Budget.parse(budget)
    interval = Budget.parse(validate_every)
    if interval.unit != "s":
        raise DataError(f"--validate-every: expected a time such as 10m, found {validate_every!r}")
    start = Checkpoint.load(resume) if resume else None
    if start and settings:
        raise DataError("--set: a resumed training keeps its recipe; leave --set out")
    chosen = start.recipe if start else named(recipe).override(_assignments(settings))
    training, validation = split_expressions(
        load_inkset(source), chosen.validation_share, chosen.seed
    )
    folder = output or Path("runs") / chosen.name
    if start is None and (folder / "last.safetensors").exists():
        raise DataError(
            f"{folder} holds a training already; name another folder with -o, or go on with "
            f"--resume {folder / 'last.safetensors'}"
        )
    click.echo(f"{len(training)} expressions to train on, {len(validation)} to validate on")
    last = run(
        chosen,
        training,
        validation,
        amount,
        folder,
        resume=start,
        source=Checkpoint.load(source_model) if source_model else None,
        devices=devices,
        accelerator=accelerator,
        validate_every_s=interval.amount,
    )
    click.echo(
        f"{folder / 'last.safetensors'}: {last.progress.steps} steps in "
        f"{last.progress.elapsed_s / 60:.1f} minutes"
    )


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


def _assignments(settings: tuple[str, ...]) -> dict[str, str]:
    from ..core.errors import DataError

    pairs = [text.partition("=") for text in settings]
    for name, equals, _ in pairs:
        if not equals:
            raise DataError(f"--set: expected NAME=VALUE, found {name!r}")
    return {name: value for name, _, value in pairs}


def _table(result: Score) -> str:
    values = result.to_dict()
    return "\n".join(
        f"{name:>20}  {value:.4f}" if isinstance(value, float) else f"{name:>20}  {value}"
        for name, value in values.items()
    )
