"""Predict how long orbits move, from their first steps."""

import time

import torch
from jaxtyping import Float
from torch import Tensor

from memzoo._types import Map

FOLLOWED = 6
"""Orbits that are followed, of those whose length is to be predicted."""
MOST_STEPS = 60
"""Steps that are followed at most."""
MOST_S = 0.5
"""Seconds from which on they are followed no further, once there are a few."""
FEW_STEPS = 6
"""Steps that are followed in any case."""


@torch.no_grad()
def predict_lengths(f: Map, x: Float[Tensor, "batch *shape"], tol: float) -> Float[Tensor, " few"]:
    """Predict after how many steps the orbits of some of the points settle.

    The steps of an orbit near its limit shrink by one factor each. The factor is that of the second half of the steps
    that are followed.

    Args:
        f: Self-map.
        x: Starts.
        tol: Length of a step relative to the point, from which on an orbit rests.

    Returns:
        Numbers of steps for orbits that are spread over the batch; infinity where the steps do not shrink.
    """
    rows = torch.linspace(0, len(x) - 1, min(FOLLOWED, len(x))).round().long().to(x.device)
    point = x[rows]
    lengths: list[Tensor] = []
    started = time.perf_counter()
    while len(lengths) < MOST_STEPS:
        image = f(point)
        lengths.append((image - point).flatten(1).double().norm(dim=1))
        point = image
        if len(lengths) >= FEW_STEPS and time.perf_counter() - started > MOST_S:
            break
    course = torch.stack(lengths)
    short = tol * point.flatten(1).double().norm(dim=1)
    half = (len(course) - 1) // 2
    # log of the factor by which a step shrinks
    factor = (course[-1] / course[half]).log() / max(len(course) - 1 - half, 1)
    rest = (short / course[-1]).log() / factor
    predicted = len(course) + torch.where(factor < 0, rest, torch.inf).nan_to_num(nan=torch.inf, posinf=torch.inf)
    # One that begins beside an unstable point rests at first, and moves later.
    moved = (course > short).flip(0).int().argmax(0)
    first = torch.where((course > short).any(0), len(course) - moved + 1, 1)
    return torch.where(course[-1] <= short, first, predicted)
