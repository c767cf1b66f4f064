"""One entry of the registry: what a checkpoint is, how it was made, what holds for it, and what it may be used for."""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, JsonValue, PositiveInt, ValidationError, field_validator, model_validator

from memzoo.errors import InvalidArgumentError, RegistryError
from memzoo.models import ArchitectureConfig, Config, Training
from memzoo.zoo.rights import Rights

if TYPE_CHECKING:  # a registry is listed without torch
    from torch import Tensor


def _as_json(config: Any) -> Any:
    """Return what JSON makes of a configuration that was written in Python: lists in the place of tuples."""
    try:
        return _tuples_as_lists(config)
    except RecursionError:  # what is wrong with it, the check behind this says with its place
        return config


def _tuples_as_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _tuples_as_lists(inner) for name, inner in value.items()}
    return [_tuples_as_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


if TYPE_CHECKING:
    JsonObject = dict[str, Any]  # whoever reads a configuration knows what its fields hold
else:
    JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_as_json)]

WEIGHTS, CONFIG, EXAMPLES, HISTORY = "model.safetensors", "config.json", "examples.safetensors", "history.json"
MOST_IMAGES = 10_000_000
DEEPEST = 12  # fields that the place of a problem names
ID = r"^[a-z0-9][a-z0-9.-]*$"
REPOSITORY = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"
COMMIT = r"^[0-9a-f]{40}$"
FILE = r"^(model|examples|step-[1-9][0-9]*)\.safetensors$|^(config|history)\.json$"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def step_file(step: int) -> str:
    """File that holds the weights after ``step`` optimizer steps."""
    return f"step-{step}.safetensors"


def _known_file(name: Any) -> Any:
    if isinstance(name, str) and re.search(r"\.(pt|pth|bin|ckpt|pkl|pickle|npy|npz|joblib|h5)$", name.lower()):
        raise InvalidArgumentError(
            f"{name!r} may be a pickle, which can run code when opened; weights are stored as safetensors"
        )
    if isinstance(name, str) and not re.search(FILE, name):
        raise InvalidArgumentError(
            f"{name!r} is no file of a checkpoint: there are {WEIGHTS}, {CONFIG}, {EXAMPLES}, {HISTORY} and "
            "step-N.safetensors, all in one folder"
        )
    return name


FileName = Annotated[str, BeforeValidator(_known_file), Field(pattern=FILE)]


class Preprocessing(Config):
    """From a stored image to what the network is given: ``(image - shift) / scale``."""

    shift: float = 0.0
    scale: Annotated[float, Field(gt=0)]

    def __call__(self, images: "Tensor") -> "Tensor":
        """Images as float32."""
        wide = images if images.is_floating_point() else images.float()
        return wide if (self.shift, self.scale) == (0, 1) else (wide - self.shift) / self.scale


Distribution = Literal["normal", "sphere", "uniform"]
Formula = Literal["line", "swissroll", "pixels", "squares"]


class Images(Config):
    """Images of a dataset by index, or drawn by seed, with their hashes."""

    dataset: Literal["mnist", "cifar10", Distribution, Formula]
    """``normal``, ``sphere`` and ``uniform`` are drawn by :func:`memzoo.data.drawn`, the last four are those of
    :func:`memzoo.data.points`."""
    split: Literal["train", "test"]
    indices: list[Annotated[int, Field(ge=0)]] | Annotated[str, Field(pattern=r"^\d{1,8}:\d{1,8}$")]
    """Positions in the official order, or ``"start:stop"``; of drawn images the seeds, one a member."""
    count: PositiveInt = 1
    """Drawn images a seed."""
    preprocessing: Preprocessing | None = None
    """Left out: 8-bit images of a dataset are divided by 255, drawn ones taken as they are."""
    sha256: list[Sha256] | Sha256
    """Hash of each image's stored bytes, or one over all of them in order."""

    @model_validator(mode="before")
    @classmethod
    def _preprocessing_of_the_dataset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preprocessing") is None:
            return {**data, "preprocessing": {"scale": 255.0 if data.get("dataset") in ("mnist", "cifar10") else 1.0}}
        return data

    @model_validator(mode="after")
    def _some_images(self) -> "Images":
        if isinstance(self.indices, str):
            start, stop = map(int, self.indices.split(":"))
            if not 0 < stop - start <= MOST_IMAGES:
                raise InvalidArgumentError(
                    f"indices {self.indices!r} name {stop - start} images, needs 1 to {MOST_IMAGES}"
                )
        elif not self.indices:
            raise InvalidArgumentError("indices must name at least one image")
        if isinstance(self.sha256, list) and len(self.sha256) != len(self.positions()):
            raise InvalidArgumentError(
                f"{len(self.positions())} images have {len(self.sha256)} hashes; give one each, or one"
            )
        return self

    def positions(self) -> list[int]:
        """The indices written out."""
        if isinstance(self.indices, str):
            return list(range(*map(int, self.indices.split(":"))))
        return self.indices

    def inputs(self, images: "Tensor") -> "Tensor":
        """Stored images as the network is given them."""
        return (self.preprocessing or Preprocessing(scale=1.0))(images)


