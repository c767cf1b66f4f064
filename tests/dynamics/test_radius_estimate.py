"""Spectral radii without a bound: three digits where they are known, and the careful way elsewhere."""

import pytest
import torch
from torch import Tensor, nn

from memzoo.dynamics import spectrum
from memzoo.dynamics.spectra import Jacobians, compute_radii, quick
from memzoo.dynamics.spectra.radius_estimate import estimate_radii


class Wide(nn.Module):
    """A bent map of 150 dimensions without a narrow place, far from normal."""

    def __init__(self, scale: float = 1.0, dim: int = 150) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(dim, dim, generator=generator)
        self.linear = nn.Linear(dim, dim)
        with torch.no_grad():
            self.linear.weight.copy_(scale * (0.5 * noise + noise.triu(1)) / dim**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch."""
        return self.linear(x.tanh())


def estimate(f: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return estimate_radii(Jacobians(f, x, None, 2**28), x)


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_estimated_radii_have_three_digits(scale: float) -> None:
    f = Wide(scale).eval()
    x = torch.rand(6, 150)
    radius, known = estimate(f, x)
    assert known.all()
    torch.testing.assert_close(radius, spectrum(f, x, method="dense").radius, rtol=1e-3, atol=0)


def test_the_radius_at_a_point_does_not_depend_on_the_others() -> None:
    f = Wide().eval()
    x = torch.rand(5, 150) * torch.linspace(0.1, 3, 5)[:, None]
    together = compute_radii(f, x)
    torch.testing.assert_close(compute_radii(f, x[[3]]), together[[3]], rtol=1e-5, atol=0)


def test_a_map_without_a_slope_has_radius_zero() -> None:
    class Constant(Wide):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x + self.linear.bias

    radius, known = estimate(Constant().eval(), torch.rand(2, 150))
    assert radius[known].eq(0).all()


class StraightThrough(Wide):
    """Hide a factor of two from autograd."""

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch."""
        y = self.linear(x.tanh())
        return y + y.detach()


@pytest.mark.filterwarnings("ignore:autograd's derivative of")
def test_a_derivative_that_is_not_that_of_the_map_is_not_taken() -> None:
    f = StraightThrough().eval()
    x = torch.rand(2, 150)
    _, known = estimate(f, x)
    assert not known.any()
    torch.testing.assert_close(compute_radii(f, x), 2 * compute_radii(Wide().eval(), x), rtol=1e-3, atol=0)


def test_where_single_precision_has_another_slope_the_careful_way_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    # 1 + 1e-9 is 1 in float32: there the other branch is taken
    class Kinked(Wide):
        def __init__(self) -> None:
            super().__init__()
            self.threshold = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            y = x @ self.linear.weight.T
            return torch.where(x[:, :1] > self.threshold, y, 3 * y)

    f = Kinked().double().eval()
    x = torch.full((5, 150), 2.0, dtype=torch.float64)
    x[4] = 1 + 1e-9
    _, known = estimate(f, x)
    assert known.tolist() == [True] * 4 + [False]
    asked: list[int] = []
    careful = quick.compute_leading_eigenvalues

    def count(f: nn.Module, points: Tensor, **options: int):
        asked.append(len(points))
        return careful(f, points, **options)

    monkeypatch.setattr(quick, "compute_leading_eigenvalues", count)
    radius = compute_radii(f, x)
    assert asked == [1]
    torch.testing.assert_close(radius[4], radius[0], rtol=1e-3, atol=0)
