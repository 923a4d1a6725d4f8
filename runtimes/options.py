"""Options that several of the commands take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def bundle(purpose: str) -> Callable[[Command], Command]:
    """The bundle, with what it is for in the command's own words."""
    return click.option(
        "--bundle",
        type=click.Path(file_okay=False),
        metavar="DIR",
        help=f"{purpose} [default: the one that comes with inktex]",
    )


beam = click.option(
    "--beam",
    type=click.IntRange(min=1),
    metavar="N",
    help="Hypotheses to follow; 1 is greedy and fastest. [default: the bundle's]",
)
runtime = click.option(
    "--runtime",
    default="auto",
    metavar="NAME",
    help="What runs the recognizer; `inktex runtimes` lists them. [default: the fastest here]",
)
precision = click.option(
    "--precision",
    default="auto",
    metavar="NAME",
    help="Which of the bundle's variants: fp32, int8, ... [default: the fastest here]",
)
grammar = click.option(
    "--grammar/--no-grammar",
    default=True,
    help="Keep to well-formed LaTeX, or give what the model prefers. [default: keep to it]",
)
