"""A checkpoint to a bundle, in float32."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..core.bundle import Bundle, golden_npz, write_bundle
from ..core.manifest import Decoding, Manifest
from ..training.checkpoint import Checkpoint
from ..training.preprocessing import preprocessing
from ..training.recognizer import STRIDE, Recognizer
from .golden import golden_arrays
from .graphs import EncoderGraph, StepGraph
from .targets import OnnxGraphs, variants_for
from .to_onnx import to_onnx

WEIGHTS_LICENCE = "CC BY-NC-SA 3.0, non-commercial (trained on CROHME)"


def export_bundle(
    checkpoint: Checkpoint,
    path: Path,
    licence: str = WEIGHTS_LICENCE,
    beams: int = 1,
    targets: Sequence[str] = ("onnx",),
) -> Bundle:
    """Write the averaged weights of a checkpoint as a bundle.

    Args:
        licence: of the weights; it follows the data that they were trained on.
        beams: that a search follows where the caller does not say; 1 is greedy.
        targets: out of `targets.TARGETS`, the preferred one first.

    Raises:
        ExportError: a graph came out with another interface, or there is no such target.
        RuntimeUnavailable: what a target needs to be made is not installed.
        BundleError: there is something other than a bundle at `path`.
    """
    network = checkpoint.trained_network()
    encoder, step = EncoderGraph(network), StepGraph(network)
    interface = network.interface()
    prepared = preprocessing(checkpoint.recipe.rendering)
    images = torch.zeros(2, 1, 3 * STRIDE, 5 * STRIDE)
    images[:, :, 8:20, 8:60] = 1.0
    encoder_model = to_onnx(encoder, {"images": images}, interface.encoder)
    step_model = to_onnx(step, _step_example(network), interface.step)
    variants, graphs = variants_for(targets, OnnxGraphs(encoder_model, step_model, interface))
    manifest = Manifest(
        vocabulary=checkpoint.vocabulary,
        interface=interface,
        preprocessing=prepared,
        decoding=Decoding(max_length=network.max_length, beams=beams),
        variants=variants,
        provenance=_provenance(checkpoint),
        licence=licence,
        golden="golden.npz",
    )
    files: dict[str, bytes | Path] = {
        **graphs,
        "golden.npz": golden_npz(golden_arrays(encoder, step, checkpoint.vocabulary, prepared)),
    }
    return write_bundle(path, manifest, files)


def _step_example(network: Recognizer) -> dict[str, torch.Tensor]:
    """Inputs of the step with sizes that no fixed axis has, so that none is frozen by chance."""
    sizes = {"beams": 3, "cells": 37, "rows": 5, "columns": 7, "length": 21}
    return {
        each.name: torch.zeros(
            [sizes[size] if isinstance(size, str) else size for size in each.shape],
            dtype=getattr(torch, each.dtype),
        )
        for each in network.interface().step.inputs
    }


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    progress = checkpoint.progress
    return {
        "inktex": importlib.metadata.version("inktex"),
        "torch": torch.__version__,
        "recipe": checkpoint.recipe.to_dict(),
        "data": dict(checkpoint.provenance),
        "training": {
            "steps": progress.steps,
            "epochs": progress.epoch,
            "elapsed_s": round(progress.elapsed_s),
        },
    }
