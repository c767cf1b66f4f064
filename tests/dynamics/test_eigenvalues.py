"""Spectra of Jacobians against closed forms, full eigensolves and brute force."""

import cmath
import math

import pytest
import torch
from plane_maps import affine, rotation
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from memzoo.dynamics import certify, recovery_curve, spectrum
from memzoo.dynamics.spectra.factors import Factors
from memzoo.dynamics.spectra.full_spectrum import _bound_radius, compute_full_spectrum
from memzoo.dynamics.spectra.jacobian import cut_pays
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.models import D1, FullyConnected

PLAIN = {"vectors": False, "transient": False}


def draw_points(matrix, count=3):
    return torch.randn(count, len(matrix), dtype=torch.float64)


@pytest.mark.parametrize("radius", [0.1, 0.9, 1.5])
def test_affine_map_has_the_eigenvalues_of_its_matrix_everywhere(radius):
    # a diagonal matrix after a random change of basis has a known spectrum
    values = radius * torch.linspace(1, -0.3, 6, dtype=torch.float64)
    basis = torch.randn(6, 6, dtype=torch.float64)
    matrix = basis @ values.diag() @ torch.linalg.inv(basis)
    result = spectrum(affine(matrix), draw_points(matrix))
    expected = values[values.abs().argsort(descending=True)]
    for row in result.eigenvalues:
        torch.testing.assert_close(row.real, expected, rtol=1e-9, atol=1e-12)
    assert ((result.radius - radius).abs() <= result.radius_error).all()
    assert result.verdict == ["contracting" if radius < 1 else "expanding"] * 3


@pytest.mark.parametrize("degrees", [90, 60])
def test_a_rotation_has_its_scale_as_radius(degrees):
    # power iteration gives 0 or does not converge here
    result = spectrum(affine(rotation(degrees, 1.2)), draw_points(rotation(degrees)))
    torch.testing.assert_close(result.radius, torch.full_like(result.radius, 1.2))
    torch.testing.assert_close(result.sigma_max, result.radius)
    expected = torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(result.condition, expected)


def test_eigenvalues_of_equal_modulus_and_opposite_signs_are_found():
    matrix = torch.tensor([1.1, -1.1, 0.5], dtype=torch.float64).diag()
    result = spectrum(affine(matrix), draw_points(matrix, 1))
    found = sorted(result.eigenvalues[0].real.tolist())
    assert found == pytest.approx([-1.1, 0.5, 1.1])


def test_zero_map_has_radius_zero_and_contracts():
    result = spectrum(lambda x: 0 * x, torch.randn(2, 4))
    assert result.radius.tolist() == [0, 0]
    assert result.verdict == ["contracting"] * 2


def test_an_exact_one_is_undecided():
    assert spectrum(lambda x: 1 * x, torch.randn(1, 3)).verdict == ["undecided"]


def test_nilpotent_block_contracts_although_its_eigenvalue_is_infinitely_ill_conditioned():
    matrix = torch.ones(5, dtype=torch.float64).diag(1)
    result = spectrum(affine(matrix), draw_points(matrix, 1))
    assert result.verdict == ["contracting"]
    assert result.radius <= result.radius_error < 0.1


def test_nonnormal_triangle_keeps_its_radius_and_shows_its_stretch():
    # in float32 the radius of such a matrix reads above 1
    matrix = 0.9 * torch.eye(2, dtype=torch.float64) + torch.tensor([[0.0, 5], [0, 0]], dtype=torch.float64)
    result = spectrum(affine(matrix), draw_points(matrix, 1))
    assert result.radius.item() == pytest.approx(0.9)
    assert result.verdict == ["contracting"]
    expected = torch.linalg.matrix_norm(matrix, 2).item()
    assert result.sigma_max.item() == pytest.approx(expected)


