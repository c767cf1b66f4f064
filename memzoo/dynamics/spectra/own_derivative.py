"""Choose a way to the Jacobians of a map whose derivative is that of the map itself."""

from itertools import chain

import torch
from torch import Tensor

from memzoo._attempt import Attempt
from memzoo.dynamics.spectra.checking import DerivativeCheck, describe_surroundings
from memzoo.dynamics.spectra.hidden_parts import SinglePrecisionCheck
from memzoo.dynamics.spectra.jacobian import Jacobians

SINGLE = 1e-12
"""Rounding unit from which on differences along random directions are too coarse to see everything."""
TRIED = 4
"""Points at which a way is tried before it is chosen."""


def build_check(jacobians: Jacobians) -> DerivativeCheck:
    """Return the check of the derivative of a map in the region of the points that ``jacobians`` was made for."""
    around = describe_surroundings(jacobians.points.flatten(1), jacobians.unit)
    parts = (jacobians.evaluate_flat, jacobians.form_push, jacobians.eps, around)
    if jacobians.eps < SINGLE or jacobians.method == "differences":
        return DerivativeCheck(*parts)
    return SinglePrecisionCheck(*parts, jacobians)


@torch.no_grad()
def choose_own_derivative(jacobians: Jacobians, x: Tensor) -> Jacobians:
    r"""Return the first way to the Jacobians that differences of the map do not contradict at the first points.

    Who needs to know that a Jacobian is right at a point checks it there.

    Args:
        jacobians: Jacobians by autograd, the first way.
        x: Points (B, \*shape).

    Returns:
        Cost: a linearisation and 5 evaluations of the map at 4 points.
    """
    points = x[:TRIED].to(jacobians.dtype).flatten(1)
    for way in chain([jacobians], jacobians.list_alternatives()):
        with Attempt(RuntimeError):  # what autograd cannot do
            found = build_check(way).check(points, points.roll(1, 0), way.form_push(points), staircase=False)
            if "contradicted" not in found.words:
                return way
    return jacobians
