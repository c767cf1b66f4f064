"""The base class of every architecture: it takes a configuration and owns the training by Lightning."""

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
from memzoo.models.base.optimizer import build_optimizer
from memzoo.models.base.schedule import build_schedule
from memzoo.models.base.stopping import StopWhenRecovered
from memzoo.models.base.watch import Watch

# Only the TypeVar of typing_extensions has a default before Python 3.13.
if TYPE_CHECKING:
    from typing_extensions import TypeVar

    C = TypeVar("C", bound=ArchitectureConfig, default=Any)
else:
    from typing import TypeVar

    C = TypeVar("C", bound=ArchitectureConfig)


class Autoencoder(LightningModule, ABC, Generic[C]):
    """Map images to images, trained to reproduce them.

    This class owns the training: squared error, optimizer and schedule from the :class:`Training` configuration, many
    optimizer steps in one ``training_step`` if the configuration says so, a stop at a given loss, and a clear error
    when the loss is no longer finite. A subclass says only which configuration it has and how its layers are built.

    Args:
        config: Configuration of the architecture, also as a plain dict; its fields can be given as keywords instead.
        training: How ``Trainer.fit`` trains the network, also as a plain dict.
        fields: Fields of the configuration.
    """

    config_class: ClassVar[type[ArchitectureConfig]]

    examples: Tensor | None = None
    """Training images ``(n, *shape)`` of a model that came from the zoo: float32, those of a dataset in [0, 1]."""
    probes: Tensor | None = None
    """Held-out starts ``(B, *shape)`` that travel with the weights, in the same form."""
    course: list[tuple[int, float]]
    """(step, loss before it) of the last fit at geometrically spaced steps; of an ensemble, the largest loss of the
    members still in training."""
    _watch: Watch | None = None
    _earlier_course: tuple[tuple[int, float], ...] = ()
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
        # Plain JSON can be loaded from a checkpoint without unpickling.
        self.save_hyperparameters(
            {"config": self.config.model_dump(mode="json"), "training": training.model_dump(mode="json")}
        )
        self.train_by(training)
        self.course = []
        self.net: nn.Module = self.build(self.config)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one image."""
        return self.config.shape

    @abstractmethod
    def build(self, config: C) -> nn.Module:
        """Build the layers and initialise them."""

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct a batch ``(B, *shape)``."""
        self.check_shape(x)
        return self.net(x)

    def check_shape(self, x: Tensor) -> None:
        """Raise :class:`memzoo.errors.NotASelfMapError` where ``x`` is not a batch of this network's images."""
        if x.shape[1:] != torch.Size(self.config.shape):
            raise NotASelfMapError(
                f"{type(self).__name__} maps batches of shape (B, {', '.join(map(str, self.config.shape))}), "
                f"got {tuple(x.shape)}; reshape the input or build the model with shape={tuple(x.shape[1:])}."
            )

    # Training ---------------------------------------------------------------------------------------------------------

    def train_by(self, training: Training) -> None:
        """Set the training configuration of the next fit."""
        self.training_config = training
        # Lightning cannot run several optimizer steps a batch by itself, see _descend.
        self.automatic_optimization = training.steps_per_batch == 1
        self.hparams["training"] = training.model_dump(mode="json")

    def objective(self, x: Tensor, target: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the loss of a batch, and the scalar whose gradient the optimizer follows: the loss itself.

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
        """Watch the run from its first step, or from the step at which it is resumed."""
        self._watch = Watch(self)
        # A checkpoint can also be loaded for its weights alone; then the run starts a course of its own.
        if self.trainer.ckpt_path is not None:
            self._watch.course = list(self._earlier_course)
        self._earlier_course = ()

    def on_fit_end(self) -> None:
        """Stop watching, and keep the course of the loss."""
        if self._watch is not None:
            self.course = self._watch.course
        self._watch = None

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the course of the loss so far with the state of the run."""
        course = self.course if self._watch is None else self._watch.course
        checkpoint["memzoo_course"] = [list(entry) for entry in course]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the course of the loss, which a resumed run continues."""
        entries = checkpoint.get("memzoo_course", [])
        self._earlier_course = tuple((int(step), float(loss)) for step, loss in entries)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Compute the loss of one batch, and run all steps of the batch if it has more than one.

        A batch is a tensor of images, or a tuple that begins with one. Other entries of a tuple, such as labels, are
        ignored; a :class:`memzoo.data.Pair` holds images and their targets.
        """
        x = batch[0] if isinstance(batch, (tuple, list)) else batch
        given = tuple(batch) if isinstance(batch, Pair) else (x,)
        if self.automatic_optimization:
            loss, followed = self.objective(*given)
            self._check_loss(loss)
        else:
            loss = followed = self._descend(*given)
            # Without this value loggers would count batches instead of optimizer steps.
            self.log("step", float(self.global_step), on_step=False, on_epoch=True, reduce_fx="max", batch_size=len(x))
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, prog_bar=True, batch_size=len(x))
        # The result has the value of the loss and the gradient of the scalar that is followed.
        return followed + (loss - followed).detach()

    def _check_loss(self, loss: Tensor) -> bool:
        """Check the loss before a step; return True, and stop the run, if the loss is small enough."""
        value = loss.item()
        threshold = self.training_config.stop_loss
        if self._watch is not None:
            self._watch.check_loss(self.global_step, value)
        if threshold is None:
            return False
        enough_steps = self.global_step >= (self.trainer.min_steps or 0)
        enough_epochs = self.current_epoch >= (self.trainer.min_epochs or 0)
        finished = value < threshold and enough_steps and enough_epochs
        if self.trainer.world_size > 1:  # all processes stop together
            finished = self.trainer.strategy.reduce_boolean_decision(finished, all=False)
        if finished:
            self.trainer.should_stop = True
        return finished

    def _descend(self, *given: Tensor) -> Tensor:
        """Run many optimizer steps on one batch, none beyond the Trainer's ``max_steps``; return the last loss."""
        optimizer = cast(Any, self.optimizers())
        schedule = cast(LambdaLR, self.lr_schedulers())
        steps = self.training_config.steps_per_batch
        if self.trainer.max_steps >= 0:
            steps = min(steps, self.trainer.max_steps - self.global_step)
        loss = given[0].new_tensor(torch.nan)
        for _ in range(steps):
            loss, followed = self.objective(*given)
            if self._check_loss(loss):
                break
            optimizer.zero_grad()
            self.manual_backward(followed)
            optimizer.step()
            schedule.step()
            self.after_step()
        return loss.detach()

    def after_step(self) -> None:
        """Run after each optimizer step of a batch with several steps; a subclass may override it."""

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Check the gradients now and then."""
        # The scaler of 16-bit training expects gradients to overflow, and skips such steps.
        if self._watch is not None and self.trainer.precision != "16-mixed":
            self._watch.check_gradients()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimizer and the schedule, which is stepped after every optimizer step."""
        training = self.training_config
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        optimizer = build_optimizer(training, trained)
        schedule = LambdaLR(optimizer, build_schedule(training))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_callbacks(self) -> list[Callback]:
        """Return the callback that flushes denormals, and the one that stops the run if the configuration has one."""
        share = self.training_config.stop_recovered
        return [FlushDenormals(), *([StopWhenRecovered(share)] if share is not None else [])]
