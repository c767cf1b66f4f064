"""Decide which licences the weights and images of a checkpoint may have.

Weights that memorize give their training images back. They may therefore only be under licences that the licence of
these images allows.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from memzoo.errors import InvalidArgumentError
from memzoo.models import Config

OTHER = "other"
"""The Hub's word for terms that are not in its list of licences; a name and a link then say which they are."""
IDENTIFIER = r"^[a-z0-9][a-z0-9.+-]*$"
LINK = r"^https?://\S+$"


class License(NamedTuple):
    """A licence of the Hub's list."""

    words: str
    link: str | None
    asks: frozenset[str]
    """What the licence asks of those who pass the work on, beyond keeping its notice. A licence is freer than another
    if it does not ask all that the other asks."""
    followers: tuple[str, ...] | None = None
    """The only licences that share-alike allows for a work made from this one; None if there is no such condition."""


CC = "https://creativecommons.org/licenses"
OSI = "https://opensource.org/license"
NOTHING = frozenset[str]()
BY = frozenset({"attribution"})
BY_SA = BY | {"share alike"}
BY_NC = BY | {"no commercial use"}
BY_NC_SA = BY_SA | BY_NC
# Own terms count as the strictest, since only their text says what they ask.
OWN_TERMS = BY_NC_SA | {"terms of its own"}

# Section 4(b) of CC BY-SA 3.0 says what share-alike allows: this licence, a later version with the same elements, a
# version for another country, or a licence that Creative Commons has called compatible. No licence below is of the last
# kind. A licence that asks for more, such as CC BY-NC-SA, is not allowed, and own terms are not allowed either. Section
# 4(b) of CC BY-NC-SA 3.0 and section 3(b) of the versions 4.0 say the same.
SA_3 = ("cc-by-sa-3.0", "cc-by-sa-4.0")
NC_SA_3 = ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0")

LICENSES = {  # by identifier on the Hub
    "cc0-1.0": License("CC0 1.0", "https://creativecommons.org/publicdomain/zero/1.0/", NOTHING),
    "mit": License("MIT", f"{OSI}/mit", NOTHING),
    "apache-2.0": License("Apache 2.0", f"{OSI}/apache-2-0", NOTHING),
    "bsd-2-clause": License("BSD 2-Clause", f"{OSI}/bsd-2-clause", NOTHING),
    "bsd-3-clause": License("BSD 3-Clause", f"{OSI}/bsd-3-clause", NOTHING),
    "cc-by-3.0": License("CC BY 3.0", f"{CC}/by/3.0/", BY),
    "cc-by-4.0": License("CC BY 4.0", f"{CC}/by/4.0/", BY),
    "cc-by-sa-3.0": License("CC BY-SA 3.0", f"{CC}/by-sa/3.0/", BY_SA, SA_3),
    "cc-by-sa-4.0": License("CC BY-SA 4.0", f"{CC}/by-sa/4.0/", BY_SA, SA_3[1:]),
    "cc-by-nc-3.0": License("CC BY-NC 3.0", f"{CC}/by-nc/3.0/", BY_NC),
    "cc-by-nc-4.0": License("CC BY-NC 4.0", f"{CC}/by-nc/4.0/", BY_NC),
    "cc-by-nc-sa-3.0": License("CC BY-NC-SA 3.0", f"{CC}/by-nc-sa/3.0/", BY_NC_SA, NC_SA_3),
    "cc-by-nc-sa-4.0": License("CC BY-NC-SA 4.0", f"{CC}/by-nc-sa/4.0/", BY_NC_SA, NC_SA_3[1:]),
    OTHER: License("other", None, OWN_TERMS),
}

