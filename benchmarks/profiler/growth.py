"""How time grows with the image, the tokens, the beams and the threads: fitted laws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from .measurement import Measurement

_FEWEST = 5  # formulas from which a law is fitted
_KILOPIXEL = 1e3
_OVER_THREADS = "encoder over threads"


@dataclass(frozen=True)
class Growth:
    """A time against what it grows with.

    Attributes:
        what: "encoder over image", "decoder over steps", "step over beams", "encoder over threads".
        x, y: what the axes are.
        fixed, slope: of the least squares fit y = fixed + slope * x; over threads
            y = fixed + slope / x, where `fixed` is what more threads do not shorten (Amdahl, 1967).
        explained: the share of the variance that the fit explains (R squared); None of two points,
            which any line goes through.
        exponent: p of the fit y ~ x ** p; None over threads.
        points: what was fitted.
    """

    what: str
    label: str
    x: str
    y: str
    fixed: float
    slope: float
    explained: float | None
    exponent: float | None
    points: list[tuple[float, float]]

    @property
    def law(self) -> str:
        """To read."""
        sign = "/" if self.what == _OVER_THREADS else "·"
        joined = "-" if self.slope < 0 else "+"
        text = f"{self.fixed:.3g} {joined} {abs(self.slope):.3g} {sign} {self.x} ms"
        return text if self.exponent is None else f"{text}; as {self.x} ^ {self.exponent:.2f}"

    def at(self, x: float) -> float:
        """The law's value."""
        return self.fixed + self.slope * (1 / x if self.what == _OVER_THREADS else x)


def growths(measurements: Sequence[Measurement]) -> list[Growth]:
    """All laws that can be fitted to what was measured: over image and steps from five formulas of
    different size on, over beams and threads from two numbers of them on. Of peers nobody tells the
    size of the image, and so no law over it."""
    found: list[Growth | None] = []
    for each in measurements:
        if not each.stages_ms:
            continue
        if each.configuration.system == "inktex":  # areas are of images as its bundle sees them
            found.append(
                _fitted(
                    "encoder over image", each.label, "kilopixels", "encoder, ms",
                    [(point.area / _KILOPIXEL, point.encode_ms) for point in each.points], _FEWEST,
                )
            )  # fmt: skip
        found.append(
            _fitted(
                "decoder over steps", each.label, "steps", "step graph, adapter and search, ms",
                [(point.steps, point.decode_ms) for point in each.points], _FEWEST,
            )
        )  # fmt: skip
    told = [each for each in measurements if each.stages_ms and each.steps]
    for group in _alike(told, "beams"):
        found.append(
            _fitted(
                "step over beams", group[0].configuration.engine, "beams",
                "a step with adapter and search, ms",
                [(each.configuration.beams, _whole_step_ms(each)) for each in group], 2,
            )
        )  # fmt: skip
    fewest = min((each.configuration.beams for each in told), default=1)
    for group in _alike([each for each in told if each.configuration.beams == fewest], "threads"):
        inverse = [(1 / each.configuration.threads, each.stages_ms["encode"]) for each in group]
        one = group[0].configuration
        label = f"{one.runtime} {one.precision}, {one.search}"
        law = _fitted(_OVER_THREADS, label, "threads", "encoder, ms", inverse, 2)
        if law is not None:
            points = [(1 / x, y) for x, y in law.points]
            found.append(replace(law, exponent=None, points=points))
    return [each for each in found if each is not None]


def _fitted(
    what: str, label: str, x: str, y: str, points: Sequence[tuple[float, float]], fewest: int
) -> Growth | None:
    """None where there is too little to fit."""
    if len({place for place, _ in points}) < fewest:
        return None
    places, values = np.array(points, np.float64).T
    slope, fixed = np.polyfit(places, values, 1)
    rest = values - (fixed + slope * places)
    spread = float(((values - values.mean()) ** 2).sum())
    exponent = None
    if (places > 0).all() and (values > 0).all():
        exponent = float(np.polyfit(np.log(places), np.log(values), 1)[0])
    return Growth(
        what,
        label,
        x,
        y,
        float(fixed),
        float(slope),
        1 - float((rest**2).sum()) / spread if spread and len(set(places.tolist())) > 2 else None,
        exponent,
        [(float(place), float(value)) for place, value in points],
    )


def _alike(measurements: Sequence[Measurement], name: str) -> list[list[Measurement]]:
    """Those that differ in one field of their configuration only, together; alone ones left out."""
    groups: dict[object, list[Measurement]] = {}
    for each in measurements:
        own = each.configuration
        key = tuple(getattr(own, part.name) for part in fields(own) if part.name != name)
        groups.setdefault(key, []).append(each)
    return [group for group in groups.values() if len(group) > 1]


def _whole_step_ms(measured: Measurement) -> float:
    stages = measured.stages_ms
    whole = stages["step"] + stages.get("adapter", 0.0) + stages["search"]
    return whole / measured.steps
