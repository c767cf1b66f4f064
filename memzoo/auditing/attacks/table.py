"""List all attacks: what each needs, what it can show, and what it cannot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memzoo.auditing.attacks.data_step import build_data_step
from memzoo.auditing.attacks.dimension import attack_by_dimension
from memzoo.auditing.attacks.drift import attack_by_drift
from memzoo.auditing.attacks.iteration import attack_by_iteration
from memzoo.auditing.attacks.near_copy import attack_by_near_copy
from memzoo.auditing.attacks.noisy_copy import attack_by_noisy_copy
from memzoo.auditing.attacks.reconstruction import attack_by_error, attack_by_relative_error
from memzoo.auditing.attacks.search import attack_by_search
from memzoo.auditing.attacks.setting import Outcome, Setting
from memzoo.errors import AuditInputError

QUERIES = "queries"
WEIGHTS = "weights"
IMAGE = "the image"
PART = "part of the image"
COPY = "a changed copy of the image"
REFERENCE = "a reference network"


@dataclass(frozen=True)
class Attack:
    """Describe one attack."""

    name: str
    needs: tuple[str, ...]
    """What the attacker has: queries are answers of the network to inputs of his choice."""
    run: Callable[[Setting], Outcome]
    extracts: bool
    """Whether images come out; the other attacks tell who was a member of an image that the attacker has."""


ATTACKS = (
    Attack("error", (QUERIES, IMAGE), attack_by_error, extracts=False),
    Attack("relative error", (QUERIES, IMAGE, REFERENCE), attack_by_relative_error, extracts=False),
    Attack("drift", (QUERIES, IMAGE), attack_by_drift, extracts=False),
    Attack("local dimension", (WEIGHTS, IMAGE), attack_by_dimension, extracts=False),
    Attack("noisy copy", (QUERIES, COPY), attack_by_noisy_copy, extracts=True),
    Attack("near-copy", (QUERIES, COPY), attack_by_near_copy, extracts=True),
    Attack("iteration", (QUERIES,), attack_by_iteration, extracts=True),
    Attack("searched starts", (QUERIES,), attack_by_search, extracts=True),
    Attack("half missing", (QUERIES, PART), build_data_step(0.5, blind=False), extracts=True),
    Attack("80 % missing", (QUERIES, PART), build_data_step(0.8, blind=False), extracts=True),
    Attack("half missing, blind", (QUERIES, PART), build_data_step(0.5, blind=True), extracts=True),
    Attack("80 % missing, blind", (QUERIES, PART), build_data_step(0.8, blind=True), extracts=True),
)
"""All attacks, in the order in which they are run and reported."""
NAMES = tuple(attack.name for attack in ATTACKS)


def choose_attacks(names: Sequence[str] | None, *, has_reference: bool) -> list[Attack]:
    """Return the attacks of these names; without names all that the setting allows.

    Raises:
        AuditInputError: There is no such attack, none at all, or one twice.
    """
    if names is None:
        return [attack for attack in ATTACKS if has_reference or REFERENCE not in attack.needs]
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names or len(set(names)) < len(names) or isinstance(names, str):
        raise AuditInputError(
            f"attacks= is a sequence of different names among {', '.join(map(repr, NAMES))}, got {names!r}."
        )
    return [attack for attack in ATTACKS if attack.name in names]
