"""Options of the commands that take a recipe."""

from __future__ import annotations

from collections.abc import Sequence

import click

from ..core.errors import DataError


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """("seed=2", "model.heads=4") -> {"seed": "2", "model.heads": "4"}

    Raises:
        DataError: there is no "=" in one of them, or it would rename the recipe, whose name tells
            what it is made by.
    """
    parts = [text.partition("=") for text in texts]
    for name, equals, _ in parts:
        if not equals:
            raise DataError(f"--set: expected NAME=VALUE, found {name!r}")
        if name == "name":
            raise DataError(
                "--set name: expected a setting, found the name of a recipe; choose one "
                "with --recipe"
            )
    return {name: value for name, _, value in parts}


settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda context, parameter, texts: pairs(texts),
    help="Override a setting.",
)
"""Gives a command `settings: dict[str, str]`, as `Recipe.override` takes them."""

accelerator_option = click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="What trains.",
)
"""Gives a command `accelerator: str`."""

share_option = click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="How much of the data to learn from.",
)
"""Gives a command `share: float`, as `split.some_of` takes it."""
