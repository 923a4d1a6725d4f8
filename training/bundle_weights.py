"""A bundle back to weights that can be trained on.

The weights of a bundle stand in its two ONNX graphs: batch norms folded into their convolutions,
products transposed and renamed, and rounded to 8 bits in INT8. They are found by name and, where
the exporter has lost the name, by what they are added to; and the network that is made of them has
to compute the golden arrays of the bundle.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ..core.bundle import Bundle
from ..core.errors import BundleError, CheckpointError, ParityError
from ..core.manifest import Variant
from ..core.preparation import rendering_of
from ..runtimes.graph_memory import compact_memories
from .decoder_layer import DecoderLayer
from .graph_weights import Array, GraphWeights, Product
from .recipe import Recipe
from .recipes import named
from .recognizer import Recognizer
from .transformer_recognizer import TransformerRecognizer
from .two_scale_encoder import ConvNorm
from .weight_source import Source

LIMITS = {"fp32": 1e-3, "int8": 0.15}
"""The greatest error, relative to the root mean square, that each golden array may have. In INT8
the graphs' weights are rounded, while the golden arrays are of the float32 ones."""


def bundle_source(bundle: Bundle) -> Source:
    """The weights of a bundle, those of its float32 graphs where it has them.

    What only training needs, such as the symbol head, no bundle has.

    Raises:
        CheckpointError: the bundle is not of a transformer recognizer, or does not say of which.
        BundleError: it has no variant for ONNX Runtime or no golden arrays.
        ParityError: the network that was made of it does not compute what it computes.
        RuntimeUnavailable: the package `onnx` is not installed.
    """
    recipe = _recipe(bundle)
    network = recipe.build(bundle.manifest.vocabulary)
    if not isinstance(network, TransformerRecognizer):
        raise CheckpointError(
            f"{bundle.path}: expected a bundle of a transformer recognizer, found one of recipe "
            f"{recipe.name!r}, whose weights cannot be told from its graphs; start from the "
            "checkpoint that it was exported from"
        )
    variant = _variant(bundle)
    graphs = [GraphWeights(bundle.read(name)) for name in (variant.encoder, variant.step)]
    tensors = _matched(network, graphs)
    if not _is_stacked(bundle):
        _unfold_scales(network, tensors)
    network.load_state_dict(tensors, strict=False)
    _check_golden(bundle, network.eval(), LIMITS[variant.precision])
    told = bundle.manifest.provenance
    provenance = {name: told[name] for name in ("data", "training") if name in told}
    return Source(recipe, bundle.manifest.vocabulary, tensors, True, provenance)


def _recipe(bundle: Bundle) -> Recipe:
    """The recipe by its name, with the model's shape, the rendering and what is done about braces
    as the manifest tells them.

    Nothing else of it is needed, so a bundle of an older version of inktex will do.
    """
    told = bundle.manifest.provenance.get("recipe")
    if not isinstance(told, Mapping) or not isinstance(told.get("model"), Mapping):
        raise CheckpointError(
            f"{bundle.path}: expected the recipe of the weights in the manifest's provenance, "
            "found none; start from the checkpoint that it was exported from"
        )
    recipe = named(str(told.get("name")))
    recipe = dataclasses.replace(
        recipe,
        rendering=rendering_of(bundle.manifest.preprocessing),
        brief=bundle.manifest.vocabulary.brief,
    )
    known = {each.name for each in dataclasses.fields(recipe.model)}  # type: ignore[arg-type]
    return recipe.override(
        {
            f"model.{name}": value if isinstance(value, str) else json.dumps(value)
            for name, value in told["model"].items()
            if name in known
        }
    )


def _variant(bundle: Bundle) -> Variant:
    for precision in LIMITS:
        for variant in bundle.manifest.variants:
            if (variant.target, variant.precision) == ("onnxruntime", precision):
                return variant
    raise BundleError(
        f"{bundle.path}: expected a float32 or INT8 variant for ONNX Runtime, found none; start "
        "from the checkpoint that it was exported from"
    )


