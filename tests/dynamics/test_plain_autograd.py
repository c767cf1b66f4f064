"""Maps that the transforms of torch.func refuse or get wrong, against closed forms and differences."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from memzoo.dynamics import certify, spectrum
from memzoo.dynamics.spectra.derivatives import compute_jacobians, flatten_map, linearise_row_by_row, pull_back
from memzoo.dynamics.spectra.differences import compute_jacobians_by_differences
from memzoo.dynamics.spectra.plain_autograd import compute_jacobians_by_autograd, linearise_by_autograd
from memzoo.errors import NotDifferentiableError

MANY = 2**20


class Sine(torch.autograd.Function):
    """The sine in the style without setup_context."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * x.cos()


class SineOnce(Sine):
    """The same, with a backward pass in numpy that has no derivative itself."""

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.from_numpy(gradient.detach().numpy() * x.detach().cos().numpy())


class TwoLayers(nn.Module):
    """W2 g(W1 x + b), wide enough for each method."""

    def __init__(self, dim, activation=torch.sin):
        super().__init__()
        self.first = nn.Linear(dim, dim)
        self.second = nn.Linear(dim, dim, bias=False)
        self.activation = activation

    def forward(self, x):
        return self.second(self.activation(self.first(x)))

    def jacobian(self, x):
        slope = torch.cos(self.first(x).double()) if self.activation != torch.tanh else None
        return self.second.weight.double() @ (slope[:, :, None] * self.first.weight.double())


class Checkpointed(TwoLayers):
    def __init__(self, dim, reentrant):
        super().__init__(dim)
        self.reentrant = reentrant

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=self.reentrant)


class Branching(TwoLayers):
    """Each row takes its own number of steps."""

    def forward(self, x):
        rows = []
        for row in x:
            y = super().forward(row)
            while float(y.detach().norm()) > 0.1:
                y = 0.5 * y
            rows.append(y)
        return torch.stack(rows)


def hook(module, before, after):
    raise AssertionError("a measurement called a hook on gradients")


def watched(dim):
    net = TwoLayers(dim)
    net.first.register_full_backward_hook(hook)
    return net


NETS = {
    "old function": lambda dim: TwoLayers(dim, Sine.apply),
    "backward in numpy": lambda dim: TwoLayers(dim, SineOnce.apply),
    "checkpoint": lambda dim: Checkpointed(dim, False),
    "reentrant checkpoint": lambda dim: Checkpointed(dim, True),
    "hook on gradients": watched,
}


