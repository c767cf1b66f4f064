"""Run a battery of attacks on one network, and calibrate what they find by permutations of membership."""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import comb
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from memzoo._attempt import is_out_of_memory
from memzoo._types import Map
from memzoo.auditing.attacks import Attack, Outcome, Setting, choose_attacks
from memzoo.auditing.battery_result import LEVEL, AttackResult, BatteryFindings
from memzoo.auditing.battery_text import record_battery, state_battery, summarize_battery
from memzoo.auditing.distinct_images import DistinctImages, Images, find_distinct
from memzoo.auditing.measurable_map import open_map
from memzoo.auditing.statistics import (
    PERMUTATIONS,
    EpsilonBound,
    TwoSamples,
    measure_roc,
    one_run_epsilon,
    permutation_test,
    rank,
    tail_p_values,
)
from memzoo.dynamics.orbits import find_first_members
from memzoo.errors import AuditInputError
from memzoo.modules import Adapter, matching_noise

TOP = 0.05
"""Share of the images whose members are counted beside the ranks: it finds a few members with very high scores."""
NAMING = 0.01
"""Probability with which any member is named as an outlier by chance."""


@dataclass(frozen=True)
class Battery(BatteryFindings):
    """Hold what a battery of attacks found; it prints as a verdict and a table."""

    @property
    def verdict(self) -> str:
        """Return the finding in a few plain sentences."""
        return state_battery(self)

    @property
    def record(self) -> dict[str, Any]:
        """Return every number as plain Python values, as they are written to ``report.json``."""
        return record_battery(self)

    def __getitem__(self, name: str) -> AttackResult:
        """Return the result of one attack by its name."""
        for attack in self.attacks:
            if attack.name == name:
                return attack
        raise AuditInputError(f"{name!r} is none of the attacks {', '.join(attack.name for attack in self.attacks)}")

    def __str__(self) -> str:
        return summarize_battery(self)


@dataclass(frozen=True)
class BatteryOptions:
    """Hold what the caller of a battery decides."""

    attacks: Sequence[str] | None = None
    """Names of attacks; all when left out."""
    reference: nn.Module | Map | None = None
    """A network for the same images that was trained on none of them."""
    permutations: int = PERMUTATIONS
    drawn_by_coin: bool = False
    """Whether each image of both groups was included by a fair coin of its own."""
    delta: float = 0.0
    """The delta of the privacy that is bounded."""


def measure_battery(
    f: Map,
    images: Images,
    options: BatteryOptions,
    comparison: tuple[TwoSamples, str],
    *,
    starts: Tensor | None,
    count: int,
    steps: int,
    seed: int,
    self_map: Adapter | None = None,
) -> Battery:
    """Run the attacks and test all of them at once.

    Args:
        f: The network, a self-map of the points, without gradients.
        images: Members and controls.
        options: What the caller decides.
        comparison: How members and controls differ before the network is asked, and a sentence if they do.
        starts: Where orbits begin; ``count`` points of noise with mean and variance of all images when left out.
        count: Number of starts that are drawn.
        steps: Iterations of each start.
        seed: Seed of all draws.
        self_map: How a reference network that is a module is applied.
    """
    begun = time.perf_counter()
    samples, difference = comparison
    chosen = choose_attacks(options.attacks, has_reference=options.reference is not None)
    units = find_distinct(images)
    if starts is None:
        generator = torch.Generator().manual_seed(seed)
        starts = matching_noise(images.points.detach().cpu(), count, generator).to(images.points)
    raised: list[str] = []
    with ExitStack() as stack:
        reference = _open_reference(options.reference, self_map, images.points, stack)
        setting = Setting(f, images.points, images.shape, images.eps, starts, steps, seed, reference)
        runs = [_run(attack, setting, raised) for attack in chosen]
    rows, owner = _list_statistics([run.outcome for run in runs], units)
    test = permutation_test(rows, units.is_member, options.permutations, seed)
    results = []
    for index, (attack, run) in enumerate(zip(chosen, runs, strict=True)):
        own = [test.adjusted[row].item() for row, attacked in enumerate(owner) if attacked == index]
        results.append(_describe(attack, run, min(own, default=None), units, len(runs)))
    epsilon, epsilon_from = _bound_epsilon(runs, chosen, units, options, seed)
    return Battery(
        attacks=tuple(results),
        p_value=test.p_value,
        permutations=test.permutations,
        floor=max(test.floor, _smallest_p_value(units)),
        member_of=find_first_members(images.copy_of[: images.members]),
        members=units.members,
        controls=units.controls,
        samples=samples,
        epsilon=epsilon,
        epsilon_from=epsilon_from,
        notes=tuple(_list_notes(units, difference, raised)),
        seconds=time.perf_counter() - begun,
    )


