"""Contraction of maps whose spectra are known."""

import math

import pytest
import torch
from fake_runs import X, diagonal_map
from torch import nn

from memzoo.callbacks import AttractorCallback, ContractionCallback
from memzoo.callbacks.shards import Part


def test_the_contraction_of_a_diagonal_map_is_read_from_its_factors():
    x = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])
    found = ContractionCallback(x).measure(diagonal_map(0.5, -0.25))
    expected = {"contracting": 1, "radius_median": 0.5, "radius_max": 0.5, "sigma_median": 0.5, "radius_q25": 0.5}
    for name, value in expected.items():
        assert found[f"contraction/{name}"] == pytest.approx(value), name
    # f(x) - x = (-x1 / 2, -5 x2 / 4): relative residuals sqrt(1.5^2 + 5^2) / 5, 1/2 and 5/4
    assert found["contraction/residual"] == pytest.approx(math.hypot(1.5, 5) / 5)
    assert ContractionCallback(x).measure(diagonal_map(1.5, 0.5))["contraction/contracting"] == 0
    assert (
        ContractionCallback(x).measure(diagonal_map(1.0, 0.5))["contraction/contracting"] == 0
    )  # not beyond its error


def test_parts_of_several_processes_are_combined_to_shares_and_quartiles():
    callback = ContractionCallback(X)
    radius = torch.tensor([0.5, 0.9, 1.0, 1.5, 3.0])
    part = {"radius": radius, "error": torch.tensor([0.1, 0.1, 0, 0, 0]), "sigma": 2 * radius, "residual": radius / 10}
    halves = [
        {name: values[:2] for name, values in part.items()},
        {},
        {name: values[2:] for name, values in part.items()},
    ]
    found = callback.combine_parts(halves, X)
    expected = [("contracting", 0.2), ("radius_median", 1.0), ("radius_max", 3.0), ("sigma_median", 2.0)]
    expected += [("residual", 0.1), ("radius_q25", 0.9), ("radius_q75", 1.5)]
    assert found == {name: pytest.approx(value) for name, value in expected}
    assert callback.measure_part(nn.Identity(), X[:1], Part(1, 2)) == {}


def test_zero_has_a_residual():
    found = ContractionCallback(torch.zeros(1, 2)).measure(diagonal_map(0.5, 0.5))
    assert found["contraction/residual"] == 0


@pytest.mark.parametrize("callback", [AttractorCallback, ContractionCallback])
def test_a_radius_that_nothing_verifies_is_left_out(callback):
    class Rough(nn.Module):
        """Have kinks at every scale in half of the space: the sum of Weierstrass."""

        def forward(self, x):
            rough = torch.stack([0.6**k * (9.0**k * x).sin() for k in range(22)]).sum(0)
            return torch.where(x > 0, rough, 0.5 * x)

    options = {"starts": torch.zeros(1, 2).double()} if callback is AttractorCallback else {}
    watch = callback(examples=torch.tensor([[0.3, 0.4], [-0.3, -0.4]]).double(), verbose=False, **options)
    row = watch.measure(Rough().double())
    assert row[f"{watch.name}/radius_max"] == pytest.approx(0.5)
