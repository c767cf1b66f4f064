"""Frozen, validated configurations, which are also the JSON on the Hub."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


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
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    """``cosine`` lowers the learning rate to 0 along half a cosine over the last part of the run."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Last part of the run in which ``cosine`` lowers the learning rate, as a share of ``steps``."""
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