def test_triangles_in_another_basis_that_float32_misreads():
    generator = torch.Generator().manual_seed(2)
    above = torch.triu(20 * torch.randn(20, 8, 8, generator=generator, dtype=torch.float64), 1)
    triangles = above + torch.linspace(0.9, -0.8, 8, dtype=torch.float64).diag()
    basis = torch.linalg.qr(torch.randn(20, 8, 8, generator=generator, dtype=torch.float64)).Q
    matrices = basis @ triangles @ basis.mT
    assert torch.linalg.eigvals(matrices.float()).abs().amax(1).median() > 1
    for matrix in matrices:
        result = spectrum(affine(matrix), draw_points(matrix, 1))
        assert abs(result.radius.item() - 0.9) <= result.radius_error.item() < 0.1
        assert result.verdict == ["contracting"]


def test_the_part_that_a_low_rank_leaves_out_counts_in_the_bound():
    # A matrix of rank 30 of 100 has a remainder of 5e-15 of its norm; the factors are exact, so nothing else is
    # uncertain.
    thin = torch.randn(100, 30, dtype=torch.float64) @ torch.randn(30, 100, dtype=torch.float64)
    thin = 0.9 * thin / torch.linalg.matrix_norm(thin, 2)
    outside = torch.eye(100, dtype=torch.float64) - torch.linalg.pinv(thin.T) @ thin.T
    rest = outside @ torch.randn(100, 100, dtype=torch.float64)
    rest *= 5e-15 * torch.linalg.matrix_norm(thin) / torch.linalg.matrix_norm(rest)
    plain = compute_full_spectrum(build_dense_factors(thin[None], eps=0.0), "dense", None, **PLAIN)
    factors = build_dense_factors((thin + rest)[None], eps=0.0)
    more = compute_full_spectrum(factors, "dense", None, **PLAIN)
    assert plain.eigenvalues.shape[1] < 60
    assert more.eigenvalues.shape[1] < 60
    assert more.radius_error - plain.radius_error >= 0.9 * torch.linalg.matrix_norm(rest)


def test_a_rank_that_the_sample_does_not_show_is_found_nevertheless():
    # The guess of the rank looks at every second of eight points, and the others have full rank.
    few = torch.cat([torch.linspace(0.5, 0.1, 5), torch.zeros(95)]).double()
    many = torch.linspace(0.9, 0.1, 100, dtype=torch.float64)
    matrices = torch.stack([few.diag(), many.diag()] * 4)
    found = compute_full_spectrum(build_dense_factors(matrices, eps=2.2e-16), "dense", None, **PLAIN)
    assert found.radius.tolist() == pytest.approx([0.5, 0.9] * 4, rel=1e-12)
    assert (found.radius_error < 1e-12).all()
    torch.testing.assert_close(found.eigenvalues[1].real, many)


def test_the_eigensolve_has_the_size_of_the_numerical_rank():
    # five units of a layer of 60 are on; one column more is kept, for what rounding leaves
    units = torch.cat([torch.linspace(0.9, 0.5, 5), torch.zeros(55)]).double()
    found = compute_full_spectrum(build_dense_factors(units.diag()[None], eps=0.0), "dense", None, **PLAIN)
    assert 5 <= found.eigenvalues.shape[1] <= 6
    assert found.eigenvalues[0, :5].real.tolist() == pytest.approx(units[:5].tolist())


def move_corner(a, b, c, corner):
    """Return the radius of [[a, c], [corner, b]]."""
    root = cmath.sqrt(((a - b) / 2) ** 2 + c * corner)
    return max(abs((a + b) / 2 + root), abs((a + b) / 2 - root))


