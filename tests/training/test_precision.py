from __future__ import annotations

import pytest
import torch

from inktex.training import precision
from inktex.training.precision import convolution_s, with_precision
from inktex.training.recipes import named


@pytest.mark.parametrize(("half_s", "full_s", "chosen"), [(1.0, 2.0, "bf16"), (2.0, 1.0, "fp32")])
def test_the_faster_one_is_chosen(
    monkeypatch: pytest.MonkeyPatch, half_s: float, full_s: float, chosen: str
) -> None:
    times = {torch.bfloat16: half_s, torch.float32: full_s}
    monkeypatch.setattr(precision, "convolution_s", lambda dtype: times[dtype])
    recipe = with_precision(named("abm"), "cpu")
    assert recipe.optimisation.precision == chosen
    assert recipe == named("abm").override({"optimisation.precision": chosen})


@pytest.mark.parametrize(("half_s", "told"), [(1.4, False), (10.0, True)])
def test_it_is_told_where_the_other_is_much_faster(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], half_s: float, told: bool
) -> None:
    times = {torch.bfloat16: half_s, torch.float32: 1.0}
    monkeypatch.setattr(precision, "convolution_s", lambda dtype: times[dtype])
    recipe = named("abm").override({"optimisation.precision": "bf16"})
    assert with_precision(recipe, "cpu") is recipe  # said once, it stays
    assert ("bf16 takes 10.0 times as long as fp32" in capsys.readouterr().out) is told


def test_both_are_tried_here() -> None:
    assert 0 < convolution_s(torch.bfloat16) < 1
    assert 0 < convolution_s(torch.float32) < 1
