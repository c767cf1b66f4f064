import pytest
import torch
from matplotlib.figure import Figure
from torch import nn
from torch.testing import assert_close

from memzoo.dynamics import iterate, recover
from memzoo.dynamics.memory.degradation import derive_adjoint, guess_known, solve_by_conjugate_gradients
from memzoo.errors import InvalidTypeError, NonFiniteError, NotASelfMapError

DOUBLE = torch.float64


def projection(dim, rank):
    """Return a basis of a random subspace, and the projection onto it."""
    basis = torch.linalg.qr(torch.randn(dim, rank, dtype=DOUBLE)).Q
    return basis, lambda x: x @ (basis @ basis.T)


def look_up(examples):
    """Build the map that looks up the nearest example."""

    def f(x):
        gaps = (x.flatten(1)[:, None] - examples.flatten(1)[None]).norm(dim=2)
        return examples[gaps.argmin(1)]

    return f


def recovered_all(found):
    return found.recovered.all()


def nearest_of(found):
    return found.nearest.tolist()


def hide(x, share):
    return torch.rand(x.shape) > share


@pytest.mark.parametrize("rho", [0.3, 1.0, 3.0])
def test_recovery_onto_a_subspace_is_least_squares(rho):
    basis, f = projection(12, 3)
    y = torch.randn(5, 12, dtype=DOUBLE)  # no point of the subspace explains it
    mask = hide(y, 0.3)
    found = recover(f, y, mask, rho=rho, steps=20000)
    assert found.converged.all()
    for row, known, values in zip(found.images, mask, y, strict=True):
        coordinates = torch.linalg.lstsq(basis[known], values[known, None]).solution
        assert_close(row, (basis @ coordinates)[:, 0], rtol=0, atol=1e-7)


@pytest.mark.parametrize("rho", [0.5, 2.0])
def test_recovery_by_a_linear_map_solves_its_equations(rho):
    # x = A (x + M (y - x) / rho) + b
    matrix = torch.randn(8, 8, dtype=DOUBLE)
    matrix = 0.4 * (matrix + matrix.T) / torch.linalg.matrix_norm(matrix + matrix.T, 2)
    offset = torch.randn(8, dtype=DOUBLE)
    y = torch.randn(4, 8, dtype=DOUBLE)
    mask = hide(y, 0.5)
    mask[:, 0] = True
    found = recover(lambda x: x @ matrix.T + offset, y, mask, rho=rho, steps=5000)
    assert found.converged.all()
    assert (found.steps < 5000).all()
    for row, known, values in zip(found.images, mask.double(), y, strict=True):
        system = torch.eye(8, dtype=DOUBLE) - matrix + matrix * known / rho
        assert_close(row, torch.linalg.solve(system, matrix @ (known * values) / rho + offset), rtol=0, atol=1e-8)


def test_a_mask_and_its_operator_recover_the_same():
    _, f = projection(6, 2)
    y = f(torch.randn(3, 6, dtype=DOUBLE))
    mask = hide(y[0], 0.4)
    mask[:2] = True
    by_mask = recover(f, y, mask, steps=5000)
    for adjoint in (None, lambda x: x * mask):
        by_operator = recover(f, y * mask, operator=lambda x: x * mask, adjoint=adjoint, steps=5000)
        assert_close(by_operator.images, by_mask.images, rtol=0, atol=1e-8)
    assert_close(by_mask.images, y, rtol=0, atol=1e-7)


def test_fewer_measurements_than_pixels_are_enough_for_a_subspace():
    _, f = projection(9, 2)
    examples = f(torch.randn(4, 9, dtype=DOUBLE)).reshape(4, 3, 3)
    rows = torch.randn(4, 9, dtype=DOUBLE)

    def operator(x):
        return x.flatten(1) @ rows.T

    def g(x):
        return f(x.flatten(1)).reshape(x.shape)

    found = recover(g, operator(examples), examples=examples, operator=operator, steps=20000)
    assert found.images.shape == (4, 3, 3)
    assert recovered_all(found)
    assert nearest_of(found) == [0, 1, 2, 3]
    assert found.misfit.max() < 1e-6
    assert (
        recover(g, operator(examples), operator=operator, adjoint=lambda y: (y @ rows).reshape(-1, 3, 3)).images.ndim
        == 3
    )


