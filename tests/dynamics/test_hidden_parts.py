"""Maps in float32 of which autograd does not see a small part: one direction, a norm, the scores of attention."""

import pytest
import torch
from torch import nn

from memzoo.dynamics import certify, spectrum

DIM = 64
U, V = torch.linalg.qr(torch.randn(DIM, 2, generator=torch.Generator().manual_seed(0)))[0].mT
KEYS = 0.5 * torch.randn(5, DIM, generator=torch.Generator().manual_seed(1))
WEIGHTS = [torch.randn(*size, generator=torch.Generator().manual_seed(2)) for size in ((256, DIM), (DIM, 256))]


def same(x):
    return x


def hide(x):
    return x.detach()


def hide_by_no_grad(x):
    with torch.no_grad():
        return x.clone()


class Halved(torch.autograd.Function):
    """The identity, with half of its derivative."""

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 2


class OutsideOfTorch(torch.autograd.Function):
    """The same through another library, which leaves no trace of operations."""

    generate_vmap_rule = False

    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.detach().numpy().copy())

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 2


def halve(x):
    return Halved.apply(x)


def leave_torch(x):
    return OutsideOfTorch.apply(x)


def rank_one(x, h):
    return 0.9 * x + 0.4 * h(x @ U.to(x))[:, None] * U.to(x)


def rank_two(x, h):
    return 0.9 * x + 0.4 * h(x @ U.to(x))[:, None] * U.to(x) + 0.3 * h(x @ V.to(x))[:, None] * V.to(x)


def nilpotent(x, h):
    return 0.9 * x + 0.8 * h(x @ V.to(x))[:, None] * U.to(x)


def norm(x, h):
    return 0.8 * x * (h(x.norm(dim=1, keepdim=True)) / 4) ** 0.5


def deviation(x, h):
    return 0.7 * x / h(x.std(dim=1, keepdim=True)) + 0.5 * x


def scores(x, h):
    return 0.6 * x + 2 * h((x @ KEYS.mT.to(x)).softmax(1)) @ KEYS.to(x)


def network(x, h):
    return (x @ WEIGHTS[0].mT.to(x) / 8).relu() @ WEIGHTS[1].mT.to(x) / 16 + 0.4 * h(x @ U.to(x))[:, None] * U.to(x)


MAPS = [rank_one, rank_two, nilpotent, norm, deviation, scores, network]


class Single(nn.Module):
    """A module that exists in float32 alone."""

    def __init__(self, f, h):
        super().__init__()
        self.f = f
        self.h = h

    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return self.f(x, self.h)


def draw_points(count=3):
    return torch.rand(count, DIM, generator=torch.Generator().manual_seed(3))


def compute_truth(f, x):
    rows = [torch.func.jacrev(lambda row: f(row[None], same)[0])(row) for row in x.double()]
    jacobians = torch.stack(rows)
    return torch.linalg.eigvals(jacobians).abs().amax(1), torch.linalg.matrix_norm(jacobians, 2)


def check_against_truth(found, f, x, tolerance):
    radius, norm = compute_truth(f, x)
    assert set(found.derivative) <= {"verified", "one-sided"}
    assert ((found.radius - radius).abs() <= tolerance * radius).all()
    assert ((found.sigma_max - norm).abs() <= tolerance * norm).all()


@pytest.mark.parametrize("f", MAPS)
@pytest.mark.parametrize("h", [hide, hide_by_no_grad, halve])
@pytest.mark.filterwarnings("ignore:autograd's derivative", "ignore:torch.func cannot")
def test_a_small_part_that_is_hidden_in_float32_is_found(f, h):
    x = draw_points()
    check_against_truth(spectrum(Single(f, h), x), f, x, 1e-3)


@pytest.mark.parametrize("f", [rank_one, rank_two, norm, deviation])
@pytest.mark.filterwarnings("ignore:autograd's derivative", "ignore:torch.func cannot")
def test_it_is_found_where_nothing_can_be_traced(f):
    x = draw_points()
    found = spectrum(Single(f, leave_torch), x)
    assert found.method == "differences"
    check_against_truth(found, f, x, 1e-2)


@pytest.mark.filterwarnings("ignore:autograd's derivative")
def test_a_hidden_part_of_an_affine_map_makes_no_attractor():
    x = draw_points(4) - 0.5
    assert not certify(Single(rank_one, hide), x, eps=100.0).attractor.any()
    assert spectrum(Single(rank_one, hide), x, method="arnoldi").verdict == ["expanding"] * 4


@pytest.mark.parametrize("f", MAPS)
def test_a_right_derivative_in_float32_stays_as_it_is(f):
    x = draw_points()
    found = spectrum(Single(f, same), x)
    assert found.method != "differences"
    check_against_truth(found, f, x, 1e-3)


def test_a_right_derivative_that_cannot_be_traced_stays_as_it_is():
    def branch(x, h):
        return network(x, h) if float(x.detach().sum()) > 0 else network(-x, h)

    x = draw_points()
    found = spectrum(Single(branch, same), x)
    assert found.method == "dense"
    check_against_truth(found, network, x, 1e-3)
