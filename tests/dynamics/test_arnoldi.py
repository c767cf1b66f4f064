"""Eigenvalues, singular values and linear systems by products with a matrix alone."""

import math

import pytest
import torch
from plane_maps import affine
from torch import nn

from memzoo.dynamics import certify, spectrum
from memzoo.dynamics.spectra.arnoldi import compute_largest_singular_value, compute_ritz_pairs, solve_shifted
from memzoo.errors import NonFiniteError, NotASelfMapError


def build_matrix(values, dim):
    """Build a matrix of the given leading eigenvalues, in a random basis that is not orthogonal."""
    noise = torch.randn(dim, dim, dtype=torch.float64) / dim**0.5 / 3
    basis = torch.eye(dim, dtype=torch.float64) + noise
    others = 0.3 * torch.rand(dim - len(values), dtype=torch.float64)
    diagonal = torch.cat([torch.tensor(values, dtype=torch.float64), others])
    return basis @ diagonal.diag() @ torch.linalg.inv(basis)


def build_cycle(dim, weight):
    """Build a cyclic shift with factors ``weight`` and 1 / ``weight`` by turns: all eigenvalues have modulus 1."""
    weights = torch.full((dim,), weight, dtype=torch.float64)
    weights[::2] = 1 / weight
    return weights[:, None] * torch.eye(dim, dtype=torch.float64).roll(1, 0)


def test_products_find_the_leading_eigenvalues_of_a_known_matrix():
    matrix = build_matrix([0.95, -0.9, 0.8], 300)
    found = spectrum(affine(matrix), torch.zeros(2, 300), method="arnoldi", top=3, vectors=True)
    assert found.method == "arnoldi"
    for row in found.eigenvalues:
        assert row.real.tolist() == pytest.approx([0.95, -0.9, 0.8], rel=1e-5)  # residuals times conditions
        assert row[0].real.item() == pytest.approx(0.95, rel=1e-7)
    assert ((found.radius - 0.95).abs() <= found.radius_error).all()
    assert found.verdict == ["contracting"] * 2
    exact, right = torch.linalg.eig(matrix)
    kappa = torch.linalg.inv(right).norm(dim=1)[exact.abs().argmax()].item()
    assert found.condition.tolist() == pytest.approx([kappa] * 2, rel=1e-3)
    sigma = torch.linalg.matrix_norm(matrix, 2).item()
    assert found.sigma_max.tolist() == pytest.approx([sigma] * 2, rel=1e-2)
    assert (found.sigma_max <= sigma * (1 + 1e-12)).all()
    images = matrix.to(torch.complex128) @ found.vectors[0]
    assert (images - found.vectors[0] * found.eigenvalues[0]).abs().max() < 1e-4


def test_a_rotation_has_no_real_direction_to_converge_to():
    matrix = build_matrix([0.1], 280)
    c = math.cos(1.0)
    s = math.sin(1.0)
    matrix[:2] = 0
    matrix[:, :2] = 0
    matrix[:2, :2] = 1.2 * torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
    found = spectrum(affine(matrix), torch.zeros(1, 280), method="arnoldi", top=2)
    assert found.eigenvalues[0].abs().tolist() == pytest.approx([1.2, 1.2], rel=1e-8)
    assert found.verdict == ["expanding"]


def test_an_eigenvalue_is_found_as_often_as_its_multiplicity():
    # orthogonal projection on five directions: 1, 1, 1, 1, 1, then nothing
    basis = torch.linalg.qr(torch.randn(300, 5, dtype=torch.float64)).Q
    found = spectrum(affine(basis @ basis.T), torch.zeros(1, 300), method="arnoldi", top=6)
    expected = [1] * 5 + [0]
    assert found.eigenvalues[0].abs().tolist() == pytest.approx(expected, abs=1e-7)
    assert found.verdict == ["undecided"]


@pytest.mark.parametrize("scale", [0.0, 1.0, 0.5])
def test_a_multiple_of_the_identity_has_its_factor_as_radius(scale):
    found = spectrum(lambda x: scale * x, torch.rand(2, 270), method="arnoldi")
    assert found.radius.tolist() == pytest.approx([scale] * 2)
    assert found.verdict == ["undecided" if scale == 1 else "contracting"] * 2