def test_what_is_known_decides_where_iteration_is_misled():
    # the missing values are far from those of the example, so that looking up the start gives the other one
    examples = torch.tensor([[5.0, 5.0, 5.0, 1.0], [0.0, 0.0, 0.0, -1.0]])
    mask = torch.tensor([False, False, False, True])
    damaged = torch.where(mask, examples, 0.0)
    f = look_up(examples)
    assert torch.equal(iterate(f, damaged, 50).points[0], examples[1])
    found = recover(f, damaged, mask, examples)
    assert recovered_all(found)
    assert nearest_of(found) == [0, 1]


def test_an_image_that_ends_at_an_example_of_other_values_is_not_recovered():
    examples = torch.eye(4)[:2]
    damaged = torch.tensor([[1.0, 0.0, 0.0, 5.0], [1.0, 0.0, 0.0, 0.0]])  # no example has a last value of 5
    mask = torch.tensor([True, True, True, True])
    mask[1] = False
    for way in ({"mask": mask}, {"operator": lambda x: x * mask}):
        found = recover(lambda x: examples[:1].expand(x.shape), damaged, examples=examples, **way)
        assert nearest_of(found) == [0, 0]
        assert (found.distance == 0).all()
        assert found.recovered.tolist() == [False, True]


def test_values_under_the_mask_are_not_read():
    examples = torch.rand(4, 2, 3)
    mask = hide(examples, 0.5)
    mask[:, 0, 0] = True
    found = [
        recover(look_up(examples), torch.where(mask, examples, value), mask, examples).images
        for value in (0.0, 1e30, torch.nan, torch.inf)
    ]
    assert all(torch.equal(other, found[0]) for other in found)


def test_an_image_that_is_known_whole_is_returned():
    y = torch.rand(3, 4)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1, 2] = False
    found = recover(torch.zeros_like, y, mask)
    assert torch.equal(found.images[[0, 2]], y[[0, 2]])
    assert found.steps[[0, 2]].tolist() == [0, 0]
    assert found.converged[[0, 2]].all()
    assert torch.equal(found.images[1], torch.zeros(4))


@pytest.mark.parametrize(("share", "fill"), [(0.7, 0.0), (0.7, 1.0), (0.15, None)])
def test_blind_recovery_finds_the_values_that_are_wrong(share, fill):
    examples = torch.rand(5, 200)
    damaged = torch.where(hide(examples, share), examples, torch.rand(5, 200) if fill is None else fill)
    found = recover(look_up(examples), damaged, examples=examples, blind=True)
    assert recovered_all(found)
    assert nearest_of(found) == [0, 1, 2, 3, 4]


def test_blind_recovery_is_robust_regression():
    # one unknown number, measured often, and by a third of the values wrongly: Cauchy's location estimate
    y = torch.cat([1 + 0.01 * torch.randn(1, 20, dtype=DOUBLE), 5 * torch.rand(1, 10, dtype=DOUBLE)], 1)
    found = recover(lambda x: x.mean(1, keepdim=True).expand(x.shape), y, blind=True, steps=20000)
    assert found.converged.all()
    number = found.images[0, 0]
    weight = 1 / (1 + ((y - number) / (0.03 * (y.max() - y.min()))).square())
    assert_close(number, (weight * y).sum() / weight.sum(), rtol=1e-7, atol=0)
    assert_close(number, torch.tensor(1.0, dtype=DOUBLE), rtol=0, atol=0.05)


