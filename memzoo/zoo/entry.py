"""Describe one entry of the registry: what a checkpoint is, how it was made, what holds for it, and its rights.

The schema needs no torch, so that a registry is listed quickly. What needs the architectures or the measures is checked
by :func:`memzoo.zoo.registry.entry_check.check_entry`, before an entry is used for more than a list.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, JsonValue, PositiveInt, ValidationError, field_validator, model_validator

from memzoo._reading import show_text
from memzoo.errors import InvalidArgumentError, RegistryError
from memzoo.models import ArchitectureConfig, Config, Training
from memzoo.zoo.rights import Rights

if TYPE_CHECKING:
    from torch import Tensor


def _convert_to_json(config: Any) -> Any:
    """Convert a configuration that was written in Python to what JSON makes of it: tuples become lists."""
    try:
        return _convert_tuples(config)
    except RecursionError:
        return config  # the next validator refuses it, and names the place


def _convert_tuples(value: Any) -> Any:
    """Convert the tuples of a value to lists, at any depth."""
    if isinstance(value, dict):
        return {name: _convert_tuples(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_convert_tuples(inner) for inner in value]
    return value


if TYPE_CHECKING:
    JsonObject = dict[str, Any]  # code that reads a configuration knows the types of its fields
else:
    JsonObject = Annotated[dict[str, JsonValue], BeforeValidator(_convert_to_json)]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
EXAMPLES = "examples.safetensors"
HISTORY = "history.json"
MOST_IMAGES = 10_000_000
MOST_FIELDS = 12
"""Fields in the place of a problem, which may lie at any depth."""
MOST_LISTED = 1000
"""Problems of which the first are named; where there are more, they are only counted."""
MOST_PROBLEMS = 8
"""Problems that a message names."""
# Names become parts of paths and addresses, so none may lead out of its folder.
ID = r"^[a-z0-9][a-z0-9.-]*$"
REPOSITORY = r"^[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*$"
COMMIT = r"^[0-9a-f]{40}$"
FILE = r"^(model|examples|step-[1-9][0-9]*)\.safetensors$|^(config|history)\.json$"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def step_file(step: int) -> str:
    """Return the name of the file that holds the weights after ``step`` optimizer steps."""
    return f"step-{step}.safetensors"


def _check_file_name(name: Any) -> Any:
    """Raise unless a name is one of the files that a checkpoint may have."""
    # A pickle is refused by its own name, so that the message can say why.
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


FileName = Annotated[str, BeforeValidator(_check_file_name), Field(pattern=FILE)]


class Preprocessing(Config):
    """How a stored image becomes an input of the network: ``(image - shift) / scale``."""

    shift: float = 0.0
    scale: Annotated[float, Field(gt=0)]

    def __call__(self, images: "Tensor") -> "Tensor":
        """Compute the inputs for stored images; integers become float32."""
        floats = images if images.is_floating_point() else images.float()
        if (self.shift, self.scale) == (0, 1):
            return floats
        return (floats - self.shift) / self.scale


Distribution = Literal["normal", "sphere", "uniform"]
Formula = Literal["line", "swissroll", "pixels", "squares"]


class Images(Config):
    """Images of a dataset by index, or drawn by seed, with their hashes."""

    dataset: Literal["mnist", "cifar10", Distribution, Formula]
    """``normal``, ``sphere`` and ``uniform`` are drawn by :func:`memzoo.data.drawn`; ``line``, ``swissroll``,
    ``pixels`` and ``squares`` are computed by :func:`memzoo.data.points`."""
    split: Literal["train", "test"]
    indices: list[Annotated[int, Field(ge=0)]] | Annotated[str, Field(pattern=r"^\d{1,8}:\d{1,8}$")]
    """Positions in the official order of the dataset, as a list or as ``"start:stop"``. Of drawn images these are the
    seeds, one for each member of an ensemble."""
    count: PositiveInt = 1
    """Number of images that are drawn by each seed."""
    preprocessing: Preprocessing | None = None
    """If it is left out, 8-bit images of a dataset are divided by 255, and drawn ones are taken as they are."""
    sha256: list[Sha256] | Sha256
    """Hash of each image's stored bytes, or one over all of them in order."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preprocessing(cls, data: Any) -> Any:
        """Fill in the preprocessing that is usual for the dataset."""
        if isinstance(data, dict) and data.get("preprocessing") is None:
            is_8_bit = data.get("dataset") in ("mnist", "cifar10")
            return {**data, "preprocessing": {"scale": 255.0 if is_8_bit else 1.0}}
        return data

    @model_validator(mode="after")
    def _check_counts(self) -> "Images":
        """Raise unless there are images, and as many hashes."""
        count = self.count_positions()
        if not 0 < count <= MOST_IMAGES:
            raise InvalidArgumentError(f"indices {self.indices!r} name {count} images, needs 1 to {MOST_IMAGES}")
        if isinstance(self.sha256, list) and len(self.sha256) != count:
            raise InvalidArgumentError(f"{count} images have {len(self.sha256)} hashes; give one each, or one")
        return self

    def count_positions(self) -> int:
        """Return the number of indices; the range is not written out, as a few digits can make it huge."""
        if isinstance(self.indices, str):
            start, stop = map(int, self.indices.split(":"))
            return stop - start
        return len(self.indices)

    def positions(self) -> list[int]:
        """Return the indices as a list."""
        if isinstance(self.indices, str):
            return list(range(*map(int, self.indices.split(":"))))
        return self.indices

    def inputs(self, images: "Tensor") -> "Tensor":
        """Compute the inputs of the network for stored images."""
        # The validator above has filled the preprocessing in, but the type allows None.
        return (self.preprocessing or Preprocessing(scale=1.0))(images)