def _open_reference(
    reference: nn.Module | Map | None, self_map: Adapter | None, points: Tensor, stack: ExitStack
) -> Map | None:
    """Return a reference network as a map of the points of the other one."""
    if reference is None:
        return None
    adapter = self_map if isinstance(reference, nn.Module) else None
    g, its_points = stack.enter_context(open_map(reference, adapter, points))
    shape = its_points.shape[1:]
    return lambda x: g(x.reshape(-1, *shape).to(its_points)).reshape(x.shape).to(x)


class _Run(NamedTuple):
    """Hold what one attack learned, or why it could not be run."""

    outcome: Outcome | None
    reason: str
    seconds: float


def _run(attack: Attack, setting: Setting, raised: list[str]) -> _Run:
    """Run one attack: what it learned, or why it cannot be run on this network, and its seconds."""
    begun = time.perf_counter()
    outcome = None
    reason = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            outcome = attack.run(setting)
        except Exception as error:  # what a stranger's network refuses ends one attack, not the audit
            if is_out_of_memory(error):
                raise
            reason = str(error) or type(error).__name__
    raised += [f"{attack.name}: {one.message}" for one in caught if issubclass(one.category, UserWarning)]
    return _Run(outcome, reason, time.perf_counter() - begun)


def _list_statistics(outcomes: list[Outcome | None], units: DistinctImages) -> tuple[Tensor, list[int]]:
    """Return what is summed over the members, one row a statistic, and the attack of each row.

    The ranks of an attack find many members with somewhat higher scores, the highest scores a few members, and the
    images that came out what the attack is made for.
    """
    rows: list[Tensor] = []
    owner: list[int] = []
    for index, outcome in enumerate(outcomes):
        if outcome is None:
            continue
        ranks = rank(units.combine_scores(outcome.scores))
        own = [ranks, (ranks > (1 - TOP) * len(ranks)).double()]
        if outcome.recovered is not None:
            own.append(units.combine_flags(outcome.recovered).double())
        rows += own
        owner += [index] * len(own)
    if not rows:
        raise AuditInputError("none of the attacks can be run on this network; name others with attacks=.")
    return torch.stack(rows), owner


def _describe(attack: Attack, run: _Run, p_value: float | None, units: DistinctImages, attacks: int) -> AttackResult:
    """Put together what one attack found."""
    if run.outcome is None:
        empty = torch.empty(0, dtype=torch.float64)
        return AttackResult(
            attack.name, attack.needs, empty, empty, None, None, None, None, None, (), run.seconds, run.reason
        )
    all_scores, flags = run.outcome
    scores = units.combine_scores(all_scores)
    of_members = scores[units.is_member]
    of_controls = scores[~units.is_member]
    recovered = None
    if flags is not None:
        came_out = units.combine_flags(flags)
        recovered = (int(came_out[units.is_member].sum()), int(came_out[~units.is_member].sum()))
    # Bonferroni over all members and attacks.
    is_far = tail_p_values(of_members, of_controls) * units.members * attacks <= NAMING
    return AttackResult(
        name=attack.name,
        needs=attack.needs,
        members=all_scores.cpu()[: units.given],
        controls=all_scores.cpu()[units.given :],
        members_recovered=None if flags is None else flags.cpu()[: units.given],
        controls_recovered=None if flags is None else flags.cpu()[units.given :],
        recovered=recovered,
        roc=measure_roc(of_members, of_controls),
        p_value=p_value,
        outliers=units.find_rows(is_far),
        seconds=run.seconds,
    )


def _bound_epsilon(
    runs: list[_Run], chosen: list[Attack], units: DistinctImages, options: BatteryOptions, seed: int
) -> tuple[EpsilonBound | None, str]:
    """Return the largest bound on epsilon over all attacks, and the attack; none unless inclusion was drawn by coin."""
    if not options.drawn_by_coin:
        return None, ""
    best = None
    best_from = ""
    tests = sum(run.outcome is not None for run in runs)
    for attack, run in zip(chosen, runs, strict=True):
        if run.outcome is not None:
            scores = units.combine_scores(run.outcome.scores)
            found = one_run_epsilon(scores, units.is_member, delta=options.delta, tests=tests, seed=seed)
            if best is None or found.epsilon > best.epsilon:
                best, best_from = found, attack.name
    return best, best_from


def _smallest_p_value(units: DistinctImages) -> float:
    """Return the probability of the true membership among all choices of as many members."""
    return 1 / comb(len(units.is_member), units.members)


def _list_notes(units: DistinctImages, difference: str, raised: list[str]) -> Iterator[str]:
    """Say what weakens the claims."""
    if units.left_out:
        yield f"{units.left_out} controls are near-copies of members and are left out of the attacks."
    if _smallest_p_value(units) >= LEVEL:
        yield (
            f"{units.members} members and {units.controls} controls can be divided in so few ways that no p-value is "
            f"below {LEVEL}; give more images."
        )
    if difference:
        yield difference
    yield from dict.fromkeys(raised)
