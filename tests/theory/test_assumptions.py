"""The report on Assumption 1."""

import pytest
import torch

from memzoo.theory import Phi, check_assumptions

BELOW = torch.tensor([[0.45, 0.4, 0.1, 0.1], [0.1, 0.15, 0.4, 0.45]], dtype=torch.float64)
ABOVE = 1 - BELOW

# 1c asks phi to be monotone and to flatten strictly from 0 to the farthest preimage.
STEEPENING = Phi("steepening", torch.expm1, torch.log1p, torch.exp, -1.0)
STRAIGHT = Phi("straight", lambda z: z, lambda y: y, torch.ones_like)
# a branch of (z - 1/4)^2 - 1/16, which turns between 0 and the preimage 1/4 + sqrt(y + 1/16)
TURNING = Phi("turning", lambda z: z**2 - z / 2, lambda y: 0.25 + (y + 1 / 16).sqrt(), lambda z: 2 * z - 0.5)
# the branch of z - z^2 / 2 behind its maximum at 1: the farthest preimage lies just behind the turn
JUST_TURNED = Phi("just turned", lambda z: z - z**2 / 2, lambda y: 1 + (1 - 2 * y).sqrt(), lambda z: 1 - z)


def check_violations(report, *violated):
    assert report.violated == violated
    assert report.hold == (not violated)


@pytest.mark.parametrize("x", [BELOW, torch.cat([BELOW[:, :2], ABOVE[:, 2:]], 1)])  # each coordinate has its own side
def test_points_that_satisfy_all_assumptions(x):
    report = check_assumptions(x, "sigmoid")
    check_violations(report)
    assert str(report) == "all hold"


@pytest.mark.parametrize(
    ("x", "name", "violated"),
    [
        ([[0.45, 0.4], [0.1, 0.15]], "sigmoid", ["n < d"]),
        ([[0.1, 1.0, 0.3]], "sigmoid", ["1a"]),
        ([[0.1, 0.2, -0.3]], "tanh", ["1a"]),
        ([[0.1, 0.0, 0.3]], "tanh", ["1a", "1b"]),
        ([[0.1, 0.7, 0.2], [0.2, 0.3, 0.4]], "sigmoid", ["1b"]),
        ([[0.1, 0.5, 0.2]], "sigmoid", ["1b"]),
    ],
)
def test_each_assumption_that_the_points_violate_is_named(x, name, violated):
    report = check_assumptions(torch.tensor(x), name)
    check_violations(report, *violated)
    for assumption in violated:
        assert assumption in str(report)


@pytest.mark.parametrize("phi", [STEEPENING, STRAIGHT, TURNING])
def test_an_activation_that_does_not_flatten_violates_1c(phi):
    report = check_assumptions(torch.tensor([[0.1, 0.2, 0.3]]), phi)
    check_violations(report, "1c")
    assert "1c" in str(report)


def test_an_activation_that_turns_just_before_the_farthest_preimage_violates_1c():
    x = torch.full((1, 3), 0.4999995, dtype=torch.float64)
    report = check_assumptions(x, JUST_TURNED)
    check_violations(report, "1c")
    assert "1c" in str(report)


def test_dependent_examples_whose_preimages_are_independent_are_not_solvable():
    # the third example is the mean of the first two
    x = torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.2, 0.1, 0.4, 0.3], [0.15, 0.25, 0.3, 0.3]])
    report = check_assumptions(x, "sigmoid")
    check_violations(report, "solvable")
    assert "no A satisfies" in str(report)
