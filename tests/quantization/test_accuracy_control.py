from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from inktex.core.errors import QuantizationError
from inktex.core.manifest import Variant
from inktex.export.targets import Files
from inktex.quantization.accuracy_control import control_accuracy, least_count
from inktex.quantization.quantizers import Quantizer
from inktex.quantization.record import Record
from inktex.quantization.trials import ForcedAgreement

LAYERS = tuple(f"layer{number}" for number in range(16))
HURT = {"layer3": 4, "layer11": 2, "layer7": 1}
COUNT = 200


def make(kept: Collection[str]) -> tuple[Variant, Files]:
    """The names of the layers that are kept stand where graphs would."""
    return Variant("onnxruntime", "int8", "e", "s"), {"kept": ",".join(kept).encode()}


QUANTIZER = Quantizer("onnx int8", "made up", LAYERS, make)


class MadeTrials:
    """Each layer in 8 bits loses so many formulas."""

    def __init__(self, hurt: dict[str, int] = HURT, always: int = 0, stop: int = -1) -> None:
        self.hurt, self.always, self.stop = hurt, always, stop
        self.asked = 0

    def reference_right(self) -> list[bool]:
        return [number < 100 for number in range(COUNT)]

    def right(self, variant: Variant, files: Files) -> list[bool]:
        self.count()
        wrong = self.always + self.lost(files)
        return [wrong <= number < 100 for number in range(COUNT)]

    def agreement(self, variant: Variant, files: Files) -> ForcedAgreement:
        self.count()
        lost = self.lost(files)
        return ForcedAgreement(1000, 1000 - lost, 0.001 * lost)

    def lost(self, files: Files) -> int:
        kept = files["kept"].decode().split(",")
        return sum(self.hurt.get(layer, 0) for layer in LAYERS if layer not in kept)

    def count(self) -> None:
        self.asked += 1
        if self.asked == self.stop:
            raise KeyboardInterrupt


def control(trials: Any, max_drop: float, record: Record | None = None) -> Any:
    return control_accuracy(QUANTIZER, trials, record or Record(None, {}), max_drop)


@pytest.mark.parametrize(
    ("max_drop", "kept"),
    [
        (3.5, ()),
        (3.4, ("layer3",)),
        (0.5, ("layer3", "layer11")),
        (0, ("layer3", "layer11", "layer7")),
    ],
)
def test_no_more_layers_are_kept_than_it_takes(max_drop: float, kept: tuple[str, ...]) -> None:
    found = control(MadeTrials(), max_drop)
    assert found.kept == kept
    assert found.held
    assert found.drop.points <= max_drop
    assert [each.layer for each in found.sensitivities[:3]] == ["layer3", "layer11", "layer7"]
    assert found.sensitivities[0].drop.points == pytest.approx(2)
    assert found.to_dict()["layers"][0]["agreement_share"] == pytest.approx(0.996)


def test_what_cannot_be_held_is_refused_with_the_best() -> None:
    with pytest.raises(QuantizationError, match=r"at most 0\.5 points.*found 1\.00 at the best"):
        control(MadeTrials(always=2), 0.5)


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        control(MadeTrials(stop=12), 0.5, Record(path, {}))
    rest = MadeTrials()
    assert control(rest, 0.5, Record(path, {})).kept == ("layer3", "layer11")
    whole = MadeTrials()
    control(whole, 0.5)
    assert rest.asked == whole.asked - 11


def test_a_drop_below_the_noise_is_told() -> None:
    found = control(MadeTrials(), 0.5)
    assert "below what 200 formulas can tell" in found.noise
    assert "95 %" in found.noise
    assert control(MadeTrials({}), 0.5).noise == ""
    # where none of so few is lost, the interval is of nothing
    assert "one of them is 0.50 points" in control(MadeTrials({}), 0.4).noise


@pytest.mark.parametrize("wanted", range(46))
def test_the_least_count_is_found_in_few_trials(wanted: int) -> None:
    asked: list[int] = []

    def holds(count: int) -> bool:
        asked.append(count)
        return count >= wanted

    assert least_count(45, holds) == wanted
    assert len(set(asked)) <= 13


def test_what_takes_long_to_make_has_a_stand_in_for_its_layers() -> None:
    made: list[int] = []

    def slowly(kept: Collection[str]) -> tuple[Variant, Files]:
        made.append(len(kept))
        return make(kept)

    slow = Quantizer("executorch int8", "made up", LAYERS, slowly, stand_in=QUANTIZER)
    trials: Any = MadeTrials()
    found = control_accuracy(slow, trials, Record(None, {}), 0.5)
    assert found.kept == ("layer3", "layer11")
    assert made == [0, 1, 2]
