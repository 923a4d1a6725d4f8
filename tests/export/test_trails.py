"""A recognizer that sees the trail of the pen, from a checkpoint to what a user gets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from inktex import runtimes
from inktex.benchmarks.formulas import Formula
from inktex.benchmarks.profiler.bundle_contender import BundleContender
from inktex.benchmarks.profiler.contender import Configuration
from inktex.benchmarks.profiler.offline import measure_batches
from inktex.core.bundle import Bundle
from inktex.core.rendering import Rendering, render_ink
from inktex.core.trail import CHANNELS
from inktex.export.checkpoint_bundle import export_bundle
from inktex.export.parity import compare_with_golden, compare_with_torch
from inktex.quantization.quantized_bundle import Settings, quantize_bundle
from inktex.training.bundle_weights import bundle_source
from inktex.training.checkpoint import Checkpoint

from ..training import synthetic


@pytest.fixture(scope="module")
def seeing() -> Checkpoint:
    recipe = replace(synthetic.recipe(), rendering=Rendering(trail=True))
    torch.manual_seed(0)
    weights = {**synthetic.network().state_dict()}
    stem = "encoder.stem.0.0.weight"
    weights[stem] = torch.cat(
        [weights[stem], 0.3 * torch.randn(len(weights[stem]), CHANNELS, 3, 3)], 1
    )
    made = synthetic.checkpoint()
    return replace(made, recipe=recipe, network=weights, average=weights)


@pytest.fixture(scope="module")
def bundle(seeing: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export_bundle(seeing, tmp_path_factory.mktemp("seeing") / "bundle")


def test_the_graphs_take_the_trail(bundle: Bundle, seeing: Checkpoint) -> None:
    assert bundle.manifest.preprocessing.name == "normalised-ink-and-trail"
    assert bundle.manifest.interface.channels == 1 + CHANNELS
    variant = bundle.manifest.variants[0]
    ink = synthetic.expressions(4)
    assert compare_with_torch(bundle, variant, seeing, ink=ink, shapes=3, steps=4).passed
    assert compare_with_golden(bundle, variant).passed


def test_ink_and_its_drawing_are_both_read_and_not_alike(bundle: Bundle) -> None:
    recognizer = runtimes.load(bundle.path)
    strokes = [stroke.astype(np.float64) for stroke in synthetic.expression(3).strokes]
    turned = [stroke[::-1] for stroke in strokes]
    ways = (strokes, turned, 255 - render_ink(strokes))
    sure = [recognizer(each, beam=1, constrain=False).confidence for each in ways]
    assert len(set(sure)) == 3


def test_the_weights_come_back_out_of_eight_bits(bundle: Bundle, tmp_path: Path) -> None:
    ink, settings = synthetic.expressions(16), Settings(samples=16)
    int8 = quantize_bundle(bundle, tmp_path / "int8", ink, settings, keep_fp32=False)
    assert runtimes.load(int8.path).manifest.interface.channels == 1 + CHANNELS
    source = bundle_source(int8)
    assert source.recipe.rendering.trail
    assert source.tensors["encoder.stem.0.0.weight"].shape[1] == 1 + CHANNELS


def test_its_cost_is_measured_in_batches_too(bundle: Bundle) -> None:
    contender = BundleContender(bundle, Configuration("inktex", "onnxruntime", "fp32", 1, 1))
    formulas = [
        Formula(each.identifier, [stroke.astype(np.float64) for stroke in each.strokes])
        for each in synthetic.expressions(3)
    ]
    found = measure_batches([contender], formulas, bundle.manifest.preprocessing, 1)
    assert [each.images for each in found] == [1, 2]
