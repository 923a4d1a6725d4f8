from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from inktex.core.bundle import Bundle
from inktex.core.errors import BundleError, CheckpointError
from inktex.core.vocabulary import Vocabulary
from inktex.runtimes import DEFAULT_BUNDLE
from inktex.training.recipes import RECIPES, named
from inktex.training.warm_start import (
    Transfer,
    channel_axes,
    grown,
    layer_axes,
    load_source,
    token_axes,
    transfer,
)
from inktex.training.weight_source import Source

from . import synthetic
from .recurrent import recipe as recurrent_recipe

ROWS = (
    "decoder.embedding.weight",
    "decoder.classifier.weight",
    "decoder.classifier.bias",
    "symbol_head.weight",
    "symbol_head.bias",
)


def source() -> Source:
    start = synthetic.checkpoint()
    return Source(start.recipe, start.vocabulary, start.average)


def fresh(vocabulary: Vocabulary, **model: str) -> tuple[dict[str, Tensor], Transfer]:
    """The weights of a fresh network, before and after the transfer, and what it says."""
    torch.manual_seed(5)
    settings = synthetic.recipe().override({f"model.{name}": text for name, text in model.items()})
    network = settings.model.build(vocabulary)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    done = transfer(network, settings.model, vocabulary, source())
    after = network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in done.fresh)
    return {**after, **{f"before.{name}": before[name] for name in before}}, done


def test_rows_go_where_their_tokens_are_and_the_rest_is_kept() -> None:
    old = synthetic.vocabulary()
    new = Vocabulary((*old.tokens[:3], "\\Pi", *reversed(old.tokens[3:]), "\\alpha"))
    weights, done = fresh(new)
    assert done.fresh == ()
    assert done.tokens == ("\\Pi", "\\alpha")
    given = source().tensors
    for name in ROWS:
        for token in new.tokens:
            row = weights[name][new.index[token]]
            if token in old:
                assert torch.equal(row, given[name][old.index[token]])
            else:  # as it was drawn
                assert torch.equal(row, weights[f"before.{name}"][new.index[token]])
    for name, tensor in given.items():
        if name not in ROWS:
            assert torch.equal(weights[name], tensor)


def test_fewer_tokens_are_fewer_rows() -> None:
    old = synthetic.vocabulary()
    weights, done = fresh(Vocabulary(old.tokens[:5]))
    assert done.tokens == ()
    for name in ROWS:
        assert torch.equal(weights[name], source().tensors[name][:5])


def test_what_has_another_shape_stays_fresh_and_is_told() -> None:
    _, done = fresh(synthetic.vocabulary(), hidden="48", layers="3")
    assert {"decoder.layers.0.feed_in.weight", "decoder.layers.2.self_out.weight"} <= set(
        done.fresh
    )
    assert "decoder.layers.0.self_qkv.weight" not in done.fresh
    told = str(done)
    assert told.startswith(
        f"took {done.count} tensors over from edge; new: decoder.layers.0.feed_in"
    )
    assert told.endswith(f" and {len(done.fresh) - 8} more")
    assert "\n" not in told
    assert str(Transfer("edge", 3, (), ())) == "took 3 tensors over from edge"
    assert str(Transfer("abm", 3, ("a.b",), ("\\Pi", "x"))) == (
        "took 3 tensors over from abm; new: a.b; new tokens: \\Pi, x"
    )


@pytest.mark.parametrize("layers", [1, 3])
def test_a_decoder_of_other_layers_takes_those_that_both_have(layers: int) -> None:
    """Those of the memory's projections, too, which are one tensor for all layers."""
    weights, done = fresh(synthetic.vocabulary(), layers=str(layers))
    common, given = min(layers, 2) * 16, source().tensors
    for name in ("memory_keys.weight", "memory_keys.bias", "memory_places.weight"):
        name = f"decoder.{name}"
        assert len(weights[name]) == layers * 16
        assert torch.equal(weights[name][:common], given[name][:common])
        assert torch.equal(weights[name][common:], weights[f"before.{name}"][common:])
    assert torch.equal(
        weights["decoder.layers.0.self_qkv.weight"], given["decoder.layers.0.self_qkv.weight"]
    )
    assert all(name.startswith("decoder.layers.2.") for name in done.fresh)
    assert bool(done.fresh) == (layers > 2)


