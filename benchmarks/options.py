"""Options that several of the commands take, beside those of `runtimes.options`."""

from __future__ import annotations

from pathlib import Path

import click


def names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Names between commas, each once."""
    parts = [part.strip() for part in value.split(",")]
    if not all(parts):
        raise click.BadParameter(f"expected names between commas, found {value!r}")
    return tuple(dict.fromkeys(parts))


def counts(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Whole numbers > 0 between commas, each once."""
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"expected whole numbers > 0 between commas, found {value!r}")
    return tuple(dict.fromkeys(map(int, parts)))


precision = click.option(
    "--precision",
    "precisions",
    callback=names,
    default="all",
    show_default=True,
    metavar="LIST",
    help="Which of the bundle's variants: fp32, int8, ...",
)
runtime = click.option(
    "--runtime",
    default="onnxruntime",
    show_default=True,
    metavar="NAME",
    help="Whose variants; all takes every runtime that is here.",
)
beam = click.option(
    "--beam",
    "beams",
    callback=counts,
    default="1,5",
    show_default=True,
    metavar="LIST",
    help="Hypotheses to follow; 1 is greedy.",
)
limit = click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Use only so many formulas, spread over the data.",
)
json_report = click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a JSON report.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    help="As of `inktex recognize`. [default: what this process may use, at most 4]",
)
