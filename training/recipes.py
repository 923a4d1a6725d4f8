"""The recipes by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import DataError
from .abm import abm
from .coverage import coverage
from .edge import edge
from .mask_and_match import mask_and_match
from .recipe import Recipe

RECIPES: dict[str, Callable[[], Recipe]] = {
    "edge": edge,
    "coverage": coverage,
    "abm": abm,
    "mask_and_match": mask_and_match,
}


def named(name: str) -> Recipe:
    """A recipe as it comes.

    Raises:
        DataError: there is none of this name.
    """
    if name not in RECIPES:
        raise DataError(f"expected a recipe out of {', '.join(RECIPES)}, found {name!r}")
    return RECIPES[name]()


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """The inverse of `Recipe.to_dict`, also after a journey through JSON.

    Raises:
        DataError: there is no such recipe, or its settings are not these.
    """
    return named(str(values.get("name"))).with_values(values)
