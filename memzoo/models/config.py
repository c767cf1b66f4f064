"""Frozen, validated configurations that are also the JSON on the Hub."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


class Config(BaseModel):
    """Base of every configuration: immutable, unknown keys refused, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ArchitectureConfig(Config):
    """What rebuilds an architecture."""

    shape: tuple[PositiveInt, ...]
    """Shape of one input, channels first; pixels in [0, 1]."""


class Training(Config):
    """How the common base trains: the loss is the mean squared error over pixels and examples."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    """``cosine`` lowers the learning rate to 0 along half a cosine over the last part of the run."""
    decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """That part, as a share of ``steps``."""
    steps: PositiveInt = 1000
    """Optimizer steps of the whole run."""
