from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from inktex.benchmarks.steps import EXPORTED, FORMS, Decoders, measure_steps
from inktex.core.errors import DataError
from inktex.core.preparation import prepare_image
from inktex.training.checkpoint import Checkpoint
from inktex.training.inkset import save_inkset

from ..training import recurrent, synthetic


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return synthetic.checkpoint()


def test_all_forms_compute_the_same(checkpoint: Checkpoint) -> None:
    decoders = Decoders(checkpoint)
    tokens = [checkpoint.vocabulary.sos, 4, 5, 3, 6, 4, 4]
    for expression in synthetic.expressions(3):
        image = prepare_image(expression.source, decoders.preprocessing)
        found = {form: np.stack(decoders.decoder(form, image)(tokens)) for form in FORMS}
        assert found[EXPORTED].shape == (len(tokens), len(checkpoint.vocabulary))
        for form in FORMS[1:]:
            np.testing.assert_allclose(found[form], found[EXPORTED], atol=1e-4, err_msg=form)


def test_recurrent_decoders_and_nothing_are_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(DataError, match="recipe 'coverage'; `inktex benchmark fold`"):
        measure_steps(recurrent.checkpoint("coverage"), synthetic.expressions(2))
    with pytest.raises(DataError, match="found none"):
        measure_steps(checkpoint, [])
    unlabelled = replace(synthetic.expression(0), caption=(), ink=())
    with pytest.raises(DataError, match="a caption of every formula"):
        measure_steps(checkpoint, [unlabelled])


def test_every_form_has_a_row_in_the_table(
    checkpoint: Checkpoint, tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    checkpoint.save(tmp_path / "made.safetensors")
    formulas = synthetic.expressions(4)
    save_inkset(tmp_path / "made.inkset", formulas)
    done = inktex(
        *("benchmark", "steps", tmp_path / "made.safetensors", tmp_path / "made.inkset"),
        *("--json", tmp_path / "steps.json"),
    )
    assert done.exit_code == 0, done.output
    assert f"| {EXPORTED} | 4 |" in done.stdout
    rows = json.loads((tmp_path / "steps.json").read_text())["table"]
    assert [row["form"] for row in rows] == list(FORMS)
    assert rows[0]["ratio"] == 1.0
    for row in rows:
        assert row["formulas"] == 4
        assert row["tokens"] == sum(1 + len(each.caption) for each in formulas) / 4
        assert row["token_ms"] > 0
