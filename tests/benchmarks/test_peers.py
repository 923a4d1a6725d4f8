from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import Result

from inktex.benchmarks.formulas import Formula
from inktex.benchmarks.peers import naming
from inktex.benchmarks.peers.eager import EagerPeer, stepwise
from inktex.benchmarks.peers.naming import peer_of, peers_of
from inktex.benchmarks.peers.onnx_pair import OnnxPair, PairModel
from inktex.benchmarks.peers.packages import PACKAGES, PackagePeer
from inktex.benchmarks.peers.pair_export import pair_graphs, write_pair
from inktex.core.bundle import Bundle
from inktex.core.errors import BundleError, DataError, RuntimeUnavailable
from inktex.core.preparation import prepare_image
from inktex.core.rendering import CANONICAL, Rendering
from inktex.core.search import greedy
from inktex.training.checkpoint import Checkpoint
from inktex.training.decoding import TorchModel
from inktex.training.preprocessing import preprocessing

from ..training import recurrent, synthetic

TOKENS = [[1, 1], [4, 5], [3, 4], [5, 5]]


def log_probs(model: Any, image: np.ndarray) -> np.ndarray:
    """Of two beams that are turned around after the second step."""
    [memory] = model.encode(image)
    state, found = model.start(memory, 2), []
    for number, tokens in enumerate(TOKENS):
        values, state = model.step(np.array(tokens), memory, state)
        found.append(values)
        if number == 1:
            state = model.reorder(state, np.array([1, 0]))
    return np.stack(found)


@pytest.mark.parametrize(
    "checkpoint",
    [synthetic.checkpoint(), recurrent.checkpoint("abm"), recurrent.checkpoint("coverage")],
    ids=["edge", "abm", "coverage"],
)
def test_as_published_it_computes_the_same(checkpoint: Checkpoint) -> None:
    own = preprocessing(checkpoint.recipe.rendering)
    image = prepare_image(synthetic.expressions(1)[0].source, own)
    expected = log_probs(TorchModel(checkpoint.trained_network()), image)
    found = log_probs(stepwise(checkpoint.trained_network()), image)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def pair_of(checkpoint: Checkpoint) -> dict[str, bytes]:
    """Its two graphs."""
    return pair_graphs(
        checkpoint.trained_network(), checkpoint.vocabulary, checkpoint.recipe.rendering
    )


def trailing() -> Checkpoint:
    """A transformer that sees the trail of the pen, at a scale of its own, and spares braces."""
    made = synthetic.checkpoint()
    recipe = replace(made.recipe, rendering=Rendering(20.0, 2.2, trail=True), brief=True)
    weights, stem = dict(made.average), "encoder.stem.0.0.weight"
    torch.manual_seed(0)
    more = 0.3 * torch.randn(len(weights[stem]), recipe.rendering.channels - 1, 3, 3)
    weights[stem] = torch.cat([weights[stem], more], 1)
    vocabulary = replace(made.vocabulary, brief=True)
    return replace(made, recipe=recipe, vocabulary=vocabulary, network=weights, average=weights)


@pytest.fixture(scope="module")
def graphs() -> dict[str, bytes]:
    """A pair of the tiny transformer."""
    return pair_of(synthetic.checkpoint())


def test_a_pair_of_graphs_computes_the_same(
    tmp_path: Path, tiny_bundle: Bundle, graphs: dict[str, bytes]
) -> None:
    checkpoint = synthetic.checkpoint()
    network = checkpoint.trained_network()
    own = preprocessing(checkpoint.recipe.rendering)
    image = prepare_image(synthetic.expressions(1)[0].source, own)
    for int8 in (False, True):
        folder = tmp_path / f"pair-{int8}"
        write_pair(graphs, checkpoint.vocabulary, folder, int8)
        pair = PairModel(folder, len(checkpoint.vocabulary), 1)
        assert pair.rendering == checkpoint.recipe.rendering
        found = log_probs(pair, image)
        expected = log_probs(TorchModel(network), image)
        np.testing.assert_allclose(found, expected, atol=0.5 if int8 else 1e-4)
    peer = OnnxPair(
        tmp_path / "pair-False", tiny_bundle.manifest.vocabulary, own, trained=False, beams=2
    )
    caption = ("x", "^", "2")
    reading = peer.load()(Formula("a", synthetic.expressions(1)[0].source, caption))
    assert (reading.steps, len(reading.tokens)) == (4, 3)
    assert peer.configuration.label.startswith("pair-False (prefix re-fed), onnxruntime fp32")
    with pytest.raises(DataError, match="found a recurrent decoder"):
        pair_of(recurrent.checkpoint("abm"))
    with pytest.raises(BundleError, match="found none; a pair is a folder"):
        PairModel(tmp_path / "no", 3, 1)


