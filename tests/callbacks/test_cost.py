"""The quick way to an eigenvalue, and the careful one where it is not enough."""

import pytest
import torch
from torch import Tensor, nn

from memzoo.callbacks import AttractorCallback
from memzoo.callbacks.cost import affordable_starts
from memzoo.dynamics import certify, spectrum
from memzoo.dynamics.spectra import choose_quick_method, compute_leading_eigenvalues
from memzoo.models import FullyConnected


def network(width: int) -> FullyConnected:
    torch.manual_seed(0)
    return FullyConnected(depth=3, width=width, shape=(1, 20, 20), init={"scheme": "xavier_uniform"}).eval()


def test_products_serve_wide_cuts_alone() -> None:
    x = torch.rand(3, 1, 20, 20)
    assert choose_quick_method(network(150), x) == "arnoldi"
    assert choose_quick_method(network(50), x) is None
    assert (
        choose_quick_method(nn.Sequential(nn.Flatten(), nn.Linear(400, 150), nn.Linear(150, 400)), x.flatten(1)) is None
    )


def test_quick_radii_are_the_radii() -> None:
    f = network(150)
    x = torch.rand(4, 1, 20, 20)
    quick = compute_leading_eigenvalues(f, x)
    full = spectrum(f, x, top=1)
    assert quick.method == "arnoldi"
    assert ((quick.radius - full.radius).abs() <= quick.radius_error).all()
    assert (quick.radius_error < 1e-3 * full.radius).all()


class Crowded(nn.Module):
    """Turns by many angles and shrinks hardly: hundreds of eigenvalues of nearly one modulus, and no affine map."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(300, 300, generator=generator, dtype=torch.float64)
        rotation = torch.linalg.qr(noise).Q
        self.inner = nn.Parameter((0.99 * rotation[:, :150]).float())
        self.outer = nn.Parameter(rotation.T[:150].float())

    def forward(self, x: Tensor) -> Tensor:
        """Map to the inner space, bend a little, and map back."""
        y = x @ self.inner
        return (y + 1e-3 * y.sin()) @ self.outer


@pytest.mark.filterwarnings("error")
def test_eigenvalues_that_do_not_settle_are_computed_in_full() -> None:
    f = Crowded().eval()
    x = torch.rand(2, 300)
    assert choose_quick_method(f, x) == "arnoldi"
    torch.testing.assert_close(
        compute_leading_eigenvalues(f, x).radius, spectrum(f, x, top=1).radius, rtol=1e-3, atol=0
    )


def test_verdicts_do_not_depend_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the same attractors of a trained network with a wide cut at the same places."""
    torch.manual_seed(0)
    examples = torch.rand(4, 1, 20, 20)
    f = FullyConnected(depth=3, width=150, shape=(1, 20, 20), init={"scheme": "xavier_uniform"})
    optimizer = torch.optim.Adam(f.parameters(), 1e-3)
    for _ in range(300):
        optimizer.zero_grad()
        (f(examples) - examples).square().mean().backward()
        optimizer.step()
    f.eval()
    quick = AttractorCallback(examples, torch.rand(5, 1, 20, 20), steps=300)
    found = quick.measure(f)
    careful = AttractorCallback(examples, torch.rand(5, 1, 20, 20), steps=300)
    monkeypatch.setattr("memzoo.dynamics.attractors.quick_certificate.choose_quick_method", lambda f, x: None)
    monkeypatch.setattr("memzoo.dynamics.spectra.quick.choose_quick_method", lambda f, x: None)
    expected = careful.measure(f)
    assert quick.certificates is not None
    assert careful.certificates is not None
    assert quick.certificates.attractor.any()
    assert quick.certificates.attractor.tolist() == careful.certificates.attractor.tolist()
    torch.testing.assert_close(quick.certificates.points, careful.certificates.points, rtol=0, atol=1e-5)
    assert found["attractor/radius_max"] == pytest.approx(expected["attractor/radius_max"], rel=1e-4)


class Turning(nn.Module):
    """Turns 150 of 300 dimensions by as many angles and shrinks them hardly: few products solve no system with it."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(300, 300, generator=generator, dtype=torch.float64)
        basis = torch.linalg.qr(noise).Q[:, :150]
        rotation = torch.linalg.qr(noise[:150, :150]).Q
        self.inner = nn.Parameter((0.998 * basis).float())
        self.outer = nn.Parameter((rotation @ basis.T).float())

    def forward(self, x: Tensor) -> Tensor:
        """Map to the inner space, bend a little, and map back."""
        y = x @ self.inner
        return (y + 1e-3 * y.sin()) @ self.outer


@pytest.mark.filterwarnings("ignore:.* have not converged")
def test_what_the_quick_way_leaves_undecided_is_certified_in_full() -> None:
    f = Turning().eval()
    example = 0.01 * torch.ones(1, 300)
    assert choose_quick_method(f, example) == "arnoldi"
    assert not certify(f, example, eps=5.0, steps=200, method="arnoldi").attractor.any()
    callback = AttractorCallback(example, torch.zeros(1, 300), eps=5.0)
    assert callback.measure(f)["attractor/fraction"] == 1
    assert callback.certificates is not None
    found = callback.certificates.radius.item()
    # y + 1e-3 sin y has slope 1 + 1e-3 at the origin, which is the fixed point, and the linear part has radius 0.998
    assert found == pytest.approx(0.998 * (1 + 1e-3), rel=1e-6)


def test_starts_follow_the_price() -> None:
    assert affordable_starts(network(50), torch.rand(1, 1, 20, 20), 200) == 200
    found = affordable_starts(network(50), torch.rand(1, 1, 20, 20), 10**8)
    assert found == 16