class Part(Config):
    """An earlier part of a training, with settings of its own."""

    training: Training
    batch_size: PositiveInt | None = None
    """As in :class:`Recipe`."""

    @field_validator("training")
    @classmethod
    def _ends_by_its_loss(cls, training: Training) -> Training:
        if training.stop_recovered is not None:
            raise InvalidArgumentError("recovery is measured in the last part alone: stop_recovered belongs there")
        return training


class Recipe(Config):
    """How the weights came about."""

    training: Training
    seed: int
    """Seed of the initial values, and of the order in which mini-batches come."""
    batch_size: PositiveInt | None = None
    """Images a batch, shuffled anew in every epoch; all of them in one batch when left out."""
    steps_per_epoch: PositiveInt = 100
    """Batches an epoch, each with the ``steps_per_batch`` of the training; of mini-batches, as many as make whole
    passes through the images."""
    keep: list[PositiveInt] = []
    """Optimizer steps after which the weights are kept beside those of the end."""
    before: list[Part] = []
    """Parts of the training before this one, in order. Each begins with the weights that the last one ended with, and
    with a new optimizer; what is measured on the way is measured in the last part, of which ``training`` speaks."""
    closed_form: bool = False
    """The weights are computed from the training images, as the theory gives them, and not trained: the training is
    that which would end there."""
    targets: Literal["same", "next"] = "same"
    """What each training image is trained on: itself, or the next one, and the last on the first."""
    precision: Literal["32-true", "64-true"] = "32-true"
    """Of the arithmetic in training."""
    stored: Literal["float32", "float16"] = "float32"
    """Of the weights in the files. They are computed with in float32 either way; facts and fingerprint are those of the
    stored ones."""
    versions: dict[str, str] = {}
    hardware: str = ""
    wall_time_s: float | None = None

    @model_validator(mode="after")
    def _keeps_what_is_reached(self) -> "Recipe":
        steps, batch = self.training.steps, self.training.steps_per_batch
        if self.closed_form and self.keep:
            raise InvalidArgumentError(f"weights in closed form have no steps to keep, got {self.keep}")
        if self.before and (self.closed_form or self.keep):
            raise InvalidArgumentError("a training of several parts is neither in closed form nor are steps kept of it")
        if self.targets == "next":
            self._could_store_a_sequence()
        missed = [step for step in self.keep if step > steps or step % batch]
        if missed:
            raise InvalidArgumentError(
                f"steps {missed} cannot be kept: the run has {steps}, and a batch ends every {batch}"
            )
        return self

    @property
    def parts(self) -> list["Recipe"]:
        """The recipe of each part, the last one is this itself."""
        earlier = [
            self.model_copy(
                update={"training": part.training, "batch_size": part.batch_size, "before": self.before[:place]}
            )
            for place, part in enumerate(self.before)
        ]
        return [*earlier, self]

    def _could_store_a_sequence(self) -> None:
        if self.closed_form:
            raise InvalidArgumentError(
                "weights in closed form reproduce each image: they cannot have the next as its target"
            )
        if self.training.optimizer == "adaptive":
            raise InvalidArgumentError(
                "the adaptive step of Theorem 1 is for images that are reproduced, not for the next"
            )
        if self.training.stop_recovered is not None:
            raise InvalidArgumentError(
                "with the next image as target no image is recovered, so the run would never stop"
            )


class Fact(Config):
    """A number that holds for the checkpoint and can be recomputed."""

    name: str
    measure: str
    """Name of a measure in :mod:`memzoo.zoo.measures.facts`."""
    args: dict[str, float | int] = {}
    """Its keyword arguments."""
    step: PositiveInt | None = None
    """Of the weights after this optimizer step, where they were kept; else of the final ones."""
    paper: float | str | None = None
    """What the paper reports, null where it gives no number."""
    least: float | None = None
    most: float | None = None
    """What the checkpoint must reach."""
    ours: float | None = None
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """By how much a recomputed value may differ from ``ours``."""


class File(Config):
    """Size and hash of one file of the checkpoint."""

    bytes: PositiveInt
    sha256: Sha256


