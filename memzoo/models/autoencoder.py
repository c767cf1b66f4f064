"""The base that every architecture shares: configuration in, training by Lightning."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar, cast

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from memzoo.errors import NotASelfMapError
from memzoo.models.config import ArchitectureConfig, Training
from memzoo.models.denormals import FlushDenormals
from memzoo.models.schedule import learning_rate_factor

C = TypeVar("C", bound=ArchitectureConfig)


class Autoencoder(LightningModule, ABC, Generic[C]):
    """A self-map of images, trained to reproduce them.

    Owns training: mean squared error, optimizer and schedule from the :class:`Training` configuration. A subclass says
    only which configuration it has and how its layers are built.

    Args:
        config: Its configuration, also as a plain dict; or give its fields as keywords.
        training: How ``Trainer.fit`` trains it, also as a plain dict.
        fields: Fields of the configuration.
    """

    config_class: ClassVar[type[ArchitectureConfig]]

    examples: Tensor | None = None
    """Training images ``(n, *shape)``, float32 in [0, 1], of a model that came from the zoo."""
    probes: Tensor | None = None
    """Held-out starts ``(B, *shape)`` that travel with the weights, likewise."""
    entry: Any = None
    """Registry entry of a model that came from the zoo: recipe, facts, hashes, rights."""

    def __init__(
        self,
        config: C | dict[str, Any] | None = None,
        *,
        training: Training | dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__()
        if config is not None and fields:
            raise TypeError(f"give a config or its fields, not both (got a config and {', '.join(fields)}).")
        kind = self.config_class
        self.config = cast(C, config if isinstance(config, kind) else kind.model_validate(config or fields))
        self.training_config = training if isinstance(training, Training) else Training.model_validate(training or {})
        self.save_hyperparameters(
            {"config": self.config.model_dump(mode="json"), "training": self.training_config.model_dump(mode="json")}
        )
        self.net = self.build(self.config)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.config.shape

    @abstractmethod
    def build(self, config: C) -> nn.Sequential:
        """The layers, initialised."""

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct a batch ``(B, *shape)``."""
        if x.shape[1:] != torch.Size(self.config.shape):
            raise NotASelfMapError(
                f"{type(self).__name__} maps batches of shape (B, {', '.join(map(str, self.config.shape))}), "
                f"got {tuple(x.shape)}; reshape the input or build the model with shape={tuple(x.shape[1:])}."
            )
        return self.net(x)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Mean squared error of one batch of images, alone or first in a tuple."""
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        loss = nn.functional.mse_loss(self(x), x)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=len(x))
        return loss

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer and schedule of the training configuration, stepped after every optimizer step."""
        training = self.training_config
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[training.optimizer]
        optimizer = kind(self.parameters(), lr=training.lr, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor(training))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_callbacks(self) -> list[Callback]:
        """Training flushes denormals; the callback puts the process back as it was."""
        return [FlushDenormals()]
