"""Handwriting made up for tests: a few shapes as strokes, laid out as formulas.

The ink of every token is known, formulas differ, and a tiny recognizer learns them in seconds.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

from inktex.core.bundle import Bundle
from inktex.core.vocabulary import Vocabulary
from inktex.training.batches import draw
from inktex.training.checkpoint import Checkpoint, Progress
from inktex.training.comer import Comer
from inktex.training.edge import EdgeModel
from inktex.training.inkset import Expression
from inktex.training.objectives import AlignedCrossEntropy
from inktex.training.recipe import Optimisation, Recipe
from inktex.training.transformer_recognizer import TransformerRecognizer

Points = NDArray[np.float64]

# Each a list of strokes in a box of width 1 and height 1, y down.
_CORNERS = np.linspace(0, 2 * np.pi, 17)
SHAPES: dict[str, list[list[tuple[float, float]]]] = {
    "1": [[(0.4, 0.15), (0.5, 0), (0.5, 1)]],
    "x": [[(0, 0.3), (0.8, 1)], [(0.8, 0.3), (0, 1)]],
    "+": [[(0, 0.6), (0.8, 0.6)], [(0.4, 0.2), (0.4, 1)]],
    "-": [[(0, 0.6), (0.8, 0.6)]],
    "0": [[(0.4 + 0.3 * np.sin(a), 0.5 - 0.5 * np.cos(a)) for a in _CORNERS]],
}
LETTERS = ("1", "x", "0")


class Layout:
    """Tokens and their strokes, put down from left to right."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.caption: list[str] = []
        self.strokes: list[Points] = []
        self.ink: list[tuple[int, ...]] = []

    def write(self, token: str, x: float, y: float, size: float, strokes: list[Points]) -> None:
        """A token with ink, in a box of `size` whose upper left corner is at x, y."""
        first = len(self.strokes)
        for stroke in strokes:
            shaky = stroke + self.rng.normal(0, 0.02, stroke.shape)
            self.strokes.append(shaky * size + (x, y))
        self.caption.append(token)
        self.ink.append(tuple(range(first, len(self.strokes))))

    def symbol(self, token: str, x: float, y: float, size: float = 10.0) -> None:
        self.write(token, x, y, size, [np.array(points) for points in SHAPES[token]])

    def mark(self, *tokens: str) -> None:
        """Tokens without ink."""
        self.caption.extend(tokens)
        self.ink.extend(() for _ in tokens)


def expression(number: int, writer: str = "") -> Expression:
    """Formula `number`: by turns a sum, a power and a fraction. The same at every call."""
    rng = np.random.default_rng([7, number])
    first, second = rng.choice(LETTERS, 2).tolist()
    page = Layout(rng)
    if number % 3 == 0:
        page.symbol(first, 0, 0)
        page.symbol("+-"[rng.integers(2)], 11, 0)
        page.symbol(second, 22, 0)
    elif number % 3 == 1:
        page.symbol(first, 0, 0)
        page.mark("^", "{")
        page.symbol(second, 9, -4, 6)
        page.mark("}")
    else:
        page.write("\\frac", 0, 0, 10, [np.array([(0.0, 0.0), (1.2, 0.0)])])
        page.mark("{")
        page.symbol(first, 1, -12)
        page.mark("}", "{")
        page.symbol(second, 1, 2)
        page.mark("}")
    return Expression(
        f"made-{number}",
        writer,
        tuple(page.caption),
        tuple(stroke.astype(np.float32) for stroke in page.strokes),
        tuple(page.ink),
    )


def expressions(count: int) -> list[Expression]:
    """The first `count` formulas; every other one names one of four writers."""
    return [
        expression(number, f"writer-{number % 8}" if number % 2 else "") for number in range(count)
    ]


def images(count: int) -> list[Expression]:
    """The made formulas as images, as an import of images gives them."""
    return [
        Expression(
            f"image-{number}",
            each.writer,
            each.caption,
            (),
            ((),) * len(each.caption),
            draw(each).image,
        )
        for number, each in enumerate(expressions(count))
    ]


def recipe(**optimisation: object) -> Recipe:
    """A recipe with a tiny network, in float32."""
    settings = Optimisation(batch_size=4, max_pixels=60_000, precision="fp32")
    return Recipe(
        "edge",
        EdgeModel(
            widths=(4, 8, 8, 8),
            blocks=(1, 1, 1),
            features=16,
            heads=2,
            hidden=32,
            layers=2,
            max_length=24,
            dropout=0.1,
            drop_path=0.0,
        ),
        AlignedCrossEntropy(),
        dataclasses.replace(settings, **optimisation),  # type: ignore[arg-type]
        validation_share=0.2,
    )


def vocabulary() -> Vocabulary:
    return Vocabulary.from_captions(each.caption for each in expressions(60))


def network(seed: int = 0) -> TransformerRecognizer:
    """Not trained, but no part of it does nothing: weights and running means that start at zero,
    or variances that start at one, are drawn at random."""
    torch.manual_seed(seed)
    made = recipe().model.build(vocabulary())
    assert isinstance(made, TransformerRecognizer)
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                tensor.normal_(0, 0.2)
            elif name.endswith(("running_var", "second.weight", "1.weight", "norm.weight")):
                tensor.uniform_(0.5, 1.5)
        made.decoder.classifier.bias[:2] = -20.0  # as trained: never <pad>, never <sos>
    return made.eval()


def comer() -> Comer:
    """Not trained, with one convolution for an encoder."""
    torch.manual_seed(0)
    return Comer(len(vocabulary()), nn.Conv2d(1, 8, 16, stride=16), 8).eval()


def checkpoint(seed: int = 0) -> Checkpoint:
    """As a training would leave it, of `network`."""
    weights = network(seed).state_dict()
    return Checkpoint(
        recipe(),
        vocabulary(),
        Progress(steps=3, batches=3, elapsed_s=1.5),
        weights,
        weights,
        {},
        {"train": {"expressions": 60}},
    )


def checkpoint_file(folder: Path) -> Path:
    """`checkpoint()` as a file."""
    path = folder / "tiny.safetensors"
    checkpoint().save(path)
    return path


def bundle(factory: pytest.TempPathFactory) -> Bundle:
    """`checkpoint()` exported, once for all tests of a run."""
    from inktex.export.checkpoint_bundle import export_bundle

    path = factory.getbasetemp() / "tiny-bundle"
    return Bundle.open(path) if path.exists() else export_bundle(checkpoint(), path)
