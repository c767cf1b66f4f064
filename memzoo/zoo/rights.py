"""The licences of images and of weights: what each dataset's images are under, and which licences that allows.

Weights that memorize give their training images back, so they may be under those licences only that the images allow.
"""

import re
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from memzoo.errors import InvalidArgumentError
from memzoo.models import Config

OTHER = "other"
"""What the Hub calls terms that are none of its list; a name and a link say which."""
IDENTIFIER = r"^[a-z0-9][a-z0-9.+-]*$"
LINK = r"^https?://\S+$"


class License(NamedTuple):
    """A licence of the Hub's list."""

    words: str
    link: str | None
    asks: frozenset[str]
    """What it asks of those who pass the work on, beyond keeping its notice. A licence is freer than another where it
    does not ask all that the other does."""
    followers: tuple[str, ...] | None = None
    """The only licences that share-alike allows a work made from it; None where it does not ask for that."""


CC = "https://creativecommons.org/licenses"
OSI = "https://opensource.org/license"
NOTHING = frozenset[str]()
BY = frozenset({"attribution"})
BY_SA = BY | {"share alike"}
BY_NC = BY | {"no commercial use"}
BY_NC_SA = BY_SA | BY_NC
OWN_TERMS = BY_NC_SA | {"terms of its own"}  # not freer than any of the others: its own text says what it asks

# Share-alike, section 4(b) of CC BY-SA 3.0: this licence, a later version with the same elements, a version for another
# country, or a licence that Creative Commons has called compatible; of the last there is none in this list. A licence
# that asks for more, such as CC BY-NC-SA, is none of these, nor are terms of one's own. CC BY-NC-SA 3.0, 4(b), and
# section 3(b) of the versions 4.0 say the same.
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

# Names under which well-known free licences go, so that these do not pass as terms of one's own.
FREE = (
    r"cc-?0|cc|creative-?commons|public-?domain|pddl|odc|unlicen[cs]e|wtfpl|mit|expat|x11|apache|asl|0?bsd|isc|zlib|"
    r"boost|bsl|[al]?gpl|mpl|epl|ofl|artistic|blueoak"
)
QUALIFIER = (
    r"v?\d[\d.]*|licen[cs]ed?|version|public|general|software|clause|new|simplified|revised|modified|style|only|or|later|"
    r"domain|dedication|mark|universal|international|unported|zero|by|sa|nc|nd|attribution|share-?alike"
)
FREE_NAME = re.compile(rf"(?:the-|gnu-)*(?:{FREE})(?:[-.+]*(?:{QUALIFIER}))*[-.+]*")
"""As a whole ``license_name``: ``apache-2``, ``mit-license`` or ``cc0``, but not ``mit-lab-terms``."""


class Dataset(NamedTuple):
    """A dataset of the registry."""

    words: str
    """In a sentence."""
    on_hub: str | None
    license: str
    """Of its images, a key of ``LICENSES``."""
    source: str
    """Who made the images; where they have no licence, that they have none."""
    license_name: str | None = None
    license_link: str | None = None
    """What the Hub shows in the place of a licence that is ``other``."""


DRAWN = ("mit", "drawn by memzoo from a random generator")
COMPUTED = ("mit", "computed by memzoo from a formula")
DATASETS = {  # as in the registry: in words, on the Hub, licence, source
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
    """List the known licences that a work may have which contains one under this licence.

    Where the licence asks for share-alike these are the ones that its text names; else all that ask what it asks.
    """
    known = LICENSES[identifier]
    if known.followers is not None:
        return list(known.followers)
    return [name for name, other in LICENSES.items() if known.asks <= other.asks]


def pick_strictest(datasets: Iterable[str]) -> Dataset:
    """Pick the dataset whose licence asks most: what holds for all of their images together."""
    return max((DATASETS[name] for name in datasets), key=lambda about: len(LICENSES[about.license].asks))


def write_license(identifier: str, name: str | None = None, link: str | None = None) -> str:
    """Write a licence with a link to its text, as Markdown; of ``other`` the given name and link."""
    known = LICENSES.get(identifier)
    words = known.words if known else f"`{identifier}`"
    if name is not None:
        return f"{words} ([{name}]({link}))"
    return f"[{words}]({known.link})" if known and known.link else words


def _in_lower_case(name: Any) -> Any:
    if isinstance(name, str) and name != name.lower():
        raise InvalidArgumentError(f"{name!r} is no identifier of the Hub, which are in lower case: {name.lower()!r}")
    return name


LicenseId = Annotated[str, Field(pattern=IDENTIFIER), BeforeValidator(_in_lower_case)]


class Rights(Config):
    """What may be done with a checkpoint; licences are named by the Hub's identifiers."""

    # The same in the JSON Schema as in _other_has_a_name_and_a_link below.
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
    """Of the terms, where ``weights`` is ``other``, as on the Hub."""
    images: LicenseId
    """Licence of the images that travel with the weights, as their dataset has it."""
    reproduces_training_images: bool
    """Whether iterating the network gives training images back; then ``weights`` must be a licence that these allow."""

    @model_validator(mode="before")
    @classmethod
    def _no_default(cls, data: Any) -> Any:
        missing = [name for name in ("weights", "images") if name not in data] if isinstance(data, dict) else []
        if missing:
            raise InvalidArgumentError(
                f"no licence for {' and '.join(missing)}, and there is no default: weights that memorize give their "
                "training images back. Name a licence as the Hub does, such as "
                f"'cc-by-sa-3.0', or '{OTHER}' with license_name and license_link"
            )
        return data

    @model_validator(mode="after")
    def _other_has_a_name_and_a_link(self) -> "Rights":
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
        """Name each licence that the images do not allow, with what is needed; empty where all is right.

        Args:
            trained: Datasets that the network was trained on; they bind the weights where these reproduce them.
            travelling: Datasets of the images that lie beside the weights.
        """
        bound = sorted(set(trained)) if self.reproduces_training_images else []
        found = [said for name in bound if (said := self._objection_to_weights(DATASETS[name]))]
        about = pick_strictest(travelling)
        if self.images != about.license:
            found.append(
                f"rights.images is {self.images!r}, but the images that travel with the weights are under "
                f"{about.license!r}: {about.source}. Set rights.images to {about.license!r}"
            )
        return found

    def _objection_to_weights(self, about: Dataset) -> str | None:
        """Say what is wrong with the licence of weights that reproduce this dataset; None where nothing is."""
        if not LICENSES[about.license].asks:
            return None
        followers = list_followers(about.license)
        hidden = self.license_name is not None and FREE_NAME.fullmatch(self.license_name) is not None
        if self.weights in followers and not hidden:
            return None
        known = LICENSES.get(self.weights)
        if known is None:
            wrong = f"{self.weights!r}, which memzoo cannot compare with"
        elif self.weights == OTHER and OTHER in followers:
            wrong = f"'{OTHER}' in name and {self.license_name!r} in fact, which may be freer than"
        elif LICENSES[about.license].asks <= known.asks:
            wrong = f"{self.weights!r}, which is none of those that share-alike allows after"
        else:
            wrong = f"{self.weights!r}, which is freer than"
        allowed = [name for name in followers if name != OTHER]
        if OTHER in followers:
            allowed.append(f"{OTHER} with license_name and license_link of your terms")
        return (
            f"rights.weights is {wrong} {about.license!r}, that of the training images, and the network reproduces "
            f"these: {about.source}. Set rights.weights to {' or '.join(allowed)}"
        )