def test_a_network_without_a_narrow_place_agrees_with_its_full_jacobian(unet):
    model = unet(16).eval()
    x = torch.rand(3, 3, 16, 16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    found = spectrum(model, x)
    assert found.method == "arnoldi"
    dense = spectrum(model, x, method="dense")
    assert ((found.radius - dense.radius).abs() <= 1e-4 * dense.radius).all()
    assert ((found.radius - dense.radius).abs() <= found.radius_error + dense.radius_error).all()
    torch.testing.assert_close(found.sigma_max, dense.sigma_max, rtol=1e-3, atol=0)
    torch.testing.assert_close(found.condition, dense.condition, rtol=1e-2, atol=0)


def test_a_transient_direction_does_not_fool_the_bound():
    # far from normal: the residual alone would promise too much, its condition is large
    matrix = torch.zeros(260, 260, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[0.9, 50.0], [0.0, 0.8]], dtype=torch.float64)
    found = spectrum(affine(matrix), torch.zeros(1, 260), method="arnoldi")
    # the condition of a in [[a, c], [0, b]] is sqrt(1 + (c / (a - b))^2)
    expected = math.hypot(1, 50 / 0.1)
    assert found.condition.item() == pytest.approx(expected, rel=1e-3)
    assert abs(found.radius.item() - 0.9) <= found.radius_error.item() + 1e-12


def test_the_bound_covers_what_rounding_may_do_to_an_ill_conditioned_eigenvalue():
    # A matrix [[a, c], [0, b]] that is known to one unit in the last place may as well be [[a, c], [eps c, b]], whose
    # eigenvalue is known in closed form.
    a = 0.9
    b = 0.8
    c = 1e6
    eps = torch.finfo(torch.float64).eps
    matrix = torch.zeros(260, 260, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[a, c], [0.0, b]], dtype=torch.float64)
    frame = torch.linalg.qr(torch.randn(260, 260, dtype=torch.float64)).Q  # no entry is an exact zero any more
    found = spectrum(affine(frame @ matrix @ frame.T), torch.zeros(1, 260), method="arnoldi")
    # the larger eigenvalue of [[a, c], [c eps, b]]
    moved = (a + b) / 2 + math.sqrt(((a - b) / 2) ** 2 + c * eps * c)
    assert moved - a > 1e-3
    assert a + found.radius_error.item() >= moved


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_bound_covers_the_rounding_of_the_products(scale):
    # A normal matrix that is known to one unit in the last place has its eigenvalues to within that unit. One that the
    # random start of two columns hardly meets could be farther away, by the unit over its component: sqrt(300) / 0.037.
    found = spectrum(lambda x: scale * x, torch.rand(1, 300), method="arnoldi")
    # A radius of 1 is looked at again by the full Jacobian, whose bound counts all 300 eigenvalues that move together.
    widest = 1e-9 if scale == 1 else 1e-10
    assert scale * torch.finfo(torch.float64).eps <= found.radius_error.item() <= widest * scale
    assert found.condition.item() == pytest.approx(1)


def test_the_largest_singular_value_of_a_known_matrix_is_found():
    u, v = (torch.linalg.qr(torch.randn(60, 60, dtype=torch.float64)).Q for _ in range(2))
    matrix = u @ torch.linspace(3, 0.1, 60, dtype=torch.float64).diag() @ v.T
    start = torch.randn(1, 60, dtype=torch.float64)
    value, vector = compute_largest_singular_value(lambda s: s @ matrix.T, lambda s: s @ matrix, start, tol=1e-8)
    assert value.item() == pytest.approx(3, rel=1e-6)
    found = (vector @ v[:, 0]).abs().item()
    assert found == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("dim", [2, 3, 40])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_largest_singular_value_of_a_map_of_rank_one(dim, scale):
    # After one step the Krylov space is exhausted: what rounding leaves of the next direction is none.
    u, v = torch.randn(2, dim, dtype=torch.float64)
    matrix = scale * torch.outer(u, v)
    found = spectrum(affine(matrix), torch.zeros(1, dim), method="arnoldi").sigma_max.item()
    assert found == pytest.approx(scale * (u.norm() * v.norm()).item(), rel=1e-12)


@pytest.mark.parametrize("kind", ["symmetric", "clustered", "Jordan block"])
def test_the_largest_singular_value_is_found_among_many_that_are_near(kind):
    q = torch.linalg.qr(torch.randn(200, 200, dtype=torch.float64)).Q
    values = torch.linspace(-1, 1, 200, dtype=torch.float64)
    if kind == "clustered":
        values = 1 - 1e-2 * torch.rand(200, dtype=torch.float64)
    matrix = q @ values.diag() @ q.T
    if kind == "Jordan block":
        matrix = 0.5 * torch.eye(200, dtype=torch.float64) + torch.ones(199, dtype=torch.float64).diag(1)
    found = spectrum(affine(matrix), torch.zeros(1, 200), method="arnoldi").sigma_max.item()
    assert found == pytest.approx(torch.linalg.matrix_norm(matrix, 2).item(), rel=1e-3)


