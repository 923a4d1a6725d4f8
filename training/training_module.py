"""What is trained, as Lightning wants to see it: the network, its average, and the batches."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import lightning
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..core.vocabulary import Vocabulary
from .batches import Batch, TrainingStream
from .fake_quantization import make_quantization_aware
from .optimisation import optimizer_of, ramped_average
from .recipe import Recipe


class StreamDataset(IterableDataset[tuple[int, Batch]]):
    """(epoch, batch): the one after `skip`, then every `stride`-th.

    The workers of a loader share them out, so that in turn they give what one alone would.
    """

    def __init__(self, stream: TrainingStream, skip: int, stride: int) -> None:
        self.stream, self.skip, self.stride = stream, skip, stride

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        worker = get_worker_info()
        number, count = (worker.id, worker.num_workers) if worker else (0, 1)
        return self.stream.batches(self.skip + number * self.stride, count * self.stride)


def loader(dataset: StreamDataset, workers: int, pinned: bool) -> DataLoader[tuple[int, Batch]]:
    """The batches of a dataset in their order, drawn by so many processes beside this one.

    Args:
        workers: 0 draws them here, when they are asked for.
        pinned: put them where an accelerator fetches them fast.
    """
    if not workers:
        return DataLoader(dataset, batch_size=None, pin_memory=pinned)
    return DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4,
        pin_memory=pinned,
        worker_init_fn=_leave_interruptions,
    )


def _leave_interruptions(worker: int) -> None:
    """A Ctrl-C is for the training, which ends its workers when it has saved what was learnt."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class TrainingModule(lightning.LightningModule):
    """Network, averaged network and optimiser.

    Attributes:
        losses: parts of the objective by name, of the last batch, on its device.
    """

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.settings = recipe.optimisation
        self.network = recipe.model.build(vocabulary)
        self.objective = recipe.objective
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.settings.freeze_encoder:
            self.network.get_submodule("encoder").requires_grad_(False)
        if self.settings.quantization_aware:
            make_quantization_aware(self.network)
        self.average = AveragedModel(
            self.network, multi_avg_fn=ramped_average(self.settings.ema_decay), use_buffers=True
        ).requires_grad_(False)
        self.losses: dict[str, Tensor] = {}

    def on_train_start(self) -> None:
        if self.settings.freeze_encoder:
            # its norms and its dropout, too
            self.network.get_submodule("encoder").eval()

    def training_step(self, item: tuple[int, Batch]) -> Tensor:
        """(epoch, batch) -> the weighted loss"""
        batch = item[1]
        images = batch.images.to(memory_format=torch.channels_last)
        total, parts = self.objective(self.network, batch._replace(images=images))
        # numbers only where they are asked for: each makes the processor wait for the accelerator
        self.losses = {name: value.detach() for name, value in parts.items()}
        return total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of(self.network, self.settings)


def seed_step(device: torch.device, seed: int, number: int) -> None:
    """Draw dropout and the like from the number of the batch, as the batch itself is drawn.

    So a resumed training draws what it would have drawn, in every process and on every device,
    and no state of a generator need be saved.
    """
    mixed = (seed * 2**32 + number) % 2**63
    torch.default_generator.manual_seed(mixed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(mixed)
