"""Settings that were not always there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

_BEFORE = "before"


def added(default: Any, before: Any) -> Any:
    """A field of a recipe that earlier versions did not know.

    Args:
        default: what it is by default.
        before: what those versions did, and so what is meant by a file without it.
    """
    return field(default=default, metadata={_BEFORE: before})


def values_before(part: Any) -> Mapping[str, Any]:
    """What is meant where the values of a dataclass lack those that were added."""
    return {each.name: each.metadata[_BEFORE] for each in fields(part) if _BEFORE in each.metadata}
