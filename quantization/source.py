"""What is quantised: the float32 graphs of a bundle, and what was seen of them in calibration."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import onnx
from numpy.typing import NDArray

from ..core.bundle import Bundle
from ..core.errors import InputError, QuantizationError
from ..core.preparation import prepare_image
from ..export.golden import golden_arrays
from ..export.shared_weights import whole
from ..training.checkpoint import Checkpoint
from ..training.inkset import Expression
from ..training.recognizer import Recognizer
from .onnx_int8 import STATIC_OPERATORS, check_operators, prepared
from .ranges import METHODS, Range, Seen, activation_ranges, watch

MIN_SAMPLES = 16


class QuantizationSource:
    """A float32 bundle with calibration images; what takes time is made once, when it is needed.

    Args:
        bundle: with a float32 variant for ONNX Runtime.
        images: to calibrate with, float32 [1, channels, h, w] each.
        method: one of `METHODS`: how the ranges of activations are found.
        seed: of the activations drawn for them.
        checkpoint: that the bundle was exported from; targets that are written from torch take
            the weights out of the bundle where this is None.

    Raises:
        BundleError: the bundle has no such variant.
        QuantizationError: it is quantised already, or its graphs cannot be.
    """

    def __init__(
        self,
        bundle: Bundle,
        images: Sequence[NDArray[np.float32]],
        method: str = "mse",
        seed: int = 1,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        if method not in METHODS:
            raise QuantizationError(f"expected one of {', '.join(METHODS)}, found {method!r}")
        check_not_quantized(bundle)
        variant = bundle.variant("onnxruntime", "fp32")
        self._graphs = {part: bundle.read(name) for part, name in variant.graphs.items()}
        for part, graph in self._graphs.items():
            check_operators(graph, variant.graphs[part])
        self._weights_of_tree = bundle.weights_of(variant.tree) if variant.tree else {}
        self.bundle = bundle
        self.images = images
        self.method = method
        self.seed = seed
        self._checkpoint = checkpoint
        self._ranges: dict[bool, dict[str, Range]] = {}

    @cached_property
    def encoder(self) -> onnx.ModelProto:
        """The encoder as the quantisers want it."""
        return prepared(self._graphs["encoder"])

    @cached_property
    def step(self) -> onnx.ModelProto:
        """The step, as it was exported."""
        return onnx.load_from_string(self._graphs["step"])

    @cached_property
    def tree(self) -> onnx.ModelProto | None:
        """The graph for trees, with its weights; None where there is none."""
        graph = self._graphs.get("tree")
        return None if graph is None else whole(graph, self._weights_of_tree)

    @cached_property
    def seen(self) -> dict[str, Seen]:
        """The activations of the encoder on the calibration images."""
        return watch(self.encoder, self.images, STATIC_OPERATORS, self.seed)

    def ranges(self, symmetric: bool = False) -> dict[str, Range]:
        """The range of every tensor of the encoder that is to be quantised."""
        if symmetric not in self._ranges:
            self._ranges[symmetric] = activation_ranges(
                self.encoder, self.seen, self.method, symmetric
            )
        return self._ranges[symmetric]

    @cached_property
    def network(self) -> Recognizer:
        """The recognizer in torch.

        Raises:
            CheckpointError: there is no checkpoint, and the weights cannot be told from the bundle.
            QuantizationError: its graphs would have other inputs and outputs than the bundle's, or
                the checkpoint has other weights.
        """
        network = self._trained()
        exported, made = self.bundle.manifest.interface, network.interface()
        if (exported.encoder, exported.step) != (made.encoder, made.step):
            raise QuantizationError(
                f"{self.bundle.path}: expected graphs with the inputs and outputs that this "
                "version exports, found others; export the bundle again from its checkpoint"
            )
        if self._checkpoint is not None:
            self._check_weights(network)
        return network

    def _trained(self) -> Recognizer:
        if self._checkpoint is not None:
            return self._checkpoint.trained_network()
        from ..training.bundle_weights import bundle_source

        return bundle_source(self.bundle).checkpoint().trained_network()

    def _check_weights(self, network: Recognizer) -> None:
        """Raise QuantizationError where the golden arrays of the bundle are of other weights."""
        manifest = self.bundle.manifest
        golden = self.bundle.golden() if manifest.golden else {}
        shape = manifest.interface, manifest.vocabulary, manifest.preprocessing
        made = golden_arrays(network, *shape) if golden else {}
        for name in sorted(golden.keys() & made.keys()):
            if not name.endswith("log_probs"):
                continue
            one, other = golden[name], made[name]
            if one.shape != other.shape or not np.allclose(one, other, rtol=0.01, atol=0.01):
                raise QuantizationError(
                    f"--checkpoint: expected the one that {self.bundle.path} was exported from, "
                    f"found another, whose {name} differs; name that one, or leave it out"
                )


def check_not_quantized(bundle: Bundle) -> None:
    """Raise QuantizationError where a bundle has a variant that is quantised."""
    for variant in bundle.manifest.variants:
        if variant.precision not in ("fp32", "fp16"):
            raise QuantizationError(
                f"{bundle.path}: expected a bundle without {variant.precision.upper()}, found one "
                "that has it; quantise what `inktex export` writes, also of this one"
            )


def calibration_images(
    bundle: Bundle, expressions: Sequence[Expression], samples: int, seed: int
) -> list[NDArray[np.float32]]:
    """The images of some expressions drawn at random, as the bundle prepares them.

    Raises:
        QuantizationError: there are too few, or of one in four nothing can be seen.
    """
    if min(samples, len(expressions)) < MIN_SAMPLES:
        raise QuantizationError(
            f"expected at least {MIN_SAMPLES} formulas to calibrate with, found "
            f"{min(samples, len(expressions))}; give more ink, or ask for more --samples"
        )
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(expressions), min(samples, len(expressions)), replace=False)
    images: list[NDArray[np.float32]] = []
    unreadable: list[str] = []
    for index in drawn.tolist():
        try:
            image = prepare_image(expressions[index].source, bundle.manifest.preprocessing)
        except InputError as error:
            unreadable.append(f"{expressions[index].identifier}: {error}")
            continue
        images.append(image)
    blank = sum(not image.any() for image in images)
    if 4 * (blank + len(unreadable)) > len(drawn) or len(images) - blank < MIN_SAMPLES:
        raise QuantizationError(
            f"expected handwriting to calibrate with, found {len(drawn)} formulas of which "
            f"{len(unreadable)} cannot be read and {blank} are blank"
            + (f" ({unreadable[0]})" if unreadable else "")
            + "; calibrate with what users will write"
        )
    return images
