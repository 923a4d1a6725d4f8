"""Settings: those that were not always there, and what values they may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

from ..core.errors import DataError

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


def check_counts(settings: Any, *names: str, least: int = 1) -> None:
    """Raise DataError where a setting, or one of its numbers, is less than `least`."""
    for name in names:
        value = getattr(settings, name)
        if min(value if isinstance(value, tuple) else (value,)) < least:
            raise DataError(f"{name} must be {least} or more, found {_told(value)}")


def check_shares(settings: Any, *names: str) -> None:
    """Raise DataError where a setting is not a share from 0 to below 1."""
    for name in names:
        if not 0 <= getattr(settings, name) < 1:
            raise DataError(
                f"{name} must be a share from 0 to below 1, found {getattr(settings, name)}"
            )


def check_weights(settings: Any, *names: str) -> None:
    """Raise DataError where a setting is below 0."""
    for name in names:
        if not getattr(settings, name) >= 0:
            raise DataError(f"{name} must be 0 or more, found {getattr(settings, name)}")


def _told(value: Any) -> Any:
    """As `--set` takes it."""
    return list(value) if isinstance(value, tuple) else value
