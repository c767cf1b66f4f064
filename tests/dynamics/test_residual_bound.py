"""What is left out without following an orbit is what following it would not change."""

import pytest
import torch
from torch import Tensor, nn

from memzoo.dynamics import certify
from memzoo.dynamics.attractors import certify_near, quick_certificate
from memzoo.dynamics.attractors.residual_bound import rule_out_fixed_points
from memzoo.dynamics.orbits import resolve_eps, resolve_groups

MAPS = 8
DIM = 12


def draw_matrix(generator: torch.Generator) -> Tensor:
    """Draw a matrix far from normal: a triangular one, with a radius from 0.3 to 1.05, in a random basis."""
    radius, strength = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    radius = 0.3 + 0.75 * radius
    noise = torch.randn(2, DIM, DIM, generator=generator, dtype=torch.float64)
    diagonal = radius * (2 * torch.rand(DIM, generator=generator, dtype=torch.float64) - 1)
    diagonal[0] = radius
    triangular = noise[0].triu(1) * 10 ** (2 * strength - 0.5) / DIM**0.5 + diagonal.diag()
    basis = torch.linalg.qr(noise[1]).Q
    return basis @ triangular @ basis.T


class NonNormal(nn.Module):
    """Swing out before it comes back: around each of some centres another matrix, bent by tanh on some scale."""

    def __init__(self, seed: int, centres: int = 3) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.matrices = nn.Parameter(torch.stack([draw_matrix(generator) for _ in range(centres)]))
        noise = torch.randn(3, centres, DIM, generator=generator, dtype=torch.float64)
        self.centres = nn.Parameter(3 * noise[0])
        self.bend = (0.0, 0.01, 0.1, 1.0)[seed % 4]
        share = torch.rand(centres, 1, generator=generator, dtype=torch.float64)
        near = self.centres + 10 ** (-3 * share) * noise[1] / DIM**0.5
        self.examples = torch.cat([near, 10 * noise[2, :1]]).detach()
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch."""
        own = torch.cdist(x, self.centres, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
        way = x - self.centres[own]
        bent = torch.tanh(self.bend * way) / self.bend if self.bend else way
        return self.centres[own] + torch.einsum("bij,bj->bi", self.matrices[own], bent)


def test_maps_that_swing_out_keep_their_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_certificate, "WIDE", 0)
    ruled_out = 0
    attractors = 0
    for seed in range(MAPS):
        f = NonNormal(seed).eval()
        x = f.examples
        expected = certify(f, x, steps=200)
        found = certify_near(f, x, resolve_eps(None, x), steps=200, group=resolve_groups(None, None, x))
        assert found.attractor.tolist() == expected.attractor.tolist(), seed
        attractors += int(expected.attractor.sum())
        ruled_out += int(found.ruled_out.sum())
    assert attractors
    assert ruled_out


@pytest.mark.parametrize("seed", range(MAPS))
def test_no_example_with_a_fixed_point_near_it_is_ruled_out(seed: int) -> None:
    f = NonNormal(4 * seed, centres=1).eval()  # without a bend: the centre is the only fixed point
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(20, DIM, generator=generator, dtype=torch.float64)
    x = f.centres + directions / directions.norm(dim=1, keepdim=True)
    alone = torch.arange(20)
    inside = rule_out_fixed_points(f, x, torch.full((20,), 1.001, dtype=torch.float64), alone)
    assert not inside.any()
    # The residual (A - I) v is bounded away from zero in a small enough ball around v.
    outside = rule_out_fixed_points(f, x, torch.full((20,), 1e-3, dtype=torch.float64), alone)
    assert outside.all()


def test_an_example_is_not_ruled_out_where_its_near_copy_is_a_fixed_point() -> None:
    f = NonNormal(4, centres=1).eval()
    x = torch.cat([f.centres, f.centres + 0.5])
    eps = torch.full((2,), 0.01, dtype=torch.float64)
    assert rule_out_fixed_points(f, x, eps, torch.tensor([0, 1])).tolist() == [False, True]
    assert rule_out_fixed_points(f, x, eps, torch.tensor([0, 0])).tolist() == [False, False]


class Jumps(nn.Module):
    """Return one of two points, a derivative of zero: whichever is nearer."""

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch."""
        return torch.where(x.sum(1, keepdim=True) > 0.5, torch.ones_like(x), torch.full_like(x, -1.0)) + 0 * x


def test_a_fixed_point_behind_a_jump_is_not_ruled_out() -> None:
    x = torch.zeros(1, 4, dtype=torch.float64)  # it is sent to -1, which is as far as the fixed point at 1
    eps = torch.tensor([2.1], dtype=torch.float64)
    assert not rule_out_fixed_points(Jumps(), x, eps, torch.tensor([0])).any()


def test_an_orbit_is_followed_where_it_may_share_an_attractor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_certificate, "WIDE", 0)

    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones_like(x) + 0.01 * (x - 1).tanh()

    x = torch.tensor([[1.0, 1.0, 1.0], [9.0, 0.0, 0.0]])
    group = torch.arange(2)
    both = certify_near(Constant(), x, torch.tensor([0.5, 0.5]).double(), steps=50, group=group)
    assert not both.attractor.any()
    assert both.limit_of.tolist() == [0, 0]
    far = certify_near(Constant(), x + 5, torch.tensor([0.5, 0.5]).double(), steps=50, group=group)
    assert far.ruled_out.all()
    assert "no fixed point within eps" in str(far)
    alone = certify_near(Constant(), x[:1], torch.tensor([0.5]).double(), steps=50, group=group[:1])
    assert alone.attractor.all()
