"""The report on Assumption 1."""

import pytest
import torch

from memzoo.theory import (
    Phi,
    check_assumptions,
)

BELOW = torch.tensor([[0.45, 0.4, 0.1, 0.1], [0.1, 0.15, 0.4, 0.45]], dtype=torch.float64)


ABOVE = 1 - BELOW


@pytest.mark.parametrize(
    ("x", "name", "violated"),
    [
        (BELOW, "sigmoid", ()),
        (torch.cat([BELOW[:, :2], ABOVE[:, 2:]], 1), "sigmoid", ()),  # each coordinate has its own side
        (BELOW[:, :2], "sigmoid", ("n < d",)),
        (torch.tensor([[0.1, 1.0, 0.3]]), "sigmoid", ("1a",)),
        (torch.tensor([[0.1, 0.2, -0.3]]), "tanh", ("1a",)),
        (torch.tensor([[0.1, 0.0, 0.3]]), "tanh", ("1a", "1b")),
        (torch.tensor([[0.1, 0.7, 0.2], [0.2, 0.3, 0.4]]), "sigmoid", ("1b",)),
        (torch.tensor([[0.1, 0.5, 0.2]]), "sigmoid", ("1b",)),
        (torch.tensor([[0.1, 0.2, 0.3]]), "steepening", ("1c",)),
        (torch.tensor([[0.1, 0.2, 0.3]]), "straight", ("1c",)),
        (torch.tensor([[0.1, 0.2, 0.3]]), "turning", ("1c",)),
        (torch.full((1, 3), 0.4999995, dtype=torch.float64), "just turned", ("1c",)),
        (torch.tensor([[0.1, 0.4, 0.2, 0.3], [0.2, 0.1, 0.4, 0.3], [0.15, 0.25, 0.3, 0.3]]), "sigmoid", ("solvable",)),
    ],
)
def test_each_violated_assumption_is_named(x, name, violated):
    own = {
        "steepening": Phi("steepening", torch.expm1, torch.log1p, torch.exp, -1.0),
        "straight": Phi("straight", lambda z: z, lambda y: y, torch.ones_like),
        # a branch of (z - 1/4)^2 - 1/16, which turns between 0 and the preimage 1/4 + sqrt(y + 1/16)
        "turning": Phi("turning", lambda z: z**2 - z / 2, lambda y: 0.25 + (y + 1 / 16).sqrt(), lambda z: 2 * z - 0.5),
    }
    own["just turned"] = Phi("just turned", lambda z: z - z**2 / 2, lambda y: 1 + (1 - 2 * y).sqrt(), lambda z: 1 - z)
    report = check_assumptions(x, own.get(name, name))
    assert report.violated == violated
    assert report.hold == (not violated)
    for word in violated:
        assert word.replace("solvable", "no A satisfies") in str(report)
    assert violated or str(report) == "all hold"
