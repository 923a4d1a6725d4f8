"""A checkpoint to a bundle for ONNX Runtime, in float32."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import torch

from ..core.bundle import Bundle, golden_npz, write_bundle
from ..core.manifest import Decoding, Manifest, Variant
from ..training.checkpoint import Checkpoint
from ..training.encoder import STRIDE
from .golden import PREPROCESSING, golden_arrays
from .graphs import EncoderGraph, StepGraph, interface_of
from .to_onnx import to_onnx

WEIGHTS_LICENCE = "CC BY-NC-SA 3.0, non-commercial (trained on CROHME)"


def export_bundle(
    checkpoint: Checkpoint, path: Path, licence: str = WEIGHTS_LICENCE, beams: int = 1
) -> Bundle:
    """Write the averaged weights of a checkpoint as a bundle.

    Args:
        licence: of the weights; it follows the data that they were trained on.
        beams: that a search follows where the caller does not say; 1 is greedy.

    Raises:
        ExportError: a graph came out with another interface.
        BundleError: there is something other than a bundle at `path`.
    """
    network = checkpoint.trained_network()
    encoder, step = EncoderGraph(network), StepGraph(network.decoder)
    interface = interface_of(network.decoder)
    images = torch.zeros(2, 1, 3 * STRIDE, 5 * STRIDE)
    images[:, :, 8:20, 8:60] = 1.0
    encoder_model = to_onnx(encoder, {"images": images}, interface.encoder)
    step_model = to_onnx(step, _step_example(encoder), interface.step)
    manifest = Manifest(
        vocabulary=checkpoint.vocabulary,
        interface=interface,
        preprocessing=PREPROCESSING,
        decoding=Decoding(max_length=network.decoder.max_length, beams=beams),
        variants=(Variant("onnxruntime", "fp32", "encoder.fp32.onnx", "step.fp32.onnx"),),
        provenance=_provenance(checkpoint),
        licence=licence,
        golden="golden.npz",
    )
    files: dict[str, bytes | Path] = {
        "encoder.fp32.onnx": encoder_model.SerializeToString(),
        "step.fp32.onnx": step_model.SerializeToString(),
        "golden.npz": golden_npz(golden_arrays(encoder, step, checkpoint.vocabulary)),
    }
    return write_bundle(path, manifest, files)


def _step_example(encoder: EncoderGraph) -> dict[str, torch.Tensor]:
    """Inputs of the step with sizes that no fixed axis has, so that none is frozen by chance."""
    decoder = encoder.network.decoder
    layers, heads = len(decoder.layers), decoder.heads
    features = decoder.embedding.embedding_dim // heads
    beams, cells, length = 3, 37, 21
    cache = torch.zeros(layers, beams, heads, length, features)
    return {
        "tokens": torch.ones(beams, dtype=torch.int64),
        "position": torch.zeros(1, dtype=torch.int64),
        "memory_keys": torch.zeros(1, layers, heads, cells, features),
        "memory_values": torch.zeros(1, layers, heads, cells, features),
        "memory_bias": torch.zeros(1, cells),
        "cache_keys": cache,
        "cache_values": cache.clone(),
        "coverage": torch.zeros(layers, beams, heads, cells),
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
