"""Bound from below how private a training can be: differential privacy refuted by one network."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from memzoo.auditing.statistics.binomial import bisect, weigh_outcomes
from memzoo.auditing.statistics.ranks import check_scores
from memzoo.errors import InvalidArgumentError

ASSUMPTIONS = (
    "each image of both groups was put into the training set, or left out, by a fair coin of its own",
    "the scores and the choice of the attack used nothing about the outcome of the coins but the trained network",
    "neighbouring data sets differ by one image that is added or removed",
)
"""What the bound rests on; none of it can be seen from the network."""
GUESSES = (1.0, 0.5, 0.1, 0.02)
"""Shares of the images that are guessed, when left out: half of the guesses are members, half are controls."""
LARGEST = 64.0
"""Largest epsilon that is looked for; e^-64 is beyond the rounding of float64."""


@dataclass(frozen=True)
class EpsilonBound:
    """Hold a lower bound on epsilon; made by :func:`one_run_epsilon`."""

    epsilon: float
    """With the given confidence, the training is not (epsilon', delta)-differentially private for any smaller one."""
    delta: float
    confidence: float
    guesses: int
    """Guesses that give this bound, the others abstain."""
    correct: int
    """How many of them are right."""
    images: int
    """Members and controls together."""
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def __str__(self) -> str:
        return (
            f"epsilon >= {self.epsilon:.3g} with {100 * self.confidence:g} % confidence at delta = {self.delta:g} "
            f"({self.correct} of {self.guesses} guesses are right), if {'; '.join(self.assumptions)}"
        )


def one_run_epsilon(
    scores: Float[Tensor, " images"],
    is_member: Bool[Tensor, " images"],
    *,
    delta: float = 0.0,
    confidence: float = 0.95,
    guesses: Sequence[float] = GUESSES,
    tests: int = 1,
    seed: int = 0,
) -> EpsilonBound:
    r"""Bound epsilon from below by guessing who was a member (Steinke, Nasr, Jagielski: Privacy auditing with one run).

    The images with the highest scores are guessed to be members, as many with the lowest to be none, and no guess is
    made of the others. If the training is :math:`(\varepsilon, \delta)`-private and each of the m images was included
    by a fair coin, v or more of r guesses are right with a probability of at most

    .. math::

        \beta(v) + 2 m \delta \max_{1 \le i \le v} \frac{\beta(v - i) - \beta(v)}{i}, \quad
        \beta(u) = P\!\left[\mathrm{Bin}\!\left(r, \frac{e^\varepsilon}{e^\varepsilon + 1}\right) \ge u\right]

    (Theorem 5.2 there, NeurIPS 2023). The bound is the largest epsilon for which this is below one minus the
    confidence, divided by the number of shares in ``guesses``, since the best of them is taken, and by ``tests``.

    Args:
        scores: Higher for members; equal ones are guessed in random order.
        is_member: Whether the coin put the image into the training set.
        delta: The delta of the privacy that is refuted.
        confidence: Level of the bound.
        guesses: Shares of the images that are guessed.
        tests: Number of scores of which the caller takes the best one.
        seed: Seed of the order of equal scores.

    Raises:
        ValueError: Shapes that differ, NaN among the scores, ``delta``, ``confidence`` or ``guesses`` out of range.

    Example:
        >>> found = one_run_epsilon(torch.arange(100.0), torch.arange(100) >= 50, guesses=(1.0,))
        >>> round(found.epsilon, 2), found.correct  # the p-th power of 0.05 is p^100: log(p / (1 - p))
        (3.49, 100)
    """
    check_scores(scores, "scores")
    if is_member.shape != scores.shape:
        raise InvalidArgumentError(f"one membership a score, got {tuple(is_member.shape)} and {tuple(scores.shape)}.")
    if not 0 <= delta < 1 or not 0 < confidence < 1 or tests < 1:
        raise InvalidArgumentError(
            f"needed are 0 <= delta < 1, 0 < confidence < 1 and tests >= 1, got {delta!r}, {confidence!r}, {tests!r}."
        )
    if not guesses or not all(0 < share <= 1 for share in guesses):
        raise InvalidArgumentError(f"guesses are shares of the images, above 0 and at most 1, got {tuple(guesses)}.")
    level = (1 - confidence) / (len(guesses) * tests)
    images = len(scores)
    # Members come first in most tensors: an order that keeps equal scores in place would guess them right.
    shuffled = torch.randperm(images, generator=torch.Generator().manual_seed(seed))
    order = shuffled[scores.cpu()[shuffled].argsort(descending=True, stable=True)]
    ordered = is_member.cpu()[order]
    best = EpsilonBound(0.0, delta, confidence, 0, 0, images)
    for share in guesses:
        top = max(1, round(share * images / 2))
        bottom = min(top, images - top)
        correct = int(ordered[:top].sum()) + int((~ordered[images - bottom :]).sum())
        made = top + bottom
        if best.guesses and probability_of_guesses(correct, made, images, epsilon=best.epsilon, delta=delta) >= level:
            continue  # these guesses do not refute what others have refuted
        epsilon = bound_epsilon(correct, made, images, delta=delta, level=level)
        best = EpsilonBound(epsilon, delta, confidence, made, correct, images)
    return best


def bound_epsilon(correct: int, guesses: int, images: int, *, delta: float, level: float) -> float:
    """Compute the largest epsilon at which so many right guesses have a probability below ``level``."""

    def is_refuted(epsilon: float) -> bool:
        return probability_of_guesses(correct, guesses, images, epsilon=epsilon, delta=delta) < level

    return bisect(is_refuted, 0.0, LARGEST) if is_refuted(0.0) else 0.0


def probability_of_guesses(correct: int, guesses: int, images: int, *, epsilon: float, delta: float) -> float:
    """Bound the probability of so many right guesses under a privacy, by the formula of :func:`one_run_epsilon`."""
    rate = 1 / (1 + torch.exp(torch.tensor(-epsilon, dtype=torch.float64)).item())
    weights = weigh_outcomes(guesses, rate)
    tail = weights[correct:].sum().item()
    if not delta or not correct:
        return min(1.0, tail)
    # beta(v - i) - beta(v) is the probability of v - i, ..., v - 1 right guesses.
    just_below = weights[:correct].flip(0).cumsum(0) / torch.arange(1, correct + 1)
    return min(1.0, tail + 2 * images * delta * just_below.max().item())
