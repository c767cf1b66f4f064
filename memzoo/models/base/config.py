"""Frozen, validated configurations, which are also the JSON on the Hub."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from memzoo.errors import InvalidArgumentError

Beta = Annotated[float, Field(ge=0, lt=1)]
ADAM_BETAS = (0.9, 0.999)
"""PyTorch's own."""


class Config(BaseModel):
    """Hold a configuration that is immutable and refuses unknown keys, NaN and infinity."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArchitectureConfig(Config):
    """Hold what rebuilds an architecture."""

    shape: tuple[PositiveInt, ...]
    """Shape of one input, channels first; pixels in [0, 1]."""


class Training(Config):
    """Describe how the common base class trains."""

    optimizer: Literal["adam", "adamw", "muon", "sgd", "adaptive"] = "adam"
    """``muon`` is timm's: orthogonalised momentum for weights, AdamW for biases, the learning rate on Adam's scale; it
    orthogonalises in bfloat16, whatever the precision of the training.
    ``sgd`` is gradient descent without momentum; ``adaptive`` is the same with the step of Theorem 1 for each example
    and coordinate, which :class:`memzoo.models.OneLayerAutoencoder` has."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    betas: tuple[Beta, Beta] = ADAM_BETAS
    """How slowly the means of the gradient and of its square forget, in ``adam``, ``adamw`` and the AdamW of ``muon``.
    A short memory of the squares (0.9) lets a network of tanh units reach its training images in one iteration."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine", "ramp"] = "constant"
    """``cosine`` lowers the learning rate to 0 along half a cosine over the last part of the run; ``ramp`` does the
    same, and raises the rate linearly before, from a twentieth of ``lr`` to ``lr``."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Last part of the run in which ``cosine`` and ``ramp`` lower the learning rate, as a share of ``steps``."""
    steps: PositiveInt = 1000
    """Optimizer steps of the whole run: the ``max_steps`` of the Trainer."""
    loss: Literal["mean", "sum", "half_sum"] = "mean"
    """Reduction of the squared errors over all pixels and examples of the batch. Gradient descent of step g on
    ``half_sum`` is that of Supplement A of the paper; on ``mean`` its step is smaller by 2 / (n d)."""
    steps_per_batch: PositiveInt = 1
    """Optimizer steps that one ``training_step`` runs on its batch. With the whole training set as the batch, 100 steps
    cost no more of the framework's time than one. ``trainer.global_step`` counts optimizer steps in any case."""
    stop_loss: Annotated[float, Field(gt=0)] | None = None
    """Stop when the loss of a batch is below this: before the next step if a batch has several steps, else after
    it."""
    stop_recovered: Annotated[float, Field(gt=0, le=1)] | None = None
    """Stop when this share of the tracked examples is recovered by iteration; needs an ``AttractorCallback``."""

    @model_validator(mode="after")
    def _check_betas_and_ramp(self) -> "Training":
        """Raise if betas are given to an optimizer without them, or if the ramp has no steps."""
        if self.betas != ADAM_BETAS and self.optimizer in ("sgd", "adaptive"):
            raise InvalidArgumentError(
                f"betas belong to adam, adamw and muon; {self.optimizer} keeps no means of gradients: leave them out"
            )
        if self.schedule == "ramp" and self.decay == 1:
            raise InvalidArgumentError("a ramp rises before the decay, so decay must be below 1, e.g. decay: 0.3")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_usual_betas(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the usual betas, so that cards, files and states of earlier versions stay as they are."""
        written = write(self)
        if self.betas == ADAM_BETAS:
            written.pop("betas", None)
        return written