# Other names of well-known free licences, so that these are not accepted as own terms.
FREE = (
    r"cc-?0|cc|creative-?commons|public-?domain|pddl|odc|unlicen[cs]e|wtfpl|mit|expat|x11|apache|asl|0?bsd|isc|zlib|"
    r"boost|bsl|[al]?gpl|mpl|epl|ofl|artistic|blueoak"
)
QUALIFIER = (
    r"v?\d[\d.]*|licen[cs]ed?|version|public|general|software|clause|new|simplified|revised|modified|style|only|or|later|"
    r"domain|dedication|mark|universal|international|unported|zero|by|sa|nc|nd|attribution|share-?alike"
)
FREE_NAME = re.compile(rf"(?:the-|gnu-)*(?:{FREE})(?:[-.+]*(?:{QUALIFIER}))*[-.+]*")
"""Matches a whole ``license_name`` such as ``apache-2``, ``mit-license`` or ``cc0``, but not ``mit-lab-terms``."""


class Dataset(NamedTuple):
    """A dataset of the registry."""

    words: str
    """Name of the dataset in a sentence."""
    on_hub: str | None
    """Name of the dataset on the Hub."""
    license: str
    """Licence of its images, a key of ``LICENSES``."""
    source: str
    """Who made the images, and whether they have no licence."""
    license_name: str | None = None
    """What the Hub shows in the place of a licence that is ``other``."""
    license_link: str | None = None
    """Where the terms can be read that the Hub calls ``other``."""


DRAWN = ("mit", "drawn by memzoo from a random generator")
COMPUTED = ("mit", "computed by memzoo from a formula")
DATASETS = {  # by name in the registry
    "mnist": Dataset(
        "MNIST",
        "ylecun/mnist",
        "cc-by-sa-3.0",
        "MNIST by Yann LeCun and Corinna Cortes (http://yann.lecun.com/exdb/mnist/)",
    ),
    "cifar10": Dataset(
        "CIFAR-10",
        "uoft-cs/cifar10",
        OTHER,
        "CIFAR-10 (Krizhevsky 2009), which has no licence; its source collection, 80 Million Tiny Images, was "
        "withdrawn",
        "cifar-10-no-license-given",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
    ),
    "normal": Dataset("normally distributed pixels", None, *DRAWN),
    "sphere": Dataset("normally distributed pixels, scaled to norm 1", None, *DRAWN),
    "uniform": Dataset("uniformly distributed pixels", None, *DRAWN),
    "line": Dataset("points on a line", None, *COMPUTED),
    "swissroll": Dataset("the Swiss roll", None, *COMPUTED),
    "pixels": Dataset("black images with one white pixel", None, *COMPUTED),
    "squares": Dataset("black images with a white square", None, *COMPUTED),
}


def list_followers(identifier: str) -> list[str]:
    """List the known licences that a work may have if it contains a work under this licence.

    If the licence asks for share-alike, these are the licences that its text names. Otherwise these are all licences
    that ask at least what it asks.
    """
    known = LICENSES[identifier]
    if known.followers is not None:
        return list(known.followers)
    return [name for name, other in LICENSES.items() if known.asks <= other.asks]


def pick_strictest(datasets: Iterable[str]) -> Dataset:
    """Pick the dataset whose licence asks most: this licence holds for the images of all of them together."""
    return max((DATASETS[name] for name in datasets), key=lambda dataset: len(LICENSES[dataset.license].asks))


def write_license(identifier: str, name: str | None = None, link: str | None = None) -> str:
    """Write a licence with a link to its text, as Markdown; the licence ``other`` needs a name and a link."""
    known = LICENSES.get(identifier)
    words = known.words if known else f"`{identifier}`"
    if name is not None:
        return f"{words} ([{name}]({link}))"
    return f"[{words}]({known.link})" if known and known.link else words


def _refuse_upper_case(name: Any) -> Any:
    """Raise if a licence is named with capital letters, as in ``MIT``."""
    if isinstance(name, str) and name != name.lower():
        raise InvalidArgumentError(f"{name!r} is no identifier of the Hub, which are in lower case: {name.lower()!r}")
    return name


LicenseId = Annotated[str, Field(pattern=IDENTIFIER), BeforeValidator(_refuse_upper_case)]


