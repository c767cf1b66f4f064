"""Test whether two groups of images come from one distribution, before any network is asked about them."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo.auditing.statistics.roc import area_under_roc

PERMUTATIONS = 999
"""Draws of membership; with the true one, p-values are multiples of 0.001."""
BLOCK = 2**22
"""Numbers that are drawn at one time."""


class TwoSamples(NamedTuple):
    """Hold the comparison of two samples; made by :func:`compare_samples`."""

    distance: float
    """Energy distance as a share of the mean distance between the samples; near 0 for one distribution, at most 1."""
    p_value: float
    """Probability of a distance at least as large if membership were drawn anew."""
    blind_auc: float
    """How well the images alone tell members from controls: area under the ROC curve of the mean distance to the
    controls minus that to the members, the image itself left out. An attack that is no better may have seen this."""


def compare_samples(
    members: Float[Tensor, "n *shape"],
    controls: Float[Tensor, "m *shape"],
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> TwoSamples:
    r"""Compare two samples by their energy distance, with a permutation test.

    The distance is :math:`2 E\|X - Y\| - E\|X - X'\| - E\|Y - Y'\|`, zero only if both distributions are the same
    (Szekely and Rizzo, J. Stat. Plan. Inference 143, 2013), here divided by :math:`2 E\|X - Y\|`. The means are over
    all pairs, those of an image with itself included. A guess from the images alone is a baseline for every attack
    (Das, Zhang and Tramer: Blind baselines beat membership inference attacks, 2024). Time
    :math:`O((n + m)^2)` for each draw.

    Args:
        members: One sample.
        controls: The other one, of the same shape.
        permutations: Draws of membership.
        seed: Seed of the draws.

    Example:
        >>> found = compare_samples(torch.zeros(20, 2), torch.ones(20, 2))
        >>> round(found.distance, 6), found.p_value, found.blind_auc
        (1.0, 0.001, 1.0)
    """
    points = torch.cat([members.flatten(1), controls.flatten(1)]).double().cpu()
    points = points - points.mean(0)
    gaps = torch.cdist(points, points)
    n = len(members)
    is_member = (torch.arange(len(points)) < n).double()[None]
    own = _measure_energy(gaps, is_member, n)
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for block in torch.arange(permutations).split(max(1, BLOCK // len(points))):
        keys = torch.rand(len(block), len(points), generator=generator, dtype=torch.float64)
        drawn.append(_measure_energy(gaps, (keys <= keys.kthvalue(n, dim=1, keepdim=True).values).double(), n))
    # Draws that are the true membership are rounded differently, and must count as at least as far.
    as_far = int((torch.cat(drawn) >= own * (1 - 1e-9) - 1e-12).sum())
    return TwoSamples(own.item(), (1 + as_far) / (1 + permutations), _guess_blindly(gaps, n))


def _guess_blindly(gaps: Tensor, n: int) -> float:
    """Measure how well distances to the others of each group tell whose image it is; one half if a group has one."""
    m = len(gaps) - n
    if min(n, m) < 2:
        return 0.5
    to_members = gaps[:, :n].sum(1) / torch.where(torch.arange(n + m) < n, n - 1, n)
    to_controls = gaps[:, n:].sum(1) / torch.where(torch.arange(n + m) < n, m, m - 1)
    nearer = to_controls - to_members
    return area_under_roc(nearer[:n], nearer[n:])


def _measure_energy(gaps: Tensor, is_member: Float[Tensor, "draws images"], n: int) -> Float[Tensor, " draws"]:
    """Measure the energy distance between the members and the others of each draw, as a share of the first term."""
    m = len(gaps) - n
    to_members = is_member @ gaps
    from_members = to_members.sum(1)
    within = (to_members * is_member).sum(1)
    between = from_members - within
    rest = gaps.sum() - within - 2 * between
    across = 2 * between / (n * m)
    energy = across - within / n**2 - rest / m**2
    return torch.where(across > 0, energy / across, 0.0)
