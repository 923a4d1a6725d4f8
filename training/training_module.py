"""What is trained, as Lightning wants to see it: the network, its average, and the batches."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..core.vocabulary import Vocabulary
from .batches import Batch
from .fake_quantization import make_quantization_aware
from .optimisation import MovingAverage, optimizer_of
from .recipe import Recipe
from .self_attention_network import SelfAttentionNetwork
from .stream import TrainingStream
from .teacher import Teacher


class StreamDataset(IterableDataset[tuple[int, Batch]]):
    """(epoch, compact batch): the one after `skip`, then every `stride`-th.

    Each worker of a loader has a lane of the stream, and the loader takes from them in turn: to
    plan an epoch takes as long as to draw a quarter of it, which all would do over again. So the
    order depends on how many workers there are, and a training resumes exactly with as many.
    """

    def __init__(self, stream: TrainingStream, skip: int, stride: int) -> None:
        self.stream, self.skip, self.stride = stream, skip, stride

    def __iter__(self) -> Iterator[tuple[int, Batch]]:
        worker = get_worker_info()
        number, lanes = (worker.id, worker.num_workers) if worker else (0, 1)
        turns, rank = divmod(self.skip, self.stride)  # the loader begins with worker 0
        taken, lane = divmod(turns + number, lanes)
        return self.stream.batches(taken * self.stride + rank, self.stride, lane, lanes)


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

    Args:
        teacher: whom the objective asks, too.

    Attributes:
        losses: parts of the objective by name, of the last batch, on its device.
    """

    def __init__(
        self, recipe: Recipe, vocabulary: Vocabulary, teacher: Teacher | None = None
    ) -> None:
        super().__init__()
        self.teacher = teacher
        self.settings = recipe.optimisation
        self.network = recipe.build(vocabulary)
        self.objective = recipe.objective
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.settings.freeze_encoder:
            self.network.get_submodule("encoder").requires_grad_(False)
        for module in self.network.modules():
            if isinstance(module, SelfAttentionNetwork):
                # only pre-training hides cells; processes wait for the gradient of all that is left
                module.mask_token.requires_grad_(False)
        if self.settings.quantization_aware:
            make_quantization_aware(self.network)
        self.average = MovingAverage(self.network, self.settings.ema_decay)
        self.losses: dict[str, Tensor] = {}

    def on_train_start(self) -> None:
        if self.settings.freeze_encoder:
            # its norms and its dropout, too
            self.network.get_submodule("encoder").eval()
        if self.teacher:
            self.teacher = self.teacher.to(self.device)

    def training_step(self, item: tuple[int, Batch]) -> Tensor:
        """(epoch, compact batch) -> the weighted loss"""
        batch = item[1].expanded()
        batch = batch._replace(images=batch.images.to(memory_format=torch.channels_last))
        taught = {"teacher": self.teacher} if self.teacher else {}
        total, parts = self.objective(self.network, batch, **taught)
        # numbers only where they are asked for: each makes the processor wait for the accelerator
        self.losses = {name: value.detach() for name, value in parts.items()}
        return total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of(self.network, self.settings)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """By the norm of all. Lightning's own would refuse an optimiser of one launch."""
        nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.gradient_clip)


def seed_step(device: torch.device, seed: int, number: int) -> None:
    """Draw dropout and the like from the number of the batch, as the batch itself is drawn.

    So a resumed training draws what it would have drawn, in every process and on every device,
    and no state of a generator need be saved.
    """
    mixed = (seed * 2**32 + number) % 2**63
    torch.default_generator.manual_seed(mixed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(mixed)
