"""Bounds on eigenvalues that a Krylov space has not shown."""

import pytest
import torch
from plane_maps import affine
from torch import nn

from memzoo.dynamics import spectrum
from memzoo.dynamics.spectra.arnoldi import compute_ritz_pairs
from memzoo.dynamics.spectra.hidden_eigenvalues import _find_least_component, bound_hidden_moduli
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.spectra.start_vectors import PROBE_MISSED, bound_norm, derive_seeds, draw_vectors
from memzoo.dynamics.spectra.triangular import find_triangular


def draw_orthogonal(dim):
    return torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64)).Q


def build_cycle(dim, weight):
    """Build a cyclic shift with factors ``weight`` and 1 / ``weight`` by turns: all eigenvalues have modulus 1."""
    weights = torch.full((dim,), weight, dtype=torch.float64)
    weights[::2] = 1 / weight
    return weights[:, None] * torch.eye(dim, dtype=torch.float64).roll(1, 0)


def bound(matrix, start, steps_tol=1e-5, **options):
    """Bound the moduli of the eigenvalues of a matrix from one Krylov space."""
    pairs = compute_ritz_pairs(lambda s: s @ matrix.T, start[None], 1, steps_tol)
    noise = torch.tensor([1e-14], dtype=torch.float64)
    return pairs, bound_hidden_moduli(pairs, start.shape[-1], noise, **options).item()


@pytest.mark.parametrize(("dim", "columns"), [(3, 1), (4, 2), (30, 1), (30, 2), (300, 3), (50, 4)])
def test_a_projection_is_shorter_than_its_bound_as_seldom_as_stated(dim, columns):
    # By symmetry a fixed vector, projected to a random subspace, is as long as a random one cut to so many columns.
    chance = 0.02
    least = _find_least_component(dim, columns, chance)
    vectors = torch.randn(100_000, dim, dtype=torch.float64)
    length = vectors[:, :columns].norm(dim=1) / vectors.norm(dim=1)
    share = (length < least).double().mean().item()
    assert share <= chance + 4 * (chance / 100_000) ** 0.5
    if dim >= columns + 2:  # there the bound on the density is nearly sharp for small lengths
        assert share > 0.5 * chance


def test_a_subspace_that_is_everything_misses_nothing():
    assert _find_least_component(4, 4, 1e-6) == 1


@pytest.mark.parametrize("gap", [0.3, 0.03, 1e-3])
def test_a_direction_that_the_start_hardly_meets_is_not_excluded(gap):
    # All eigenvalues are below 1 but one, whose vector the start meets with a component just above the least.
    dim = 300
    least = _find_least_component(dim, 2, 7e-4)
    values = torch.linspace(-0.9, 0.9, dim, dtype=torch.float64)
    values[0] = 1
    values[1] = 1 + gap
    start = torch.randn(dim, 2, dtype=torch.float64)
    start[1] = 0
    basis = torch.linalg.qr(start).Q
    basis[1, 0] = least
    pairs, upper = bound(values.diag(), basis, steps_tol=1e-3)
    assert upper >= 1 + gap
    shown = pairs.values.abs().max().item()
    assert shown <= (1 + gap) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["symmetric", "normal", "far from normal", "defective", "cycle"])
def test_the_bound_lies_above_the_radius(kind, seed):
    torch.manual_seed(seed)
    dim = 120
    noise = torch.randn(dim, dim, dtype=torch.float64) / dim**0.5
    frame = draw_orthogonal(dim)
    if kind == "symmetric":
        matrix = (noise + noise.T) / 2
    elif kind == "normal":
        matrix = 0.8 * draw_orthogonal(dim)
    elif kind == "far from normal":
        matrix = noise
    elif kind == "defective":
        block = 0.3 * torch.rand(dim, dtype=torch.float64).diag()
        block[:3] = 0
        block[:3, :3] = 0.9 * torch.eye(3, dtype=torch.float64) + torch.ones(2, dtype=torch.float64).diag(1)
        matrix = frame @ block @ frame.T
    else:
        matrix = torch.eye(dim, dtype=torch.float64).roll(1, 0)
    exact = {"normal": 0.8, "defective": 0.9, "cycle": 1.0}
    radius = exact[kind] if kind in exact else torch.linalg.eigvals(matrix).abs().max().item()
    for columns in (1, 2, 4):
        _, upper = bound(matrix, torch.randn(dim, columns, dtype=torch.float64))
        assert upper >= radius * (1 - 1e-13)
        assert upper < 100 * radius