def test_the_bound_covers_an_eigenvalue_that_rounding_makes_the_leading_one():
    # 0.9 stands alone and is well conditioned; [[0.85, 10], [0, 0.8]] beside it is not
    matrix = torch.zeros(3, 3, dtype=torch.float64)
    matrix[0, 0] = 0.9
    matrix[1:, 1:] = torch.tensor([[0.85, 10.0], [0.0, 0.8]], dtype=torch.float64)
    frame = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64)).Q  # no entry is an exact zero any more
    eps = 1.5e-4
    full = frame @ matrix @ frame.T
    found = compute_full_spectrum(build_dense_factors(full[None], eps), "dense", None, **PLAIN)
    moved = move_corner(0.85, 0.8, 10.0, eps * torch.linalg.matrix_norm(matrix).item())
    assert moved > 0.94
    assert found.radius.item() == pytest.approx(0.9)
    assert found.radius.item() + found.radius_error.item() >= moved


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("above", [0.1, 1.0, 100.0])
def test_the_bound_covers_a_defective_eigenvalue_that_rounding_splits(size, above):
    # In another basis the rounded block has eigenvalues on a circle around 0.65: the size-th root of rounding away.
    torch.manual_seed(0)
    block = 0.65 * torch.eye(size, dtype=torch.float64) + torch.full((size - 1,), above).double().diag(1)
    for dim in (size, size + 1, 12):
        matrix = 0.2 * torch.rand(dim, dtype=torch.float64).diag()
        matrix[:size] = 0
        matrix[:size, :size] = block
        for _ in range(10):
            frame = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64)).Q
            found = spectrum(affine(frame @ matrix @ frame.T), torch.zeros(1, dim), method="dense")
            assert abs(found.radius.item() - 0.65) <= found.radius_error.item()


@pytest.mark.parametrize("lost", [0.5, 0.9, 0.99])
def test_both_bounds_hold_for_a_matrix_whose_smallest_entry_is_uncertain(lost):
    # The eigenvalues of a cycle of three with the weights a, b, c are the cube roots of a b c. The largest one falls to
    # the cube root of 1 - lost where c loses this share of itself, and rises to that of 1 + lost where it gains it.
    weight = 100.0
    last = 1 / weight**2
    core = torch.tensor([[[0.0, weight, 0.0], [0.0, 0.0, weight], [last, 0.0, 0.0]]], dtype=torch.float64)
    values, right = torch.linalg.eig(core)
    condition = torch.linalg.inv(right).norm(dim=2) * right.norm(dim=1)
    # Three times the change. Where the discs of first order meet, all three eigenvalues may move three times as far.
    lower, upper = _bound_radius(core, values, condition, torch.tensor([3 * lost * last], dtype=torch.float64))
    assert 0 <= lower.item() <= (1 - lost) ** (1 / 3)
    assert (1 + lost) ** (1 / 3) <= upper.item() <= 1 + 3 * lost + 1e-3


def test_the_condition_of_a_jacobian_of_low_rank_is_that_of_the_whole_matrix():
    # u v^T has the eigenvalue v . u, with the condition |u| |v| / |v . u|; at its narrowest place it is a single number
    u, v = torch.rand(2, 6, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(6, 1, bias=False), nn.Linear(1, 6, bias=False)).double()
    with torch.no_grad():
        model[0].weight.copy_(v[None])
        model[1].weight.copy_(u[:, None])
    for method in ("cut", "dense"):
        found = spectrum(model, torch.zeros(1, 6), method=method)
        assert found.condition.item() == pytest.approx((u.norm() * v.norm() / (v @ u)).item())


def test_how_a_jacobian_is_divided_among_its_factors_does_not_change_its_bound():
    left = torch.randn(1, 6, 3, dtype=torch.float64)
    right = torch.randn(1, 3, 6, dtype=torch.float64)
    finite = torch.ones(1, dtype=torch.bool)

    def bound(left, right):
        factors = Factors(left, right, None, None, finite, 1e-12)
        return compute_full_spectrum(factors, "dense", None, **PLAIN).radius_error.item()

    usual = bound(left, right)
    assert usual > 0
    assert bound(8 * left, right / 8) == pytest.approx(usual)
    assert bound(8 * left, right) == pytest.approx(8 * usual)
    assert bound(left, 8 * right) == pytest.approx(8 * usual)
    square = left @ right + torch.eye(6, dtype=torch.float64)
    assert bound(square, torch.eye(6, dtype=torch.float64)[None]) == pytest.approx(bound(square, None), rel=1e-6)