def test_a_warning_names_the_eigenvalues_that_have_not_converged():
    # 1100 eigenvalues lie on a circle: no Krylov space of 200 columns holds an eigenvector
    matrix = build_cycle(1100, 1.01)
    start = torch.randn(1, 1100, 1, dtype=torch.float64)
    found = compute_ritz_pairs(lambda s: s @ matrix.T, start, 1, 1e-8)
    assert found.residual.item() > 1e-3
    with pytest.warns(UserWarning, match=r"1 of 1 eigenvalues have not converged"):
        result = spectrum(affine(0.999 * matrix), torch.zeros(1, 1100))
    assert result.verdict == ["undecided"]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("values", [[1.1, -1.1, 0.5], [0.9, -0.9], [0.9, 0.9]])
def test_the_condition_is_found_where_several_eigenvalues_share_the_largest_modulus(values, seed):
    torch.manual_seed(seed)
    matrix = build_matrix(values, 300)
    found = spectrum(affine(matrix), torch.zeros(1, 300), method="arnoldi")
    assert found.radius.item() == pytest.approx(abs(values[0]), rel=1e-6)
    assert found.condition < 3
    assert found.verdict == ["expanding" if values[0] > 1 else "contracting"]


def test_a_cycle_of_four_is_normal():
    matrix = torch.zeros(300, 300, dtype=torch.float64)
    matrix[:4, :4] = 1.2 * torch.eye(4, dtype=torch.float64).roll(1, 0)
    found = spectrum(affine(matrix), torch.zeros(1, 300), method="arnoldi")
    assert found.condition.item() == pytest.approx(1, abs=1e-3)
    assert found.verdict == ["expanding"]


def test_more_eigenvalues_than_a_block_holds_are_found():
    values = torch.linspace(1, 0.5, 30, dtype=torch.float64).tolist()
    matrix = build_matrix(values, 300)
    found = spectrum(affine(matrix), torch.zeros(1, 300), method="arnoldi", top=30)
    assert found.eigenvalues[0].real.tolist() == pytest.approx(values, rel=1e-4)