def test_the_bound_of_a_clear_leading_eigenvalue_is_tight():
    values = torch.linspace(0, 0.5, 300, dtype=torch.float64)
    values[0] = 0.9
    frame = draw_orthogonal(300)
    _, upper = bound(frame * values @ frame.T, torch.randn(300, 2, dtype=torch.float64), steps_tol=1e-10)
    assert 0.9 <= upper < 0.9 + 1e-6
    _, wide = bound(frame * values @ frame.T, torch.randn(300, 2, dtype=torch.float64), steps_tol=1e-4)
    assert upper < wide < 0.92


def test_the_norm_of_a_matrix_of_rank_one_is_bounded():
    # Of rank one, where the products vary most.
    u = torch.randn(60, dtype=torch.float64)
    v = torch.randn(60, dtype=torch.float64)
    norm = (u.norm() * v.norm()).item()
    probes = torch.randn(20_000, 60, 6, dtype=torch.float64)
    bounds = bound_norm(u[None, :, None] * torch.einsum("i,bij->bj", v, probes)[:, None])
    assert (bounds > norm).all()
    # chi-squared of six degrees of freedom: 12.59 is exceeded with probability 0.05
    share = (bounds > norm * 12.59**0.5 / (48 * PROBE_MISSED) ** (1 / 6)).double().mean().item()
    assert share == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("spread", [1e-3, 1e-5, 1e-7])
@pytest.mark.parametrize("top", [1, 3])
def test_eigenvalues_of_nearly_one_modulus_are_covered(spread, top):
    dim = 260
    for seed in range(2):
        torch.manual_seed(seed)
        values = torch.rand(dim, dtype=torch.float64) - 0.5
        signs = torch.tensor([1, -1, 1, -1, 1, 1], dtype=torch.float64)
        values[:6] = signs * (1 + spread * (0.4 - torch.arange(6, dtype=torch.float64)))
        frame = draw_orthogonal(dim)
        found = spectrum(affine(frame * values @ frame.T), torch.zeros(1, dim), method="arnoldi", top=top)
        truth = 1 + 0.4 * spread
        assert abs(found.radius.item() - truth) <= found.radius_error.item() + 1e-13
        assert found.verdict != ["contracting"]


def test_the_start_depends_on_the_point_the_parameters_and_the_seed_alone():
    model = nn.Linear(5, 5)
    x = torch.rand(3, 5)
    seeds = derive_seeds(model, x, None)
    assert len(set(seeds.tolist())) == 3
    assert torch.equal(seeds, derive_seeds(model, x.double(), None))
    assert torch.equal(seeds[1:], derive_seeds(model, x[1:], None))
    assert derive_seeds(model, x, 7).tolist() == [7, 7, 7]
    with torch.no_grad():
        model.bias[0] += 1e-3
    assert not (seeds == derive_seeds(model, x, None)).any()
    one = draw_vectors(seeds, 5, 2, 5)
    other = draw_vectors(seeds[1:2], 5, 2, 5)
    assert torch.equal(one.right[1:2], other.right)
    assert not torch.equal(one.right, one.left)


def test_a_seed_of_the_caller_is_reported_and_changes_the_start():
    torch.manual_seed(0)
    noise = torch.randn(260, 260, dtype=torch.float64) / 260**0.5
    matrix = 0.1 * (noise + noise.T)  # so far below 1 that the spaces decide
    f = affine(matrix)
    x = torch.zeros(2, 260)
    found = [spectrum(f, x, method="arnoldi", seed=seed) for seed in (3, 3, 4)]
    assert [result.seed.tolist() for result in found] == [[3, 3], [3, 3], [4, 4]]
    assert torch.equal(found[0].radius, found[1].radius)
    assert not torch.equal(found[0].radius, found[2].radius)
    truth = torch.linalg.eigvalsh(matrix).abs().max()
    for result in found:
        assert ((result.radius - truth).abs() <= result.radius_error).all()
    assert spectrum(f, x, method="dense").seed is None