class Rights(Config):
    """What may be done with a checkpoint; licences are named by the Hub's identifiers."""

    # The condition of _check_name_and_link below, for the JSON Schema.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"weights": {"const": OTHER}}},
            "then": {"required": ["license_name", "license_link"]},
            "else": {"properties": {"license_name": {"type": "null"}, "license_link": {"type": "null"}}},
        }
    )

    weights: LicenseId
    """Licence of the weights. There is no default: weights that memorize are not ours alone."""
    license_name: LicenseId | None = None
    license_link: Annotated[str, Field(pattern=LINK)] | None = None
    """Name and link of the terms if ``weights`` is ``other``, as on the Hub."""
    images: LicenseId
    """Licence of the images that travel with the weights: that of their dataset."""
    reproduces_training_images: bool
    """Whether iterating the network gives training images back. If so, ``weights`` must be a licence that the licence
    of these images allows."""

    @model_validator(mode="before")
    @classmethod
    def _require_licences(cls, data: Any) -> Any:
        """Raise with the reason if a licence is missing; pydantic's own message would only name the field."""
        missing = [name for name in ("weights", "images") if name not in data] if isinstance(data, dict) else []
        if missing:
            raise InvalidArgumentError(
                f"no licence for {' and '.join(missing)}, and there is no default: weights that memorize give their "
                "training images back. Name a licence as the Hub does, such as "
                f"'cc-by-sa-3.0', or '{OTHER}' with license_name and license_link"
            )
        return data

    @model_validator(mode="after")
    def _check_name_and_link(self) -> "Rights":
        """Raise unless name and link are given for the licence ``other``, and for no other licence."""
        given = [self.license_name is not None, self.license_link is not None]
        if self.weights == OTHER and not all(given):
            raise InvalidArgumentError(
                f"weights under '{OTHER}' need license_name and license_link, which say what the terms are"
            )
        if self.weights != OTHER and any(given):
            raise InvalidArgumentError(
                f"license_name and license_link are for weights under '{OTHER}', got {self.weights!r}"
            )
        return self

    def objections(self, trained: Iterable[str], travelling: Iterable[str]) -> list[str]:
        """Name each licence that the images do not allow, and say which would be allowed; empty if all is right.

        Args:
            trained: Datasets that the network was trained on; their licences bind weights that reproduce their images.
            travelling: Datasets of the images that lie beside the weights.
        """
        objections = []
        if self.reproduces_training_images:
            for name in sorted(set(trained)):
                objections += self._object_to_weights(DATASETS[name])
        strictest = pick_strictest(travelling)
        if self.images != strictest.license:
            objections.append(
                f"rights.images is {self.images!r}, but the images that travel with the weights are under "
                f"{strictest.license!r}: {strictest.source}. Set rights.images to {strictest.license!r}"
            )
        return objections

    def _object_to_weights(self, dataset: Dataset) -> list[str]:
        """Say what is wrong with the licence of weights that reproduce this dataset; empty if all is right."""
        followers = list_followers(dataset.license)
        is_allowed = self.weights in followers and not self._has_free_name()
        if is_allowed or not LICENSES[dataset.license].asks:
            return []
        allowed = [name for name in followers if name != OTHER]
        if OTHER in followers:
            allowed.append(f"{OTHER} with license_name and license_link of your terms")
        return [
            f"rights.weights is {self._compare_weights(dataset.license)} {dataset.license!r}, that of the training "
            f"images, and the network reproduces these: {dataset.source}. Set rights.weights to {' or '.join(allowed)}"
        ]

    def _has_free_name(self) -> bool:
        """Tell whether the own terms have the name of a free licence."""
        return self.license_name is not None and FREE_NAME.fullmatch(self.license_name) is not None

    def _compare_weights(self, license_of_images: str) -> str:
        """Say in words why the licence of the weights is not allowed, before the licence of the images is named."""
        known = LICENSES.get(self.weights)
        if known is None:
            return f"{self.weights!r}, which memzoo cannot compare with"
        if self.weights == OTHER and OTHER in list_followers(license_of_images):
            return f"'{OTHER}' in name and {self.license_name!r} in fact, which may be freer than"
        if LICENSES[license_of_images].asks <= known.asks:
            return f"{self.weights!r}, which is none of those that share-alike allows after"
        return f"{self.weights!r}, which is freer than"
