"""The option `--set NAME=VALUE` of the commands that take a recipe."""

from __future__ import annotations

import click


def assignments(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    """("seed=2", "model.heads=4") -> {"seed": "2", "model.heads": "4"}

    Raises:
        DataError: there is no "=" in one of them.
    """
    from ..core.errors import DataError

    pairs = [text.partition("=") for text in texts]
    for name, equals, _ in pairs:
        if not equals:
            raise DataError(f"--set: expected NAME=VALUE, found {name!r}")
    return {name: value for name, _, value in pairs}


settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    callback=assignments,
    help="Override a setting.",
)
"""Gives a command `settings: dict[str, str]`, as `Recipe.override` takes them."""
