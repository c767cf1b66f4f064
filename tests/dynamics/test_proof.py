"""The check of a Jacobian against the map itself."""

import pytest
import torch

from memzoo.dynamics.spectra.factors import build_factors
from memzoo.dynamics.spectra.proof import draw_witness, rows_agree

EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_two_products_agree_up_to_the_rounding_of_numbers_of_their_size(size):
    sizes = torch.full((1,), size, dtype=torch.float64)
    zero = torch.zeros(1, 3, dtype=torch.float64)
    unit = torch.tensor([[0.0, EPS * size, 0.0]], dtype=torch.float64)
    assert rows_agree(900 * unit, zero, sizes, EPS).all()
    assert not rows_agree(1100 * unit, zero, sizes, EPS).any()
    assert rows_agree(zero + 1, zero + torch.nan, sizes, EPS).all()  # nothing is compared where f has no Jacobian


def test_two_products_agree_up_to_the_rounding_of_a_long_computation():
    # no allowance for the size of the factors: what is left is eps^0.55 of the product, half of its digits and more
    true = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    gap = EPS**0.55 * 5 * torch.tensor([[0.6, -0.8]], dtype=torch.float64)
    nothing = torch.zeros(1, dtype=torch.float64)
    assert rows_agree(true + 0.9 * gap, true, nothing, EPS).all()
    assert not rows_agree(true + 1.1 * gap, true, nothing, EPS).any()


@pytest.mark.parametrize(("error", "holds"), [(0.0, True), (1e-6, False)])
def test_a_witness_confirms_the_jacobian_and_refuses_one_with_a_wrong_entry(error, holds):
    matrix = torch.randn(5, 5, dtype=torch.float64)
    points = torch.randn(3, 5, dtype=torch.float64)
    witness = draw_witness(lambda row: matrix @ row, points)
    jacobian = matrix.clone()
    jacobian[3, 4] += error
    left = jacobian.expand(3, 5, 5)
    assert witness.confirms_factors(build_factors(EPS, left), EPS) is holds
    assert witness.confirms_product(lambda u: u @ jacobian, EPS) is holds
