from __future__ import annotations

import pytest

from inktex.benchmarks.seeds import header, spreads
from inktex.benchmarks.study import Arm
from inktex.benchmarks.studying import Outcome


def outcome(arm: str, loss: float, validation: float, exact: float) -> Outcome:
    test = {"exact": exact, "token_error_rate": 0.5}
    return Outcome(arm, 10, 20, 1, 90.0, 95.0, loss, validation, {"2014": test})


def test_the_mean_and_the_standard_deviation_of_an_arm_and_what_repeats_it() -> None:
    arms = [
        Arm("a", "edge"),
        Arm("a, seed 2", "edge", {"seed": "2"}, repeats="a"),
        Arm("a, seed 3", "edge", {"seed": "3"}, repeats="a"),
        Arm("b", "abm"),
    ]
    outcomes = [
        outcome("a", 1.0, 10.0, 0.5),
        outcome("a, seed 2", 2.0, 11.0, 0.51),
        outcome("a, seed 3", 3.0, 12.0, 0.52),
        outcome("b", 9.0, 1.0, 0.1),
    ]
    [found] = spreads(arms, outcomes)
    assert (found.mean.arm, found.seeds) == ("a", 3)
    assert found.cells(["2014"]) == ["a", "3", "2.000 ± 1.000", "11.0 ± 1.0", "51.0 ± 1.0"]
    assert len(header(["2014"])) == len(found.cells(["2014"]))
    assert found.to_dict()["tests"] == {"2014": pytest.approx(1.0)}
    assert spreads(arms[3:], outcomes[3:]) == []
