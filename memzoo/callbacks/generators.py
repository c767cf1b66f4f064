"""The states of all random generators, kept with the checkpoints of a run."""

import random
from typing import Any, final

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from memzoo.runs import FitCallback


@final
class KeepGenerators(FitCallback):
    """Keep the states of all generators in the checkpoints, so that a resumed run draws what an unbroken one draws.

    The generators of PyTorch (CPU and CUDA), NumPy and Python, of every process of a distributed run, as tensors and
    plain numbers. A run resumed from a checkpoint of an epoch's end goes on with the same dropout and the same shuffled
    order; one resumed within an epoch too, if its loader knows where it stood, as those of :mod:`memzoo.data` do.
    """

    def __init__(self) -> None:
        self._within = False
        self._kept: dict[str, Any] | None = None

    def begin(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A new run."""
        self._within, self._kept = False, None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before the loaders draw their seeds, as they do in an unbroken run when an epoch begins."""
        if self._kept is not None:
            self._restore()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Within an epoch, these seeds were drawn long before."""
        if self._kept is not None and self._kept["within"]:
            self._restore()
            self._within = True
        self._kept = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """An epoch has begun."""
        self._within = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Its end comes before that of the callbacks that save checkpoints."""
        self._within = False

    def state_dict(self) -> dict[str, Any]:
        """States of all processes, one entry each."""
        own = _states()
        states: list[Any] = [own]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            states = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, own)
        return {"within": self._within, "processes": states}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Count an epoch that has ended as ended: with ``max_steps``, Lightning would begin it again for a batch."""
        loop = checkpoint.get("loops", {}).get("fit_loop", {})
        epochs, batches = loop.get("epoch_progress"), loop.get("epoch_loop.batch_progress")
        if self._within or epochs is None or batches is None:
            return
        for part in ("total", "current"):
            epochs[part]["completed"] = epochs[part]["processed"]
        batches["current"] = dict.fromkeys(batches["current"], 0)
        batches["is_last_batch"] = False

    def go_on(self, state: dict[str, Any]) -> None:
        """Put them back when the time has come."""
        self._kept = state
        self._restore()

    def _restore(self) -> None:
        assert self._kept is not None
        rank = torch.distributed.get_rank() if _distributed() else 0
        processes = self._kept["processes"]
        if rank < len(processes):
            _set(processes[rank])


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _states() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    numpy: dict[str, Any] = np.random.get_state(legacy=False)  # type: ignore[assignment]  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": {
            "bit_generator": str(numpy["bit_generator"]),
            "key": torch.from_numpy(numpy["state"]["key"].astype(np.int64)),
            "pos": int(numpy["state"]["pos"]),
            "has_gauss": int(numpy["has_gauss"]),
            "gauss": float(numpy["gauss"]),
        },
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
    }


def _set(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"].cpu())
    cuda: list[Tensor] = states["cuda"]
    if cuda and torch.cuda.is_available() and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in cuda])
    numpy = states["numpy"]
    np.random.set_state(  # noqa: NPY002
        {
            "bit_generator": numpy["bit_generator"],
            "state": {"key": numpy["key"].numpy().astype(np.uint32), "pos": numpy["pos"]},
            "has_gauss": numpy["has_gauss"],
            "gauss": numpy["gauss"],
        }
    )
    python = states["python"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