class Part(Config):
    """An earlier part of a training, with settings of its own."""

    training: Training
    batch_size: PositiveInt | None = None
    """As in :class:`Recipe`."""

    @field_validator("training")
    @classmethod
    def _refuse_stop_recovered(cls, training: Training) -> Training:
        """Raise if the part is to stop when images are recovered: nothing is measured in it."""
        if training.stop_recovered is not None:
            raise InvalidArgumentError("recovery is measured in the last part alone: stop_recovered belongs there")
        return training


class Recipe(Config):
    """How the weights were made."""

    training: Training
    seed: int
    """Seed of the initial values, and of the order of mini-batches."""
    batch_size: PositiveInt | None = None
    """Number of images in a batch, shuffled again in every epoch; if it is left out, one batch holds all images."""
    steps_per_epoch: PositiveInt = 100
    """Number of batches in an epoch, each with the ``steps_per_batch`` of the training; of mini-batches, as many as
    make whole passes through the images."""
    keep: list[PositiveInt] = []
    """Optimizer steps after which the weights are kept, beside the final weights."""
    before: list[Part] = []
    """Parts of the training before this one, in order. Each part begins with a new optimizer and with the weights at
    the end of the part before it. Measurements are made in the last part, which ``training`` describes."""
    closed_form: bool = False
    """Whether the weights are computed from the training images by a formula of the theory and not trained;
    ``training`` then describes the training that would end at these weights."""
    targets: Literal["same", "next"] = "same"
    """Target of each training image: itself, or the next image. The next of the last image is the first."""
    precision: Literal["32-true", "64-true"] = "32-true"
    """Precision of the arithmetic in training."""
    stored: Literal["float32", "float16"] = "float32"
    """Type of the weights in the files. A loaded network computes in float32 either way; facts and fingerprint are
    those of the stored weights."""
    versions: dict[str, str] = {}
    hardware: str = ""
    wall_time_s: float | None = None

    @model_validator(mode="after")
    def _check_kinds_of_training(self) -> "Recipe":
        """Raise if parts of the recipe exclude each other."""
        # A formula has no steps, and a step of an earlier part would have the number of one of the last part.
        if self.closed_form and self.keep:
            raise InvalidArgumentError(f"weights in closed form have no steps to keep, got {self.keep}")
        if self.before and (self.closed_form or self.keep):
            raise InvalidArgumentError("a training of several parts is neither in closed form nor are steps kept of it")
        if self.targets == "next":
            self._check_trains_a_sequence()
        return self

    @model_validator(mode="after")
    def _check_kept_steps(self) -> "Recipe":
        """Raise unless a batch ends at each step whose weights are kept."""
        steps = self.training.steps
        batch = self.training.steps_per_batch
        missed = [step for step in self.keep if step > steps or step % batch]
        if missed:
            raise InvalidArgumentError(
                f"steps {missed} cannot be kept: the run has {steps}, and a batch ends every {batch}"
            )
        return self

    @property
    def parts(self) -> list["Recipe"]:
        """Return the recipe of each part of the training, the last of which is this one."""
        earlier = [
            self.model_copy(
                update={"training": part.training, "batch_size": part.batch_size, "before": self.before[:place]}
            )
            for place, part in enumerate(self.before)
        ]
        return [*earlier, self]

    def _check_trains_a_sequence(self) -> None:
        """Raise unless the weights can come from a training on the next image."""
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
    """Keyword arguments of the measure."""
    step: PositiveInt | None = None
    """Optimizer step after which the weights were kept that the fact describes; null for the final weights."""
    paper: float | str | None = None
    """What the paper reports; null if it gives no number."""
    least: float | None = None
    """The value must not be below this."""
    most: float | None = None
    """The value must not be above this."""
    ours: float | None = None
    """Value that was measured when the checkpoint was recorded."""
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    """Largest difference that a recomputed value may have from ``ours``."""
    varies: bool = False
    """Whether weights that are trained again from the recipe may have another value: rounding grows in the training, so
    that ``ours`` is the value of the recorded weights alone. The bounds hold for all."""


