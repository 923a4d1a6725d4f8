from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from inktex.core.attention import (
    Explanation,
    attention_of,
    attentive,
    draw_attention,
    on_all_cells,
    on_grid,
)
from inktex.core.errors import BundleError, InputError, RuntimeUnavailable
from inktex.core.interface import GraphSpec, Interface, StateSpec, TensorSpec
from inktex.core.manifest import Decoding, Manifest, Preprocessing, Variant
from inktex.core.recognizer import Recognizer
from inktex.core.vocabulary import SPECIAL_TOKENS, Vocabulary

VOCABULARY = Vocabulary((*SPECIAL_TOKENS, "x", "^", "{", "}", "2"))
SQUARE = [*"x^{2}"]
STROKES = [np.array([[0.0, 0.0], [30.0, 20.0]]), np.array([[30.0, 0.0], [0.0, 20.0]])]
LAYERS, HEADS = 2, 2

State = tuple[tuple[int, ...], NDArray[np.float32]]


class Wanderer:
    """Always reads `x^{2}`. At step n its second layer looks at cell n with one head and at the
    next cell with the other; its first layer looks everywhere alike."""

    vocabulary_size = len(VOCABULARY)

    def __init__(self, caption: list[str] = SQUARE) -> None:
        self.caption = caption
        self.cells = 0

    def encode(self, images: NDArray[np.float32]) -> list[int]:
        self.cells = images.shape[2] * images.shape[3] // 16**2
        return [self.cells] * len(images)

    def start(self, memory: int, beams: int) -> State:
        return (), np.zeros((beams, LAYERS, HEADS, memory), np.float32)

    def step(
        self, tokens: NDArray[np.int64], memory: int, state: State
    ) -> tuple[NDArray[np.float32], State]:
        written, coverage = state
        number = len(written)
        coverage = coverage.copy()
        coverage[:, 0] += 1 / memory
        for head in range(HEADS):
            coverage[:, 1, head, number + head] += 1
        log_probs = np.full((len(tokens), len(VOCABULARY)), -20, np.float32)
        log_probs[:, VOCABULARY.index[[*self.caption, "<eos>"][number]]] = 0
        return log_probs, ((*written, int(tokens[0])), coverage)

    def reorder(self, state: State, order: NDArray[np.int64]) -> State:
        return state[0], state[1][order]

    def coverage(self, state: State) -> NDArray[np.float32]:
        coverage: NDArray[np.float32] = state[1][0].copy()
        return coverage


def tensor(name: str, *shape: int | str, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def interface(state: str = "coverage") -> Interface:
    bias = tensor("memory_bias", "batch", "cells")
    seen = (LAYERS, "beams", HEADS, "cells")
    return Interface(
        GraphSpec((tensor("images", "batch", 1, "height", "width"),), (bias,)),
        GraphSpec(
            (
                tensor("tokens", "beams", dtype="int64"),
                tensor("position", 1, dtype="int64"),
                bias,
                tensor(state, *seen),
            ),
            (tensor("log_probs", "beams", len(VOCABULARY)), tensor(f"next_{state}", *seen)),
        ),
        (StateSpec(state, f"next_{state}"),),
    )


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        vocabulary=VOCABULARY,
        interface=interface(),
        preprocessing=Preprocessing("normalised-ink", {"multiple": 16, "max_pixels": 1 << 16}),
        decoding=Decoding(max_length=8),
        variants=(Variant("none", "fp32", "encoder", "step"),),
        provenance={},
        licence="CC0",
    )