def _matched(network: Recognizer, graphs: Sequence[GraphWeights]) -> dict[str, Tensor]:
    """The tensors of a network, by name, that the graphs hold in its shapes."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found: dict[str, Array] = {}
    nameless: list[Product] = []
    for graph in graphs:
        found.update({_plain(name): array for name, array in graph.constants.items()})
    for graph in graphs:
        for product in graph.products():
            layers = [
                _plain(name).rpartition(".")[0] for name in (product.weight_name, product.bias_name)
            ]
            layer = next((each for each in layers if f"{each}.weight" in shapes), None)
            if layer is None:
                nameless.append(product)
                continue
            found[f"{layer}.weight"] = product.weight
            if product.bias is not None:
                found[f"{layer}.bias"] = product.bias
    for name, module in network.named_modules():
        if isinstance(module, ConvNorm) and f"{name}.0.bias" in found:
            found.update(_norm(f"{name}.1", found[f"{name}.0.bias"], module))
    _match_by_shape(shapes, found, nameless)
    return {
        name: torch.from_numpy(np.array(found[name]))
        for name, shape in shapes.items()
        if name in found and found[name].shape == shape
    }


def _plain(name: str) -> str:
    """A name without that of the module around the network that was exported."""
    return name.removeprefix("network.")


def _norm(name: str, shift: Array, block: ConvNorm) -> dict[str, Array]:
    """A batch norm that only adds."""
    norm = block[1]
    assert isinstance(norm, nn.BatchNorm2d)
    return {
        f"{name}.weight": np.ones_like(shift),
        f"{name}.bias": shift,
        f"{name}.running_mean": np.zeros_like(shift),
        f"{name}.running_var": np.full_like(shift, 1 - norm.eps),
        f"{name}.num_batches_tracked": np.zeros((), np.float32),
    }


def _match_by_shape(
    shapes: Mapping[str, tuple[int, ...]], found: dict[str, Array], nameless: list[Product]
) -> None:
    """Give products that nothing names to weights that nothing was found for, where only one has
    the shape; and each to one only."""
    for name, shape in shapes.items():
        fitting = [each for each in nameless if each.weight.shape == shape]
        if name not in found and len(shape) > 1 and len(fitting) == 1:
            found[name] = fitting[0].weight
            nameless[:] = [each for each in nameless if each is not fitting[0]]


def _is_stacked(bundle: Bundle) -> bool:
    """Whether one tensor holds the memory of all layers, as in bundles of 0.1; their graphs scale
    the scores themselves."""
    return "memory_keys" in {spec.name for spec in bundle.manifest.interface.memory}


def _unfold_scales(network: TransformerRecognizer, tensors: dict[str, Tensor]) -> None:
    """Undo `DecoderLayer.fold_scale`."""
    for name, module in network.named_modules():
        if not isinstance(module, DecoderLayer):
            continue
        queries = module.cross_query.out_features
        for layer in ("self_qkv", "cross_query"):
            for part in ("weight", "bias"):
                if (tensor := tensors.get(f"{name}.{layer}.{part}")) is not None:
                    tensor[:queries] /= module.scale


@torch.no_grad()
def _check_golden(bundle: Bundle, network: Recognizer, limit: float) -> None:
    """Compare encoder and first steps with the golden arrays."""
    golden = {name: torch.from_numpy(array) for name, array in bundle.golden().items()}
    memory = network.encode(golden["encoder.images"])
    tensors = tuple(memory)
    if _is_stacked(bundle):
        tensors = (torch.stack(memory.keys, 1), torch.stack(memory.values, 1), memory.bias)
    interface = bundle.manifest.interface
    names = [spec.name for spec in interface.memory]
    told = {name: golden[f"encoder.{name}"].numpy() for name in names}
    made = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
    [wanted], [found] = compact_memories(interface, told), compact_memories(interface, made)
    for name in names:
        one, other = (torch.from_numpy(each.arrays[name]) for each in (found, wanted))
        _check_equal(bundle, name, one, other, limit)
    state = network.start(memory, 1)
    number = 0
    while f"step.{number}.tokens" in golden:
        tokens = golden[f"step.{number}.tokens"]
        log_probs, state = network.step(tokens, torch.tensor([number]), memory, state)
        _check_equal(bundle, "log_probs", log_probs, golden[f"step.{number}.log_probs"], limit)
        number += 1


def _check_equal(bundle: Bundle, name: str, found: Tensor, wanted: Tensor, limit: float) -> None:
    error = float("inf")
    if found.shape == wanted.shape:
        error = float((found - wanted).norm() / wanted.norm().clamp(min=1e-9))
    if not error <= limit:
        raise ParityError(
            f"{bundle.path}: expected to find the weights that compute its golden arrays, found "
            f"some with a relative error of {error:.2g} in {name} (accepted: {limit:g}); start "
            "from the checkpoint that it was exported from"
        )