def build_dense_factors(matrices, eps):
    return Factors(matrices, None, None, None, torch.ones(len(matrices), dtype=torch.bool), eps)


class Largest(TorchDispatchMode):
    """Record the bytes of the largest floating-point tensor that any operation makes."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(part, torch.Tensor) and part.is_floating_point():
                self.bytes = max(self.bytes, part.numel() * part.element_size())
        return result


@pytest.mark.parametrize("method", ["cut", "dense"])
def test_the_memory_limit_bounds_the_largest_tensor(method):
    model = FullyConnected(shape=(60,), depth=4, width=20).eval()
    x = torch.rand(40, 60)
    sizes = []
    limit = 2**17
    for given in (2**30, limit):
        with Largest() as largest:
            spectrum(model, x, method=method, memory_limit=given)
        sizes.append(largest.bytes)
    assert sizes[1] <= limit < sizes[0] / 2


def test_condition_matches_its_definition():
    # upper triangle [[a, c], [0, b]]: the leading eigenvalue has condition sqrt(1 + (c / (a - b))^2)
    matrix = torch.tensor([[0.8, 3.0], [0.0, 0.2]], dtype=torch.float64)
    result = spectrum(affine(matrix), draw_points(matrix, 1))
    expected = math.sqrt(1 + (3 / 0.6) ** 2)
    assert result.condition.item() == pytest.approx(expected)


def test_bound_covers_a_matrix_that_only_squaring_can_decide():
    # Rounding moves the eigenvalues of a Jordan block by eps^(1/8), while the bound of first order is infinite.
    matrix = 0.5 * torch.eye(8, dtype=torch.float64) + 0.1 * torch.ones(7, dtype=torch.float64).diag(1)
    result = spectrum(affine(matrix), draw_points(matrix, 1))
    assert abs(result.radius.item() - 0.5) <= result.radius_error.item() < 0.1


def build_jordan_block(value, size, coupling):
    above = torch.ones(size - 1, dtype=torch.float64).diag(1)
    return value * torch.eye(size, dtype=torch.float64) + coupling * above


@pytest.mark.parametrize(
    "matrix",
    [
        build_jordan_block(0.0, 5, 1.0),
        build_jordan_block(0.5, 8, 0.1),
        build_jordan_block(0.9, 2, 5.0),
        torch.randn(9, 9).double() / 3,
    ],
    ids=["nilpotent", "Jordan", "transient", "random"],
)
def test_bound_covers_every_matrix_that_differs_by_rounding_alone(matrix):
    basis = torch.linalg.qr(torch.randn(len(matrix), len(matrix), dtype=torch.float64)).Q
    result = spectrum(affine(basis @ matrix @ basis.T), torch.zeros(1, len(matrix), dtype=torch.float64))
    for _ in range(50):
        noise = torch.randn_like(matrix)
        moved = matrix + 1e-15 * torch.linalg.matrix_norm(matrix) * noise / torch.linalg.matrix_norm(noise)
        radius = torch.linalg.eigvals(moved).abs().max()
        assert abs(result.radius.item() - radius) <= result.radius_error.item()
    assert result.radius_error.item() < 0.3


NETWORKS = {
    "relu": (FullyConnected, {"shape": (1, 6, 6), "depth": 4, "width": 12}),
    "deep tanh": (FullyConnected, {"shape": (1, 6, 6), "depth": 9, "width": 7, "activation": "tanh"}),
    "linear d1": (D1, {"shape": (3, 8, 8), "filters": 16}),
    "leaky d1": (
        D1,
        {"shape": (1, 8, 8), "filters": 9, "activation": "leaky_relu", "bias": True, "init": "xavier_normal"},
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_spectrum_through_a_cut_equals_that_of_the_full_jacobian(name):
    architecture, fields = NETWORKS[name]
    model = architecture(**fields)
    x = torch.rand(5, *model.config.shape)
    cut = spectrum(model, x)
    dense = spectrum(model, x, method="dense")
    assert (cut.method, dense.method) == ("cut", "dense")
    torch.testing.assert_close(cut.radius, dense.radius, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(cut.sigma_max, dense.sigma_max, rtol=1e-10, atol=1e-14)
    assert ((cut.radius - dense.radius).abs() <= cut.radius_error + dense.radius_error).all()
    leading = min(cut.eigenvalues.shape[1], 4)
    moduli = cut.eigenvalues[:, :leading].abs()
    expected = dense.eigenvalues[:, :leading].abs()
    torch.testing.assert_close(moduli, expected, rtol=1e-8, atol=1e-12)


def test_dense_spectrum_of_low_rank_equals_the_full_eigensolve():
    # this Jacobian is large enough for the compression to its range
    model = nn.Sequential(nn.Linear(160, 30), nn.Tanh(), nn.Linear(30, 160))
    x = torch.randn(3, 160)
    result = spectrum(model, x, method="dense")
    assert result.eigenvalues.shape[1] < 160
    wide = model.double()
    jacobian = torch.func.vmap(torch.func.jacrev(wide))(x.double())
    expected = torch.linalg.eigvals(jacobian).abs().amax(1)
    torch.testing.assert_close(result.radius, expected.detach(), rtol=1e-10, atol=0)
    values = torch.linalg.eigvals(jacobian).abs().sort(descending=True).values[:, :30]
    found = result.eigenvalues.abs()[:, :30]
    torch.testing.assert_close(found, values.detach(), rtol=1e-7, atol=1e-10)


def test_the_size_of_blocks_does_not_change_the_radius():
    model = FullyConnected(shape=(1, 6, 6), depth=3, width=8)
    x = torch.rand(7, 1, 6, 6)
    torch.testing.assert_close(spectrum(model, x, memory_limit=1).radius, spectrum(model, x).radius)


def test_top_keeps_the_leading_eigenvalues():
    matrix = torch.tensor([0.1, 0.9, 0.5], dtype=torch.float64).diag()
    found = spectrum(affine(matrix), draw_points(matrix, 1), top=2)
    assert found.eigenvalues[0].real.tolist() == pytest.approx([0.9, 0.5])


def test_the_module_is_left_as_it_was():
    model = FullyConnected(shape=(1, 4, 4), depth=3, width=5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    spectrum(model, torch.rand(2, 1, 4, 4))
    for name, value in model.state_dict().items():
        assert torch.equal(before[name], value)
        assert value.dtype == torch.float32


def test_a_layer_that_is_used_twice_is_left_as_it_was():
    layer = nn.Linear(4, 4)
    other = nn.Linear(4, 4)
    other.weight = layer.weight  # tied across modules
    model = nn.Sequential(layer, nn.Tanh(), layer, other)
    x = torch.rand(2, 4)
    plain = model(x)
    before = layer.weight
    for method in ("dense", "arnoldi"):
        found = spectrum(model, x, method=method)
        assert layer.weight is other.weight is before
        assert before.dtype == torch.float32
        assert torch.equal(model(x), plain)
    jacobian = torch.func.vmap(torch.func.jacrev(model.double()))(x.double())
    expected = torch.linalg.eigvals(jacobian).abs().amax(1).detach()
    torch.testing.assert_close(found.radius, expected)


def test_a_tensor_that_forward_keeps_in_an_attribute_stays():
    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            self.z = self.linear(x).tanh()
            return self.z

    model = Keeping().eval()
    x = torch.rand(2, 4)
    model(x)
    kept = model.z
    spectrum(model, x)
    assert model.z is kept
    certify(model, x)
    assert model.z is kept


def test_a_constant_map_is_measured_in_float64():
    found = spectrum(lambda x: torch.ones(len(x), 3, dtype=torch.float64), torch.rand(2, 3))
    assert found.radius.tolist() == [0, 0]
    model = nn.Linear(3, 3).double()
    nn.init.zeros_(model.weight)
    assert certify(model, model.bias.detach()[None]).attractor.all()


def test_transient_growth_of_a_known_matrix():
    # [[.9, 5], [0, .9]]^t = .9^t [[1, 5 t / .9], [0, 1]]
    matrix = torch.tensor([[0.9, 5.0], [0.0, 0.9]], dtype=torch.float64)
    powers = [torch.linalg.matrix_norm(torch.linalg.matrix_power(matrix, t), 2).item() for t in range(1, 200)]
    found = spectrum(affine(matrix), torch.zeros(1, 2), transient=True)
    assert found.transient_growth.item() == pytest.approx(max(powers))
    assert found.transient_growth > 19 > found.sigma_max


def test_transient_growth_of_random_networks_equals_brute_force():
    model = FullyConnected(shape=(20,), depth=4, width=7)
    x = torch.rand(8, 20)
    found = spectrum(model, x, transient=True)
    wide = model.double()
    jacobians = torch.func.vmap(torch.func.jacrev(lambda point: wide(point[None])[0]))(x.double())
    for row, jacobian in enumerate(jacobians):
        powers = [torch.linalg.matrix_norm(torch.linalg.matrix_power(jacobian, t), 2).item() for t in range(1, 400)]
        expected = max(powers) if found.verdict[row] == "contracting" else math.inf
        assert found.transient_growth[row].item() == pytest.approx(expected, rel=1e-8)


def test_a_growth_that_is_not_proven_to_end_is_infinite():
    slow = spectrum(lambda x: (1 - 1e-6) * x, torch.zeros(1, 2).double(), transient=True)
    assert slow.transient_growth.item() == math.inf
    found = spectrum(lambda x: 0.5 * x, torch.zeros(1, 2), transient=True).transient_growth.item()
    assert found == 0.5
    assert spectrum(lambda x: 0.5 * x, torch.zeros(1, 2)).transient_growth is None


def test_a_spectrum_prints_in_the_notation_of_the_paper():
    matrix = torch.tensor([1.0, -0.98, 0.012, 0.004], dtype=torch.float64).diag()
    assert str(spectrum(affine(matrix), torch.zeros(2, 4))) == "1, .98, [< 2e-2]\n1, .98, [< 2e-2]"


def test_a_float32_closure_is_measured_in_its_own_precision_and_says_so():
    matrix = torch.diag(torch.tensor([0.7, 0.2]))  # float32 constants refuse a float64 input
    result = spectrum(lambda x: x @ matrix, torch.randn(1, 2))
    assert result.radius.item() == pytest.approx(0.7)
    assert 1e-8 < result.radius_error.item() < 1e-4


def test_arithmetic_that_is_narrower_inside_than_outside_widens_the_bound():
    model = FullyConnected(shape=(9,), depth=5, width=6)
    x = torch.rand(4, 9)
    exact = spectrum(model, x)

    class Casting(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            return self.inner(x.float() if self.inner.net[1].weight.dtype == torch.float32 else x).float()

    for f in (lambda z: model(z.float()).to(z), lambda z: model(z), Casting()):
        found = spectrum(f, x)
        error = (found.radius - exact.radius).abs()
        assert (error <= found.radius_error + exact.radius_error).all()
        assert (found.radius_error > 1e-9).all()


def test_a_module_may_hold_float32_constants_and_control_flow():
    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.eye(3) / 2)
            self.constant = torch.eye(3)  # a plain tensor stays float32

        def forward(self, x):
            return x @ self.weight @ self.constant if x.abs().max() > 0.1 else x @ self.constant

    points = torch.tensor([[1.0, 1, 1], [0.01, 0, 0]])
    for point, radius in zip(points.split(1), [0.5, 1], strict=True):
        assert spectrum(Theirs(), point).radius.item() == pytest.approx(radius)
    with pytest.raises(NotASelfMapError, match="rows of a batch interact"):  # one branch is taken for both rows
        spectrum(Theirs(), points)


def test_common_names_are_not_taken_for_a_declared_cut():
    class Theirs(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut = 2
            self.output_layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.output_layer(x)

    model = Theirs()
    x = torch.rand(2, 3)
    assert spectrum(model, x).method == "dense"
    assert not recovery_curve(model, x, torch.rand(2, 3), 3).unrecoverable.any()


@pytest.mark.parametrize("scale", [1e-200, 1e-170, 1e100])
def test_very_small_and_very_large_jacobians_have_the_right_radius(scale):
    result = spectrum(lambda x: x * scale, torch.ones(1, 3, dtype=torch.float64))
    assert result.radius.item() == pytest.approx(scale)
    assert result.verdict == ["contracting" if scale < 1 else "expanding"]


def test_results_carry_no_graph():
    model = nn.Linear(3, 3)
    assert not spectrum(model, torch.rand(1, 3)).radius.requires_grad


def test_batch_statistics_without_running_ones_are_refused():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match=r"'0' \(BatchNorm1d\) uses batch statistics even in eval mode"):
        spectrum(model, torch.rand(2, 3))


class StatedCut(nn.Module):
    """A network of two layers that states its cut."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(4, 2)
        self.decode = nn.Linear(2, 4)

    def cut(self):
        return self.encode, self.decode