def test_a_pair_sees_what_its_network_was_trained_on(
    tmp_path: Path, tiny_bundle: Bundle, inktex: Callable[..., Result]
) -> None:
    checkpoint = trailing()
    checkpoint.save(tmp_path / "edge.safetensors")
    done = inktex("bench", "pair", tmp_path / "edge.safetensors", "-o", tmp_path / "pair")
    assert done.exit_code == 0, done.output
    model = PairModel(tmp_path / "pair", len(checkpoint.vocabulary), 1)
    assert (model.rendering, model.max_length, model.brief) == (
        checkpoint.recipe.rendering, 24, True,
    )  # fmt: skip
    readers = [
        peer_of(text, tiny_bundle, random_weights=False).load()
        for text in (f"pair,from={tmp_path / 'pair'}", f"edge,from={tmp_path / 'edge.safetensors'}")
    ]
    formulas = [Formula("a", each.source) for each in synthetic.expressions(3)]
    found, expected = ([read(each).tokens for each in formulas] for read in readers)
    assert found == expected
    assert all(found)


def test_a_pair_that_does_not_tell_sees_canonical_bitmaps(
    tmp_path: Path, graphs: dict[str, bytes]
) -> None:
    decoder = onnx.load_from_string(graphs["decoder.onnx"])
    for key, value in (("inktex.rendering", '{"symbol_px": "large"}'), (None, None)):
        del decoder.metadata_props[:]
        if key is not None:
            decoder.metadata_props.add(key=key, value=value)
        untold = {**graphs, "decoder.onnx": decoder.SerializeToString()}
        write_pair(untold, synthetic.vocabulary(), tmp_path)
        if key is not None:
            with pytest.raises(BundleError, match=r"decoder.onnx: expected metadata as"):
                PairModel(tmp_path, 3, 1)
    model = PairModel(tmp_path, 3, 1)
    assert (model.rendering, model.max_length, model.brief) == (CANONICAL, 160, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"x\nx\n", r"found twice: \['x'\]"), (b"x\n\xff\n", "can't decode byte 0xff")],
)
def test_a_damaged_vocabulary_is_told(
    tmp_path: Path,
    tiny_bundle: Bundle,
    graphs: dict[str, bytes],
    content: bytes,
    said: str,
) -> None:
    write_pair(graphs, synthetic.vocabulary(), tmp_path)
    (tmp_path / "vocabulary.txt").write_bytes(content)
    peer = peer_of(f"pair,from={tmp_path}", tiny_bundle, random_weights=False)
    with pytest.raises(BundleError, match=rf"vocabulary.txt: expected .*{said}.*; mend it"):
        peer.load()


def test_a_checkpoint_of_another_recipe_is_told(tmp_path: Path, tiny_bundle: Bundle) -> None:
    path = synthetic.checkpoint_file(tmp_path)
    peer = peer_of(f"abm,from={path}", tiny_bundle, random_weights=False)
    with pytest.raises(DataError, match=r"expected a checkpoint of abm, found one of edge; say"):
        peer.load()


