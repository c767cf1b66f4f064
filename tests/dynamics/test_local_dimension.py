import math

import pytest
import torch
from torch import nn

from memzoo.dynamics import local_dimension, spectrum
from memzoo.dynamics.spectra.modulus_count import bound_count_outside
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.models import FullyConnected, FullyConnectedConfig, LinearAutoencoder, LinearAutoencoderConfig


def linear_map(matrix):
    return lambda x: x @ matrix.T.to(x)


def bound(matrix, delta, threshold=0.5):
    """Return the bounds for one matrix, from its eigenvalues and their conditions by the definition."""
    values, right = torch.linalg.eig(matrix)
    order = values.abs().argsort(descending=True)
    right = right[:, order]
    left = torch.linalg.inv(right)
    condition = left.norm(dim=1) * right.norm(dim=0)
    arguments = (matrix, values[order], condition, torch.tensor(delta).double(), torch.tensor(threshold).double())
    return bound_count_outside(*(value[None] for value in arguments))[0].tolist()


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_minimum_norm_autoencoder_has_one_direction_for_each_example(rank):
    examples = torch.rand(rank, 12, dtype=torch.float64)
    model = LinearAutoencoder(LinearAutoencoderConfig(shape=(12,)))
    model.fit_closed_form(examples.float())
    found = local_dimension(model.eval(), torch.randn(4, 12))
    assert found.count.tolist() == [rank] * 4
    assert found.undecided.tolist() == [0] * 4


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_normal_map_counts_the_moduli_of_its_pairs(scale):
    # rotations by an angle, of moduli 0.9, 0.6, 0.4 and 0.1
    blocks = [r * torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64) for r in (0.9, 0.6, 0.4, 0.1)]
    matrix = scale * torch.block_diag(*blocks)
    basis = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    found = local_dimension(linear_map(basis @ matrix @ basis.T), torch.ones(1, 8), above=0.5 * scale)
    assert (found.count.item(), found.undecided.item()) == (4, 0)
    assert local_dimension(linear_map(matrix), torch.ones(1, 8), above=0.05 * scale).count.item() == 8
    assert local_dimension(linear_map(matrix), torch.ones(1, 8), above=2 * scale).count.item() == 0


def test_eigenvalues_at_the_threshold_are_undecided():
    matrix = torch.diag(torch.tensor([1.0, 0.5, -0.5, 0.2], dtype=torch.float64))
    found = local_dimension(linear_map(matrix), torch.ones(2, 4))
    assert found.count.tolist() == [1, 1]
    assert found.undecided.tolist() == [2, 2]
    found = local_dimension(lambda x: 0.5 * x, torch.ones(1, 5))
    assert (found.count.item(), found.undecided.item()) == (0, 5)


def test_a_defective_block_away_from_the_threshold_is_counted():
    # the computed eigenvalues of a Jordan block of size n are wrong by eps ** (1 / n), far less than the gap here
    block = torch.diag(torch.full((6,), 0.9)) + torch.diag(torch.ones(5), 1)
    matrix = torch.block_diag(block, torch.diag(torch.tensor([0.1, 0.2]))).double()
    basis = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    found = local_dimension(linear_map(basis @ matrix @ basis.T), torch.ones(1, 8))
    assert (found.count.item(), found.undecided.item()) == (6, 0)
    assert local_dimension(linear_map(0.5 / 0.9 * matrix), torch.ones(1, 8)).undecided.item() >= 6


@pytest.mark.parametrize("delta", [1e-10, 1e-3, 0.02, 0.1, 0.3])
@pytest.mark.parametrize("normal", [True, False])
def test_no_perturbation_within_delta_leaves_the_bounds(delta, normal):
    generator = torch.Generator().manual_seed(5)
    for _ in range(5):
        matrix = torch.randn(6, 6, generator=generator, dtype=torch.float64) / 4
        if normal:
            matrix = matrix + matrix.T
        least, most = bound(matrix, delta)
        for _ in range(200):
            change = torch.randn(6, 6, generator=generator, dtype=torch.float64)
            change *= delta / torch.linalg.matrix_norm(change, 2)
            count = int((torch.linalg.eigvals(matrix + change).abs() > 0.5).sum())
            assert least <= count <= most


