"""Newton's method on f(x) - x, and the steps that it does not have to compute."""

import pytest
import torch
from plane_maps import affine

from memzoo.dynamics.attractors import newton
from memzoo.dynamics.attractors.newton import compute_newton_step
from memzoo.dynamics.spectra import Jacobians, Method


class Bent(torch.nn.Module):
    """An affine map, far from normal, that no trace calls affine."""

    def __init__(self, dim: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
        self.matrix = torch.nn.Parameter(0.5 * torch.eye(dim, dtype=torch.float64) + noise.triu(1) / dim**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map a batch."""
        return x @ self.matrix.T + 1e-12 * x.tanh()


@pytest.mark.parametrize("method", ["arnoldi", "dense"])
@pytest.mark.parametrize("seed", range(3))
def test_only_steps_that_are_too_long_are_left_out(method: Method, seed: int) -> None:
    f = Bent(120, seed)
    generator = torch.Generator().manual_seed(seed)
    x = 10 ** torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    x = x * torch.randn(13, 120, generator=generator, dtype=torch.float64)
    jacobians = Jacobians(f, x, method, 2**30)
    true = torch.linalg.solve(torch.eye(120).double() - f.matrix.detach(), ((f.matrix.detach() @ x.T) - x.T)).T
    reach = torch.full((13,), float(true.norm(dim=1).median()), dtype=torch.float64)
    step = compute_newton_step(jacobians, x, reach)
    computed = step.isfinite().all(1)
    assert (true.norm(dim=1)[~computed] > reach[~computed]).all()
    assert computed[true.norm(dim=1) <= reach].all()
    assert not computed.all()  # the longest are left out
    matrix = torch.eye(120).double() - f.matrix.detach()
    left = (step[computed] - true[computed]) @ matrix.T
    share = left.norm(dim=1) / (true[computed] @ matrix.T).norm(dim=1)
    assert (share <= (1e-4 if method == "arnoldi" else 1e-10)).all()


def test_a_step_that_is_too_long_costs_no_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(newton, "solve_shifted", None)
    f = Bent(300, 0)
    x = torch.ones(2, 300, dtype=torch.float64)
    step = compute_newton_step(Jacobians(f, x, "arnoldi", 2**30), x, torch.full((2,), 1e-6).double())
    assert step.isinf().all()


def test_the_step_of_an_affine_map_is_solved_by_products() -> None:
    f = affine(0.5 * torch.eye(300, dtype=torch.float64))
    x = torch.ones(2, 300, dtype=torch.float64)
    step = compute_newton_step(Jacobians(f, x, "arnoldi", 2**30), x, torch.full((2,), torch.inf).double())
    torch.testing.assert_close(step, 2 * (f(x) - x))