def test_a_cut_that_is_a_little_wrong_is_refused():
    class Shifted(StatedCut):
        def forward(self, x):
            return self.decode(self.encode(x)) + 1e-6 * x

    message = r"cut\(\) of Shifted is wrong: g\(h\(x\)\) differs from f\(x\) by up to \d\.?\d*e-06"
    with pytest.raises(ValueError, match=message):
        spectrum(Shifted(), torch.ones(2, 4))


def test_a_wrong_cut_is_refused():
    class Lying(StatedCut):
        def forward(self, x):
            return x + self.decode(self.encode(x))  # the skip connection is not severed

    with pytest.raises(ValueError, match=r"cut\(\) of Lying is wrong.*skip connections"):
        spectrum(Lying(), torch.randn(2, 4))


def test_nan_weights_are_named_before_any_eigensolve():
    model = FullyConnected(shape=(1, 4, 4), depth=3, width=5)
    model.net[3].weight.data[0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"parameter 'net\.3\.weight' holds NaN.*1 of 25"):
        spectrum(model, torch.rand(1, 1, 4, 4))


def test_an_error_names_the_row_where_the_map_is_nan():
    with pytest.raises(NonFiniteError, match=r"f\(x\) holds NaN or infinity at row 1"):
        spectrum(lambda x: x / x.sum(1, keepdim=True), torch.tensor([[1.0, 1.0], [0.0, 0.0]]))


