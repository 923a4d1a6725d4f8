from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from inktex.core.bundle import Bundle
from inktex.core.errors import DataError
from inktex.core.preparation import prepare_image
from inktex.export.checkpoint_bundle import export_bundle
from inktex.export.graphs import EncoderGraph, StepGraph, read_greedily
from inktex.runtimes import load
from inktex.training.batches import Batch, collate, collate_compact, draw
from inktex.training.recipes import named, recipe_from_dict
from inktex.training.training_module import TrainingModule
from inktex.training.transformer_recognizer import TransformerRecognizer

from . import tiny_pretraining
from .synthetic import expressions, vocabulary


def batch(count: int = 5) -> Batch:
    some = expressions(count)
    return collate(some, [draw(each, scale=1.5) for each in some], vocabulary())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    path: Path = tmp_path_factory.mktemp("bundles") / "mask-and-match"
    return export_bundle(tiny_pretraining.checkpoint(), path)


def test_the_recipe_is_known_by_name_and_as_json() -> None:
    recipe = named("mask_and_match")
    assert recipe_from_dict(recipe.to_dict()) == recipe
    made = tiny_pretraining.fine_tuning().model.build(vocabulary())
    assert isinstance(made, TransformerRecognizer)
    assert made.cell == 16
    assert made.symbol_head is None


def test_a_width_that_cannot_be_split_is_refused() -> None:
    with pytest.raises(DataError, match="multiple of heads and of 4, found 16 features and 3"):
        tiny_pretraining.fine_tuning({"model.heads": "3"})


def test_all_that_is_trained_has_a_gradient() -> None:
    """Processes that train together wait for each of them."""
    module = TrainingModule(tiny_pretraining.fine_tuning(), vocabulary())
    some = expressions(5)
    drawn = [draw(each, scale=1.5) for each in some]
    module.training_step((0, collate_compact(some, drawn, vocabulary()))).backward()  # type: ignore[no-untyped-call]
    without = [
        name
        for name, parameter in module.network.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []


@pytest.mark.parametrize("coverage", ["true", "false"])
def test_steps_give_what_teacher_forcing_gives(coverage: str) -> None:
    torch.manual_seed(0)
    network = tiny_pretraining.fine_tuning({"model.coverage": coverage}).model.build(vocabulary())
    assert isinstance(network, TransformerRecognizer)
    for name, parameter in network.named_parameters():  # what starts at zero too
        if name.startswith("decoder.") and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    network.eval()
    made = batch()
    memory = network.encode(made.images)
    logits, _ = network.decoder(made.inputs[:, 0], network.remember(made.images))
    state = network.start(memory, len(made.images))
    for position in range(made.inputs.shape[2]):
        log_probs, state = network.step(
            made.inputs[:, 0, position], torch.tensor([position]), memory, state
        )
        expected = torch.log_softmax(logits[:, position], dim=-1)
        torch.testing.assert_close(log_probs, expected, atol=1e-4, rtol=1e-4)
    covered = [name for name, _ in network.named_parameters() if "coverage" in name]
    assert bool(covered) == (coverage == "true")


def test_it_learns_from_captions() -> None:
    torch.manual_seed(0)
    recipe = tiny_pretraining.fine_tuning({"model.dropout": "0.0", "model.encoder_dropout": "0.0"})
    network, made = recipe.model.build(vocabulary()), batch()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        total, parts = recipe.objective(network, made)
        assert set(parts) == {"tokens"}
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(total.detach()))
    assert losses[-1] < 0.3 * losses[0]
    unused = {name for name, each in network.named_parameters() if each.grad is None}
    assert unused == {"encoder.attention.mask_token"}


def test_the_bundle_reads_as_the_network_does(bundle: Bundle) -> None:
    """ONNX Runtime through its own front door, against torch on the same image."""
    network = tiny_pretraining.network()
    encoder, step = EncoderGraph(network), StepGraph(network)
    recognizer = load(bundle)
    read = set()
    for each in expressions(6):
        strokes = [stroke.astype(np.float64) for stroke in each.strokes]
        images = torch.from_numpy(prepare_image(strokes, bundle.manifest.preprocessing))
        expected = vocabulary().decode(read_greedily(encoder, step, images, vocabulary()).tokens)
        found = recognizer(strokes, constrain=False)
        assert list(found.tokens) == expected
        read.add(tuple(expected))
    assert len(read) > 1  # it looks at the ink


def test_the_cache_has_a_fixed_place_for_every_step(bundle: Bundle) -> None:
    interface = bundle.manifest.interface
    caches = [each for each in interface.state if each.length_axis is not None]
    assert [each.input for each in caches] == [
        f"cache_{name}_{layer}" for name in ("keys", "values") for layer in (0, 1)
    ]
    assert bundle.manifest.decoding.max_length == 24