def test_layers_of_another_width_have_nothing_in_common() -> None:
    """Not even vectors, of which as many numbers could be taken."""
    weights, done = fresh(synthetic.vocabulary(), features="48")
    for name in ("memory_keys.weight", "memory_keys.bias", "memory_values.bias"):
        name = f"decoder.{name}"
        assert name in done.fresh
        assert torch.equal(weights[name], weights[f"before.{name}"])


@pytest.mark.parametrize("name", RECIPES)
def test_what_has_rows_for_every_layer_is_found(name: str) -> None:
    axes = layer_axes(named(name).model, Vocabulary.from_captions([["x"]]))
    projections = [f"decoder.memory_{each}" for each in ("keys", "values", "places")]
    if name in ("edge", "mask_and_match"):
        assert set(axes.values()) == {0}
        assert {each.rpartition(".")[0] for each in axes} == set(projections)
    else:
        assert not axes


def test_another_architecture_is_refused() -> None:
    model = recurrent_recipe("coverage").model
    network = model.build(synthetic.vocabulary())
    with pytest.raises(CheckpointError, match="found those of recipe 'edge' of which none fits"):
        transfer(network, model, synthetic.vocabulary(), source())


@pytest.mark.parametrize("name", RECIPES)
def test_what_grows_with_the_vocabulary_is_found_in_every_recipe(name: str) -> None:
    vocabulary = Vocabulary.from_captions([["x", "y"]])
    axes = token_axes(named(name).model, vocabulary)
    assert {"decoder.embedding.weight", "decoder.classifier.weight"} <= axes.keys()
    assert set(axes.values()) == {0}
    assert not any(each.startswith("encoder.") for each in axes)
    if name == "edge":
        assert set(axes) == set(ROWS)


def test_a_vocabulary_grows_at_its_end() -> None:
    old = Vocabulary(("<pad>", "<sos>", "<eos>", "y", "x"))
    assert grown(old, [["x", "b"], ["a", "y"]]).tokens[3:] == ("y", "x", "a", "b")
    assert grown(old, [["x"]]) == old


def test_a_source_is_a_checkpoint_or_a_bundle(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = synthetic.checkpoint_file(tmp_path)
    found = load_source(path)
    assert found.recipe == synthetic.recipe()
    assert found.vocabulary == synthetic.vocabulary()
    assert not found.folded
    assert all(torch.equal(found.tensors[name], each) for name, each in source().tensors.items())
    bundle: Bundle = synthetic.bundle(tmp_path_factory)
    assert load_source(bundle.path).folded
    assert dataclasses.replace(load_source(bundle.path), tensors={}, folded=False) == (
        dataclasses.replace(found, tensors={}, recipe=load_source(bundle.path).recipe)
    )
    with pytest.raises(BundleError, match="expected a bundle"):
        load_source(tmp_path)
    with pytest.raises(CheckpointError, match="found no file"):
        load_source(tmp_path / "none")


def test_the_bundle_that_comes_with_inktex_goes_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless something else does."""
    opened: list[Path] = []

    def fail(path: Path) -> Bundle:
        opened.append(path)
        raise BundleError("none")

    monkeypatch.setattr(Bundle, "open", fail)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BundleError):
        load_source(Path("default"))
    (tmp_path / "default").mkdir()
    with pytest.raises(BundleError):
        load_source(Path("default"))
    assert opened == [DEFAULT_BUNDLE, Path("default")]


@pytest.mark.parametrize(("theirs", "mine"), [(1, 6), (6, 1)])
def test_what_both_see_of_an_image_is_taken_over(theirs: int, mine: int) -> None:
    recipe, vocabulary = synthetic.recipe(), synthetic.vocabulary()
    torch.manual_seed(1)
    given = recipe.model.build(vocabulary, theirs).state_dict()
    network = recipe.model.build(vocabulary, mine)
    done = transfer(network, recipe.model, vocabulary, Source(recipe, vocabulary, given))
    assert done.fresh == ()
    assert done.widened == (("encoder.stem.0.0.weight",) if mine > theirs else ())
    after = network.state_dict()
    stem = "encoder.stem.0.0.weight"
    assert channel_axes(recipe.model, vocabulary) == {stem: 1}
    assert torch.equal(after[stem][:, :1], given[stem][:, :1])
    assert not after[stem][:, 1:].any()
    assert all(torch.equal(after[name], given[name]) for name in given if name != stem)