def test_an_error_names_the_row_where_the_jacobian_is_not_finite():
    with pytest.raises(NonFiniteError, match=r"Jacobian at row 0 holds NaN or infinity"):
        spectrum(lambda x: x.abs().sqrt(), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.tensor([[1, 2]]), TypeError, r"floating point, got torch\.int64"),
        (torch.zeros(0, 3), ValueError, r"at least one point, got shape \(0, 3\)"),
        (torch.zeros(3), ValueError, r"batch .*got shape \(3,\)"),
        (torch.tensor([[0.0], [torch.inf]]), NonFiniteError, r"1 of 2 rows, the first is row 1"),
    ],
)
def test_bad_points_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        spectrum(lambda x: x, x)


def test_a_map_that_changes_the_shape_is_refused():
    with pytest.raises(NotASelfMapError, match=r"input \(2, 3\) became \(2, 2\).*not its encoder"):
        spectrum(lambda x: x[:, :2], torch.zeros(2, 3))


def test_points_of_a_wrong_shape_for_a_model_are_refused():
    with pytest.raises(NotASelfMapError, match=r"maps batches of shape \(B, 1, 4, 4\), got \(1, 16\)"):
        spectrum(FullyConnected(shape=(1, 4, 4), depth=2, width=3), torch.zeros(1, 16))


