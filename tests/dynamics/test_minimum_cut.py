"""memzoo finds the narrowest place of a network by itself, and the Jacobian formed there is the Jacobian."""

import pytest
import timm
import torch
from torch import nn
from torch.func import jacrev, vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from memzoo.dynamics import spectrum
from memzoo.dynamics.spectra.jacobian import Jacobians
from memzoo.dynamics.tracing.convolution import convolve_upsampled
from memzoo.dynamics.tracing.traced_graph import trace_map
from memzoo.errors import NotASelfMapError
from memzoo.models import D1, FullyConnected


class Lambda(nn.Module):
    """A module with the given parts and forward."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


class Sampler(nn.Module):
    """An encoder-decoder in anyone's style: control flow on shapes, in-place activations, functional calls, buffers."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(1, 6, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.neck = nn.Linear(6 * 16, 7)
        self.back = nn.Linear(7, 6 * 16)
        self.up = nn.ConvTranspose2d(6, 1, 4, stride=2, padding=1)
        self.register_buffer("shift", torch.randn(7))

    def forward(self, x):
        assert x.shape[1:] == (1, 8, 8)
        h = self.relu(self.norm(self.down(x)))
        z = self.drop(self.neck(h.flatten(1))) + self.shift
        z = functional.softplus(z) * torch.tanh(z)
        return self.up(self.back(z).view(len(x), 6, 4, 4)).sigmoid()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 6)
        self.back = nn.Linear(6, 8)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x):
        tokens = self.embed(x)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.back(functional.layer_norm(tokens, (6,)))


def timm_autoencoder():
    encoder = nn.Sequential(nn.Upsample(scale_factor=4), timm.create_model("test_resnet", num_classes=10))
    decoder = nn.Sequential(nn.Linear(10, 30), nn.GELU(), nn.Linear(30, 3 * 8 * 8), nn.Unflatten(1, (3, 8, 8)))
    return nn.Sequential(encoder, decoder)


def two_in_parallel():
    parts = {"a": nn.Linear(20, 2), "b": nn.Linear(2, 20), "c": nn.Linear(20, 3), "d": nn.Linear(3, 20)}
    return Lambda(lambda self, x: self.b(self.a(x).relu()) + self.d(self.c(x).tanh()), **parts)


def skip_over_the_neck():
    # the skip adds 4 numbers to the 3 of the neck
    parts = {"a": nn.Linear(20, 3), "b": nn.Linear(3, 20), "c": nn.Linear(20, 4), "d": nn.Linear(4, 20)}
    return Lambda(lambda self, x: self.b(self.a(x).relu()).relu() + self.d(self.c(x)), **parts)


def convolutions_to_a_vector():
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 4, 3, 2, 1), nn.ReLU(), nn.Flatten())
    code = nn.Sequential(nn.Linear(16, 6), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(6, 192), nn.Unflatten(1, (3, 8, 8)))
    return nn.Sequential(encoder, code, decoder)


def funnel():
    encoder = nn.Sequential(nn.Linear(20, 15), nn.Tanh(), nn.Linear(15, 4), nn.ELU())
    decoder = nn.Sequential(nn.Linear(4, 17), nn.ReLU(), nn.Linear(17, 20))
    return nn.Sequential(encoder, decoder)


def leaky_d1():
    return D1(shape=(3, 8, 8), filters=16, activation="leaky_relu", bias=True, init="xavier_uniform")


CASES = {  # network, shape of a point, numbers that cross its narrowest cut
    "perceptron": (lambda: FullyConnected(shape=(1, 6, 6), depth=5, width=9), (1, 6, 6), 9),
    "funnel": (funnel, (20,), 4),
    "D1 leaky": (leaky_d1, (3, 8, 8), 16),
    "D1 linear": (lambda: D1(shape=(3, 8, 8), filters=16), (3, 8, 8), 16),
    "convolutions to a vector": (convolutions_to_a_vector, (3, 8, 8), 6),
    "anyone's": (Sampler, (1, 8, 8), 7),
    "two in parallel": (two_in_parallel, (20,), 5),
    "skip over the neck": (skip_over_the_neck, (20,), 7),
    "attention": (Attention, (5, 8), 30),
    "timm": (timm_autoencoder, (3, 8, 8), 10),
}


