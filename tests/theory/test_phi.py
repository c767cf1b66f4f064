"""Nonlinearities with an inverse, by name."""

import math

import pytest
import torch
from torch.testing import assert_close

from memzoo.theory import (
    PHIS,
    Phi,
    phi_named,
    register_phi,
)

BUILT_IN = ("sigmoid", "tanh", "reflected_sigmoid")


@pytest.mark.parametrize("name", BUILT_IN)
def test_value_inverse_and_derivative_belong_together(name):
    phi = phi_named(name)
    z = torch.linspace(-6, 6, 41, dtype=torch.float64, requires_grad=True)
    value = phi.value(z)
    assert_close(phi.inverse(value), z, rtol=0, atol=1e-9)
    expected = torch.autograd.grad(value.sum(), z)[0]
    assert_close(phi.derivative(z), expected)
    assert ((value > phi.low) & (value < phi.high)).all()
    ends = phi.value(torch.tensor([-60.0, 60.0], dtype=torch.float64)).sort().values
    expected = torch.tensor([phi.low, phi.high], dtype=torch.float64)
    assert_close(ends, expected)


def test_names():
    assert set(BUILT_IN) <= PHIS.keys()
    with pytest.raises(ValueError, match=r"no phi is named 'sigmod', known are sigmoid, tanh"):
        phi_named("sigmod")
    with pytest.raises(ValueError, match="a phi named 'tanh' is registered already"):
        register_phi(Phi("tanh", torch.sin, torch.asin, torch.cos))
    assert math.isinf(Phi("own", torch.sinh, torch.asinh, torch.cosh).high)
