from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from inktex.core.errors import CheckpointError
from inktex.core.rendering import Rendering
from inktex.core.vocabulary import Vocabulary
from inktex.training.batches import Batch, collate, draw
from inktex.training.checkpoint import Checkpoint
from inktex.training.objectives import AlignedCrossEntropy, distance
from inktex.training.teacher import Teacher
from inktex.training.training_log import FILE, read_log
from inktex.training.transformer_recognizer import TransformerRecognizer
from inktex.training.weight_source import Source

from . import recurrent, synthetic
from .synthetic import expressions, network, recipe, vocabulary
from .tiny_training import assert_same, train


def source(seed: int = 0) -> Source:
    start = synthetic.checkpoint(seed)
    return Source(start.recipe, start.vocabulary, start.average, provenance={"training": "once"})


def batch(words: Vocabulary | None = None) -> Batch:
    made = expressions(5)
    return collate(made, [draw(each) for each in made], words or vocabulary())


def said(one: Batch, seed: int = 0) -> torch.Tensor:
    """The logits of a network that reads both directions of all parts."""
    net = network(seed)
    with torch.no_grad():
        memory = net.remember(one.images)
        logits, _ = net.decoder.read(
            [one.inputs[part.rows, :, : part.tokens] for part in one.parts],
            memory.split([(part.images, memory.bias.shape[1]) for part in one.parts]),
        )
    return logits


def test_the_distance_is_the_divergence_of_what_is_said_from_what_is_told() -> None:
    told, wrong = torch.tensor([[0.2, 0.5, 0.3]]), torch.tensor([[0.6, 0.3, 0.1]])
    expected = (told * (told / wrong).log()).sum().item()
    left, right = (torch.cat([each.log(), torch.randn(1, 3)]) for each in (told, wrong))
    first = torch.tensor([True, False])
    assert distance(left, right, known=first).item() == pytest.approx(expected, rel=1e-5)
    assert distance(right, left, known=first).item() != pytest.approx(expected, rel=0.05)
    softened = [(each.log() / 4).softmax(dim=1) for each in (told, wrong)]
    expected = 16 * (softened[0] * (softened[0] / softened[1]).log()).sum().item()
    assert distance(left, right, 4.0, first).item() == pytest.approx(expected, rel=1e-4)
    assert distance(left, left).item() == pytest.approx(0, abs=1e-6)


def test_a_teacher_says_what_it_would_say_by_itself_in_the_numbers_of_the_student() -> None:
    one = batch()
    torch.testing.assert_close(Teacher.of(source(), recipe(), vocabulary())(one), said(one))
    # a student of fewer tokens, in another order
    old = vocabulary()
    words = Vocabulary((*old.tokens[:3], *reversed(old.tokens[3:])))
    turned = Teacher.of(source(), recipe(), words)(batch(words))
    order = torch.tensor([old.index[token] for token in words.tokens])
    torch.testing.assert_close(turned, said(one)[:, order])


def test_who_says_what_the_teacher_says_is_at_no_distance_from_it() -> None:
    """The other parts of the objective are what they are without a teacher."""
    one = batch()
    teacher = Teacher.of(source(), recipe(), vocabulary())
    objective = AlignedCrossEntropy(distillation=2.0)
    with torch.no_grad():
        total, parts = objective(network(), one, teacher)
        alone, without = objective(network(), one)
        other = objective(network(1), one, teacher).parts["distillation"]
    assert parts["distillation"].item() == pytest.approx(0, abs=1e-5)
    assert other > 0.1
    assert "distillation" not in without
    assert all(torch.equal(parts[name], value) for name, value in without.items())
    total_of_other = objective(network(1), one, teacher)
    assert total.item() == pytest.approx(alone.item(), rel=1e-4)
    assert total_of_other.total.item() == pytest.approx(
        objective(network(1), one).total.item() + 2 * other.item(), rel=1e-4
    )