@pytest.mark.parametrize("name", CASES)
def test_the_narrowest_cut_is_found_and_its_spectrum_is_that_of_the_full_jacobian(name):
    build, shape, width = CASES[name]
    model = build().eval()
    x = torch.rand(3, *shape)
    assert Jacobians(model, x, None, 2**30).graph.cut.size == width
    found = spectrum(model, x, vectors=True)
    assert found.method == "cut"
    assert found.eigenvalues.shape[1] <= width

    wide = model.double()
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        rows = x.double().flatten(1)
        dense = vmap(jacrev(lambda row: wide(row.reshape(1, *shape)).flatten()))(rows)
    for row, jacobian in enumerate(dense):
        values, right = torch.linalg.eig(jacobian)
        condition = torch.linalg.inv(right).norm(dim=1)
        # the error of a backward stable eigensolver is a multiple of eps |J|
        rounding = 1e-14 * torch.linalg.matrix_norm(jacobian)
        large = values.abs() > 1e-6 * values.abs().max()
        gap = (values[large, None] - found.eigenvalues[row]).abs().amin(1)
        assert (gap <= 10 * condition[large] * rounding).all()  # the theorem of Bauer and Fike, to first order
        images = jacobian.to(torch.complex128) @ found.vectors[row]
        residual = images - found.vectors[row] * found.eigenvalues[row]
        sigma_max = torch.linalg.matrix_norm(jacobian, 2).item()
        assert residual.abs().max() < 1e-10 * max(1, sigma_max)
        assert found.sigma_max[row].item() == pytest.approx(sigma_max, rel=1e-9)
        leading = values.abs().argmax()
        assert found.condition[row].item() == pytest.approx(condition[leading].item(), rel=1e-4)


@pytest.mark.parametrize(
    "model",
    [Lambda(lambda self, x: x + self.b(self.a(x).relu()), a=nn.Linear(30, 3), b=nn.Linear(3, 30)), nn.Linear(30, 30)],
    ids=["residual", "full"],
)
def test_where_nothing_is_narrower_the_full_jacobian_is_taken(model):
    found = spectrum(model, torch.rand(2, 30))
    assert found.method == "dense"
    assert found.eigenvalues.shape == (2, 30)


def test_a_closure_is_cut_too():
    down = torch.randn(40, 4, dtype=torch.float64)
    up = torch.randn(4, 40, dtype=torch.float64) / 40

    def f(x):
        return (x @ down).tanh() @ up

    found = spectrum(f, torch.rand(2, 40))
    assert (found.method, found.eigenvalues.shape) == ("cut", (2, 4))
    x = torch.rand(2, 40)
    torch.testing.assert_close(spectrum(f, x).radius, spectrum(f, x, method="dense").radius)


def test_an_affine_map_has_one_jacobian():
    model = D1(shape=(1, 8, 8), filters=9).eval()
    x = torch.rand(4, 1, 8, 8)
    jacobians = Jacobians(model, x, None, 2**30)
    assert jacobians.affine
    assert len(jacobians.form_factors(x).left) == 1
    found = spectrum(model, x, vectors=True)
    assert found.eigenvalues.shape[0] == found.vectors.shape[0] == 4
    assert torch.equal(found.radius, found.radius[:1].expand(4))
    assert not Jacobians(FullyConnected(shape=(9,), depth=3, width=4), torch.rand(1, 9), None, 2**30).affine


def test_a_trace_follows_the_parameters_and_a_changed_module():
    model = FullyConnected(shape=(9,), depth=3, width=4).eval()
    x = torch.rand(2, 9)
    spectrum(model, x)
    with torch.no_grad():
        model.net[3].weight.mul_(2)
    torch.testing.assert_close(spectrum(model, x).radius, spectrum(model, x, method="dense").radius)
    model.net[2] = nn.Tanh()
    found = spectrum(model, x)
    assert found.method == "cut"
    torch.testing.assert_close(found.radius, spectrum(model, x, method="dense").radius)


def test_a_tensor_that_is_no_parameter_may_change():
    model = Lambda(lambda self, x: self.b((self.a(x) * self.gain).relu()), a=nn.Linear(9, 4), b=nn.Linear(4, 9))
    model.gain = torch.tensor(1.0, dtype=torch.float64)
    x = torch.rand(2, 9)
    before = spectrum(model, x).radius
    model.gain = torch.tensor(3.0, dtype=torch.float64)
    torch.testing.assert_close(spectrum(model, x).radius, spectrum(model, x, method="dense").radius)
    assert not torch.allclose(spectrum(model, x).radius, before)


def branch_by_sign(x):
    """Multiply two coordinates by 0.9 if the sum of all is positive, otherwise by 0.4."""
    identity = torch.eye(8, dtype=torch.float64)
    factor = 0.9 if x.sum() > 0 else 0.4
    return x @ (factor * identity[:, :2]) @ identity[:2]


def test_a_branch_that_depends_on_the_data_is_not_taken_for_all_points():
    x = torch.tensor([[1.0] * 8, [-1.0] * 8])
    for row, radius in zip(x.split(1), [0.9, 0.4], strict=True):
        assert spectrum(branch_by_sign, row).radius.item() == pytest.approx(radius)
    with pytest.raises(NotASelfMapError, match=r"rows of a batch interact.* a branch that depends on the whole batch"):
        spectrum(branch_by_sign, x)
    by_rows = spectrum(lambda x: torch.cat([branch_by_sign(row) for row in x.split(1)]), x)
    assert by_rows.radius.tolist() == pytest.approx([0.9, 0.4])