def explanation(tokens: int = 1, height: int = 32, width: int = 48) -> Explanation:
    """Blank paper with a line along the middle; the attention runs over its cells of 16 pixels."""
    image = np.zeros((height, width), np.float32)
    image[height // 2 - 1 : height // 2 + 1] = 1
    attention = np.zeros((1, tokens, height // 16, width // 16), np.float32)
    for number, each in enumerate(attention[0]):
        each.flat[number % each.size] = 1
    return Explanation("x" * tokens, ("x",) * tokens, image, attention)


@pytest.mark.parametrize("beam", [1, 3])
def test_the_attention_of_a_token_is_what_its_step_adds_to_the_coverage(
    manifest: Manifest, beam: int
) -> None:
    model = Wanderer()
    found = Recognizer(model, manifest).explain(STROKES, beam=beam)
    assert found.latex == "x^{2}"
    assert found.tokens == tuple(SQUARE)
    rows, columns = found.image.shape[0] // 16, found.image.shape[1] // 16
    assert found.attention.shape == (LAYERS, len(SQUARE), rows, columns)
    assert rows * columns == model.cells > len(SQUARE)
    np.testing.assert_allclose(found.maps(1), 1 / model.cells, atol=1e-6)
    for number, each in enumerate(found.maps().reshape(len(SQUARE), -1)):
        expected = np.zeros(model.cells)
        expected[[number, number + 1]] = 0.5  # the mean of the heads
        np.testing.assert_allclose(each, expected, atol=1e-6)


def test_what_cannot_be_explained_is_told(manifest: Manifest) -> None:
    other = replace(manifest, interface=interface("seen"))
    with pytest.raises(BundleError, match="'coverage', found the states seen"):
        Recognizer(Wanderer(), other).explain(STROKES)
    with pytest.raises(InputError, match=r"page 3: expected a formula, found none"):
        Recognizer(Wanderer([]), manifest).explain(STROKES, name="page 3", constrain=False)
    found = Recognizer(Wanderer(), manifest).explain(STROKES)
    for layer in (0, 3):
        with pytest.raises(InputError, match=f"expected 1 to 2, as the decoder has, found {layer}"):
            found.maps(layer)


def test_a_runtime_without_coverage_is_told() -> None:
    class Plain:
        vocabulary_size = 3
        encode = start = step = reorder = Wanderer.encode

    with pytest.raises(RuntimeUnavailable, match=r"found Plain.*onnxruntime"):
        attentive(Plain(), interface())  # type: ignore[arg-type]


def test_rounding_makes_no_negative_attention() -> None:
    class Rounded(Wanderer):
        def coverage(self, state: State) -> NDArray[np.float32]:
            return super().coverage(state) - 1e-3 * len(state[0])

    model = Rounded()
    [memory] = model.encode(np.zeros((1, 1, 32, 48), np.float32))
    found = attention_of(model, memory, VOCABULARY.encode(SQUARE), VOCABULARY.sos)
    assert found.min() == 0
    assert found.max() > 0


def test_cells_go_back_to_their_places() -> None:
    cells = np.arange(12, dtype=np.float32).reshape(1, 2, 6)
    found = on_grid(cells, 32, 48)
    assert found.shape == (1, 2, 2, 3)
    np.testing.assert_array_equal(found[0, 0], [[0, 1, 2], [3, 4, 5]])
    for height, width in ((32, 64), (1, 5), (24, 64)):
        with pytest.raises(BundleError, match="squares"):
            on_grid(cells, height, width)


def test_cells_that_the_memory_leaves_out_have_no_attention() -> None:
    kept = np.array([True, False, True, True, False])
    spec = tensor("coverage", 2, "beams", 3, "cells")
    coverage = np.random.default_rng(0).random((2, 4, 3, 3)).astype(np.float16)
    found = on_all_cells(coverage, spec, kept)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :, kept], coverage[:, 0])
    np.testing.assert_array_equal(found[:, :, ~kept], 0)


def test_heads_may_come_before_the_beams() -> None:
    kept = np.array([True, False, True])
    spec = tensor("coverage_0", 1, 3, "beams", "cells")
    coverage = np.random.default_rng(0).random((1, 3, 4, 2), np.float32)
    found = on_all_cells(coverage, spec, kept)
    assert found.shape == (1, 3, 3)
    np.testing.assert_array_equal(found[:, :, kept], coverage[:, :, 0])
    np.testing.assert_array_equal(on_all_cells(coverage, spec, None), coverage[:, :, 0])


def test_rows_and_columns_are_cells_row_by_row() -> None:
    spec = tensor("coverage", "beams", 1, "rows", "columns")
    coverage = np.random.default_rng(0).random((3, 1, 2, 4), np.float32)
    found = on_all_cells(coverage, spec, None)
    np.testing.assert_array_equal(found, coverage[:1].reshape(1, 1, 8))
    coverage[:] = 0
    assert found.max() > 0  # a copy: the runtime goes on writing there


def test_the_centre_of_attention_is_in_pixels() -> None:
    found = explanation(6)
    expected = [(8, 8), (24, 8), (40, 8), (8, 24), (24, 24), (40, 24)]
    np.testing.assert_allclose(found.centres(), expected)
    both = replace(found, attention=found.attention + found.attention[:, ::-1])
    np.testing.assert_allclose(both.centres(1), [(24, 16)] * 6)


def test_the_ink_is_marked_where_the_model_looked() -> None:
    """The second of six cells; a panel is twice the size of the image."""
    seen = explanation(2)
    picture = draw_attention(replace(seen, tokens=("x",), attention=seen.attention[:, 1:]))
    assert picture.mode == "RGB"
    pixels = np.asarray(picture).astype(int)
    marked = pixels[:, :, 0] - pixels[:, :, 2] > 60  # orange
    y, x = np.argwhere(marked).mean(axis=0)
    left, top = 14 + (120 - 96) // 2, 14  # a panel is no narrower than a label
    assert (x - left) / 2 == pytest.approx(24, abs=2)
    assert (y - top) / 2 == pytest.approx(8, abs=3)
    line = pixels[top + 32, left : left + 96].sum(axis=1)  # ink: dark where it was looked at
    assert line[48] < line[4]
    assert line[48] < line[92]


@pytest.mark.parametrize(("tokens", "width"), [(1, 48), (5, 320), (40, 640), (150, 2048)])
def test_pictures_of_any_formula_have_a_sensible_size(tokens: int, width: int) -> None:
    picture = draw_attention(explanation(tokens, 96, width))
    assert picture.width * picture.height < 16e6
    if tokens > 1:
        assert 0.7 < picture.width / picture.height < 3
