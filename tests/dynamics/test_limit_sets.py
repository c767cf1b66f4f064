"""What is said of a limit: whether it attracts or repels beyond its error bound."""

import pytest
import torch

from memzoo.dynamics.attractors.candidates import Candidate
from memzoo.dynamics.attractors.limit_sets import LimitSet


@pytest.mark.parametrize(
    ("radius", "error", "attracting", "unstable"),
    [
        (0.75, 0.125, True, False),
        (0.75, 0.25, False, False),
        (0.75, 0.5, False, False),
        (1.0, 0.0, False, False),
        (1.25, 0.5, False, False),
        (1.25, 0.25, False, False),
        (1.25, 0.125, False, True),
    ],
)
def test_a_verdict_holds_beyond_the_error_bound(radius, error, attracting, unstable):
    point = torch.zeros(1, 2)
    limit = LimitSet("spurious", -1, point, radius, error, offset=0.0, continuum=False)
    assert (limit.attracting, limit.unstable) == (attracting, unstable)
    assert Candidate(point[0], radius, error, location_error=0.0, continuum=False).unstable == unstable