def _transformer(trained: Checkpoint) -> TransformerRecognizer:
    made = trained.trained_network()
    assert isinstance(made, TransformerRecognizer)
    return made


def test_a_training_is_drawn_to_its_teacher(tmp_path: Path) -> None:
    """A smaller network learns to say what the teacher says."""
    objective = AlignedCrossEntropy(alignment=0, symbols=0, distillation=20.0)
    smaller = dataclasses.replace(
        recipe(learning_rate=1e-2).override({"model.layers": "1"}), objective=objective
    )
    taught = train(tmp_path / "taught", "30steps", smaller, teacher=source())
    alone = train(tmp_path / "alone", "30steps", smaller)
    one, teacher = batch(), Teacher.of(source(), recipe(), vocabulary())
    with torch.no_grad():
        far, near = (
            objective(_transformer(each), one, teacher).parts["distillation"]
            for each in (alone, taught)
        )
    assert near < 0.5 * far
    assert read_log(tmp_path / "taught" / FILE)[-1]["distillation"] > 0
    assert taught.provenance["teacher"] == {"recipe": "edge", "training": "once"}
    # the teacher is no part of what is saved
    assert taught.network.keys() == alone.network.keys()


def test_a_training_goes_on_under_its_teacher_alone(tmp_path: Path) -> None:
    steady = recipe(schedule="constant", warmup=0.0)
    half = train(tmp_path / "run", "3steps", steady, teacher=source())
    with pytest.raises(CheckpointError, match="learnt from, of recipe 'edge', found none; name"):
        train(tmp_path / "run", "6steps", resume=half)
    other = dataclasses.replace(source(1), provenance={"training": "twice"})
    alone = train(tmp_path / "alone", "3steps", steady)
    for before, teacher in ((half, other), (alone, source())):
        with pytest.raises(CheckpointError, match="has learnt from, found another"):
            train(tmp_path / "no", "6steps", resume=before, teacher=teacher)
    resumed = train(tmp_path / "run", "6steps", half.recipe, resume=half, teacher=source())
    assert resumed.provenance["teacher"] == half.provenance["teacher"]
    at_once = train(tmp_path / "six", "6steps", steady, teacher=source())
    assert_same(resumed.network, at_once.network)


def test_a_teacher_reads_captions_longer_than_its_own_training_had() -> None:
    short = source()
    model = dataclasses.replace(short.recipe.model, max_length=2)  # type: ignore[type-var]
    short = dataclasses.replace(short, recipe=dataclasses.replace(short.recipe, model=model))
    teacher, one = Teacher.of(short, recipe(), vocabulary()), batch()
    with torch.no_grad():
        assert torch.allclose(teacher(one), Teacher.of(source(), recipe(), vocabulary())(one))


def test_a_teacher_that_cannot_teach_is_refused(tmp_path: Path) -> None:
    def refused(told: str, teacher: Source, **changes: object) -> None:
        with pytest.raises(CheckpointError, match=told):
            Teacher.of(teacher, dataclasses.replace(recipe(), **changes), vocabulary())  # type: ignore[arg-type]

    refused("with the rendering of the recipe", source(), rendering=Rendering(30.0, 2.0))
    refused("with the brief of the recipe, True, found False", source(), brief=True)
    known = Vocabulary(vocabulary().tokens[:-2])
    refused("one without '.+' and 1 more", dataclasses.replace(source(), vocabulary=known))
    start = recurrent.checkpoint("coverage")
    other = Source(start.recipe, start.vocabulary, start.average)
    refused("found one of recipe 'coverage'", other)
    with pytest.raises(CheckpointError, match=r"can learn from one \(edge\), found 'coverage'"):
        train(tmp_path, "1step", recurrent.recipe("coverage"), teacher=source())
    deaf = dataclasses.replace(recipe(), objective=AlignedCrossEntropy(distillation=0))
    with pytest.raises(CheckpointError, match=r"found objective\.distillation 0"):
        train(tmp_path, "1step", deaf, teacher=source())
    assert not list(tmp_path.iterdir())