def test_a_fixed_selection_is_linear_and_one_that_depends_on_the_point_is_not():
    order = torch.randperm(9)
    x = torch.rand(2, 9)
    assert Jacobians(lambda x: x[:, order], x, None, 2**30).affine
    assert not Jacobians(lambda x: x[:, x[0].argsort()], x, None, 2**30).affine


def test_instance_norm_is_not_taken_for_linear():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.InstanceNorm2d(2), nn.Conv2d(2, 1, 3, padding=1)).eval()
    x = torch.rand(2, 1, 5, 5)
    assert not Jacobians(model, x, None, 2**30).affine
    torch.testing.assert_close(spectrum(model, x).radius, spectrum(model, x, method="dense").radius)


def test_a_layer_that_computes_in_float32_widens_the_bound():
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(20, 4)
            self.b = nn.Linear(4, 20)

        def forward(self, x):
            h = self.a(x)
            scale = h.float().square().mean(-1, keepdim=True).rsqrt()
            return self.b(h + scale.type_as(h) * h)

    found = spectrum(Narrow(), torch.rand(3, 20))
    assert (found.radius_error > 1e-8).all()
    assert found.method == "cut"


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4)])
@pytest.mark.parametrize("bias", [None, torch.randn(6)])
def test_upsampling_and_convolution_are_one_operation(size, bias):
    x = torch.randn(3, 4, *size)
    weight = torch.randn(6, 4, 3, 3)
    plain = functional.conv2d(functional.interpolate(x, scale_factor=2), weight, bias, padding=1)
    torch.testing.assert_close(convolve_upsampled(x, weight, bias), plain, rtol=1e-5, atol=1e-5)


def test_only_plain_convolutions_after_doubling_are_joined():
    # a skip that reads the upsampled values, a stride, a kernel of 5, a factor of 3: all give the same numbers
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(2, 3, 3, padding=1)
            self.b = nn.Conv2d(3, 2, 5, stride=2, padding=2)
            self.c = nn.Conv2d(2, 2, 3, padding=1, groups=2)
            self.d = nn.Conv2d(2, 2, 3, stride=3, padding=1)

        def forward(self, x):
            up = functional.interpolate(x, scale_factor=2)
            x = self.b(self.a(up).tanh()) + up[:, :, ::2, ::2]
            return self.d(self.c(functional.interpolate(x, scale_factor=3)).tanh())

    model = Odd().double()
    x = torch.rand(2, 2, 6, 6).double()
    parameters = dict(model.named_parameters())
    graph = trace_map(model, x[:1], parameters)
    function = graph.extract(parameters, [graph.source], [graph.target])
    found = function(x[:1])[0]
    torch.testing.assert_close(found, model(x[:1]))
    assert not any(node.target is convolve_upsampled for node in graph.nodes)


def test_entry_and_exit_of_a_perceptron():
    model = FullyConnected(shape=(1, 6, 6), depth=4, width=9)
    row = torch.rand(1, 1, 6, 6)
    graph = trace_map(model, row, dict(model.named_parameters()))
    assert graph.sizes[graph.cut.entry] == graph.sizes[graph.cut.exit] == 9
    assert graph.cut.entry is not graph.cut.exit
    assert not graph.cut.affine
    sigmoid = nn.Sequential(nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 20), nn.Sigmoid())
    graph = trace_map(sigmoid, torch.rand(1, 20), dict(sigmoid.named_parameters()))
    assert graph.cut.exit is graph.target


@pytest.mark.parametrize(("build", "shape"), [(two_in_parallel, (20,)), (Sampler, (1, 8, 8))])
def test_the_memory_limit_does_not_change_the_spectrum(build, shape):
    model = build().eval()
    x = torch.rand(5, *shape)
    tight = spectrum(model, x, memory_limit=1)
    expected = spectrum(model, x).eigenvalues.abs()
    torch.testing.assert_close(tight.eigenvalues.abs(), expected, rtol=1e-8, atol=1e-12)


def test_a_cut_that_does_not_hold_is_forgotten():
    x = torch.tensor([[1.0] * 8, [-1.0] * 8], dtype=torch.float64)
    jacobians = Jacobians(branch_by_sign, x, None, 2**30)
    radius = torch.linalg.eigvals(jacobians.form_factors(x).core()).abs().amax(1)
    assert radius.tolist() == pytest.approx([0.9, 0.4])
    assert (jacobians.method, jacobians.affine, jacobians.width) == ("dense", False, 8)
