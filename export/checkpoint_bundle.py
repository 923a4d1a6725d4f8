"""A checkpoint to a bundle, in float32."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..core.bundle import Bundle, check_replaceable, golden_npz, write_bundle
from ..core.errors import ExportError
from ..core.manifest import Decoding, Manifest
from ..training.checkpoint import Checkpoint
from ..training.objectives import AlignedCrossEntropy
from ..training.preprocessing import PADDING_PX, preprocessing
from .golden import golden_arrays
from .graphs import InkedEncoderGraph, StepGraph, TreeGraph
from .targets import GraphSource, check_targets, example_inputs, variants_for
from .to_onnx import to_onnx

WEIGHTS_LICENCE = "CC BY-NC-SA 3.0, non-commercial (trained on CROHME)"


def export_bundle(
    checkpoint: Checkpoint,
    path: Path,
    licence: str = WEIGHTS_LICENCE,
    beams: int = 1,
    targets: Sequence[str] = ("onnx",),
    padding_px: int = PADDING_PX,
    rescore: bool = False,
    origin: Manifest | None = None,
) -> Bundle:
    """Write the averaged weights of a checkpoint as a bundle.

    Args:
        licence: of the weights; it follows the data that they were trained on.
        beams: that a search follows where the caller does not say; 1 is greedy.
        targets: out of `targets.TARGETS`, the preferred one first.
        padding_px: paper that every image gets to the right and below; less is faster, and what
            it does to accuracy is for validation to tell.
        rescore: rank the hypotheses of a beam by both directions of writing.
        origin: of the bundle that the weights were taken out of: where they came from is told as
            there, and how sure a reading may be, too, unless it is read differently or the weights
            are the mean of several.

    Raises:
        ExportError: a graph came out with another interface, there is no such target, or the
            recognizer to rescore with was not trained in both directions.
        RuntimeUnavailable: what a target needs to be made is not installed.
        BundleError: there is something other than a bundle at `path`, or it cannot be written to.
    """
    check_replaceable(path)
    check_targets(targets)
    if rescore and not isinstance(checkpoint.recipe.objective, AlignedCrossEntropy):
        raise ExportError(
            "rescore: expected a decoder that was trained in both directions, as that of `edge` "
            f"is, found a recognizer of {checkpoint.recipe.name}; leave it out"
        )
    network = checkpoint.trained_network()
    interface = network.interface()
    tree_model = None
    if not rescore:  # nobody would read trees
        interface = replace(interface, tree=None)
    elif interface.tree is not None:
        examples = example_inputs(interface.tree)
        tree_model = to_onnx(TreeGraph(network), examples, interface.tree)
    prepared = preprocessing(checkpoint.recipe.rendering, padding_px)
    inked = InkedEncoderGraph(network)
    encoder_model = to_onnx(inked, example_inputs(interface.encoder), interface.encoder)
    step_model = to_onnx(StepGraph(network), example_inputs(interface.step), interface.step)
    variants, graphs = variants_for(
        targets,
        GraphSource(encoder_model, step_model, interface, network.max_length, network, tree_model),
    )
    decoding = Decoding(network.max_length, beams, rescore=rescore)
    confidence = beam_confidence = None
    mean_of = checkpoint.provenance.get("averaged")
    if origin is not None:
        decoding = replace(decoding, length_penalty=origin.decoding.length_penalty)
        if prepared == origin.preprocessing and not mean_of:
            confidence = origin.confidence
            beam_confidence = origin.beam_confidence if rescore == origin.decoding.rescore else None
    manifest = Manifest(
        vocabulary=checkpoint.vocabulary,
        interface=interface,
        preprocessing=prepared,
        decoding=decoding,
        variants=variants,
        provenance=_provenance(checkpoint)
        if origin is None
        else _provenance_again(origin, mean_of),
        licence=licence,
        golden="golden.npz",
        confidence=confidence,
        beam_confidence=beam_confidence,
    )
    files: dict[str, bytes | Path] = {
        **graphs,
        "golden.npz": golden_npz(
            golden_arrays(network, interface, checkpoint.vocabulary, prepared)
        ),
    }
    return write_bundle(path, manifest, files)


def _versions() -> dict[str, Any]:
    return {"inktex": importlib.metadata.version("inktex"), "torch": torch.__version__}


def _provenance_again(origin: Manifest, mean_of: Any = None) -> dict[str, Any]:
    """That of the bundle, by these versions; what was quantised is in the weights only.

    Args:
        mean_of: where the other weights came from, of an average.
    """
    told = {name: each for name, each in origin.provenance.items() if name != "quantization"}
    if mean_of:
        data: Any = told.get("data", {})
        told["data"] = {**data, "averaged": mean_of}
    precisions = [each.precision for each in origin.variants]
    return {**told, **_versions(), "exported_from": {"precisions": precisions}}


def _provenance(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        **_versions(),
        "recipe": checkpoint.recipe.to_dict(),
        "data": dict(checkpoint.provenance),
        "training": checkpoint.progress.told(),
    }
