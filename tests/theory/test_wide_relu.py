import pytest
import torch
from draws import normal
from torch.testing import assert_close

from memzoo.dynamics import spectrum
from memzoo.errors import NonFiniteError
from memzoo.theory import (
    FirstLayer,
    contraction_matrices,
    gaussian_limit_matrices,
    limit_radius,
    orthogonal_second_layer,
    random_features,
    second_layer,
    spectral_radii,
)


def draw_layer(width, d, seed=0, distribution="normal"):
    generator = torch.Generator().manual_seed(seed)
    return random_features(width, d, generator, distribution=distribution, dtype=torch.float64)


@pytest.mark.parametrize("distribution", ["normal", "uniform", "centred_exponential"])
def test_entries_have_mean_0_and_variance_1_and_follow_the_generator(distribution):
    first = draw_layer(20_000, 3, distribution=distribution)
    for part in first:
        assert part.mean().item() == pytest.approx(0, abs=0.03)
        assert part.var().item() == pytest.approx(1, abs=0.06)
    assert torch.equal(first.weight, draw_layer(20_000, 3, distribution=distribution).weight)


@pytest.mark.parametrize("n", [1, 4])
def test_second_layer_is_where_gradient_descent_from_zero_ends(n):
    x = normal(n, 5)
    first = draw_layer(30, 5)
    features = torch.relu(x @ first.weight.T + first.bias)
    w2 = torch.zeros(5, 30, dtype=torch.float64)
    # the largest curvature is |F|_2^2: this step is stable
    step = 1 / torch.linalg.matrix_norm(features, 2) ** 2
    for _ in range(3000):
        w2 -= step * (features @ w2.T - x).T @ features
    assert_close(second_layer(x, first), w2, rtol=0, atol=1e-9)


def test_the_papers_formula_holds_for_one_example_and_for_orthogonal_features():
    x = normal(1, 5)
    first = draw_layer(40, 5)
    assert_close(orthogonal_second_layer(x, first), second_layer(x, first))
    apart = FirstLayer(torch.eye(4, dtype=torch.float64), torch.full((4,), -0.5, dtype=torch.float64))
    x = torch.eye(4, dtype=torch.float64)[:3] + 0.2  # each example activates a unit of its own
    assert_close(orthogonal_second_layer(x, apart), second_layer(x, apart))


def test_the_papers_formula_does_not_fit_several_examples():
    x = normal(4, 5)
    first = draw_layer(5000, 5)
    features = first.features(x)
    assert (features @ orthogonal_second_layer(x, first).T - x).norm() > 0.5 * x.norm()
    assert_close(features @ second_layer(x, first).T, x)


@pytest.mark.parametrize("n", [1, 3, 7])
def test_small_matrix_has_the_nonzero_eigenvalues_of_the_jacobian(n):
    x = normal(n, 5)
    first = draw_layer(60, 5)
    w2 = second_layer(x, first) if n < 6 else None
    matrices = contraction_matrices(x, first)
    w2 = second_layer(x, first) if w2 is None else w2
    found = spectrum(lambda y: torch.relu(y @ first.weight.T + first.bias) @ w2.T, x, method="dense")
    assert_close(spectral_radii(matrices), found.radius)
    for j in range(n):
        active = (x[j] @ first.weight.T + first.bias > 0).double()
        jacobian = w2 * active @ first.weight
        expected = measure_norm(first, w2, x[j])
        assert_close(torch.linalg.matrix_norm(jacobian), expected)
        for power in (1, 2, 3):  # traces of powers are sums of powers of eigenvalues
            left = torch.linalg.matrix_power(jacobian, power).trace()
            expected = torch.linalg.matrix_power(matrices[j], power).trace()
            assert_close(left, expected)


def measure_norm(first, w2, x):
    f = lambda y: torch.relu(first.weight @ y + first.bias) @ w2.T  # noqa: E731
    return torch.linalg.matrix_norm(torch.autograd.functional.jacobian(f, x))


