"""The refinement of eigenvalues that were found in single precision."""

import math

import pytest
import torch
from torch import nn

from memzoo.dynamics import spectrum
from memzoo.dynamics.spectra import leading_spectrum
from memzoo.dynamics.spectra.arnoldi import RitzPairs
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.leading_spectrum import _choose_precisions, _compute_condition
from memzoo.dynamics.spectra.start_vectors import draw_vectors


def build_pairs(values, vectors):
    vectors = torch.tensor(vectors, dtype=torch.complex128).T[None]
    values = torch.tensor([values], dtype=torch.complex128)
    return RitzPairs(values, vectors, torch.zeros(values.shape, dtype=torch.float64))


@pytest.mark.parametrize(
    ("left_values", "condition"),
    [
        ([0.9, 0.5], 1 / 0.6),  # one over the cosine of the angle between the right and the left vector
        ([0.9 + 1e-6, 0.5], 1 / 0.6),
        ([0.9, 0.9], 1.0),  # the right vector lies in the span of both
        ([0.8, 0.5], math.inf),  # no left vector of the same eigenvalue was found
    ],
)
def test_the_condition_is_that_of_the_left_vectors_of_the_same_eigenvalue(left_values, condition):
    right = build_pairs([0.9], [[1.0, 0.0]])
    left = build_pairs(left_values, [[0.6, 0.8], [0.0, 1.0]])
    assert _compute_condition(right, left).item() == pytest.approx(condition)


def test_refined_values_are_rayleigh_quotients_with_their_residuals():
    model = nn.Linear(6, 6)
    x = torch.zeros(1, 6)
    draws = draw_vectors(torch.tensor([0]), 6, 2, 6)
    solver = _choose_precisions(Jacobians(model, x, "arnoldi", 2**30), x, draws)
    unit = 2.0 ** solver.exponents.item()
    assert solver.dtype == torch.float32
    for transposed in (False, True):
        matrix = model.weight.detach().double().to(torch.complex128) / unit
        matrix = matrix.T if transposed else matrix
        vectors = torch.randn(1, 6, 2, dtype=torch.complex128)
        vectors = vectors / torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
        nothing = torch.zeros(1, 2, dtype=torch.float64)
        pairs = RitzPairs(nothing.to(vectors.dtype), vectors, nothing)
        found, _ = solver._refine(pairs, transposed=transposed)
        for column in range(2):
            v = vectors[0, :, column]
            value = v.conj() @ matrix @ v
            torch.testing.assert_close(found.values[0, column], value)
            torch.testing.assert_close(found.residual[0, column], (matrix @ v - value * v).norm())


def test_the_largest_singular_value_is_not_below_the_radius(monkeypatch):
    # It is found from below, and may be missed; a radius that is proven bounds it.
    search = leading_spectrum.compute_largest_singular_value

    def fall_short(push, pull, start):
        value, direction = search(push, pull, start)
        return 0.9 * value, direction

    monkeypatch.setattr(leading_spectrum, "compute_largest_singular_value", fall_short)
    values = torch.linspace(-1, 2, 300, dtype=torch.float64)
    found = spectrum(lambda x: values * x, torch.ones(1, 300, dtype=torch.float64), method="arnoldi", top=1)
    assert found.sigma_max[0] >= found.radius[0] - found.radius_error[0]
