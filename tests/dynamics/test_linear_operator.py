"""The matrix of a linear map."""

import copy

import pytest
import torch
from torch import nn
from torch.func import jacrev

from memzoo.dynamics import operator
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.models import D1


def push_basis_through(module, shape):
    """Compute the matrix column by column from a float64 copy, straight from the definition."""
    wide = copy.deepcopy(module).double()
    zero = torch.zeros(1, *shape, dtype=torch.float64)
    columns = []
    with torch.no_grad():
        for i in range(zero.numel()):
            basis = zero.clone()
            basis.view(-1)[i] = 1
            columns.append((wide(basis) - wide(zero)).flatten())
        return torch.stack(columns, 1), wide(zero).flatten()


class Skip(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


def conv(fan_in, fan_out, bias=False, **options):
    return nn.Conv2d(fan_in, fan_out, 3, padding=1, bias=bias, **options)


CHAINS = {
    "filters": nn.Sequential(conv(2, 5), conv(5, 3), conv(3, 2)),
    "stride": nn.Sequential(conv(2, 4, stride=2), nn.Upsample(scale_factor=2), conv(4, 2)),
    "bilinear": nn.Sequential(conv(2, 3, stride=2), nn.UpsamplingBilinear2d(scale_factor=2), conv(3, 2)),
    "skip": nn.Sequential(Skip(conv(2, 2)), Skip(nn.Sequential(conv(2, 3), conv(3, 2)))),
    "bias": nn.Sequential(conv(2, 3, bias=True), conv(3, 2, bias=True)),
    "dense": nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.Linear(2, 48), nn.Unflatten(1, (2, 4, 6))),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_columns_are_the_images_of_the_basis_vectors(name):
    module = CHAINS[name]
    shape = (2, 4, 6)
    found = operator(module, shape)
    matrix, offset = push_basis_through(module, shape)
    torch.testing.assert_close(found.matrix, matrix)
    torch.testing.assert_close(found.offset, offset)
    assert found.shape == shape
    assert (offset.norm() > 0) == (name in ("bias", "dense"))
    assert next(module.parameters()).dtype == torch.float32


def test_a_3x3_convolution_has_the_matrix_that_the_paper_prints():
    printed = """e f 0 h i 0 0 0 0
                 d e f g h i 0 0 0
                 0 d e 0 g h 0 0 0
                 b c 0 e f 0 h i 0
                 a b c d e f g h i
                 0 a b 0 d e 0 g h
                 0 0 0 b c 0 e f 0
                 0 0 0 a b c d e f
                 0 0 0 0 a b 0 d e"""
    expected = [["0abcdefghi".index(entry) for entry in row.split()] for row in printed.splitlines()]
    layer = conv(1, 1)
    layer.weight.data = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    assert operator(layer, (1, 3, 3)).matrix.tolist() == expected


def test_a_1x1_upsampling_has_the_matrix_that_the_paper_prints():
    # nearest-neighbour upsampling of a 1x1 image by 2 within zero padding, 3x3 to 4x4, on a common 4x4 canvas
    def upsample(x):
        y = torch.zeros_like(x)
        y[:, :, 1:3, 1:3] = nn.functional.interpolate(x[:, :, 1:2, 1:2], scale_factor=2, mode="nearest")
        return y

    expected = torch.zeros(16, 16, dtype=torch.float64)
    expected[[5, 6, 9, 10], 5] = 1  # the rows that the paper prints; the pixel is entry 4 of 3x3, entry 5 of 4x4
    assert torch.equal(operator(upsample, (1, 4, 4)).matrix, expected)


def test_a_linear_d1_equals_its_jacobian_anywhere():
    model = D1(shape=(3, 8, 8), filters=16)
    wide = copy.deepcopy(model).double()
    x = torch.rand(3, 8, 8, dtype=torch.float64)
    jacobian = jacrev(lambda row: wide(row[None])[0])(x).reshape(192, 192)
    found = operator(model, (3, 8, 8))
    torch.testing.assert_close(found.matrix, jacobian.detach())
    assert torch.equal(operator(model, (3, 8, 8), block=7).matrix, found.matrix)


def test_the_matrix_and_the_offset_of_an_affine_map_are_found():
    matrix = torch.randn(4, 4, dtype=torch.float64)
    offset = torch.randn(4, dtype=torch.float64)
    found = operator(lambda x: x @ matrix.T + offset, (4,))
    torch.testing.assert_close(found.matrix, matrix)
    assert torch.equal(found.offset, offset)


def test_an_operator_prints_as_its_spectrum_in_the_notation_of_the_paper():
    values = torch.tensor([1.0, -0.98, 0.45, 0.012, 0.004], dtype=torch.float64)
    basis = torch.randn(5, 5, dtype=torch.float64)
    matrix = basis @ values.diag() @ torch.linalg.inv(basis)
    found = operator(lambda x: x @ matrix.T, (5,))
    assert found.spectrum.eigenvalues[0].real.tolist() == pytest.approx(values.tolist(), abs=1e-12)
    assert found.spectrum is found.spectrum
    assert found.bracket(2) == "1, .98, [< 5e-1]"
    values[2] = 0.7
    matrix = basis @ values.diag() @ torch.linalg.inv(basis)
    assert str(operator(lambda x: x @ matrix.T, (5,))) == "1, .98, .7, [< 2e-2]"
    assert str(operator(lambda x: x @ (0.4 * matrix).T, (5,))) == "[< 5e-1]"


def test_moduli_from_one_half_on_are_printed():
    assert operator(lambda x: x @ torch.diag(torch.tensor([1.0, -0.5, 0.4375])), (3,)).bracket() == "1, .5, [< 5e-1]"


def test_the_digits_that_a_large_offset_takes_are_no_bend():
    # 1e6 + 1e-12 x keeps four digits of the second term at x = 1000, and none at x = 1
    found = operator(lambda x: 1e6 + 1e-12 * x, (3,))
    assert found.offset.tolist() == [1e6] * 3
    assert found.matrix.abs().max() < 1e-9


def test_a_projection_by_a_nonnormal_matrix_has_radius_1():
    # x y^T / (y^T x) has spectrum 1, 0, however stretched
    x = torch.tensor([[1.0], [2], [3]]).double()
    y = torch.tensor([[1.0], [0], [0]]).double()
    found = operator(lambda z: z @ (x @ y.T).T, (3,))
    assert found.bracket(1).startswith("1, [")
    assert found.spectrum.radius.item() == pytest.approx(1)


def test_callables_with_float32_constants_have_a_matrix_in_their_own_precision():
    matrix = torch.randn(30, 30)
    found = operator(lambda x: x @ matrix.T, (30,))
    assert torch.equal(found.matrix, matrix.double())


class Shaped(nn.Linear):
    shape = (3,)
    example_input_array = torch.zeros(2, 5)  # the shape comes first


class Lightning(nn.Linear):
    example_input_array = torch.zeros(2, 1, 3)


class Elsewhere(nn.Linear):
    shape = "square"


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (Shaped(3, 3), (3,)),
        (Lightning(3, 3), (1, 3)),
        (nn.Linear(3, 3), (3,)),
        (Elsewhere(3, 3), (3,)),
        (nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3)), (3,)),
    ],
)
def test_the_shape_is_read_from_the_map_unless_it_is_given(module, shape):
    assert operator(module).shape == shape
    assert operator(module, (3,)).shape == (3,)


