"""Measure how well a score tells members from controls: the ROC curve, its area, and its start."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.auditing.statistics.binomial import bisect, clopper_pearson
from memzoo.auditing.statistics.ranks import check_scores, count_scores_above, rank
from memzoo.dynamics import Share

FALSE_POSITIVES = (0.01, 0.001)
"""Rates of false positives at which the share of recognised members is reported."""


@dataclass(frozen=True)
class OperatingPoint:
    """Hold the share of members that are recognised where few controls are taken for members."""

    fpr: float
    """Largest share of controls that may be above the threshold."""
    controls: int
    """Number of controls."""
    tpr: Share | None
    """Share of members above the threshold, with its Clopper-Pearson interval at 95 %; None where the controls are too
    few: below ``1 / fpr`` of them, the threshold would be the largest control, whatever its rate."""

    @property
    def needed(self) -> int:
        """Return the number of controls from which on the share can be estimated."""
        return round(1 / self.fpr)

    def __str__(self) -> str:
        if self.tpr is None:
            return f"not estimable from {self.controls} controls"
        return f"{self.tpr.estimate:.3g} ({self.tpr.low:.3g} to {self.tpr.high:.3g})"


@dataclass(frozen=True)
class Roc:
    """Hold the ROC curve of a score, higher for members; made by :func:`measure_roc`."""

    auc: Share
    """Probability that a random member has a higher score than a random control, ties counting one half, with its
    interval at 95 %."""
    fpr: Float[Tensor, " thresholds"]
    """Share of controls at or above each threshold, from 0 to 1."""
    tpr: Float[Tensor, " thresholds"]
    """Share of members there."""
    points: tuple[OperatingPoint, ...]
    """One for each rate of :data:`FALSE_POSITIVES`."""


def measure_roc(members: Float[Tensor, " n"], controls: Float[Tensor, " m"]) -> Roc:
    r"""Measure the ROC curve of a score that is higher for members.

    The interval of the area :math:`\theta` is Newcombe's: all :math:`\theta` with
    :math:`(\hat\theta - \theta)^2 \le z^2 V(\theta)`,

    .. math::

        V(\theta) = \frac{\theta (1 - \theta)}{n m}
            \left(1 + k \frac{1 - \theta}{2 - \theta} + k \frac{\theta}{1 + \theta}\right),
            \quad k = \frac{n + m}{2} - 1,

    the variance of Hanley and McNeil with the mean size for both groups. Unlike intervals from the variance at
    :math:`\hat\theta` it has a width where the score separates the groups (Newcombe, Stat. Med. 25, 2006, method 5).

    At a rate of false positives a, the threshold is the highest control of which at most the share a of controls is
    above; members above it count. The interval is conditional on the threshold, hence on these controls.

    Args:
        members: Scores of the members; infinity is allowed.
        controls: Scores of the controls.

    Raises:
        ValueError: A group is empty, or NaN is among the scores.

    Example:
        >>> roc = measure_roc(torch.tensor([0.9, 0.8, 0.4]), torch.tensor([0.5, 0.3]))
        >>> round(roc.auc.estimate, 3), str(roc.points[0])
        (0.833, 'not estimable from 2 controls')
    """
    check_scores(members, "scores of members")
    check_scores(controls, "scores of controls")
    thresholds = torch.cat([members, controls]).unique().flip(0)
    fpr = (len(controls) - _count_below(controls, thresholds)) / len(controls)
    tpr = (len(members) - _count_below(members, thresholds)) / len(members)
    start = torch.zeros(1, dtype=torch.float64)
    return Roc(
        auc=_bound_area(area_under_roc(members, controls), len(members), len(controls)),
        fpr=torch.cat([start, fpr.double().cpu()]),
        tpr=torch.cat([start, tpr.double().cpu()]),
        points=tuple(_measure_point(members, controls, rate) for rate in FALSE_POSITIVES),
    )


def area_under_roc(members: Float[Tensor, " n"], controls: Float[Tensor, " m"]) -> float:
    r"""Compute the probability that a member has the higher score, ties counting one half (Hanley and McNeil, 1982).

    It is :math:`(R - n (n + 1) / 2) / (n m)` with the sum R of the ranks of the members. Time
    :math:`O((n + m) \log(n + m))`.
    """
    ranks = rank(torch.cat([members, controls]))
    n = len(members)
    return (ranks[:n].sum().item() - n * (n + 1) / 2) / (n * len(controls))


def _count_below(scores: Tensor, thresholds: Tensor) -> Tensor:
    """Count the scores below each threshold."""
    return torch.searchsorted(scores.sort().values, thresholds.to(scores))


def _measure_point(members: Tensor, controls: Tensor, rate: float) -> OperatingPoint:
    """Count the members above the threshold at which at most a share ``rate`` of the controls is above it."""
    allowed = math.floor(rate * len(controls) + 1e-9)  # 0.001 * 1000 may be rounded to below 1
    if not allowed:
        return OperatingPoint(rate, len(controls), None)
    descending = controls.sort(descending=True).values
    # Where all controls were allowed, none would bound the threshold; rates are far below 1.
    threshold = descending[allowed : allowed + 1]
    found = int(count_scores_above(members, threshold))
    return OperatingPoint(rate, len(controls), clopper_pearson(found, len(members)))


def _bound_area(area: float, n: int, m: int, confidence: float = 0.95) -> Share:
    """Compute Newcombe's interval of an area."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    k = (n + m) / 2 - 1

    def is_far(theta: float) -> bool:
        spread = theta * (1 - theta) / (n * m) * (1 + k * (1 - theta) / (2 - theta) + k * theta / (1 + theta))
        return (area - theta) ** 2 > z**2 * spread

    low = 0.0 if area == 0 else bisect(is_far, 0.0, area)
    high = 1.0 if area == 1 else bisect(lambda theta: not is_far(theta), area, 1.0)
    return Share(area, low, high)