def test_active_dropout_is_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5))
    with pytest.raises(ValueError, match=r"'1' \(Dropout\) is in training mode.*call \.eval\(\)"):
        spectrum(model, torch.zeros(1, 3))


def test_an_unknown_method_and_a_missing_cut_are_refused():
    with pytest.raises(ValueError, match=r"method must be one of 'cut', 'arnoldi', 'dense', 'differences' or None"):
        spectrum(lambda x: x, torch.zeros(1, 2), method="power")
    with pytest.raises(ValueError, match=r"method='cut' needs a map that is narrower somewhere"):
        spectrum(lambda x: x, torch.zeros(1, 2), method="cut")


@pytest.mark.parametrize(("dim", "method"), [(256, "dense"), (257, "arnoldi")])
def test_the_full_jacobian_is_formed_up_to_256_dimensions(dim, method):
    assert spectrum(lambda x: 0.5 * x, torch.zeros(1, dim)).method == method


def test_a_cut_of_at_most_1024_values_pays():
    assert cut_pays(1024, 1025)
    assert not cut_pays(1025, 2000)
    assert not cut_pays(10, 10)
    assert spectrum(FullyConnected(shape=(9,), depth=2, width=8), torch.rand(1, 9)).method == "cut"
    assert spectrum(FullyConnected(shape=(9,), depth=2, width=9), torch.rand(1, 9)).method == "dense"