def test_the_bounds_of_a_diagonal_matrix_are_those_of_its_intervals():
    # a perturbation of norm delta moves an eigenvalue of a symmetric matrix by delta at most (Weyl)
    matrix = torch.diag(torch.tensor([0.9, 0.62, 0.45, 0.1], dtype=torch.float64))
    assert bound(matrix, 0.02) == [2, 2]
    assert bound(matrix, 0.08) == [2, 3] or bound(matrix, 0.08) == [1, 3]
    least, most = bound(matrix, 0.15)
    assert least <= 1
    assert most >= 3


def test_a_smooth_map_counts_at_each_point():
    # the slope of tanh(2 x) is 2 / cosh(2 x)^2, above 1/2 up to |x| = acosh(2) / 2
    edge = math.acosh(2) / 2
    x = torch.tensor([[0.0, 0.0, 3.0], [edge - 0.01, edge + 0.01, 3.0], [3.0, 3.0, 3.0]])
    found = local_dimension(lambda x: torch.tanh(2 * x), x)
    assert found.count.tolist() == [2, 1, 0]
    assert found.undecided.tolist() == [0, 0, 0]
    assert "median 1" in str(found)


def test_all_ways_give_one_count():
    model = FullyConnected(FullyConnectedConfig(shape=(20,), width=9, depth=3, activation="selu")).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.6)
    x = torch.randn(5, 20, dtype=torch.float64)
    expected = (spectrum(model.eval(), x, method="dense").eigenvalues.abs() > 0.3).sum(1)
    assert expected.max() > 0
    for method in (None, "cut", "dense", "differences"):
        found = local_dimension(model, x, 0.3, method=method)
        assert torch.equal(found.count, expected), method
        assert (found.undecided == 0).all()


def test_points_where_the_derivative_is_not_verified_are_undecided():
    found = local_dimension(lambda x: 0.9 * x.abs(), torch.tensor([[0.0, 0.0], [1.0, 2.0]]))
    assert found.derivative == ["one-sided", "verified"]
    assert found.count.tolist() == [0, 2]
    assert found.undecided.tolist() == [2, 0]
    resting = local_dimension(lambda x: (8 * x).round() / 8, torch.tensor([[0.3, 0.4]]))
    assert (resting.count.item(), resting.undecided.item()) == (0, 2)


class Hidden(nn.Module):
    """Compute 0.9 x, and tell autograd nothing of it."""

    def forward(self, x):
        return (0.9 * x).detach() + 0.0 * x


def test_a_derivative_that_is_hidden_from_autograd_counts():
    with pytest.warns(UserWarning, match="is not that of the map"):
        found = local_dimension(Hidden().eval(), torch.ones(1, 3))
    assert (found.count.item(), found.undecided.item()) == (3, 0)


def test_what_is_no_finite_map_is_refused():
    with pytest.raises(NonFiniteError, match="x holds NaN"):
        local_dimension(torch.tanh, torch.full((1, 2), torch.nan))
    with pytest.raises(NonFiniteError, match="Jacobian at row 0"):
        local_dimension(lambda x: x.sqrt(), torch.zeros(1, 2))
    with pytest.raises(NotASelfMapError, match="pass the full autoencoder"):
        local_dimension(lambda x: x[:, :1], torch.ones(1, 2))


@pytest.mark.parametrize("above", [0, -1.0, math.nan, math.inf, "1", True])
def test_the_threshold_is_a_modulus(above):
    with pytest.raises(ValueError, match="above must be a finite number > 0, got"):
        local_dimension(torch.tanh, torch.ones(1, 2), above)


def test_a_method_that_finds_a_few_eigenvalues_is_refused():
    with pytest.raises(ValueError, match="local_dimension needs all eigenvalues"):
        local_dimension(torch.tanh, torch.ones(1, 2), method="arnoldi")
