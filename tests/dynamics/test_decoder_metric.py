"""The metric of a decoder against autograd, closed forms and invariances."""

import math

import pytest
import torch
from torch import Tensor, nn

from memzoo.dynamics import decoder_metric
from memzoo.dynamics.latent import quadrature
from memzoo.errors import InvalidArgumentError, NonFiniteError, NotASelfMapError


def build_perceptron(k: int, outputs: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(k, 12), nn.Tanh(), nn.Linear(12, 14), nn.Softplus(), nn.Linear(14, outputs)).eval()


def build_convolutions() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.SiLU(),
        nn.Upsample(scale_factor=2),
        nn.Conv2d(4, 3, 3, padding=1),
        nn.Sigmoid(),
    ).eval()


def gram_by_autograd(decoder: nn.Module, z: Tensor) -> Tensor:
    """Compute G by plain reverse mode in float64, code by code."""
    wide = decoder.double()
    found = []
    for code in z.double():
        jacobian = torch.autograd.functional.jacobian(lambda c: wide(c[None])[0].flatten(), code)
        matrix = jacobian.reshape(len(jacobian), -1)
        found.append(matrix.T @ matrix)
    decoder.float()
    return torch.stack(found)


@pytest.mark.parametrize(
    ("decoder", "shape"),
    [(build_perceptron(5, 9), (5,)), (build_perceptron(6, 6), (6,)), (build_convolutions(), (2, 3, 3))],
)
def test_everything_is_that_of_autograd(decoder, shape):
    z = torch.randn(3, *shape)
    gram = gram_by_autograd(decoder, z)
    found = decoder_metric(decoder, z)
    assert found.method == "exact"
    assert found.derivative == ["verified"] * 3
    torch.testing.assert_close(found.trace, gram.diagonal(dim1=1, dim2=2).sum(1), rtol=1e-8, atol=0)
    torch.testing.assert_close(found.influence.flatten(1), gram.diagonal(dim1=1, dim2=2), rtol=1e-8, atol=0)
    assert found.influence.shape == z.shape
    torch.testing.assert_close(found.eigenvalues, torch.linalg.eigvalsh(gram).flip(1), rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(found.logdet, torch.logdet(gram), rtol=1e-8, atol=1e-8)
    assert (found.logdet_interval[:, 0] <= found.logdet).all()
    assert (found.logdet <= found.logdet_interval[:, 1]).all()
    assert next(decoder.parameters()).dtype == torch.float32


@pytest.mark.parametrize("method", ["exact", "stochastic"])
def test_an_isometry_has_the_identity(method):
    columns = torch.linalg.qr(torch.randn(12, 7, dtype=torch.float64)).Q
    for decoder, z in ((nn.Identity(), torch.randn(2, 7)), (lambda z: z @ columns.T, torch.randn(2, 7).double())):
        found = decoder_metric(decoder, z, method=method)
        torch.testing.assert_close(found.trace, torch.full_like(found.trace, 7.0))
        torch.testing.assert_close(found.logdet, torch.zeros_like(found.logdet), rtol=0, atol=1e-12)
        torch.testing.assert_close(found.eigenvalues[:, 0], torch.ones_like(found.trace))
        low, high = found.influence_range
        assert (low * found.influence <= 1 + 1e-9).all()
        assert (high * found.influence >= 1 - 1e-9).all()


def test_scaling_and_rotation_of_images():
    decoder = build_perceptron(4, 8)
    z = torch.randn(2, 4)
    plain = decoder_metric(decoder, z)
    rotation = torch.linalg.qr(torch.randn(8, 8)).Q
    turned = decoder_metric(nn.Sequential(decoder, _matrix(rotation)), z)
    torch.testing.assert_close(turned.eigenvalues, plain.eigenvalues, rtol=1e-5, atol=0)
    torch.testing.assert_close(turned.influence, plain.influence, rtol=1e-5, atol=0)
    # G of c D(z / b) is c^2 / b^2 times that of D at z / b.
    scaled = decoder_metric(nn.Sequential(_matrix(torch.eye(4) / 4), decoder, _matrix(2**-70 * torch.eye(8))), 4 * z)
    shift = 2 * math.log(2**-70 / 4)
    torch.testing.assert_close(scaled.logdet, plain.logdet + 4 * shift)
    torch.testing.assert_close(scaled.trace, plain.trace * math.exp(shift))


def _matrix(matrix: Tensor) -> nn.Linear:
    layer = nn.Linear(matrix.shape[1], matrix.shape[0], bias=False)
    layer.weight = nn.Parameter(matrix, requires_grad=False)
    return layer


def test_a_singular_metric_is_said_to_be_so():
    decoder = nn.Sequential(_matrix(torch.randn(3, 5)), nn.Tanh(), _matrix(torch.randn(9, 3)))
    with pytest.warns(UserWarning, match="singular at 2 of 2 codes"):
        found = decoder_metric(decoder, torch.randn(2, 5))
    assert found.logdet.isneginf().all()
    assert found.logdet_interval.isneginf().all()
    assert found.rank.tolist() == [3, 3]
    assert (found.eigenvalues[:, 3:] == 0).all()
    assert (found.eigenvalues[:, :3] > 0).all()
    assert "singular: rank 3 of 5" in str(found)


def test_a_decoder_to_fewer_values_is_singular():
    with pytest.warns(UserWarning, match="singular"):
        found = decoder_metric(build_perceptron(6, 4), torch.randn(1, 6))
    assert found.rank.tolist() == [4]
    assert found.eigenvalues.shape == (1, 6)


class StraightThrough(nn.Module):
    """Autograd is told the identity in place of the tanh."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 6)

    def forward(self, z: Tensor) -> Tensor:
        return self.last(z + (torch.tanh(3 * z) - z).detach())


class HiddenLayer(nn.Module):
    """A layer runs under no_grad."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.hidden = nn.Linear(4, 6)

    def forward(self, z: Tensor) -> Tensor:
        with torch.no_grad():
            part = self.hidden(z)
        return self.first(z).sin() + part


@pytest.mark.parametrize("method", ["exact", "stochastic"])
@pytest.mark.parametrize("kind", [StraightThrough, HiddenLayer])
def test_the_derivative_is_that_of_the_decoder_and_not_that_of_autograd(kind, method):
    decoder = kind().eval()
    z = torch.randn(2, 4)
    step = 1e-5
    wide = kind().double()
    wide.load_state_dict(decoder.state_dict())
    identity = step * torch.eye(4, dtype=torch.float64)
    columns = [(wide(code + identity) - wide(code - identity)).T / (2 * step) for code in z.double()]
    gram = torch.stack([matrix.T @ matrix for matrix in columns]).detach()
    with pytest.warns(UserWarning, match="is not that of the decoder"):
        found = decoder_metric(decoder, z, method=method)
    assert found.derivative == ["verified"] * 2
    torch.testing.assert_close(found.logdet, torch.logdet(gram), rtol=1e-6, atol=1e-6) if method == "exact" else None
    low, high = found.logdet_interval.T
    assert ((low - 1e-6 <= torch.logdet(gram)) & (torch.logdet(gram) <= high + 1e-6)).all()


def test_a_method_of_a_module_is_read_in_float64():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = build_perceptron(4, 7)

        def decode(self, z: Tensor) -> Tensor:
            return self.layers(z)

    model = Model().eval()
    z = torch.randn(2, 4)
    torch.testing.assert_close(
        decoder_metric(model.decode, z).logdet, decoder_metric(model.layers, z).logdet, rtol=0, atol=0
    )


def test_the_image_is_taken_out_of_what_a_method_returns():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = build_perceptron(4, 7)

        def decode(self, z: Tensor) -> dict[str, Tensor]:
            image = self.layers(z)
            return {"loss": image.square().mean(), "sample": image}

    model = Model().eval()
    z = torch.randn(2, 4)
    assert torch.equal(decoder_metric(model.decode, z).logdet, decoder_metric(model.layers, z).logdet)


def test_a_kink_is_one_sided():
    found = decoder_metric(nn.Sequential(nn.LeakyReLU(), _matrix(torch.eye(3))), torch.tensor([[1.0, 1.0, 0.0]]))
    assert found.derivative == ["one-sided"]


@pytest.mark.parametrize(
    ("decoder", "z", "error", "match"),
    [
        (nn.Dropout(0.5), torch.ones(2, 3), InvalidArgumentError, "training mode"),
        (lambda z: z + torch.rand_like(z), torch.ones(2, 3), NotASelfMapError, "two answers"),
        (lambda z: z - z.mean(0), torch.randn(2, 3), NotASelfMapError, "rows of a batch interact"),
        (lambda z: (z, z), torch.ones(2, 3), InvalidArgumentError, "returns a tuple"),
        (lambda z: z.sum(), torch.ones(2, 3), InvalidArgumentError, "a row for each row"),
        (lambda z: z.long(), torch.ones(2, 3), InvalidArgumentError, "real floating-point numbers"),
        (nn.Linear(4, 5), torch.ones(2, 3), InvalidArgumentError, "cannot be evaluated at a batch"),
        (nn.Identity(), torch.full((2, 3), math.nan), NonFiniteError, "z holds NaN"),
        (lambda z: z / 0, torch.ones(2, 3), NonFiniteError, "holds NaN or infinity"),
        (nn.Identity(), torch.ones(3), InvalidArgumentError, "must be a batch"),
    ],
)
def test_what_is_no_decoder_is_refused(decoder, z, error, match):
    with pytest.raises(error, match=match):
        decoder_metric(decoder, z)


@pytest.mark.parametrize(
    ("options", "match"),
    [({"method": "fast"}, "method must be"), ({"confidence": 1}, "confidence"), ({"memory_limit": 0}, "memory_limit")],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(InvalidArgumentError, match=match):
        decoder_metric(nn.Identity(), torch.ones(1, 3), **options)


# What is not formed ---------------------------------------------------------------------------------------------------


def draw_positive(k: int, condition: float, seed: int) -> Tensor:
    """Draw a symmetric matrix with eigenvalues between 1 / condition and 1, even on the logarithmic scale."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(k, k, generator=generator, dtype=torch.float64)).Q
    return basis * torch.logspace(-math.log10(condition), 0, k, dtype=torch.float64) @ basis.T


def test_the_interval_covers_the_determinant_in_95_of_100():
    covered = 0
    for seed in range(100):
        matrix = draw_positive(60, 50.0, seed)
        starts = torch.randn(16, 60, generator=torch.Generator().manual_seed(1000 + seed), dtype=torch.float64)
        found = quadrature.estimate_logdet(lambda v, a=matrix: v @ a, starts, 5, 1e-14, 2**20, 0.99)
        estimate, low, high = found.logdet
        covered += low <= float(torch.logdet(matrix)) <= high
        assert low <= estimate <= high
        assert math.isfinite(low)
    assert covered >= 95


def test_the_two_quadratures_enclose_the_quadratic_form():
    matrix = draw_positive(40, 100.0, 0)
    values, vectors = torch.linalg.eigh(matrix)
    starts = torch.randn(3, 40, dtype=torch.float64)
    unit = starts / starts.norm(dim=1, keepdim=True)
    true = ((unit @ vectors).square() * values.log()).sum(1)
    for steps in (2, 5, 10, 20):
        spaces = quadrature._KrylovSpaces(lambda v: v @ matrix, starts)
        spaces.extend(steps)
        nodes, weights = spaces.solve(spaces.diagonal, spaces.beside[:, :-1])
        upper = (weights * nodes.log()).sum(1)
        nodes, weights = spaces.add_node(0.9 * float(values[0]))
        lower = (weights * nodes.log()).sum(1)
        assert (lower <= true + 1e-12).all()
        assert (true <= upper + 1e-12).all()
    assert ((upper - lower) < 0.05).all()


def test_quantiles_are_those_of_the_tables():
    assert quadrature.student_quantile(0.99, 15) == pytest.approx(2.947, abs=2e-3)
    assert quadrature.student_quantile(0.95, 30) == pytest.approx(2.042, abs=1e-3)
    assert 64 * quadrature.chi_squared_quantile(0.995, 64) == pytest.approx(96.878, rel=1e-3)
    assert 64 * quadrature.chi_squared_quantile(0.005, 64) == pytest.approx(38.610, rel=2e-3)


def test_both_ways_agree_on_a_small_decoder():
    decoder = build_convolutions()
    z = torch.randn(2, 2, 4, 4)
    exact = decoder_metric(decoder, z)
    found = decoder_metric(decoder, z, method="stochastic")
    low, high = found.logdet_interval.T
    assert ((low <= exact.logdet) & (exact.logdet <= high)).all()
    low, high = found.trace_interval.T
    assert ((low <= exact.trace) & (exact.trace <= high)).all()
    torch.testing.assert_close(found.eigenvalues[:, 0], exact.eigenvalues[:, 0])
    ratio = exact.influence / found.influence
    low, high = found.influence_range
    assert ((low <= ratio) & (ratio <= high)).double().mean() >= 0.95
    assert found.rank.tolist() == [-1, -1]
    again = decoder_metric(decoder, z[1:], method="stochastic")
    torch.testing.assert_close(again.logdet, found.logdet[1:], rtol=1e-9, atol=1e-9)


def test_a_singular_metric_that_is_not_formed():
    layer = _matrix(torch.cat([torch.eye(6), torch.zeros(3, 6)]).T.contiguous())
    with pytest.warns(UserWarning, match="singular at 1 of 1"):
        found = decoder_metric(layer, torch.randn(1, 9), method="stochastic")
    assert found.logdet.isneginf().all()


def test_what_may_be_singular_has_no_lower_bound():
    matrix = draw_positive(80, 1e10, 0)
    starts = torch.randn(16, 80, dtype=torch.float64)
    memory = 8 * 16 * 80 * 20  # twenty steps
    found = quadrature.estimate_logdet(lambda v: v @ matrix, starts, 5, 1e-14, memory, 0.99)
    assert found.logdet[1] == -math.inf
    assert float(torch.logdet(matrix)) <= found.logdet[2]
