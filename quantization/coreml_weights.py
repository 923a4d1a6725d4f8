"""Weights of few bits for CoreML, by coremltools; arithmetic stays in float16.

Activations in 8 bits need coremltools to run the program while it calibrates, which only a Mac can.
"""

from __future__ import annotations

from typing import Any

_LEAST = 1024  # fewer weights are not worth their scales or palette


def weights8(model: Any) -> Any:
    """coremltools' model with weights of 8 bits, a scale for each output channel."""
    import coremltools.optimize.coreml as optimize

    config = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=_LEAST)
    return optimize.linear_quantize_weights(
        model, optimize.OptimizationConfig(global_config=config)
    )


def palette(bits: int) -> Any:
    """What gives coremltools' model weights that are numbers of entries in a palette, of 2 to the
    power of `bits` values, found for each layer by k-means."""

    def compress(model: Any) -> Any:
        import coremltools.optimize.coreml as optimize

        config = optimize.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=_LEAST)
        return optimize.palettize_weights(model, optimize.OptimizationConfig(global_config=config))

    return compress