@pytest.mark.filterwarnings("ignore:torch.func cannot", "ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize(
    ("dim", "dtype"),
    [(1, torch.float32), (6, torch.float32), (6, torch.float64), (260, torch.float32)],
)
@pytest.mark.parametrize("name", NETS)
def test_what_works_in_training_is_measured_in_float64(name, dim, dtype):
    net = NETS[name](dim).to(dtype)
    x = torch.rand(2, dim, dtype=dtype)
    with torch.no_grad():
        exact = copy.deepcopy(net).double()
        true = torch.linalg.eigvals(exact.jacobian(x.double())).abs().amax(1)
    found = spectrum(net, x)
    tolerance = 1e-11 if found.method != "arnoldi" else 1e-5
    assert ((found.radius - true).abs() <= found.radius_error + tolerance * true).all()
    certify(net, x, eps=0.1)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_slower_way_is_announced_once_for_each_module():
    net = TwoLayers(4, Sine.apply).double()
    x = torch.rand(2, 4, dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"torch\.func cannot differentiate TwoLayers"):
        spectrum(net, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrum(net, x)
    with pytest.warns(UserWarning, match="cannot differentiate"):
        spectrum(TwoLayers(4, Sine.apply).double(), x)


def test_control_flow_of_each_row_is_followed():
    net = Branching(5).double()
    x = torch.rand(3, 5, dtype=torch.float64)
    expected = torch.stack([torch.autograd.functional.jacobian(lambda row: net(row[None])[0], row) for row in x])
    f = flatten_map(net, (5,))
    torch.testing.assert_close(compute_jacobians(f, x, MANY), expected)
    torch.testing.assert_close(compute_jacobians_by_autograd(f, x, MANY), expected)
    u = torch.randn(3, 5, dtype=torch.float64)
    torch.testing.assert_close(pull_back(f, x, u), torch.einsum("bij,bi->bj", expected, u))


@pytest.mark.parametrize("forward", [False, True])
@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0])
def test_distances_whose_rule_in_the_transform_is_wrong(norm, forward):
    prototypes = torch.randn(5, 4, dtype=torch.float64)

    def f(x):
        return torch.softmax(-torch.cdist(x, prototypes, p=norm), 1) @ prototypes

    x = torch.rand(3, 4, dtype=torch.float64)
    expected = compute_jacobians_by_differences(f, x).jacobians
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compute_jacobians(flatten_map(f, (4,)), x, MANY, forward=forward)
        products = linearise_row_by_row(flatten_map(f, (4,)), x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    v = torch.randn(2, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(products.push(v), torch.einsum("bij,mbj->mbi", expected, v), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(products.pull(v), torch.einsum("bij,mbi->mbj", expected, v), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("forward", [False, True])
def test_solutions_of_linear_systems(forward):
    matrix = 4 * torch.eye(4, dtype=torch.float64) + torch.randn(4, 4, dtype=torch.float64)

    def f(x):
        return torch.linalg.solve(matrix + torch.diag_embed(x.tanh()), x)

    x = torch.rand(3, 4, dtype=torch.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compute_jacobians(flatten_map(f, (4,)), x, MANY, forward=forward)
    torch.testing.assert_close(found, compute_jacobians_by_differences(f, x).jacobians, rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:torch.func cannot", "ignore:Sparse CSR")
@pytest.mark.parametrize("place", ["buffer", "attribute"])
@pytest.mark.parametrize("layout", ["to_sparse", "to_sparse_csr"])
def test_sparse_matrices(layout, place):
    dense = torch.rand(6, 6) * (torch.rand(6, 6) > 0.5)

    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            if place == "buffer":
                self.register_buffer("adjacency", getattr(dense, layout)())
            else:
                self.adjacency = getattr(dense, layout)()

        def forward(self, x):
            return (self.adjacency @ x.sin().T).T

    x = torch.rand(2, 6)
    expected = dense.double() * x.double().cos()[:, None, :]
    found = spectrum(Graph(), x)
    torch.testing.assert_close(found.radius, torch.linalg.eigvals(expected).abs().amax(1), rtol=1e-10, atol=0)


@pytest.mark.filterwarnings("ignore:torch.func cannot")
def test_packed_sequences():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.GRU(3, 3, batch_first=True)

        def forward(self, x):
            lengths = torch.full((len(x),), 4)
            packed = nn.utils.rnn.pack_padded_sequence(x.view(-1, 4, 3), lengths, batch_first=True)
            return nn.utils.rnn.pad_packed_sequence(self.cell(packed)[0], batch_first=True)[0].flatten(1)

    net = Packed()
    x = torch.rand(2, 12)
    exact = copy.deepcopy(net).double()
    with torch.no_grad():
        jacobians = compute_jacobians_by_differences(exact, x.double()).jacobians
    expected = torch.linalg.eigvals(jacobians).abs().amax(1)
    torch.testing.assert_close(spectrum(net, x).radius, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("dim", [6, 260])
def test_draws_that_do_not_matter(dim):
    class Drawing(TwoLayers):
        def forward(self, x):
            code = self.first(x)
            code = code + 0.0 * torch.randn_like(code)
            return self.second(nn.functional.dropout(code, 0.0, training=True))

    net = Drawing(dim)
    product = net.second.weight.double() @ net.first.weight.double()
    true = torch.linalg.eigvals(product.detach()).abs().max()
    found = spectrum(net, torch.rand(2, dim))
    assert ((found.radius - true).abs() <= found.radius_error + 1e-6 * true).all()


def test_a_write_in_place_is_differentiated_through_its_trace():
    class Writing(TwoLayers):
        def forward(self, x):
            y = super().forward(x)
            y[:, 0] = 0.5 * x[:, 0]
            y[:, 1] = 3.0
            return y

    net = Writing(260).double()
    x = torch.rand(1, 260, dtype=torch.float64)
    with torch.no_grad():
        jacobian = net.jacobian(x)[0]
        jacobian[:2] = 0.0
        jacobian[0, 0] = 0.5
    true = torch.linalg.eigvals(jacobian).abs().max()
    found = spectrum(net, x)
    assert (found.radius - true).abs() <= found.radius_error + 1e-6 * true


@pytest.mark.parametrize("f", [lambda x: x.detach().sin(), lambda x: torch.from_numpy(x.detach().numpy() * 2)])
def test_a_map_that_hides_its_input_is_no_case_for_autograd(f):
    flat = flatten_map(f, (3,))
    x = torch.rand(2, 3, dtype=torch.float64)
    with pytest.raises(NotDifferentiableError, match="hides its input from autograd"):
        compute_jacobians_by_autograd(flat, x, MANY)


def test_a_backward_pass_that_fails_is_told_from_the_map():
    class Broken(Sine):
        @staticmethod
        def backward(ctx, gradient):
            raise KeyError("no rule")

    flat = flatten_map(Broken.apply, (3,))
    x = torch.rand(2, 3, dtype=torch.float64)
    for call in (
        lambda: compute_jacobians(flat, x, MANY),
        lambda: pull_back(flat, x, x),
        lambda: linearise_by_autograd(flat, x),
    ):
        with pytest.raises(NotDifferentiableError, match=r"cannot be differentiated by autograd \(KeyError"):
            call()


def test_a_map_that_insists_on_one_row_is_differentiated():
    def f(x):
        assert len(x) == 1, "one image at a time"
        return x.sin()

    point = torch.rand(3, dtype=torch.float64)
    found = compute_jacobians_by_autograd(flatten_map(f, (3,)), point[None], 8)
    torch.testing.assert_close(found[0], point.cos().diag())


class Unregistered(nn.Module):
    """Keeps a parameter in a list, where torch does not see it, and calls it from a checkpoint of the older kind."""

    def __init__(self):
        super().__init__()
        self.hidden = [nn.Parameter(0.5 * torch.eye(4))]

    def forward(self, x):
        return checkpoint(lambda y: torch.tanh(y @ self.hidden[0]), x, use_reentrant=True)


@pytest.mark.filterwarnings("ignore")
def test_the_gradient_of_a_parameter_that_torch_does_not_see_stays():
    f = Unregistered().eval()
    f.hidden[0].grad = torch.zeros(4, 4)
    spectrum(f, torch.rand(1, 4))
    assert f.hidden[0].grad is not None
    assert not f.hidden[0].grad.any()


@pytest.mark.parametrize("scale", [1e6, 1e9])
def test_a_wrong_rule_shows_at_a_point_whose_jacobian_is_small_beside_that_of_another(scale):
    # torch.func differentiates cdist wrongly; the second point multiplies a right derivative by the scale.
    anchors = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def f(row):
        far = (row[0] > 10).to(row.dtype)
        return (1 - far) * torch.cdist(row[None], anchors)[0] + far * scale * row.sin()

    x = torch.rand(2, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[1, 0] += 20
    expected = torch.stack([torch.autograd.functional.jacobian(f, row) for row in x])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = compute_jacobians(f, x, MANY)
    for ours, true in zip(found, expected, strict=True):
        assert (ours - true).norm() <= 1e-10 * true.norm()