def test_a_blind_recovery_is_certain_of_what_is_not_repeated():
    values = torch.tensor([[0.0, 0.0, 1.0, 2.0], [4.0, 1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
    guess = guess_known(values, 0.1)
    assert guess.certain.tolist() == [[False, False, True, True], [False] * 4, [False] * 4]
    weight = guess.revise(values + torch.tensor([0.2, 0.0, 0.2, 0.2])).weight
    assert_close(weight[0], torch.tensor([0.5, 1.0, 1.0, 1.0]))
    assert_close(weight[1], 1 / (1 + torch.tensor([0.2, 0.0, 0.2, 0.2]).div(0.3).square()))


def test_an_image_does_not_depend_on_the_others():
    model = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 6)).double().eval()
    y = torch.randn(5, 6, dtype=DOUBLE)
    mask = hide(y, 0.4)
    mask[:, 0] = True
    whole = recover(model, y, mask, steps=50)
    for block in (1, 2):
        assert_close(recover(model, y, mask, steps=50, block=block).images, whole.images, rtol=0, atol=1e-10)
    alone = recover(model, y[3:4], mask[3:4], steps=50)
    assert_close(alone.images, whole.images[3:4], rtol=0, atol=1e-10)


def test_an_image_that_leaves_the_number_range_is_not_converged():
    found = recover(lambda x: 1e20 * x, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([True, False]))
    assert found.converged.tolist() == [False, True]
    assert found.images.isfinite().all()


def test_noise_is_weighed_against_the_network():
    examples = 3 * torch.eye(3)
    damaged = examples + 0.2 * torch.randn(3, 3)
    found = recover(look_up(examples), damaged, examples=examples)
    assert recovered_all(found)


def test_conjugate_gradients_solve_each_system():
    matrix = torch.randn(7, 7, dtype=DOUBLE)
    matrix = matrix @ matrix.T + torch.eye(7)
    right = torch.randn(3, 7, dtype=DOUBLE)
    right[1] = 0
    found = solve_by_conjugate_gradients(lambda x: x @ matrix, right)
    assert_close(found, torch.linalg.solve(matrix, right.T).T, rtol=0, atol=1e-9)
    assert torch.equal(found[1], torch.zeros(7, dtype=DOUBLE))


def test_a_derived_adjoint_is_the_transpose():
    matrix = torch.randn(3, 5, dtype=DOUBLE)
    y = torch.randn(2, 3, dtype=DOUBLE)
    adjoint = derive_adjoint(lambda x: x @ matrix.T, (5,), y)
    with torch.no_grad():
        assert_close(adjoint(y), y @ matrix)


def test_results_print_and_plot():
    examples = torch.rand(3, 1, 4, 4)
    mask = hide(examples, 0.3)
    found = recover(look_up(examples), examples, mask, examples)
    assert "3 of 3 images converged; 3 recovered, distances from an example 0 to" in str(found)
    assert isinstance(found.plot(), Figure)
    assert len(found.plot(2).axes) == 6
    alone = recover(look_up(examples), examples, mask)
    assert alone.nearest is alone.distance is alone.recovered is None
    assert len(alone.plot().axes) == 6


X = torch.rand(2, 4)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"mask": torch.ones(2, 4)},
            InvalidTypeError,
            "mask must be a boolean tensor, true for known pixels, got torch.float32",
        ),
        ({"mask": [True]}, InvalidTypeError, "mask must be a boolean tensor.*got list"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, ValueError, r"mask must have the shape of damaged, \(2, 4\)"),
        ({"mask": torch.zeros(2, 4, dtype=torch.bool)}, ValueError, "mask leaves nothing of 2 of 2 images"),
        (
            {"mask": torch.ones(2, 4, dtype=torch.bool), "blind": True},
            ValueError,
            "one of mask, blind=True and operator",
        ),
        ({"adjoint": lambda x: x}, ValueError, "one of mask, blind=True and operator"),
        ({"operator": lambda x: x + 1}, ValueError, "operator must be linear in each image"),
        ({"operator": lambda x: x[:, :2]}, ValueError, r"operator must map \(2, 4\) to torch.float32 \(2, 4\), got"),
        ({"operator": lambda x: x.roll(1, 1), "adjoint": lambda x: x}, ValueError, "adjoint is not that of operator"),
        (
            {"operator": lambda x: x * torch.rand(3, 4)},
            ValueError,
            "operator fails for 2 images.* any number of images",
        ),
        ({"operator": lambda x: x.flip(0)}, ValueError, "adjoint is not that of operator"),
        ({"operator": lambda x: x.detach()}, ValueError, "no gradient flows through operator"),
        ({"operator": lambda x: x / 0}, NonFiniteError, "operator gives NaN or infinity"),
        ({"rho": 0}, ValueError, "rho must be a finite number > 0, got 0"),
        ({"rho": torch.nan}, ValueError, "rho must be a finite number > 0, got nan"),
        ({"steps": -1}, ValueError, "steps must be a whole number >= 0"),
        ({"examples": torch.rand(3, 5)}, ValueError, "images and examples must be points of one space"),
        ({"examples": torch.rand(3, 4), "eps": 0.0}, ValueError, "eps must be a finite number > 0"),
    ],
)
def test_what_describes_no_damage_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        recover(torch.tanh, X, **settings)


@pytest.mark.parametrize("settings", [{}, {"blind": True}, {"mask": torch.tensor([True, True, False, False])}])
def test_values_that_are_known_are_finite(settings):
    x = X.clone()
    x[1, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"damaged holds NaN or infinity in 1 of 2 rows.* row 1"):
        recover(torch.tanh, x, **settings)


def test_an_encoder_is_refused():
    with pytest.raises(NotASelfMapError, match="pass the full autoencoder"):
        recover(lambda x: x[:, :1], X)
