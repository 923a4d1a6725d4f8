"""All that a run of `inktex bench` found, and its JSON."""

from __future__ import annotations

import json
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from ...core.errors import DataError
from ..report import heading, write_json
from .cold_start import ColdStart
from .growth import Growth
from .live_ink import LiveInk
from .measurement import Measurement, Ratio
from .noise import Interval
from .offline import Batch, Throughput
from .roofline import Roofline
from .single_stream import Effort
from .watch import Watched

SCHEMA = 1
"""The version of the JSON that this code writes, and the only one that it reads."""
_KIND = "inktex bench"


@dataclass(frozen=True)
class DataFacts:
    """Which ink was read: where it is from, how many formulas, and the hash of them."""

    source: str
    formulas: int
    skipped: int
    captioned: bool
    fingerprint: str


@dataclass
class Profile:
    """A run: what was measured where, and all that it found; sections that were not asked for or
    not reached are empty.

    Attributes:
        command: that gave it.
        environment: the machine and the versions, as `report.environment` tells them.
        bundle: as `report.describe` tells it.
        notes: what a reader has to know: what was left out, and why.
        interrupted: whether the run was stopped; what had been measured is here.
        ranking: labels, the quickest first; those that noise cannot tell apart together.
        idle_watts: what the machine takes when this process does nothing, by source of energy.
        watched: what became of the machine meanwhile.
    """

    command: str
    environment: dict[str, Any]
    bundle: dict[str, Any]
    data: DataFacts
    effort: Effort
    notes: list[str] = field(default_factory=list)
    interrupted: bool = False
    measurements: list[Measurement] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    ranking: list[list[str]] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    live_ink: list[LiveInk] = field(default_factory=list)
    cold_starts: list[ColdStart] = field(default_factory=list)
    idle_watts: dict[str, float] = field(default_factory=dict)
    offline: list[Throughput] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    roofline: Roofline | None = None
    watched: Watched | None = None

    @property
    def has_measured(self) -> bool:
        """Whether there is anything to report."""
        return bool(
            self.measurements
            or self.live_ink
            or self.cold_starts
            or self.offline
            or self.batches
            or self.roofline
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {"kind": _KIND, "schema": SCHEMA, **asdict(self)}

    def save(self, path: Path) -> None:
        """Write it as JSON; an existing file is replaced only when all is written.

        Raises:
            DataError: it cannot be written.
        """
        write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read a file that `save` wrote.

        Raises:
            DataError: there is none, or it is damaged, something else, or of another schema.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(
                f"{path}: expected the JSON of `inktex bench`, found what cannot be read "
                f"({error}); give what `inktex bench --json FILE` wrote"
            ) from error
        if not isinstance(content, dict) or content.pop("kind", None) != _KIND:
            raise DataError(
                f"{path}: expected the JSON of `inktex bench`, found another; give what "
                "`inktex bench --json FILE` wrote"
            )
        schema = content.pop("schema", None)
        if schema != SCHEMA:
            raise DataError(
                f"{path}: expected schema {SCHEMA}, found {schema!r}; measure again with this "
                "version of inktex, or compare with the version that wrote it"
            )
        try:
            profile: Profile = _read(cls, content)
            heading(profile.environment, profile.bundle)
            for each in profile.measurements:
                each.spread["p50"], each.spread["p90"]
            for law in profile.growth:
                if not law.points or {len(point) for point in law.points} != {2}:
                    raise ValueError(f"points of {law.what!r}")
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: expected the fields of schema {SCHEMA}, found others ({error}); the file "
                "is damaged: measure again"
            ) from error
        return profile


def _read(kind: Any, value: Any) -> Any:
    """A value of JSON as the type that an annotation names; the inverse of `asdict`."""
    if isinstance(kind, type) and is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        names = [each.name for each in fields(kind)]
        if set(names) != set(value):
            raise ValueError(f"{kind.__name__}: {sorted(set(names) ^ set(value))}")
        found = kind(**{name: _read(hints[name], value[name]) for name in names})
        if isinstance(found, Interval):
            found.check()
        return found
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        if value is None:
            return None
        [kind] = [each for each in arguments if each is not types.NoneType]
        return _read(kind, value)
    if origin is list:
        return [_read(arguments[0], each) for each in value]
    if origin is tuple:
        return tuple(_read(arguments[0], each) for each in value)
    if origin is dict:
        return {name: _read(arguments[1], each) for name, each in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if kind is not Any and type(value) is not kind:
        raise TypeError(f"expected {kind}, found {value!r}")
    return value
