"""Hold what a battery of attacks found: one row an attack, and one verdict of all of them."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from memzoo.auditing.comparability import DIFFERENT
from memzoo.auditing.statistics import EpsilonBound, Roc, TwoSamples

LEVEL = 0.05
"""A battery whose p-value is below this level is evidence that members are treated differently."""


@dataclass(frozen=True)
class AttackResult:
    """Hold what one attack learned; tensors have one row for each image that was given, counts one for each image."""

    name: str
    needs: tuple[str, ...]
    """What the attacker has."""
    members: Float[Tensor, " n"]
    """Score of each member, the higher, the more it looks like one; empty if the attack was not run."""
    controls: Float[Tensor, " m"]
    members_recovered: Bool[Tensor, " n"] | None
    """Whether each member came out within its ``eps``; None for an attack that is given the image itself."""
    controls_recovered: Bool[Tensor, " m"] | None
    recovered: tuple[int, int] | None
    """Number of members and of controls that came out, near-copies counted once."""
    roc: Roc | None
    """How well the score tells members from controls; None if the attack was not run."""
    p_value: float | None
    """Of this attack, adjusted for the number of attacks: that any of them is below a level by chance has at most this
    probability."""
    outliers: tuple[int, ...]
    """Members whose scores no control explains (:func:`memzoo.auditing.statistics.tail_p_values`), by their rows."""
    seconds: float
    reason: str = ""
    """Why the attack was not run."""


@dataclass(frozen=True)
class BatteryFindings:
    """Hold the numbers of a battery; :class:`memzoo.auditing.Battery` also says them."""

    attacks: tuple[AttackResult, ...]
    p_value: float
    """Smallest p-value over all attacks, calibrated by permutations of membership."""
    permutations: int
    floor: float
    """Smallest p-value that these permutations and these numbers of images can give."""
    member_of: Int[Tensor, " n"]
    """Members of equal numbers are near-copies, which count once."""
    members: int
    """Number of members, near-copies counted once."""
    controls: int
    """Number of controls, near-copies counted once, without those of members."""
    samples: TwoSamples
    """How members and controls differ before a network is asked."""
    epsilon: EpsilonBound | None
    """Lower bound on epsilon; None unless the caller stated that inclusion was drawn by coin."""
    epsilon_from: str
    """The attack whose guesses give this bound."""
    notes: tuple[str, ...]
    """What weakens the claims, in sentences."""
    seconds: float

    @property
    def leaks(self) -> bool:
        """Tell whether members as a group are treated differently, beyond what chance explains."""
        return self.p_value < LEVEL

    @property
    def differ(self) -> bool:
        """Tell whether members and controls differ before a network is asked."""
        return self.samples.p_value < DIFFERENT

    @property
    def outliers(self) -> dict[int, tuple[str, ...]]:
        """Return the members that no control explains, by row, with the attacks that find them."""
        return self._name_members({attack.name: list(attack.outliers) for attack in self.attacks})

    @property
    def extracted(self) -> dict[int, tuple[str, ...]]:
        """Return the members that came out where no control did, by row, with the attacks that pull them out."""
        rows = {}
        for attack in self.attacks:
            if attack.members_recovered is not None and attack.recovered is not None and not attack.recovered[1]:
                rows[attack.name] = attack.members_recovered.nonzero().flatten().tolist()
        return self._name_members(rows)

    @property
    def strongest(self) -> AttackResult | None:
        """Return the attack with the smallest p-value, of several the one with the largest area under its curve."""
        run = [attack for attack in self.attacks if attack.roc is not None]
        return min(run, key=_order, default=None)

    def _name_members(self, rows: dict[str, list[int]]) -> dict[int, tuple[str, ...]]:
        """Return the attacks of each member from the members of each attack."""
        found: dict[int, tuple[str, ...]] = {}
        for name, members in rows.items():
            for member in members:
                found[member] = (*found.get(member, ()), name)
        return dict(sorted(found.items()))


def _order(attack: AttackResult) -> tuple[float, float]:
    """Return what attacks are ordered by."""
    assert attack.p_value is not None
    assert attack.roc is not None
    return attack.p_value, -attack.roc.auc.estimate