def test_operations_that_take_one_row_at_a_time_cause_no_warning():
    def f(x):
        return 0.5 * x.take(torch.arange(x.numel())).reshape(x.shape)

    found = spectrum(f, torch.rand(3, 16))  # a warning of torch that this is slow would be an error
    assert found.radius.tolist() == pytest.approx([0.5] * 3)


@pytest.mark.parametrize("size", [2, 6])
@pytest.mark.parametrize("delta", [1e-9, 1e-5, 1e-3, 1e-2])
def test_no_perturbation_of_the_allowed_norm_leads_out_of_the_bounds(size, delta):
    # The matrix nearest to A that has the eigenvalue z is A + s u v^T, with the smallest singular value s of z - A.
    generator = torch.Generator().manual_seed(size)
    cores = torch.randn(40, size, size, generator=generator, dtype=torch.float64)
    cores = torch.triu(5 * cores, 1) + torch.linspace(0.9, -0.8, size, dtype=torch.float64).diag()
    values, right = torch.linalg.eig(cores)
    order = values.abs().argsort(-1, descending=True)
    values = values.gather(-1, order)
    right = right.gather(-1, order[:, None].expand_as(right))
    condition = torch.linalg.inv(right).norm(dim=2) * right.norm(dim=1)
    lower, upper = _bound_radius(cores, values, condition, torch.full((40,), delta, dtype=torch.float64))
    for share in (0.0, 0.3, 0.7, 1.0):
        for length in (1e-8, 1e-4, 1e-2, 0.1, 0.5):
            z = values[:, 0] * (1 + length) * (1 - share) + share * values[:, -1] * (1 - length)
            u, _, v = torch.linalg.svd(z.real[:, None, None] * torch.eye(size, dtype=torch.float64) - cores)
            for side in (-delta, delta):
                changed = cores + side * u[:, :, -1:] @ v[:, -1:]
                radius = torch.linalg.eigvals(changed).abs().amax(1)
                assert (lower <= radius * (1 + 1e-9)).all()
                assert (radius <= upper * (1 + 1e-9)).all()
