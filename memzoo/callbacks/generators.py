"""Keep the states of all random generators in the checkpoints of a run."""

from typing import Any, final

import torch
from lightning.pytorch import LightningModule, Trainer

from memzoo._generators import pack_generators, read_generators, restore_generators, unpack_generators
from memzoo.runs import FitCallback


@final
class KeepGenerators(FitCallback):
    """Keep the states of all generators in the checkpoints, so that a resumed run draws what an unbroken one draws.

    These are the generators of PyTorch (CPU and CUDA), NumPy and Python, of every process of a distributed run, kept as
    tensors and plain numbers. A run that is resumed from a checkpoint of an epoch's end has the same dropout and the
    same shuffled order as the unbroken one. A run that is resumed within an epoch has them too, if its loader knows
    where it stood, as the loaders of :mod:`memzoo.data` do.
    """

    def __init__(self) -> None:
        self._within = False
        self._kept: dict[str, Any] | None = None

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new run, with nothing to put back."""
        self._within = False
        self._kept = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the states back before the loaders draw their seeds, as they do when an epoch begins."""
        if self._kept is not None:
            self._restore()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the states back again within an epoch, where the unbroken run drew these seeds long before."""
        if self._kept is not None and self._kept["within"]:
            self._restore()
            self._within = True
        self._kept = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note that an epoch has begun."""
        self._within = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the epoch has ended, before the callbacks that save checkpoints act."""
        self._within = False

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all processes, one entry each."""
        # Every process saves: rank 0 alone writes the file, and needs the states of all.
        own = pack_generators(read_generators())
        states: list[Any] = [own]
        if _is_distributed():
            states = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, own)
        return {"within": self._within, "processes": states}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Count an epoch that has ended as ended: with ``max_steps``, Lightning would begin it again for a batch."""
        loop = checkpoint.get("loops", {}).get("fit_loop", {})
        epochs = loop.get("epoch_progress")
        batches = loop.get("epoch_loop.batch_progress")
        if self._within or epochs is None or batches is None:
            return
        for part in ("total", "current"):
            epochs[part]["completed"] = epochs[part]["processed"]
        batches["current"] = dict.fromkeys(batches["current"], 0)
        batches["is_last_batch"] = False

    def resume(self, state: dict[str, Any]) -> None:
        """Put the states back now, and again at the moments at which the unbroken run draws."""
        self._kept = state
        self._restore()

    def _restore(self) -> None:
        assert self._kept is not None
        rank = torch.distributed.get_rank() if _is_distributed() else 0
        processes = self._kept["processes"]
        if rank < len(processes):  # the run before may have had fewer processes
            restore_generators(unpack_generators(processes[rank]))


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
