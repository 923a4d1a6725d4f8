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
    assert with_precision(recipe, "cpu") is recipe  # said once, it stays


def test_both_are_tried_here() -> None:
    assert 0 < convolution_s(torch.bfloat16) < 1
    assert 0 < convolution_s(torch.float32) < 1