def test_the_same_call_gives_the_same_numbers_and_a_batch_those_of_its_points():
    torch.manual_seed(0)

    class Wave(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(260, 260)

        def forward(self, x):
            return x + (2 * self.linear(x)).sin()

    model = Wave().eval()
    x = torch.rand(2, 260)
    one = spectrum(model, x)
    other = spectrum(model, x)
    for name in ("eigenvalues", "radius", "radius_error", "sigma_max", "condition", "seed"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for row in range(2):
        alone = spectrum(model, x[row : row + 1])
        assert alone.seed.item() == one.seed[row].item()
        assert abs(alone.radius - one.radius[row]) <= alone.radius_error
        assert alone.radius.item() == pytest.approx(one.radius[row].item(), rel=1e-6)
        assert alone.radius_error.item() == pytest.approx(one.radius_error[row].item(), rel=0.3)


@pytest.mark.parametrize("dim", [260, 1030])
def test_a_multiple_of_an_orthogonal_matrix_is_decided(dim):
    torch.manual_seed(0)
    shift = torch.eye(dim, dtype=torch.float64)[torch.randperm(dim)]
    reflection = torch.randn(dim, dtype=torch.float64)
    reflection /= reflection.norm()
    for factor, verdict in ((0.99, "contracting"), (1.01, "expanding")):
        matrix = factor * (shift - 2 * torch.outer(reflection, reflection @ shift))
        found = spectrum(affine(matrix), torch.zeros(1, dim), method="arnoldi")
        assert found.verdict == [verdict]
        assert abs(found.radius.item() - factor) <= found.radius_error.item()
        assert found.radius_error.item() < 1e-9


def test_a_matrix_whose_norm_is_below_one_is_decided():
    # Weights by turns on a cycle: no eigenvector is found, no isometry, not triangular; the norm is the largest weight.
    torch.manual_seed(0)
    matrix = 0.97 * build_cycle(1030, 1.02)
    found = spectrum(affine(matrix), torch.zeros(1, 1030))
    assert found.verdict == ["contracting"]
    assert abs(found.radius.item() - 0.97) <= found.radius_error.item()


def test_a_crowd_of_eigenvalues_below_one_is_decided_without_their_vectors():
    # All on a circle of radius 0.7, in a basis that is not orthogonal: no eigenvector, no norm below 1.
    matrix = 0.7 * build_cycle(1030, 2.5)
    found = spectrum(affine(matrix), torch.zeros(1, 1030))
    assert found.sigma_max.item() > 1
    assert found.verdict == ["contracting"]
    assert abs(found.radius.item() - 0.7) <= found.radius_error.item()


@pytest.mark.parametrize(
    ("diagonal", "verdict", "permuted"),
    [(0.9, "contracting", False), (0.9, "contracting", True), (1.1, "expanding", True), (0.0, "contracting", True)],
)
def test_a_triangular_matrix_in_any_order_has_the_eigenvalues_of_its_diagonal(diagonal, verdict, permuted):
    dim = 200
    matrix = sum(torch.full((dim - k,), c).double().diag(-k) for k, c in enumerate([diagonal, 0.5, -0.7]))
    if permuted:
        order = torch.randperm(dim)
        matrix = matrix[order][:, order]
    for method in ("arnoldi", "dense"):
        found = spectrum(affine(matrix), torch.zeros(1, dim), method=method)
        assert found.verdict == [verdict]
        assert abs(found.radius.item() - torch.tensor(diagonal).item()) <= found.radius_error.item()


def test_a_large_triangular_matrix_is_read_from_its_diagonal():
    dim = 1030
    matrix = sum(torch.full((dim - k,), c, dtype=torch.float64).diag(-k) for k, c in enumerate([0.9, 0.5, -0.7]))
    for each in (matrix, matrix.T):
        found = spectrum(affine(each), torch.zeros(1, dim))
        assert found.verdict == ["contracting"]
        assert found.radius.item() == pytest.approx(0.9, rel=1e-12)


@pytest.mark.parametrize("method", ["dense", "arnoldi"])
def test_an_entry_that_rounding_alone_makes_zero_is_not_taken_for_a_zero(method):
    # 3 * fl(1/3) - 1 is -5.6e-17 and computed as 0; in the corner it gives the eigenvalues a modulus of 108.
    dim = 20
    matrix = 0.5 * torch.eye(dim, dtype=torch.float64) + torch.full((dim - 1,), 1e3, dtype=torch.float64).diag(1)
    last = torch.eye(dim, dtype=torch.float64)[-1]

    def f(x):
        return x @ matrix.T + (3 * (x[:, :1] * (1 / 3)) - x[:, :1]) * last

    x = torch.ones(1, dim, dtype=torch.float64)
    assert spectrum(f, x, method=method).verdict == ["undecided"]


def test_vectors_of_a_triangular_matrix_whose_diagonal_is_read_are_unknown():
    matrix = 0.9 * torch.eye(200, dtype=torch.float64) + torch.full((199,), 1e3, dtype=torch.float64).diag(-1)
    for method in ("dense", "arnoldi"):
        found = spectrum(affine(matrix), torch.zeros(1, 200), method=method, vectors=True)
        assert found.verdict == ["contracting"]
        assert found.vectors is not None
        assert found.vectors.isnan().all()


def test_a_causal_network_is_triangular_although_it_masks_by_infinity():
    torch.manual_seed(0)
    weight = 30 * torch.randn(3, 1, dtype=torch.float64)
    mask = torch.full((40, 40), -torch.inf, dtype=torch.float64).triu(1)

    def f(x):
        query, key, value = (x[..., None] * row for row in weight)
        attention = (query * key.mT + mask).softmax(-1)
        return (attention @ value).squeeze(-1) / 100

    jacobians = Jacobians(f, torch.rand(2, 40, dtype=torch.float64), "dense", 2**30)
    assert jacobians.find_triangular(jacobians.points).tolist() == [True, True]


def test_a_cycle_is_triangular_in_no_order():
    triangular = torch.tensor([[1.0, 0, 0], [2, 3, 0], [0, 4, 5]])
    order = torch.tensor([2, 0, 1])
    cycle = torch.tensor([[1.0, 0, 2], [2, 3, 0], [0, 4, 5]])
    matrices = torch.stack([triangular, triangular[order][:, order], cycle, torch.ones(3, 3), torch.zeros(3, 3)])
    assert find_triangular(matrices).tolist() == [True, True, False, False, True]


@pytest.mark.parametrize("dim", [3, 300])
@pytest.mark.parametrize("scale", [1e-150, 1e-80, 1e-30, 1e30, 1e80, 1e160])
def test_the_spectrum_scales_with_the_matrix(dim, scale):
    torch.manual_seed(0)
    noise = torch.randn(dim, dim, dtype=torch.float64) / dim**0.5
    matrix = noise + noise.T
    scaled = scale * matrix
    # linear: beside an added constant the outputs of a tiny matrix do not move
    found = spectrum(lambda x: x @ scaled.T, torch.zeros(1, dim, dtype=torch.float64))
    radius = torch.linalg.eigvalsh(matrix).abs().max().item()
    assert abs(found.radius.item() / scale - radius) <= found.radius_error.item() / scale + 1e-14
    assert found.radius_error.item() < 1e-2 * scale
    assert found.sigma_max.item() / scale == pytest.approx(radius, rel=1e-3)
    assert found.verdict == ["contracting" if scale < 1 else "expanding"]


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e20, 1e30])
def test_a_network_whose_squares_leave_single_precision_is_measured(scale):
    torch.manual_seed(0)
    model = nn.Linear(300, 300, bias=False)
    noise = torch.randn(300, 300, dtype=torch.float64) / 300**0.5
    with torch.no_grad():
        model.weight.copy_(scale * (noise + noise.T))
    found = spectrum(model, torch.rand(1, 300), method="arnoldi")
    exact = torch.linalg.eigvals(model.weight.detach().double() / scale).abs().max().item()
    assert abs(found.radius.item() / scale - exact) <= found.radius_error.item() / scale < 1e-2
    assert found.sigma_max.item() / scale == pytest.approx(exact, rel=1e-3)
    assert found.verdict == ["contracting" if scale < 1 else "expanding"]
