"""The smallest set of layers to keep in higher precision, so that few formulas are lost.

Each layer is quantised alone, and how far the recognizer then still agrees with float32, token by
token, says how much the layer hurts. The layers that hurt most are kept, as many as it takes:
found by bisection, each trial read and scored as a user would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..core.errors import QuantizationError
from ..core.paired import PairedDrop, paired_drop
from ..core.progress import Progress
from .quantizers import Quantizer
from .record import Record
from .trials import ForcedAgreement, Trials, alone

RATED = 3
"""Layers, those that hurt most, whose own drop of ExpRate is measured too."""


@dataclass(frozen=True)
class Sensitivity:
    """What quantising one layer alone does.

    Attributes:
        drop: of ExpRate; None where only the agreement was measured.
    """

    layer: str
    agreement: ForcedAgreement
    drop: PairedDrop | None = None

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {**asdict(self), "agreement_share": self.agreement.share}


@dataclass(frozen=True)
class Control:
    """What accuracy control found.

    Attributes:
        kept: layers that stay in float32.
        drop: of ExpRate against float32, in points, with these.
        exact: the share of formulas read right, 0..1.
        trials: every number of layers that was tried, with its drop, in order.
        sensitivities: of every layer, those that hurt most first.
        max_drop: what was asked for, in points.
    """

    kept: tuple[str, ...]
    drop: PairedDrop
    exact: float
    trials: tuple[tuple[int, PairedDrop], ...]
    sensitivities: tuple[Sensitivity, ...]
    max_drop: float

    @property
    def held(self) -> bool:
        """Whether it drops no more than was asked for."""
        return self.drop.points <= self.max_drop + 1e-9

    @property
    def noise(self) -> str:
        """What there is to say where the validation set is too small for what was asked; or ""."""
        half = (self.drop.high - self.drop.low) / 2
        if half <= self.max_drop and 100 / self.drop.count <= self.max_drop:
            return ""
        if half <= self.max_drop:  # nothing was lost or won, which of so few says little
            return (
                f"--max-drop {self.max_drop:g} is below what {self.drop.count} formulas can tell: "
                f"one of them is {100 / self.drop.count:.2f} points; validate on more to be sure"
            )
        return (
            f"--max-drop {self.max_drop:g} is below what {self.drop.count} formulas can tell: the "
            f"drop is {self.drop.points:+.2f} points, with 95 % confidence between "
            f"{self.drop.low:+.2f} and {self.drop.high:+.2f}; validate on more to be sure"
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "kept": list(self.kept),
            "drop": self.drop.to_dict(),
            "exact": self.exact,
            "max_drop": self.max_drop,
            "held": self.held,
            "trials": [{"kept": count, **drop.to_dict()} for count, drop in self.trials],
            "layers": [each.to_dict() for each in self.sensitivities],
            "note": self.noise,
        }


def control_accuracy(
    quantizer: Quantizer,
    trials: Trials,
    record: Record,
    max_drop: float,
    say: Callable[[str], None] = lambda text: None,
) -> Control:
    """Keep as few layers in float32 as it takes to lose no more than `max_drop` points of ExpRate.

    Args:
        record: what was measured before is taken from it, and what is measured goes into it.
        say: told of every trial.

    Raises:
        QuantizationError: no set of layers holds it; the message says the best that was found.
    """
    before: list[bool] = record.get("float32", trials.reference_right)
    hurting = sensitivities(quantizer, trials, record, before)
    order = [each.layer for each in hurting]
    drops: dict[int, PairedDrop] = {}
    exact: dict[int, float] = {}

    def holds(count: int) -> bool:
        if count not in drops:
            kept = sorted(order[:count])
            after: list[bool] = record.get(
                f"{quantizer.name} kept {kept}", lambda: trials.right(*quantizer.make(kept))
            )
            drops[count] = paired_drop(before, after)
            exact[count] = sum(after) / len(after)
            say(f"{count} of {len(order)} layers in float32: {drops[count]} points lost")
        return drops[count].points <= max_drop + 1e-9

    count = least_count(len(order), holds)
    held = count is not None
    if count is None:
        count = min(drops, key=lambda each: drops[each].points)
    found = Control(
        tuple(order[:count]),
        drops[count],
        exact[count],
        tuple(drops.items()),
        tuple(hurting),
        max_drop,
    )
    if not held:
        raise QuantizationError(
            f"expected to lose at most {max_drop:g} points of ExpRate on {len(before)} formulas, "
            f"found {found.drop.points:.2f} at the best ({quantizer.name}: {quantizer.form}; "
            f"{count} of {len(order)} layers in float32: {', '.join(found.kept) or 'none'}); allow "
            "more with --max-drop, or train with --qat"
        )
    return found


def sensitivities(
    quantizer: Quantizer, trials: Trials, record: Record, before: Sequence[bool]
) -> list[Sensitivity]:
    """Of every layer, those that hurt most first; of the first few the drop of ExpRate too."""
    found = []
    layers = quantizer.layers
    quantizer = quantizer.stand_in or quantizer
    with Progress(len(layers), "layers quantised alone") as progress:
        for layer in layers:
            made: dict[str, Any] = record.get(
                f"{quantizer.name}, {quantizer.form}, agreement {layer}",
                lambda layer=layer: asdict(  # type: ignore[misc]
                    trials.agreement(*quantizer.make(alone(quantizer, layer)))
                ),
            )
            found.append(Sensitivity(layer, ForcedAgreement(**made)))
            progress.advance()
    found.sort(key=lambda each: (each.agreement.equal, -each.agreement.divergence))
    for number, each in enumerate(found[:RATED]):
        after: list[bool] = record.get(
            f"{quantizer.name}, {quantizer.form}, alone {each.layer}",
            lambda layer=each.layer: trials.right(  # type: ignore[misc]
                *quantizer.make(alone(quantizer, layer))
            ),
        )
        found[number] = Sensitivity(each.layer, each.agreement, paired_drop(before, after))
    return found


def least_count(most: int, holds: Callable[[int], bool]) -> int | None:
    """The least number from 0 to `most` that holds, if those above one that holds do so too; None
    where not even `most` does. Few are asked: 0, 1, 2, 4, … and then the halves.

    >>> least_count(45, lambda count: count >= 5), least_count(3, lambda count: False)
    (5, None)
    """
    if holds(0):
        return 0
    failing, holding = 0, min(1, most)
    while not holds(holding):
        if holding == most:
            return None
        failing, holding = holding, min(2 * holding, most)
    while holding - failing > 1:
        middle = (failing + holding) // 2
        if holds(middle):
            holding = middle
        else:
            failing = middle
    return holding
