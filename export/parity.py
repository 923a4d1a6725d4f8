"""Proof that a bundle's graphs compute what torch computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.bundle import Bundle
from ..core.errors import BundleError
from ..core.interface import TREE_ANCESTORS, TREE_POSITIONS, TREE_TOKENS
from ..core.manifest import Variant
from ..core.progress import Progress
from ..core.recognizer import prepare_image, read_plainly
from ..core.step_model import StepModel
from ..core.token_tree import TokenTree
from ..core.vocabulary import Vocabulary
from ..runtimes.graph_memory import compact_memories
from ..runtimes.graph_model import Arrays, Graph, Graphs
from ..training.checkpoint import Checkpoint
from ..training.inkset import Expression
from ..training.recognizer import STRIDE
from .graphs import EncoderGraph, StepGraph, TreeGraph, read_greedily
from .parity_report import Agreement, Differences, ParityReport, tolerance_of
from .plain_graphs import graphs_of, model_of, plain_model, told


def compare_with_torch(
    bundle: Bundle,
    variant: Variant,
    checkpoint: Checkpoint,
    ink: Sequence[Expression] = (),
    shapes: int = 6,
    steps: int = 5,
    seed: int = 0,
) -> ParityReport:
    """Random batches, sizes, beams and tokens through both; then real ink, whole sequences.

    Args:
        ink: formulas to decode greedily with torch and with the bundle, both without grammar.
        shapes: random sizes to try.
        steps: decoder steps on each.
    """
    tolerance = tolerance_of(variant)
    interface = bundle.manifest.interface
    network = checkpoint.trained_network()
    encoder, step = EncoderGraph(network), StepGraph(network)
    graphs = graphs_of(bundle, variant)
    tree = TreeGraph(network)
    rng = np.random.default_rng(seed)
    errors = Differences()
    for number in range(shapes):
        batch = min(1 + number % 3, variant.limits.get("batch", 3))
        beams = min(1 + 2 * (number % 3), variant.limits.get("beams", 5))
        height, width = (STRIDE * int(rng.integers(2, high)) for high in (8, 30))
        images = _scribble(rng, (batch, interface.channels, height, width))
        with torch.inference_mode():
            reference = [part.numpy() for part in encoder(torch.from_numpy(images))]
        names = [each.name for each in interface.memory]
        memories = compact_memories(interface, graphs.encoder({"images": images}))
        references = compact_memories(interface, dict(zip(names, reference, strict=True)))
        for one, other in zip(memories, references, strict=True):
            errors.add_all(one.arrays, list(other.arrays.values()))
        memory = memories[0].arrays
        _compare_steps(bundle, graphs, step, memory, beams, steps, rng, errors)
        if graphs.tree is not None:
            _compare_trees(bundle, graphs.tree, tree, memory, rng, errors)
    return ParityReport(
        told(bundle, variant),
        f"torch, {shapes} random shapes and {len(ink)} formulas",
        errors.summary(),
        _agreement(bundle, variant, encoder, step, ink),
        tolerance,
    )


def compare_with_golden(bundle: Bundle, variant: Variant) -> ParityReport:
    """The golden arrays in the bundle against what its graphs compute here: needs no torch
    weights, and tells whether this machine computes what the exporting one did."""
    tolerance = tolerance_of(variant)
    golden = _golden(bundle)
    graphs = graphs_of(bundle, variant)
    errors = Differences()
    interface = bundle.manifest.interface
    known = {each.name: golden[f"encoder.{each.name}"] for each in interface.memory}
    [reference] = compact_memories(interface, known)
    [found] = compact_memories(interface, graphs.encoder({"images": golden["encoder.images"]}))
    memory = found.arrays
    for name, array in memory.items():
        errors.add(name, array, reference.arrays[name])
    state = _initial_state(bundle, memory, 1, bundle.manifest.decoding.max_length)
    vocabulary = bundle.manifest.vocabulary
    wanted = golden["greedy"].tolist()
    token, written = vocabulary.sos, list[int]()
    for position in range(bundle.manifest.decoding.max_length):
        out = graphs.step(
            {
                "tokens": np.array([token]),
                "position": np.array([position]),
                **memory,
                **state,
            },
        )
        if f"step.{position}.log_probs" in golden and token == golden[f"step.{position}.tokens"]:
            errors.add("log_probs", out["log_probs"], golden[f"step.{position}.log_probs"])
        state = {each.input: out[each.output] for each in bundle.manifest.interface.state}
        token = int(out["log_probs"].argmax())
        if token == vocabulary.eos:
            break
        written.append(token)
    if graphs.tree is not None:
        inputs = {
            name: golden[f"tree.{name}"] for name in (TREE_TOKENS, TREE_POSITIONS, TREE_ANCESTORS)
        }
        found_of_tree = graphs.tree({**inputs, **memory})["log_probs"]
        errors.add("log_probs of a tree", found_of_tree, golden["tree.log_probs"])
    model = plain_model(bundle, variant, graphs)
    forced = _forced(model, golden["encoder.images"], wanted, vocabulary)
    return ParityReport(
        told(bundle, variant),
        "the golden arrays",
        errors.summary(),
        Agreement.of(written, wanted, forced),
        tolerance,
    )


def _golden(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """The golden arrays of a bundle.

    Raises:
        BundleError: there are none, or not those that `golden_arrays` makes.
    """
    golden, interface = bundle.golden(), bundle.manifest.interface
    axes = {"encoder.images": 4, "greedy": 1}
    axes |= {f"encoder.{each.name}": len(each.shape) for each in interface.memory}
    for step in {name.rpartition(".")[0] for name in golden if name.startswith("step.")}:
        axes |= {f"{step}.tokens": 1, f"{step}.log_probs": 2}
    if interface.tree is not None:
        axes |= {f"tree.{name}": 1 for name in (TREE_TOKENS, TREE_POSITIONS)}
        axes |= {f"tree.{name}": 2 for name in (TREE_ANCESTORS, interface.log_probs)}
    known = range(len(bundle.manifest.vocabulary))
    for name, count in axes.items():
        array = golden.get(name)
        if array is None or array.ndim != count or array.dtype.kind not in "fi":
            found = f"no {name!r} with {count} axes"
        elif name.endswith(("greedy", "tokens")) and not np.isin(array, known).all():
            found = f"tokens in {name!r} that the vocabulary has not"
        else:
            continue
        raise BundleError(
            f"{bundle.path}: expected golden arrays as `inktex export` writes them, found {found}; "
            "export the bundle again"
        )
    return golden


def _compare_steps(
    bundle: Bundle,
    graphs: Graphs,
    step: StepGraph,
    memory: Arrays,
    beams: int,
    steps: int,
    rng: np.random.Generator,
    errors: Differences,
) -> None:
    """Both from the same memory and state; the state goes on from the graph's own."""
    longest = bundle.manifest.decoding.max_length
    steps = min(steps, longest)
    state = _initial_state(bundle, memory, beams, int(rng.integers(steps, longest + 1)))
    for position in range(steps):
        inputs = {
            "tokens": rng.integers(1, len(bundle.manifest.vocabulary), beams),
            "position": np.array([position]),
            **memory,
            **state,
        }
        with torch.inference_mode():
            tensors = [torch.from_numpy(array) for array in inputs.values()]
            reference = [part.numpy() for part in step(*tensors)]
        found = graphs.step(inputs)
        errors.add_all(found, reference)
        state = {each.input: found[each.output] for each in bundle.manifest.interface.state}


