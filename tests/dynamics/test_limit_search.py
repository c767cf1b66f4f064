"""How certified points become limits: their kind, and which of them are one."""

import pytest
import torch

from memzoo.dynamics.attractors.candidates import Candidate
from memzoo.dynamics.attractors.limit_search import LimitSearch, _Ends


def build_search(points, f=lambda x: 0.5 * x, eps=1.0, steps=0):
    examples = (torch.zeros(1, 1, dtype=torch.float64), torch.tensor([eps], dtype=torch.float64))
    return LimitSearch(f, points, examples, eps, steps, max_limits=8)


def build_candidate(value, location_error, radius=0.5, *, continuum=False):
    return Candidate(torch.tensor([value], dtype=torch.float64), radius, 0.0, location_error, continuum)


@pytest.mark.parametrize(
    ("offset", "location_error", "radius", "kind"),
    [
        (0.5, 0.25, 0.5, "training"),
        (0.5, 0.5, 0.5, "spurious"),  # it may as well lie on the sphere of radius eps around the example
        (0.75, 0.5, 0.5, "spurious"),
        (1.0, 0.0, 0.5, "spurious"),
        (0.5, 0.25, 1.0, "spurious"),  # it is near the example, and does not attract
    ],
)
def test_a_limit_is_that_of_an_example_where_it_is_near_whatever_its_error(offset, location_error, radius, kind):
    candidate = build_candidate(offset, location_error, radius)
    found = build_search(candidate.point[None])._describe(candidate.point[None], candidate)
    assert found.kind == kind
    assert found.example == (0 if kind == "training" else -1)
    assert found.offset == offset


@pytest.mark.parametrize(
    ("distance", "location_error", "same"),
    [
        (0.05, 0.03, True),  # the errors of both places add up to more than the distance
        (0.05, 0.02, False),
        (0.05, 0.0, False),
        (0.2, 1.0, False),  # a place that is not known at all is not the same as every other
    ],
)
def test_two_places_are_one_limit_within_the_errors_of_both(distance, location_error, same):
    search = build_search(torch.zeros(2, 1, dtype=torch.float64))
    first = search._register(1, build_candidate(0.0, location_error))
    second = search._register(1, build_candidate(distance, location_error))
    assert (first == second) is same


@pytest.mark.parametrize(("factor", "limit"), [(2.0, -1), (0.5, 0)])
def test_an_orbit_on_the_move_is_not_on_its_way_to_a_repeller(factor, limit):
    search = build_search(torch.full((1, 1), 1e-3, dtype=torch.float64), lambda x: factor * x)
    step = torch.tensor([1e-3], dtype=torch.float64)
    search._decide_limits(1, _Ends(torch.tensor([0]), torch.tensor([False]), step))
    assert search.limit.tolist() == [limit]
