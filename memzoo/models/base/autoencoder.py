"""The base that every architecture shares: configuration in, training by Lightning."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, cast

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from memzoo.data import Pair
from memzoo.errors import InvalidArgumentError, InvalidTypeError, NotASelfMapError
from memzoo.models.base.config import ArchitectureConfig, Training
from memzoo.models.base.denormals import FlushDenormals
from memzoo.models.base.loss import squared_error
from memzoo.models.base.optimizer import optimizer_of
from memzoo.models.base.schedule import learning_rate_factor
from memzoo.models.base.stopping import StopWhenRecovered
from memzoo.models.base.watch import Watch

if TYPE_CHECKING:  # with a default, which the one of typing has from Python 3.13 on
    from typing_extensions import TypeVar

    C = TypeVar("C", bound=ArchitectureConfig, default=Any)
else:
    from typing import TypeVar

    C = TypeVar("C", bound=ArchitectureConfig)


class Autoencoder(LightningModule, ABC, Generic[C]):
    """A self-map of images, trained to reproduce them.

    Owns training: squared error, optimizer and schedule from the :class:`Training` configuration, many optimizer steps
    a ``training_step`` where it says so, an end at a given loss, and a clear error when the loss is no longer finite. A
    subclass says only which configuration it has and how its layers are built.

    Args:
        config: Its configuration, also as a plain dict; or give its fields as keywords.
        training: How ``Trainer.fit`` trains it, also as a plain dict.
        fields: Fields of the configuration.
    """

    config_class: ClassVar[type[ArchitectureConfig]]

    examples: Tensor | None = None
    """Training images ``(n, *shape)`` of a model that came from the zoo: float32, those of a dataset in [0, 1]."""
    probes: Tensor | None = None
    """Held-out starts ``(B, *shape)`` that travel with the weights, likewise."""
    course: list[tuple[int, float]]
    """(step, loss before it) of the last fit at geometrically spaced steps; of an ensemble, the largest loss of the
    members still in training."""
    _watch: Watch | None = None
    _resumed: tuple[tuple[int, float], ...] = ()
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
            raise InvalidTypeError(f"give a config or its fields, not both (got a config and {', '.join(fields)}).")
        kind = self.config_class
        self.config = cast(C, config if isinstance(config, kind) else kind.model_validate(config or fields))
        training = training if isinstance(training, Training) else Training.model_validate(training or {})
        self.save_hyperparameters(
            {"config": self.config.model_dump(mode="json"), "training": training.model_dump(mode="json")}
        )
        self.train_by(training)
        self.course = []
        self.net: nn.Module = self.build(self.config)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return self.config.shape

    @abstractmethod
    def build(self, config: C) -> nn.Module:
        """The layers, initialised."""

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct a batch ``(B, *shape)``."""
        self.check_shape(x)
        return self.net(x)

    def check_shape(self, x: Tensor) -> None:
        """Raise :class:`memzoo.errors.NotASelfMapError` where ``x`` is no batch of this network's images."""
        if x.shape[1:] != torch.Size(self.config.shape):
            raise NotASelfMapError(
                f"{type(self).__name__} maps batches of shape (B, {', '.join(map(str, self.config.shape))}), "
                f"got {tuple(x.shape)}; reshape the input or build the model with shape={tuple(x.shape[1:])}."
            )

    # Training ---------------------------------------------------------------------------------------------------------

    def train_by(self, training: Training) -> None:
        """Train as this says from the next fit on."""
        self.training_config = training
        self.automatic_optimization = training.steps_per_batch == 1
        self.hparams["training"] = training.model_dump(mode="json")

    def objective(self, x: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss of a batch, and the scalar whose gradient the optimizer follows: the loss itself.

        ``target`` is what the network is to make of ``x``: ``x`` itself when left out.
        """
        if self.training_config.optimizer == "adaptive":
            raise InvalidArgumentError(
                f"the adaptive step of Theorem 1 is that of a one-layer network, and {type(self).__name__} is none; "
                "train a OneLayerAutoencoder, or with optimizer 'sgd', 'adam', 'adamw' or 'muon'."
            )
        loss = squared_error(self(x), x if target is None else target, self.training_config.loss)
        return loss, loss

    def on_fit_start(self) -> None:
        """A run, watched from its first step, or from where it is resumed."""
        self._watch = Watch(self)
        if self.trainer.ckpt_path is not None:  # a checkpoint may also have been loaded without one to resume
            self._watch.course = list(self._resumed)
        self._resumed = ()

    def on_fit_end(self) -> None:
        """Nothing left to watch; the course of the loss is kept."""
        if self._watch is not None:
            self.course = self._watch.course
        self._watch = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The course of the loss so far travels with the state of a run."""
        course = self.course if self._watch is None else self._watch.course
        checkpoint["memzoo_course"] = [list(entry) for entry in course]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """A resumed run goes on with it; a fit from loaded weights begins its own."""
        self._resumed = tuple((int(step), float(loss)) for step, loss in checkpoint.get("memzoo_course", []))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Loss of one batch of images, alone or first in a tuple; all of its steps, if it has more than one.

        What else a tuple holds, labels say, is left alone; a :class:`memzoo.data.Pair` holds what they are trained on.
        """
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        given = tuple(batch) if isinstance(batch, Pair) else (x,)
        if self.automatic_optimization:
            loss, followed = self.objective(*given)
            self._look(loss)
        else:
            loss = followed = self._descend(*given)
            # loggers would count batches, were they not told
            self.log("step", float(self.global_step), on_step=False, on_epoch=True, reduce_fx="max", batch_size=len(x))
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=len(x))
        return followed + (loss - followed).detach()  # the loss in value, what is followed in its gradient

    def _look(self, loss: Tensor) -> bool:
        """Look at the loss before a step; true, and the run stops, where it is small enough."""
        value, stop = loss.item(), self.training_config.stop_loss
        if self._watch is not None:
            self._watch.loss(self.global_step, value)
        if stop is None:
            return False
        least = self.trainer.min_steps or 0, self.trainer.min_epochs or 0
        finished = value < stop and self.global_step >= least[0] and self.current_epoch >= least[1]
        if self.trainer.world_size > 1:  # all processes stop together
            finished = self.trainer.strategy.reduce_boolean_decision(finished, all=False)
        if finished:
            self.trainer.should_stop = True
        return finished

    def _descend(self, *given: Tensor) -> Tensor:
        """Many optimizer steps on one batch, none beyond the ``max_steps`` of the Trainer; returns the last loss."""
        optimizer, schedule = cast(Any, self.optimizers()), cast(LambdaLR, self.lr_schedulers())
        most, left = self.training_config.steps_per_batch, self.trainer.max_steps - self.global_step
        loss = given[0].new_tensor(torch.nan)
        for _ in range(most if self.trainer.max_steps < 0 else min(most, left)):
            loss, followed = self.objective(*given)
            if self._look(loss):
                break
            optimizer.zero_grad()
            self.manual_backward(followed)
            optimizer.step()
            schedule.step()
            self.after_step()
        return loss.detach()

    def after_step(self) -> None:
        """Runs after each optimizer step of a batch with several."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Look at the gradients now and then; the scaler of 16-bit training expects them to overflow."""
        if self._watch is not None and self.trainer.precision != "16-mixed":
            self._watch.gradients()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer and schedule of the training configuration, stepped after every optimizer step."""
        training = self.training_config
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = optimizer_of(training, trained)
        schedule = LambdaLR(optimizer, learning_rate_factor(training))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_callbacks(self) -> list[Callback]:
        """Training flushes denormals, and puts the process back as it was; it stops where its configuration says so."""
        share = self.training_config.stop_recovered
        return [FlushDenormals(), *([StopWhenRecovered(share)] if share is not None else [])]
