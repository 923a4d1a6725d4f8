from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inktex.core.errors import DataError
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary
from inktex.training import trainer
from inktex.training.abm import AbmModel, abm
from inktex.training.budget import Budget
from inktex.training.mutual_learning import MutualLearning
from inktex.training.recurrent_recognizer import RecurrentRecognizer

from . import recurrent, synthetic


def test_the_sizes_are_those_published() -> None:
    """5.7 million weights at inference; 512 channels at both scales."""
    words = Vocabulary(SPECIAL_TOKENS + tuple(f"\\{number}" for number in range(110)))
    network = abm().model.build(words)
    assert isinstance(network, RecurrentRecognizer)
    parts = (network.encoder, network.decoder)
    assert sum(each.numel() for part in parts for each in part.parameters()) == pytest.approx(
        5.7e6, rel=0.01
    )
    assert network.mirror is not None
    for decoder in (network.decoder, network.mirror):
        assert recurrent.kernels(decoder) == [(512, 1, 11, 11), (512, 1, 5, 5)]
        assert decoder.keys.weight.shape == (512, 684, 1, 1)
        assert decoder.embedding.weight.shape == (113, 256)
        assert decoder.first.from_hidden.weight.shape == (3 * 256, 256)
        assert decoder.dropout.p == 0.2


def test_the_training_is_the_one_published() -> None:
    settings = abm().optimisation
    assert (settings.optimizer, settings.learning_rate, settings.warmup) == ("adadelta", 1.0, 0.0)
    assert (settings.weight_decay, settings.gradient_clip) == (1e-4, 100.0)
    assert settings.batch_size == 16
    assert abm().objective == MutualLearning(weight=0.5, temperature=4.0, aligned=True)


def test_every_ablation_is_a_setting() -> None:
    def sizes(**settings: str) -> list[int]:
        shapes = recurrent.kernels(recurrent.network("abm", **settings).decoder)
        return [shape[-1] for shape in shapes]

    assert sizes() == [11, 5]
    assert sizes(model__aggregation="false") == [11]
    assert sizes(model__coverage="false") == []
    assert recurrent.network("abm", model__mirror="false").mirror is None
    changed = abm().override({"objective.aligned": "false", "objective.weight": "0"})
    assert changed.objective == MutualLearning(weight=0.0, aligned=False)


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"embedding": 9}, "embedding must be even"), ({"reduction": 0.0}, "reduction must be")],
)
def test_a_bad_setting_says_what_was_expected(settings: dict[str, float], told: str) -> None:
    with pytest.raises(DataError, match=told):
        AbmModel(**settings)  # type: ignore[arg-type]


def test_it_trains(tmp_path: Path) -> None:
    recipe = recurrent.recipe("abm", optimisation__precision="bf16")
    made = synthetic.expressions(14)
    last = trainer.train(recipe, made, made[:3], Budget(2, "steps"), tmp_path, accelerator="cpu")
    assert last.progress.steps == 2
    assert last.network.keys() == recurrent.network("abm").state_dict().keys()
    for name, tensor in last.network.items():
        assert torch.isfinite(tensor).all(), name
    for part in ("encoder", "decoder", "mirror"):
        assert any(name.startswith(f"square_avg/{part}.") for name in last.optimizer)
    header = (tmp_path / "log.csv").read_text().splitlines()[0].split(",")
    assert {"tokens", "mirrored", "mutual"} <= set(header)
