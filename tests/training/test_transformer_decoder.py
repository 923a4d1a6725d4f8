from __future__ import annotations

import torch
from torch import Tensor

from inktex.core.token_tree import TokenTree
from inktex.training.batches import collate, draw
from inktex.training.decoder_layer import Coverage, DecoderLayer
from inktex.training.places import grid_encoding, sinusoid
from inktex.training.transformer_decoder import MASKED, CoverageTransformer, Memory
from inktex.training.two_scale_encoder import CELL

from .synthetic import expressions, network, vocabulary


def decoder(layers: int = 3) -> CoverageTransformer:
    torch.manual_seed(0)
    made = CoverageTransformer(11, 16, 2, 24, layers, 12, 0.1).eval()
    for parameter in made.parameters():  # coverage too, which starts at zero
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def remembered(made: CoverageTransformer, images: int, cells: int = 9, masked: int = 2) -> Memory:
    bias = torch.zeros(images, cells)
    bias[:, cells - masked :] = MASKED
    return made.remember(torch.randn(images, cells, 16), torch.randn(images, cells, 16), bias)


def stepped(
    made: CoverageTransformer, memory: Memory, tokens: Tensor, length: int | None = None
) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Log-probabilities [b, t, vocabulary] one step after the other, and each coverage."""
    state = made.start(memory, len(tokens), length)
    steps, coverages = list[Tensor](), list[tuple[Tensor, ...]]()
    for position in range(tokens.shape[1]):
        log_probs, state = made.step(tokens[:, position], torch.tensor([position]), memory, state)
        steps.append(log_probs)
        coverages.append(state.coverage)
    return torch.stack(steps, dim=1), coverages


def test_steps_give_what_teacher_forcing_gives() -> None:
    made = decoder()
    memory = remembered(made, images=4)
    tokens = torch.randint(1, 11, (4, 12))
    logits, attentions = made(tokens, memory)
    log_probs, coverages = stepped(made, memory, tokens)
    torch.testing.assert_close(log_probs, torch.log_softmax(logits, dim=-1), atol=1e-5, rtol=1e-5)
    for position, coverage in enumerate(coverages):
        for layer, attention in enumerate(attentions):
            past = attention[:, :, : position + 1].sum(dim=2, keepdim=True)
            torch.testing.assert_close(coverage[layer], past, atol=1e-5, rtol=1e-5)


def test_a_cache_with_just_enough_room_gives_the_same() -> None:
    made = decoder()
    memory = remembered(made, images=2)
    tokens = torch.randint(1, 11, (2, 5))
    torch.testing.assert_close(
        stepped(made, memory, tokens, length=5)[0], stepped(made, memory, tokens)[0]
    )


def test_one_memory_is_shared_by_all_beams() -> None:
    made = decoder()
    memory = remembered(made, images=1)
    tokens = torch.randint(1, 11, (3, 6))
    tiled = Memory(*(part.expand(3, *part.shape[1:]) for part in memory))
    torch.testing.assert_close(
        stepped(made, memory, tokens)[0], stepped(made, tiled, tokens)[0], atol=1e-5, rtol=1e-5
    )


def test_a_tree_gives_what_its_paths_give() -> None:
    made = decoder()
    memory = remembered(made, images=1)
    sequences = [(1, 4, 5, 3), (1, 4, 6), (2, 3, 3, 3, 7)]
    tree = TokenTree.of(sequences)
    tokens_of_tree, positions, ancestors = map(torch.from_numpy, tree.inputs.values())
    found, nodes = made.read_tree(tokens_of_tree, positions, ancestors, memory)
    for path, tokens in zip(tree.paths, sequences, strict=True):
        logits, _ = made(torch.tensor([tokens]), memory)
        expected = torch.log_softmax(logits[0], dim=-1)
        torch.testing.assert_close(found[path], expected, atol=1e-5, rtol=1e-5)
        # and what the steps leave behind
        state = made.start(memory, 1, len(tokens))
        for position, token in enumerate(tokens):
            _, state = made.step(torch.tensor([token]), torch.tensor([position]), memory, state)
        for one, other in zip(nodes.cache_keys, state.cache_keys, strict=True):
            torch.testing.assert_close(one[path], other, atol=1e-5, rtol=1e-5)
        for one, other in zip(nodes.coverage, state.coverage, strict=True):
            added = one[:, :, path].sum(dim=2, keepdim=True)
            torch.testing.assert_close(added, other, atol=1e-5, rtol=1e-5)


def test_no_token_sees_a_later_one() -> None:
    made = decoder()
    memory = remembered(made, images=1)
    tokens = torch.randint(1, 11, (1, 8))
    changed = tokens.clone()
    changed[0, 5] = changed[0, 5] % 10 + 1
    one, other = made(tokens, memory)[0], made(changed, memory)[0]
    torch.testing.assert_close(one[:, :5], other[:, :5])
    assert (one[:, 5:] - other[:, 5:]).abs().amax() > 1e-3


def test_coverage_counts() -> None:
    """Without past attention in the scores, the numbers are others."""
    made = decoder()
    memory = remembered(made, images=1)
    tokens = torch.randint(1, 11, (1, 8))
    with_coverage = made(tokens, memory)[0]
    for layer in made.layers:
        assert isinstance(layer, DecoderLayer)
        layer.coverage = None
    without = made(tokens, memory)[0]
    assert (with_coverage - without).abs().amax() > 1e-3


def test_coverage_is_pointwise_in_cells_and_steps_and_starts_at_zero() -> None:
    torch.manual_seed(0)
    coverage = Coverage(heads=2)
    past, present = torch.rand(2, 3, 2, 4, 5)
    assert not coverage(past, present).any()
    torch.nn.init.normal_(coverage.second.weight)
    whole = coverage(past, present)
    assert whole.shape == (3, 2, 4, 5)
    torch.testing.assert_close(
        coverage(past[:, :, 1:2, 3:4], present[:, :, 1:2, 3:4]), whole[:, :, 1:2, 3:4]
    )
    assert (coverage(past + 1, present) - whole).abs().amax() > 1e-3


def test_masked_cells_are_not_seen() -> None:
    made = decoder()
    torch.manual_seed(1)
    cells, places = torch.randn(2, 1, 9, 16)
    bias = torch.tensor([[0.0] * 6 + [MASKED] * 3])
    changed = cells.clone()
    changed[:, 6:] += 5
    tokens = torch.randint(1, 11, (1, 6))
    one, attentions = made(tokens, made.remember(cells, places, bias))
    other, _ = made(tokens, made.remember(changed, places, bias))
    torch.testing.assert_close(one, other)
    for attention in attentions:
        assert not attention[..., 6:].any()
        torch.testing.assert_close(attention.sum(dim=-1), torch.ones(1, 2, 6))


def test_directions_share_the_memory_of_their_image() -> None:
    made = decoder()
    memory = remembered(made, images=2)
    tokens = torch.randint(1, 11, (4, 5))  # two rows an image
    both, _ = made.read([tokens.reshape(2, 2, 5)], [memory])
    for image in (0, 1):
        alone = Memory(*(part[image : image + 1] for part in memory))
        for row in (2 * image, 2 * image + 1):
            torch.testing.assert_close(
                both.reshape(4, 5, -1)[row], made(tokens[row : row + 1], alone)[0][0]
            )


def test_decoding_the_inked_cells_gives_what_all_cells_give() -> None:
    made = network()
    words = vocabulary()
    some = expressions(5)
    batch = collate(some, [draw(each) for each in some], words)
    tokens = batch.inputs[:, 0]
    everything = made.encode(batch.images)
    cells = made.inked_cells(batch.images)
    few = made.decoder.remember(cells.features, cells.places, cells.bias)
    assert cells.features.shape[1] < everything.bias.shape[1]
    with torch.no_grad():
        logits, attentions = made.decoder(tokens, everything)
        others, few_attentions = made.decoder(tokens, few)
    torch.testing.assert_close(logits, others, atol=1e-4, rtol=1e-4)
    for attention, other in zip(attentions, few_attentions, strict=True):
        index = cells.numbers[:, None, None].expand(*other.shape)
        torch.testing.assert_close(attention.gather(3, index), other, atol=1e-5, rtol=1e-4)


def test_places_differ_and_tell_row_from_column() -> None:
    encoding = grid_encoding(5, 7, 16, torch.device("cpu"))
    assert encoding.shape == (16, 5, 7)
    torch.testing.assert_close(encoding[:8, :, 0], encoding[:8, :, 3])  # the row's half
    torch.testing.assert_close(encoding[8:, 1], encoding[8:, 4])
    flat = encoding.flatten(1).T
    distances = torch.cdist(flat, flat) + 10 * torch.eye(len(flat))
    assert distances.min() > 0.1
    torch.testing.assert_close(sinusoid(torch.arange(4), 6)[2, 0], torch.tensor(2.0).sin())
    assert CELL == 8
