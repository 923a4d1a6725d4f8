from __future__ import annotations

from collections.abc import Callable
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


def test_every_form_has_a_row(checkpoint: Checkpoint) -> None:
    rows = measure_steps(checkpoint, synthetic.expressions(5))
    assert [row.form for row in rows] == list(FORMS)
    assert rows[0].ratio == 1.0
    lengths = [1 + len(each.caption) for each in synthetic.expressions(5)]
    for row in rows:
        assert row.formulas == 5
        assert row.tokens == pytest.approx(sum(lengths) / 5)
        assert row.token_ms > 0


def test_recurrent_decoders_and_nothing_are_refused(checkpoint: Checkpoint) -> None:
    with pytest.raises(DataError, match="recipe 'coverage'; `inktex benchmark fold`"):
        measure_steps(recurrent.checkpoint("coverage"), synthetic.expressions(2))
    with pytest.raises(DataError, match="found none"):
        measure_steps(checkpoint, [])


def test_the_command_prints_the_table(
    checkpoint: Checkpoint, tmp_path: Path, inktex: Callable[..., Result]
) -> None:
    checkpoint.save(tmp_path / "made.safetensors")
    save_inkset(tmp_path / "made.inkset", synthetic.expressions(4))
    done = inktex(
        *("benchmark", "steps", tmp_path / "made.safetensors", tmp_path / "made.inkset"),
        *("--limit", 2, "--json", tmp_path / "steps.json"),
    )
    assert done.exit_code == 0, done.output
    assert f"| {EXPORTED} | 2 |" in done.stdout
    assert (tmp_path / "steps.json").exists()