@pytest.mark.parametrize("f", [conv(1, 1), nn.Sequential(), lambda x: x])
def test_an_error_asks_for_a_shape_that_the_map_does_not_know(f):
    with pytest.raises(TypeError, match=r"does not tell the shape of its points; pass shape=, such as \(3, 32, 32\)"):
        operator(f)


@pytest.mark.parametrize(
    "f",
    [
        nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 3)),
        nn.Sequential(nn.Linear(3, 9, bias=False), nn.LeakyReLU(0.999), nn.Linear(9, 3, bias=False)),
        lambda x: x.clamp(-10, 10),  # linear near the origin
        lambda x: torch.where(x.abs() < 0.01, 2 * x, x),  # linear far from it
        lambda x: x + 1e-7 * torch.tanh(x),
        lambda x: x.roll(1, 1) * x,
    ],
    ids=["relu", "leaky", "clamp", "notch", "faint", "square"],
)
def test_nonlinear_maps_are_refused(f):
    with pytest.raises(ValueError, match=r"needs a linear map, but f\(x\) differs.*use spectrum\(f, x\)"):
        operator(f, (3,))


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(NotASelfMapError, match=r"input \(1, 4\) became \(1, 2\)"):
        operator(nn.Linear(4, 2))
    with pytest.raises(NotASelfMapError, match=r"maps batches of shape \(B, 3, 8, 8\), got \(1, 3, 4, 4\)"):
        operator(D1(shape=(3, 8, 8), filters=4), (3, 4, 4))


def test_parameters_and_outputs_that_are_not_finite_are_refused():
    module = nn.Linear(3, 3)
    module.weight.data[0, 1] = torch.nan
    with pytest.raises(NonFiniteError, match=r"parameter 'weight' holds NaN or infinity in 1 of 9"):
        operator(module)
    with pytest.raises(NonFiniteError, match=r"at the origin or at a unit vector"):
        operator(lambda x: 1 / x, (3,))
