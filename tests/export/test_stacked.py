"""Bundles from before every layer had tensors of its own are read as ever."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from inktex.core.bundle import Bundle
from inktex.core.search import beam_search
from inktex.export.golden import golden_image
from inktex.runtimes.onnx_runtime import OnnxRuntimeModel
from inktex.training.bundle_weights import bundle_source
from inktex.training.checkpoint import Checkpoint

from .stacked import stacked_bundle


@pytest.fixture(scope="module")
def stacked(
    checkpoint: Checkpoint, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    return stacked_bundle(checkpoint, bundle, tmp_path_factory.mktemp("stacked") / "bundle")


def test_it_reads_the_same(stacked: Bundle, bundle: Bundle) -> None:
    image = golden_image(bundle.manifest.preprocessing)
    vocabulary = bundle.manifest.vocabulary
    tokens, coverages = [], []
    for each in (stacked, bundle):
        model = OnnxRuntimeModel(each, each.variant("onnxruntime"), threads=1)
        [memory] = model.encode(image)
        sos, eos = vocabulary.sos, vocabulary.eos
        found = beam_search(model, memory, beams=5, nbest=5, sos=sos, eos=eos, max_length=24)
        tokens.append([hypothesis.tokens for hypothesis in found])
        _, state = model.step(np.array([sos]), memory, model.start(memory, 1))
        coverages.append(model.coverage(state))
    assert tokens[0] == tokens[1]
    one, other = coverages
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_training_starts_from_its_weights(stacked: Bundle, checkpoint: Checkpoint) -> None:
    tensors = bundle_source(stacked).tensors
    original = checkpoint.trained_network().state_dict()
    for name in ("self_qkv", "cross_query"):
        key = f"decoder.layers.1.{name}.weight"
        torch.testing.assert_close(tensors[key], original[key])
