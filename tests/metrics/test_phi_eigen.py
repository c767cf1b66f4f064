import math

import pytest
import torch
from draws import normal, uniform
from torch.testing import assert_close

from memzoo.metrics.phi_eigen import PhiEigenResidual, phi_eigen_residual


def test_examples_of_the_least_norm_solution_are_phi_eigenvectors():
    examples = uniform(3, 8) * 0.9 + 0.05
    a = torch.logit(examples.mT) @ torch.linalg.pinv(examples.mT)  # Theorem 1
    assert phi_eigen_residual((examples @ a.mT).sigmoid(), examples).max() < 1e-12
    others = uniform(3, 8)
    assert phi_eigen_residual((others @ a.mT).sigmoid(), others).min() > 1e-2


@pytest.mark.parametrize("eigenvalue", [1.0, -0.5, 0.0])
def test_a_stated_eigenvalue(eigenvalue):
    x = normal(4, 1, 3)
    residual = phi_eigen_residual(2 * x, x, eigenvalue=eigenvalue)
    assert_close(residual, torch.full_like(residual, 2 - eigenvalue))


def test_the_best_eigenvalue_leaves_what_is_orthogonal():
    x, other = torch.linalg.qr(normal(6, 2)).Q.mT
    angle = torch.tensor([0.0, 0.4, math.pi / 2], dtype=torch.float64)[:, None]
    outputs = 5 * (angle.cos() * x + angle.sin() * other)
    residual = phi_eigen_residual(outputs, (2 * x).expand(3, 6), eigenvalue=None)
    expected = 2.5 * angle.flatten().sin()
    assert_close(residual, expected, rtol=0, atol=1e-14)


def test_rotating_space_changes_nothing():
    rotation = torch.linalg.qr(normal(5, 5)).Q
    y, x = normal(2, 7, 5)
    for eigenvalue in (1.0, None):
        expected = phi_eigen_residual(y, x, eigenvalue=eigenvalue)
        assert_close(phi_eigen_residual(y @ rotation, x @ rotation, eigenvalue=eigenvalue), expected)


def test_float32_values_are_subtracted_in_float64():
    x = torch.full((1, 4), 1.0)
    y = x * (1 + 2**-23)
    assert phi_eigen_residual(y, x).item() == pytest.approx(2**-23, rel=1e-12)


def test_zero_is_no_eigenvector():
    assert phi_eigen_residual(torch.ones(1, 2), torch.zeros(1, 2)).isnan().all()


@pytest.mark.parametrize("eigenvalue", [1.0, None])
def test_metric_averages(eigenvalue):
    y, x = torch.randn(2, 7, 2, 3)
    metric = PhiEigenResidual(eigenvalue=eigenvalue)
    metric.update(y[:3], x[:3])
    metric.update(y[3:], x[3:])
    expected = phi_eigen_residual(y, x, eigenvalue=eigenvalue).mean()
    assert_close(metric.compute(), expected)


def test_errors():
    with pytest.raises(ValueError, match=r"one shape, row by row, got \(2, 3\) and \(1, 3\)"):
        phi_eigen_residual(torch.ones(2, 3), torch.ones(1, 3))
