"""Compare members and controls before a network is asked: what differs already need not come from its memory."""

import torch
from torch import Tensor

from memzoo._user_warning import warn_user
from memzoo.auditing.statistics import TwoSamples, compare_samples

DIFFERENT = 0.01
"""Members and controls whose comparison has a p-value below this level are of different kinds."""
COMPARED = 1000
"""Most members, and most controls, that are compared."""


def compare_groups(members: Tensor, controls: Tensor) -> tuple[TwoSamples, str]:
    """Compare both groups, and warn if they are of different kinds.

    Returns:
        The statistic, and the sentence of the warning, empty without one.
    """
    samples = compare_samples(_thin_out(members), _thin_out(controls))
    if samples.p_value >= DIFFERENT:
        return samples, ""
    said = (
        f"Members and controls are of different kinds: their energy distance is {samples.distance:.2g} of their mean "
        f"distance (p = {samples.p_value:.2g}), and the images alone tell them apart with an AUC of "
        f"{samples.blind_auc:.2f}; values {members.min():.4g} to {members.max():.4g} and "
        f"{controls.min():.4g} to {controls.max():.4g}. What attacks find may come from that; take controls of the "
        "same source and range."
    )
    warn_user(said)
    return samples, said


def _thin_out(points: Tensor) -> Tensor:
    """Return at most :data:`COMPARED` points, evenly spread."""
    if len(points) <= COMPARED:
        return points
    return points[torch.linspace(0, len(points) - 1, COMPARED).round().long()]
