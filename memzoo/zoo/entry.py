"""One entry of the registry: what a checkpoint is, how it was made, what holds for it, and what it may be used for."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from memzoo.models import ARCHITECTURES, ArchitectureConfig, Config, Training
from memzoo.zoo.facts import MEASURES

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _known_measure(name: str) -> str:
    if name not in MEASURES:
        raise ValueError(f"no measure {name!r}, there are {', '.join(MEASURES)}")
    return name


class Images(Config):
    """Images of a dataset by index, or drawn by seed, with their hashes."""

    dataset: Literal["mnist", "cifar10", "normal", "sphere", "uniform"]
    """The last three are drawn by :func:`memzoo.data.drawn`."""
    split: Literal["train", "test"]
    indices: list[int] | Annotated[str, Field(pattern=r"^\d+:\d+$")]
    """Positions in the official order, or ``"start:stop"``; of drawn images the seeds, one a member."""
    count: PositiveInt = 1
    """Drawn images a seed."""
    sha256: list[Sha256] | Sha256
    """Hash of each image's bytes, or one over all of them in order."""

    def positions(self) -> list[int]:
        """The indices written out."""
        if isinstance(self.indices, str):
            return list(range(*map(int, self.indices.split(":"))))
        return self.indices


class Recipe(Config):
    """How the weights came about."""

    training: Training
    seed: int
    """Seed of the initial values; full-batch training draws nothing else."""
    steps_per_epoch: PositiveInt = 100
    """Batches an epoch, each with the ``steps_per_batch`` of the training."""
    precision: Literal["32-true", "64-true"] = "32-true"
    """Of the arithmetic in training; weights are stored in float32."""
    versions: dict[str, str] = {}
    hardware: str = ""
    wall_time_s: float | None = None


class Fact(Config):
    """A number that holds for the checkpoint and can be recomputed."""

    name: str
    measure: Annotated[str, AfterValidator(_known_measure)]
    """Name of a measure in :mod:`memzoo.zoo.facts`."""
    args: dict[str, float | int] = {}
    paper: float | str | None = None
    """What the paper reports, null where it gives no number."""
    least: float | None = None
    most: float | None = None
    """What the checkpoint must reach."""
    ours: float | None = None
    tolerance: float = 0.0
    """By how much a recomputed value may differ from ``ours``."""


class File(Config):
    """Size and hash of one file of the checkpoint."""

    bytes: PositiveInt
    sha256: Sha256


class Fingerprint(Config):
    """The function that the weights computed when published: a fixed probe input and a digest of its output."""

    seed: int = 0
    values: list[float]
    tolerance: float = 1e-3
    """Largest difference of a value, relative to the root mean square of the output."""


class Rights(Config):
    """What may be done with it."""

    weights: str = "MIT"
    data: str
    reproduces_training_images: bool


class Entry(Config):
    """Everything the registry knows about one checkpoint."""

    title: str
    aliases: list[str] = []
    figures: list[str] = []
    architecture: str
    config: dict[str, Any]
    examples: Images
    """Training images."""
    probes: Images
    """Held-out starts."""
    recipe: Recipe
    facts: list[Fact]
    files: dict[str, File] = {}
    fingerprint: Fingerprint | None = None
    hub: str | None = None
    """``org/repository@commit`` once published."""
    rights: Rights
    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]  # also the name of its folder

    @model_validator(mode="after")
    def _buildable(self) -> "Entry":
        if self.architecture not in ARCHITECTURES:
            raise ValueError(f"architecture {self.architecture!r} is none of {', '.join(ARCHITECTURES)}")
        self.architecture_config()
        return self

    def architecture_config(self) -> ArchitectureConfig:
        """The validated configuration."""
        return ARCHITECTURES[self.architecture].config_class.model_validate(self.config)