def test_the_trail_of_the_pen_is_drawn_for_who_sees_it(tmp_path: Path, tiny_bundle: Bundle) -> None:
    checkpoint = trailing()
    checkpoint.save(tmp_path / "edge.safetensors")
    peer = peer_of(f"edge,from={tmp_path / 'edge.safetensors'}", tiny_bundle, random_weights=False)
    source = synthetic.expressions(1)[0].source
    own = preprocessing(checkpoint.recipe.rendering, padding_px=0)
    expected = greedy(
        TorchModel(checkpoint.trained_network()),
        TorchModel(checkpoint.trained_network()).encode(prepare_image(source, own))[0],
        sos=1,
        eos=2,
        max_length=24,
    )
    reading = peer.load()(Formula("a", source))
    assert list(reading.tokens) == checkpoint.vocabulary.decode(expected.tokens)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_peer_with_weights_reads_and_random_ones_write_so_much(
    tmp_path: Path, tiny_bundle: Bundle, beams: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inktex.training import recipes

    checkpoint = recurrent.checkpoint("abm")
    checkpoint.save(tmp_path / "abm.safetensors")
    manifest = tiny_bundle.manifest
    peer = EagerPeer(
        "abm", tmp_path / "abm.safetensors", manifest.vocabulary, manifest.preprocessing, beams
    )
    expression = synthetic.expressions(1)[0]
    formula = Formula("a", expression.source, expression.caption)
    assert peer.trained
    assert peer.load()(formula).total_ms > 0
    monkeypatch.setitem(recipes.RECIPES, "abm", lambda: checkpoint.recipe)
    random = EagerPeer("abm", None, checkpoint.vocabulary, manifest.preprocessing, beams)
    reading = random.load()(formula)
    assert reading.steps == len(expression.caption) + 1
    assert len(reading.tokens) == len(expression.caption)
    assert set(reading.stages_ms) >= {"encode", "step", "search"}
    with pytest.raises(DataError, match="expected a caption"):
        random.load()(Formula("a", expression.source))


def test_packages_read_images(monkeypatch: pytest.MonkeyPatch, formulas: list[Formula]) -> None:
    seen: list[bytes] = []

    class Model:
        def __call__(self, image: bytes) -> tuple[str, float]:
            seen.append(image)
            return "x^2", 0.1

    module = ModuleType("rapid_latex_ocr")
    module.LaTeXOCR = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rapid_latex_ocr", module)
    reading = PackagePeer("rapid_latex_ocr").load()(formulas[0])
    assert reading.tokens == ("x", "^", "{", "2", "}")
    assert seen[0].startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "pix2tex", None)
    with pytest.raises(RuntimeUnavailable, match="pip install pix2tex"):
        PackagePeer("pix2tex").load()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("abm", "say --random-weights"),
        ("abm,beam=0", "a whole number > 0"),
        ("abm,beams=3", "settings out of from, beam"),
        ("edge,from=x,precision=int8", "found 'precision=int8'; leave it out"),
        ("pix2tex,beam=10", "settings out of threads, name"),
        ("pix2tex,from=nowhere", "found 'from=nowhere'"),
        ("pair,from=x,beam=1,beam=5", "expected beam once, found beam=1 and beam=5; keep one"),
        ("pair", "the folder of the pair"),
        ("wap", "expected one of edge, coverage"),
    ],
)
def test_wrong_names_are_told(tiny_bundle: Bundle, text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        peer_of(text, tiny_bundle, random_weights=False)


def test_peers_by_name(tiny_bundle: Bundle) -> None:
    labels = [
        peer_of(text, tiny_bundle, random_weights=True).configuration.label
        for text in ("abm,beam=10", "pair,from=a/../comer,precision=int8", "pix2tex,threads=1")
    ]
    assert labels == [
        "abm, PyTorch eager fp32, 1 thread, beam 10",
        "comer (prefix re-fed), onnxruntime int8, 1 thread, greedy",
        "pix2tex, PyTorch eager fp32, 1 thread, greedy",
    ]


def test_every_package_has_its_settings() -> None:
    assert set(PACKAGES) < set(naming._KEYS)


def test_a_pair_here_has_the_name_of_its_folder(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    peer = peer_of("pair,from=.", tiny_bundle, random_weights=False)
    assert peer.configuration.system == "mine (prefix re-fed)"


def test_peers_that_a_report_could_not_tell_apart_want_names(tiny_bundle: Bundle) -> None:
    texts = ["abm,beam=2", "edge", "abm,beam=2,name=other", "abm"]
    peers = peers_of(texts, tiny_bundle, random_weights=True)
    assert len({each.configuration.label for each in peers}) == 4
    assert peers[2].configuration.system == "other"
    assert (peers[2].trained, peers[2].configuration.beams) == (False, 2)
    with pytest.raises(DataError, match=r"--peer edge: .*found another edge,.*name=other"):
        peers_of(["edge", "edge"], tiny_bundle, random_weights=True)
    with pytest.raises(DataError, match="name: expected another"):
        peers_of(["edge,name=inktex"], tiny_bundle, random_weights=True)


def test_peers_take_part_in_a_run(
    tiny_bundle: Bundle,
    tmp_path: Path,
    inktex: Callable[..., Result],
    graphs: dict[str, bytes],
) -> None:
    write_pair(graphs, synthetic.checkpoint().vocabulary, tmp_path / "p")
    done = inktex(
        *("bench", tiny_bundle.path, "--peer", f"pair,from={tmp_path / 'p'}", "--random-weights"),
        *("--limit", 2, "--samples", 2, "--seconds", 0, "--repeats", 1, "--part", "stream"),
        *("--beam", 1, "--precision", "fp32", "--runtime", "onnxruntime"),
    )
    assert done.exit_code == 0, done.output
    assert "p (prefix re-fed), onnxruntime fp32, 1 thread, greedy" in done.stdout
    assert "| not trained | not trained |" in done.stdout
    assert "random weights" in done.stdout