class Fingerprint(Config):
    """The function that the weights computed when published: a fixed probe input and a digest of its output."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    values: Annotated[list[float], Field(min_length=8, max_length=8)]
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
    """Largest difference of a value, relative to the root mean square of the output."""


class Step(Config):
    """The network on the way, after some optimizer steps."""

    epoch: PositiveInt | None = None
    """Epochs begun by then."""
    fingerprint: Fingerprint


class Published(Config):
    """Where the Hub has it: a full commit never changes, and needs no network once it is cached."""

    repository: Annotated[str, Field(pattern=REPOSITORY)]
    commit: Annotated[str, Field(pattern=COMMIT)]
    tag: str | None = None


class Entry(Config):
    """Everything the registry knows about one checkpoint."""

    # The schema needs no torch. What needs the architectures or the measures is checked by check_entry, before an
    # entry is used for more than a list.

    title: str
    aliases: list[str] = []
    figures: list[str] = []
    architecture: str
    config: JsonObject
    """Of the architecture, which checks it: here it is only what JSON can hold."""
    examples: Images
    """Training images."""
    training_set: Images | None = None
    """All training images, where only some of them travel with the checkpoint: those near which iteration ends."""
    probes: Images
    """Held-out starts."""
    recipe: Recipe
    facts: list[Fact]
    files: dict[FileName, File] = {}
    fingerprint: Fingerprint | None = None
    steps: dict[PositiveInt, Step] = {}
    """Weights kept on the way, by optimizer step: ``memzoo.load(id, step=...)``."""
    hub: Published | None = None
    """Once published."""
    rights: Rights
    id: Annotated[str, Field(pattern=ID)]  # also the name of its folder

    @model_validator(mode="after")
    def _steps_are_there(self) -> "Entry":
        stored = {name for name in self.files if name.startswith("step-")}
        if stored != {step_file(step) for step in self.steps}:
            raise InvalidArgumentError(
                f"files hold {sorted(stored) or 'no steps'}, steps name {sorted(self.steps) or 'none'}"
            )
        known = {*self.steps, *self.recipe.keep}
        strange = sorted({fact.step for fact in self.facts if fact.step is not None} - known)
        if strange:
            raise InvalidArgumentError(f"facts speak of steps {strange}, kept are {sorted(known) or 'none'}")
        return self

    @model_validator(mode="after")
    def _a_sequence_has_a_next(self) -> "Entry":
        if self.recipe.targets == "next" and self.training_set is not None:
            raise InvalidArgumentError("with the next image as target all of them must travel: name no training_set")
        drawn = self.examples.dataset in get_args(Distribution)  # where a position is the seed of a member
        count = self.examples.count if drawn else len(self.examples.positions())
        if self.recipe.targets == "next" and count < 2:
            raise InvalidArgumentError("the next of a single image is itself: targets 'next' needs at least two")
        return self

    @model_validator(mode="after")
    def _members_train_at_once(self) -> "Entry":
        if self.architecture == "Ensemble" and self.recipe.before:
            raise InvalidArgumentError("the members of an Ensemble are trained in one part, got parts before it")
        return self

    def license_objections(self) -> list[str]:
        """Name the licences that its images do not allow, as :meth:`Rights.objections` does."""
        trained = {about.dataset for about in (self.examples, self.training_set) if about is not None}
        return self.rights.objections(trained, {self.examples.dataset, self.probes.dataset})

    def architecture_config(self) -> ArchitectureConfig:
        """Return the validated configuration.

        Raises:
            RegistryError: There is no such architecture, or the configuration does not fit it.
        """
        from memzoo.models import ARCHITECTURES  # imports torch

        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise RegistryError(
                f"entry {self.id!r} does not follow the schema: architecture {self.architecture!r} is none of {known}."
            )
        try:
            return ARCHITECTURES[self.architecture].config_class.model_validate(self.config)
        except ValidationError as error:
            problems = describe_problems(error, "config")
            raise RegistryError(f"entry {self.id!r} does not follow the schema: {problems}.") from error


def describe_problems(error: ValidationError, *within: str) -> str:
    """Return every problem of a validation as ``field: message``, where the checked value lies ``within`` fields."""
    return "; ".join(f"{_place((*within, *problem['loc']))}: {problem['msg']}" for problem in error.errors())


def _place(fields: tuple[int | str, ...]) -> str:
    """Return the fields from the outer to the inner one; of very many the first."""
    parts = [*map(str, fields[:DEEPEST]), *(["..."] if len(fields) > DEEPEST else [])]
    return ".".join(parts) or "entry"