def test_one_example_goes_to_its_limit_like_one_over_the_root_of_the_width():
    x = normal(1, 3)
    limit = limit_radius(x[0])
    errors = []
    for width in (1000, 16_000, 256_000):
        drawn = [spectral_radii(contraction_matrices(x, draw_layer(width, 3, seed))) - limit for seed in range(24)]
        errors.append(torch.stack(drawn).square().mean().sqrt().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.5)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.5)
    assert errors[2] < 2e-3


def test_a_law_that_is_not_symmetric_has_another_limit():
    # One coordinate, x = 3: the limit by quadrature over w and b, each exponential less its mean.
    grid = torch.linspace(0, 25, 1501, dtype=torch.float64)
    w = grid[:, None] - 1
    b = grid[None, :] - 1
    density = torch.exp(-(w + 1) - (b + 1))
    value = (3 * w + b).relu() * density
    other = torch.trapezoid(torch.trapezoid(value * 3 * w, grid), grid) / torch.trapezoid(
        torch.trapezoid(value * (3 * w + b), grid), grid
    )
    x = torch.tensor([[3.0]], dtype=torch.float64)
    found = spectral_radii(contraction_matrices(x, draw_layer(2**19, 1, distribution="centred_exponential")))
    assert found.item() == pytest.approx(other.item(), abs=3e-3)
    assert abs(other.item() - limit_radius(x[0])) > 0.02
    symmetric = spectral_radii(contraction_matrices(x, draw_layer(2**19, 1, distribution="uniform")))
    assert symmetric.item() == pytest.approx(limit_radius(x[0]), abs=3e-3)


def test_infinite_width_is_the_limit_for_several_examples():
    x = normal(3, 4)
    limit = gaussian_limit_matrices(x)
    errors = [(contraction_matrices(x, draw_layer(width, 4)) - limit).abs().max().item() for width in (2000, 500_000)]
    assert errors[1] < 0.02 < errors[0]
    assert_close(gaussian_limit_matrices(x[:1]).item(), limit_radius(x[0]))


def test_for_several_examples_the_limit_can_exceed_1():
    # Theorem 3 says that all examples become stable; assumption (b) never holds for Gaussian features.
    radii = [spectral_radii(gaussian_limit_matrices(normal(15, 20))).max() for _ in range(20)]
    assert max(radii) > 1
    x = normal(15, 20)
    found = spectral_radii(contraction_matrices(x, draw_layer(100_000, 20)))
    assert_close(found, spectral_radii(gaussian_limit_matrices(x)), rtol=0.05, atol=0)


def test_refusals():
    x = normal(3, 4)
    with pytest.raises(ValueError, match="linearly dependent at width 2"):
        second_layer(x, draw_layer(2, 4))
    with pytest.raises(ValueError, match="linearly dependent at width 50"):
        contraction_matrices(x[[0, 1, 0]], draw_layer(50, 4))
    with pytest.raises(ValueError, match="two examples are equal"):
        gaussian_limit_matrices(x[[0, 1, 0]])
    with pytest.raises(ValueError, match="example 0 activates none of the 4 units"):
        orthogonal_second_layer(x, FirstLayer(torch.eye(4).double(), torch.full((4,), -99.0).double()))
    with pytest.raises(ValueError, match="takes points of 5 numbers"):
        second_layer(x, draw_layer(50, 5))
    with pytest.raises(ValueError, match="distribution must be normal, uniform or centred_exponential, got 'cauchy'"):
        random_features(2, 2, distribution="cauchy")
    with pytest.raises(ValueError, match="at least 1, got 0 and 2"):
        random_features(0, 2)
    with pytest.raises(NonFiniteError, match="NaN or infinity, so it has no eigenvalues"):
        spectral_radii(torch.full((1, 2, 2), torch.nan))