def _compare_trees(
    bundle: Bundle,
    graph: Graph,
    reference: TreeGraph,
    memory: Arrays,
    rng: np.random.Generator,
    errors: Differences,
) -> None:
    """Random formulas, which begin alike, through both."""
    longest = min(20, bundle.manifest.decoding.max_length)
    first = rng.integers(1, len(bundle.manifest.vocabulary), longest).tolist()
    others = [
        [*first[: int(length)], *rng.integers(1, len(bundle.manifest.vocabulary), 3).tolist()]
        for length in rng.integers(0, max(longest - 3, 1), 3)
    ]
    tree = TokenTree.of([each[:longest] for each in (first, *others)])
    inputs = {**tree.inputs, **memory}
    with torch.inference_mode():
        expected = reference(*(torch.from_numpy(array) for array in inputs.values()))
    for (name, array), other in zip(graph(inputs).items(), expected, strict=True):
        errors.add(f"{name} of a tree", array, other.numpy())


def _initial_state(bundle: Bundle, memory: Arrays, beams: int, length: int) -> Arrays:
    """Zeros, for the cells that the memory has, with room for `length` steps."""
    interface = bundle.manifest.interface
    sizes = {"beams": beams, "length": length}
    for spec in interface.memory:
        shape = memory[spec.name].shape
        sizes |= {
            axis: size
            for axis, size in zip(spec.shape, shape, strict=True)
            if isinstance(axis, str) and axis != "batch"
        }
    return {
        each.input: np.zeros(
            [sizes[size] if isinstance(size, str) else size for size in shape], np.float32
        )
        for each in interface.state
        for shape in [interface.step[each.input].shape]
    }


def _scribble(rng: np.random.Generator, shape: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """Something like ink: a few random lines on blank paper, in every channel others."""
    images = np.zeros(shape, np.float32)
    height, width = shape[2:]
    for image in images.reshape(-1, height, width):
        for _ in range(4):
            row, column = rng.integers(0, height), rng.integers(0, width)
            image[row, column : column + 20] = rng.uniform(0.4, 1)
            image[row : row + 12, column] = 1.0
    return images


def _agreement(
    bundle: Bundle,
    variant: Variant,
    encoder: EncoderGraph,
    step: StepGraph,
    ink: Sequence[Expression],
) -> Agreement:
    """Formulas decoded greedily and without grammar, by torch and by the variant's own adapter."""
    if not ink:
        return Agreement()
    model = model_of(bundle, variant)
    vocabulary = bundle.manifest.vocabulary
    found = Agreement()
    with Progress(len(ink), f"formulas read with {variant.target} {variant.precision}") as progress:
        for expression in ink:
            image = prepare_image(expression.source, bundle.manifest.preprocessing)
            reference = read_greedily(encoder, step, torch.from_numpy(image), vocabulary)
            written = read_plainly(model, bundle.manifest, image)
            forced = _forced(model, image, reference.tokens, vocabulary)
            found += Agreement.of(written.tokens, reference.tokens, forced)
            progress.advance()
    return found


def _forced(
    model: StepModel[Any, Any],
    image: NDArray[np.float32],
    tokens: Sequence[int],
    vocabulary: Vocabulary,
) -> list[int]:
    """What a model thinks likeliest at each of some tokens, given those before."""
    [memory] = model.encode(image)
    state = model.start(memory, 1)
    found = []
    for token in [vocabulary.sos, *tokens[:-1]][: len(tokens)]:
        log_probs, state = model.step(np.array([token]), memory, state)
        found.append(int(log_probs.argmax()))
    return found