class File(Config):
    """Size and hash of one file of the checkpoint."""

    bytes: PositiveInt
    sha256: Sha256


class Fingerprint(Config):
    """The function that the weights computed when they were published: a digest of the output for a fixed input."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    values: Annotated[list[float], Field(min_length=8, max_length=8)]
    tolerance: Annotated[float, Field(gt=0)] = 1e-3
    """Largest difference of a value, relative to the root mean square of the output."""


class Step(Config):
    """The network during its training, after some optimizer steps."""

    epoch: PositiveInt | None = None
    """Number of epochs that had begun."""
    fingerprint: Fingerprint


class Published(Config):
    """Where the checkpoint is on the Hub: a full commit never changes, and needs no network once it is cached."""

    repository: Annotated[str, Field(pattern=REPOSITORY)]
    commit: Annotated[str, Field(pattern=COMMIT)]
    tag: str | None = None


class Entry(Config):
    """Everything the registry knows about one checkpoint."""

    title: str
    aliases: list[str] = []
    figures: list[str] = []
    architecture: str
    config: JsonObject
    """Configuration of the architecture, which checks it; the schema alone only asks for what JSON can hold."""
    examples: Images
    """Training images."""
    training_set: Images | None = None
    """All training images, if only some of them travel with the checkpoint: those near which iteration ends."""
    probes: Images
    """Images that were held out of training; orbits start at them."""
    recipe: Recipe
    facts: list[Fact]
    files: dict[FileName, File] = {}
    fingerprint: Fingerprint | None = None
    steps: dict[PositiveInt, Step] = {}
    """Weights that were kept during training, by optimizer step: ``memzoo.load(id, step=...)``."""
    hub: Published | None = None
    """Where it was published; null until then."""
    rights: Rights
    id: Annotated[str, Field(pattern=ID, max_length=100)]  # also the name of its folder

    @model_validator(mode="after")
    def _check_stored_steps(self) -> "Entry":
        """Raise unless each step has its file, and each file its step."""
        stored = {name for name in self.files if name.startswith("step-")}
        if stored != {step_file(step) for step in self.steps}:
            raise InvalidArgumentError(
                f"files hold {sorted(stored) or 'no steps'}, steps name {sorted(self.steps) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _check_steps_of_facts(self) -> "Entry":
        """Raise unless the weights of each fact are kept."""
        kept = {*self.steps, *self.recipe.keep}
        # A recipe that has not been trained yet has steps to keep, but no files.
        missing = sorted({fact.step for fact in self.facts if fact.step is not None} - kept)
        if missing:
            raise InvalidArgumentError(f"facts speak of steps {missing}, kept are {sorted(kept) or 'none'}")
        return self

    @model_validator(mode="after")
    def _check_sequence(self) -> "Entry":
        """Raise if training images are trained on the next, and there is none or it does not travel."""
        if self.recipe.targets == "same":
            return self
        if self.training_set is not None:
            raise InvalidArgumentError("with the next image as target all of them must travel: name no training_set")
        is_drawn = self.examples.dataset in get_args(Distribution)  # then each position is the seed of a member
        count = self.examples.count if is_drawn else self.examples.count_positions()
        if count < 2:
            raise InvalidArgumentError("the next of a single image is itself: targets 'next' needs at least two")
        return self

    @model_validator(mode="after")
    def _check_parts_of_ensemble(self) -> "Entry":
        """Raise if an ensemble is to be trained in several parts."""
        if self.architecture == "Ensemble" and self.recipe.before:
            raise InvalidArgumentError("the members of an Ensemble are trained in one part, got parts before it")
        return self

    def license_objections(self) -> list[str]:
        """Name each licence of the entry that its images do not allow, as :meth:`Rights.objections` does."""
        trained = {images.dataset for images in (self.examples, self.training_set) if images is not None}
        travelling = {self.examples.dataset, self.probes.dataset}
        return self.rights.objections(trained, travelling)

    def architecture_config(self) -> ArchitectureConfig:
        """Return the configuration, validated by its architecture.

        Raises:
            RegistryError: There is no such architecture, or the configuration does not fit it.
        """
        from memzoo.models import ARCHITECTURES  # imports torch

        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise RegistryError(
                f"entry {self.id!r} does not follow the schema: architecture "
                f"'{show_text(self.architecture)}' is none of {known}."
            )
        try:
            return ARCHITECTURES[self.architecture].config_class.model_validate(self.config)
        except ValidationError as error:
            problems = describe_problems(error, "config")
            raise RegistryError(f"entry {self.id!r} does not follow the schema: {problems}.") from error
        # A validator that sees the configuration before it is checked may raise any error.
        except (TypeError, LookupError, AttributeError, OverflowError, ArithmeticError) as error:
            raise RegistryError(f"entry {self.id!r} does not follow the schema: config: {error}.") from error


def describe_problems(error: ValidationError, *within: str) -> str:
    """Return the first problems of a validation as ``field: message``; the checked value lies ``within`` fields."""
    # Each problem that is listed takes a kilobyte.
    if error.error_count() > MOST_LISTED:
        return f"{'.'.join(within) or 'entry'}: {error.error_count():,} values are missing, unknown or wrong"
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    said = [f"{_join_field_names((*within, *one['loc']))}: {show_text(one['msg'])}" for one in problems[:MOST_PROBLEMS]]
    more = len(problems) - MOST_PROBLEMS
    return "; ".join([*said, f"and {more} more"] if more > 0 else said)


def _join_field_names(fields: tuple[int | str, ...]) -> str:
    """Join the names of fields from the outer to the inner one; of very many only the first are named."""
    names = [show_text(str(field)) for field in fields[:MOST_FIELDS]]
    if len(fields) > MOST_FIELDS:
        names.append("...")
    return ".".join(names) or "entry"