def test_a_trace_that_no_longer_holds_is_noticed_without_a_cut():
    class Gain(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(300, 300)
            self.gain = 0.5

        def forward(self, x):
            return self.gain * (x + self.linear(x)).tanh()

    model = Gain()
    x = torch.rand(2, 300)
    before = spectrum(model, x).radius
    model.gain = 2.0
    after = spectrum(model, x)
    assert after.method == "arnoldi"
    torch.testing.assert_close(after.radius, 4 * before, rtol=1e-4, atol=0)


def test_control_flow_may_depend_on_the_data_without_a_cut():
    class Branching(nn.Module):
        def forward(self, x):
            return 0.9 * x.tanh() if x.sum() > 0 else 0.4 * x

    x = torch.stack([torch.full((300,), 1e-4), -torch.ones(300)])
    for row, radius in zip(x.split(1), [0.9, 0.4], strict=True):
        assert spectrum(Branching(), row).radius.item() == pytest.approx(radius, rel=1e-5)
    with pytest.raises(NotASelfMapError, match=r"rows of a batch interact.* a branch that depends on the whole batch"):
        spectrum(Branching(), x)


def test_an_error_names_the_point_without_a_jacobian():
    x = torch.ones(3, 300)
    x[1, 7] = 0
    with pytest.raises(NonFiniteError, match=r"Jacobian at row 1 holds NaN or infinity"):
        spectrum(lambda x: x.abs().sqrt() / 3, x)


def test_the_solution_of_a_shifted_system_solves_it():
    matrix = build_matrix([0.9, -0.7], 50)
    right_side = torch.randn(3, 50, dtype=torch.float64)
    x = solve_shifted(lambda s: s @ matrix.T, right_side)
    torch.testing.assert_close(x - x @ matrix.T, right_side, rtol=1e-7, atol=1e-7)


def test_slow_attractors_of_a_map_without_a_cut_are_polished_by_products():
    matrix = torch.eye(300, dtype=torch.float64) * 0.5
    matrix[0, 0] = 0.9999
    centre = torch.randn(1, 300, dtype=torch.float64)

    class Slow(nn.Module):
        def forward(self, x):
            return (x - centre) @ matrix + centre

    found = certify(Slow(), centre + 1e-3, eps=0.5)
    assert found.attractor.all()
    torch.testing.assert_close(found.points, centre, rtol=0, atol=1e-6)


def test_an_exact_eigenvalue_has_an_error_bound_of_the_size_of_rounding():
    found = spectrum(lambda x: 0.5 * x, torch.rand(1, 300), method="arnoldi")
    assert 1e-16 < found.radius_error < 1e-10


def test_where_single_precision_sees_another_jacobian_double_decides():
    # 1 + 1e-9 is 1 in float32: there the other branch is taken
    class Kinked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Parameter(build_matrix([0.9], 280))
            self.b = nn.Parameter(build_matrix([0.4], 280))
            self.threshold = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, x):
            return torch.where(x[:, :1] > self.threshold, x @ self.a.T, x @ self.b.T)

    x = torch.full((1, 280), 1 + 1e-9, dtype=torch.float64)
    found = spectrum(Kinked(), x, method="arnoldi").radius.item()
    assert found == pytest.approx(0.9, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_whether_a_value_has_converged_does_not_depend_on_its_size(scale):
    circle = scale * build_cycle(1100, 1.01)  # too many for a Krylov space of 200 columns
    with pytest.warns(UserWarning, match="1 of 1 eigenvalues have not converged"):
        spectrum(affine(circle), torch.zeros(1, 1100))
    clear = scale * build_matrix([0.95, -0.5], 260)
    found = spectrum(affine(clear), torch.zeros(1, 260), method="arnoldi")  # a warning would be an error
    assert found.radius.item() == pytest.approx(0.95 * scale, rel=1e-7)


def test_a_system_is_solved_beside_one_whose_right_side_is_zero():
    matrix = build_matrix([0.9, -0.7], 40)
    right_side = torch.randn(2, 40, dtype=torch.float64)
    right_side[1] = 0
    x = solve_shifted(lambda s: s @ matrix.T, right_side)
    torch.testing.assert_close(x - x @ matrix.T, right_side, rtol=1e-7, atol=1e-7)
    few = solve_shifted(lambda s: s @ matrix.T, right_side, steps=1)  # the multiple of the right side that fits best
    image = right_side[0] - matrix @ right_side[0]
    # least squares: b (A b . b) / (A b . A b) minimises |b - A x| over the multiples of b
    expected = (image @ right_side[0]) / (image @ image) * right_side[0]
    torch.testing.assert_close(few[0], expected)


@pytest.mark.parametrize("block", [1, 2, 4])
def test_a_block_finds_as_many_copies_of_a_value_as_it_has_columns(block):
    values = torch.tensor([2.0, 2, 2, 2, *torch.linspace(1, 0.1, 76)], dtype=torch.float64)
    start = torch.randn(1, 80, block, dtype=torch.float64)
    found = compute_ritz_pairs(lambda s: s * values, start, block, 1e-8)
    assert found.values[0].real.tolist() == pytest.approx([2.0] * block, rel=1e-6)
    assert (found.residual <= 1e-8 * 2).all()
    expected = torch.ones(1, block, dtype=torch.float64)
    torch.testing.assert_close(found.vectors.abs().square().sum(1), expected)
    gap = found.vectors * values[:, None] - found.vectors * found.values[:, None]
    torch.testing.assert_close(torch.linalg.vector_norm(gap, dim=1), found.residual, rtol=1e-3, atol=1e-9)


def test_the_eigenvalues_nearest_to_a_given_one_are_found():
    values = torch.linspace(2, 0.1, 25, dtype=torch.float64)
    near = torch.tensor([0.9 + 0j], dtype=torch.complex128)
    start = torch.randn(1, 25, 1).double()
    found = compute_ritz_pairs(lambda s: s * values, start, 2, 1e-10, near)
    expected = values[(values - 0.9).abs().argsort()[:2]]
    assert found.values[0].real.tolist() == pytest.approx(expected.tolist())


def test_the_search_ends_when_the_eigenvalue_nearest_to_a_given_one_has_converged():
    # 2 stands alone; the others fill a circle of radius 1, on which no Krylov space of few columns finds one
    circle = torch.eye(400, dtype=torch.float64).roll(1, 0)
    columns = 0

    def product(stack):
        nonlocal columns
        columns += len(stack)
        return torch.cat([2 * stack[..., :1], stack[..., 1:] @ circle.T], -1)

    near = torch.tensor([2.0 + 0j], dtype=torch.complex128)
    found = compute_ritz_pairs(product, torch.randn(1, 401, 1, dtype=torch.float64), 2, 1e-6, near)
    assert found.values[0, 0].real.item() == pytest.approx(2, rel=1e-10)
    assert found.residual[0, 1] > 1e-2
    assert columns < 60


def test_the_largest_singular_values_of_several_matrices_and_of_zero_are_found():
    matrices = torch.randn(3, 20, 20, dtype=torch.float64)
    matrices[1] = 0

    def push(stack):
        return torch.einsum("bij,mbj->mbi", matrices, stack)

    def pull(stack):
        return torch.einsum("bij,mbi->mbj", matrices, stack)

    start = torch.randn(3, 20, dtype=torch.float64)
    values, vectors = compute_largest_singular_value(push, pull, start, tol=1e-12)
    torch.testing.assert_close(values, torch.linalg.matrix_norm(matrices, 2))
    images = torch.einsum("bij,bj->bi", matrices, vectors).norm(dim=1)
    torch.testing.assert_close(images, values, rtol=1e-6, atol=1e-12)


class Counting:
    """Multiply stacks of vectors by matrices, and count by how many."""

    def __init__(self, matrices):
        self.matrices = matrices
        self.count = 0

    def __call__(self, stack):
        self.count += len(stack) * stack.shape[1]
        return torch.einsum("bij,mbj->mbi", self.matrices, stack)

    def narrow(self, rows):
        part = self.matrices[rows]

        def multiply(stack):
            self.count += len(stack) * len(part)
            return torch.einsum("bij,mbj->mbi", part, stack)

        return multiply


def build_easy_and_hard():
    easy = build_matrix([0.9], 200)
    crowded = torch.linalg.qr(torch.randn(200, 200, dtype=torch.float64)).Q * 0.99
    return torch.stack([crowded, easy, 2 * easy])


def test_a_matrix_whose_eigenvalue_is_found_is_not_multiplied_any_more():
    matrices = build_easy_and_hard()
    start = torch.randn(3, 200, 2, dtype=torch.float64)
    counting = Counting(matrices)
    found = compute_ritz_pairs(counting, start, 1, 1e-8, narrow=counting.narrow)
    whole = Counting(matrices)
    expected = compute_ritz_pairs(whole, start, 1, 1e-8)
    assert counting.count < 0.6 * whole.count
    assert sorted(torch.cat([space.rows for space in found.spaces]).tolist()) == [0, 1, 2]
    torch.testing.assert_close(found.values, expected.values)
    torch.testing.assert_close(found.residual, expected.residual, rtol=1e-3, atol=1e-12)
    alone = compute_ritz_pairs(lambda s: s @ matrices[1].T, start[1:2], 1, 1e-8)
    torch.testing.assert_close(found.values[1:2], alone.values)
    assert found.values[1:, 0].abs().tolist() == pytest.approx([0.9, 1.8], rel=1e-8)


def test_a_system_that_is_solved_is_not_multiplied_any_more():
    matrices = build_easy_and_hard() / 2.5
    right_side = torch.randn(3, 200, dtype=torch.float64)
    right_side[2] = 0
    counting = Counting(matrices)
    x = solve_shifted(counting, right_side, steps=100, narrow=counting.narrow)
    torch.testing.assert_close(x - torch.einsum("bij,bj->bi", matrices, x), right_side, rtol=1e-7, atol=1e-7)
    assert not x[2].any()
    each = []
    for row in (0, 1):
        own = Counting(matrices[row : row + 1])
        solve_shifted(own, right_side[row : row + 1], steps=100)
        each.append(own.count)
    assert each[0] != each[1]
    # One of two stays with the other until half of them have left.
    assert max(each) + min(each) <= counting.count < len(matrices) * max(each)


def test_the_estimated_error_of_an_eigenvalue_knows_its_condition():
    matrix = torch.zeros(260, 260, dtype=torch.float64)
    matrix[:2, :2] = torch.tensor([[0.9, 50.0], [0.0, 0.8]], dtype=torch.float64)
    start = torch.randn(1, 260, 2, dtype=torch.float64)
    found = compute_ritz_pairs(lambda s: s @ matrix.T, start, 1, 1e-4, weighted=True)
    # the condition of a in [[a, c], [0, b]] is sqrt(1 + (c / (a - b))^2)
    assert found.condition.item() == pytest.approx(math.hypot(1, 50 / 0.1), rel=1e-3)
    assert found.values.real.item() == pytest.approx(0.9, abs=1e-4)
