"""A traced graph: which values are affine, how large they are, what severs the input from the output."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from memzoo.dynamics.tracing.convolution import convolve_upsampled
from memzoo.dynamics.tracing.fast_convolution import accelerate_convolutions_in_dtype
from memzoo.dynamics.tracing.minimum_cut import find_affine_values
from memzoo.dynamics.tracing.precision import collect_constants
from memzoo.dynamics.tracing.traced_graph import trace_map


class Written(nn.Module):
    """A map that is written down as a function of its parameter and a point."""

    def __init__(self, function, shape):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(shape, dtype=torch.float64))

    def forward(self, x):
        return self.function(self.weight, x)


def trace(model, x):
    return trace_map(model, x[:1], collect_constants(model))


def in_every_place(name, function):
    """Return the function of the weight and a point with its arguments in both orders, and with the point twice."""
    return {
        f"{name} left": lambda w, x: function(x, w),
        f"{name} right": lambda w, x: function(w, x),
        f"{name} both": lambda w, x: function(x, x),
    }


def repeat(value):
    return value.expand(1, 3, 3)


MAPS = {  # the weight is (1, 3, 3), a point (1, 3, 3): every place that an argument can have
    **in_every_place("mm", lambda a, b: (a[0] @ b[0])[None]),
    **in_every_place("bmm", torch.bmm),
    **in_every_place("mv", lambda a, b: repeat(torch.mv(a[0], b[0, 0]))),
    **in_every_place("dot", lambda a, b: repeat(torch.dot(a[0, 0], b[0, 1]))),
    "addmm sum": lambda w, x: torch.addmm(x[0], w[0], w[0])[None],
    "addmm left": lambda w, x: torch.addmm(w[0], x[0], w[0])[None],
    "addmm right": lambda w, x: torch.addmm(w[0], w[0], x[0])[None],
    "addmm two": lambda w, x: torch.addmm(x[0], w[0], x[0])[None],
    "addmm both": lambda w, x: torch.addmm(w[0], x[0], x[0])[None],
    "baddbmm sum": lambda w, x: torch.baddbmm(x, w, w),
    "baddbmm left": lambda w, x: torch.baddbmm(w, x, w),
    "baddbmm right": lambda w, x: torch.baddbmm(w, w, x),
    "baddbmm both": lambda w, x: torch.baddbmm(w, x, x),
    **in_every_place("product", torch.mul),
    **in_every_place("quotient", torch.div),
    # the point in numerator and denominator; a division that rounds
    "ratio": lambda w, x: x / (x + w),
    "floor": lambda w, x: torch.div(x, 0.3, rounding_mode="floor") + 0 * w,
    # affine operations, alone and one after another
    "convolution": lambda w, x: functional.conv1d(x, w[0, :, :, None]),
    "sum": lambda w, x: x + 2 * w + 1,
    "rsub": lambda w, x: 1 - x + w,
    "mean": lambda w, x: repeat(x.mean(1, keepdim=True)) + w,
    "cat": lambda w, x: torch.cat([x[:, :1], x.flip(1)[:, :1], w[:, :1]], 1),
    "pool": lambda w, x: functional.avg_pool1d(x, 3, 1, 1) + w,
    # piecewise affine, and therefore not affine
    "max": lambda w, x: functional.max_pool1d(x, 3, 1, 1) + w,
    "relu": lambda w, x: x.relu() + w,
    "abs": lambda w, x: x.abs() * w,
    # affine after affine, and affine after a nonlinearity
    "chain": lambda w, x: (x @ w + 1) @ w,
    "bent inside": lambda w, x: (x @ w).tanh() @ w,
}


@pytest.mark.parametrize("name", MAPS)
def test_a_value_is_called_affine_exactly_if_it_is(name):
    model = Written(MAPS[name], (1, 3, 3))
    x, y = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        # f(x) + f(y) = f(x + y) + f(0) holds at all points if f is affine; two random points are witnesses enough
        sums = model(x) + model(y)
        expected = model(x + y) + model(torch.zeros_like(x))
    affine = bool(((sums - expected).abs() < 1e-9).all())
    graph = trace(model, torch.randn(1, 3, 3, dtype=torch.float64))
    affine_values = find_affine_values(graph.nodes, graph.linear, graph.source)
    assert (graph.target in affine_values) is affine
    assert graph.cut.affine is affine


def build_perceptron(*sizes):
    layers = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


@pytest.mark.parametrize(
    ("model", "entry", "size", "exit_"),
    [
        (build_perceptron(20, 4, 20), 4, 4, 4),
        (build_perceptron(20, 6, 3, 20), 6, 3, 3),
        (build_perceptron(20, 6, 3, 8, 20), 6, 3, 8),
        (nn.Sequential(nn.Linear(20, 10), nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 7), nn.Linear(7, 20)), 5, 5, 5),
        (nn.Sequential(nn.ReLU(), nn.Linear(20, 4), nn.ReLU(), nn.Linear(4, 20), nn.ReLU()), 20, 4, 20),
        (build_perceptron(6, 9, 6), 6, 6, 6),
    ],
)
def test_a_network_is_cut_at_its_narrowest_places(model, entry, size, exit_):
    width = next(part.in_features for part in model if isinstance(part, nn.Linear))
    graph = trace(model.double(), torch.rand(1, width).double())
    cut = graph.cut
    found = (graph.sizes[cut.entry], cut.size, graph.sizes[cut.exit])
    assert found == (entry, size, exit_)
    assert cut is graph.cut
    if size in (entry, exit_):  # an end that is as narrow as the cut serves as the cut
        assert cut.nodes == ((cut.entry,) if size == entry else (cut.exit,))


def test_the_largest_value_and_the_narrowest_arithmetic_are_known():
    graph = trace(build_perceptron(4, 30, 4), torch.rand(1, 4).double())
    assert graph.widest == 30
    assert graph.eps == torch.finfo(torch.float64).eps
    assert graph.sizes[graph.source] == 4
    narrow = Written(lambda w, x: (x.float() @ w.float()).double(), (4, 4))
    assert trace(narrow, torch.rand(1, 4).double()).eps == torch.finfo(torch.float32).eps


def test_an_extracted_part_is_the_function_between_its_ends():
    model = build_perceptron(5, 3, 5)
    x = torch.rand(1, 5).double()
    graph = trace(model, x)
    constants = collect_constants(model)
    inner = graph.extract(constants, [graph.source], [graph.cut.entry])
    outer = graph.extract(constants, [graph.cut.entry], [graph.target])
    torch.testing.assert_close(inner(x)[0], model[0](x))
    found = outer(inner(x)[0])[0]
    torch.testing.assert_close(found, model(x))
    doubled = {name: 2 * tensor for name, tensor in constants.items()}  # every extraction reads its own constants
    inner = graph.extract(doubled, [graph.source], [graph.cut.entry])
    expected = 2 * model[0](x)
    torch.testing.assert_close(inner(x)[0], expected)


def test_a_flat_part_takes_and_returns_the_values_one_after_another():
    model = Written(lambda w, x: torch.bmm(x.tanh(), w) + torch.bmm(w, x.sin()), (1, 3, 3))
    x = torch.randn(1, 3, 3, dtype=torch.float64)
    graph = trace(model, x)
    ends = [node for node in graph.nodes if node.target in (torch.ops.aten.tanh.default, torch.ops.aten.sin.default)]
    constants = collect_constants(model)
    inner = graph.extract_flat(constants, [graph.source], ends)
    outer = graph.extract_flat(constants, ends, [graph.target])
    values = {"tanh": x.tanh().flatten(), "sin": x.sin().flatten()}
    expected = torch.cat([values[node.target._opname] for node in ends])
    torch.testing.assert_close(inner(x.flatten()), expected)
    found = outer(inner(x.flatten()))
    torch.testing.assert_close(found, model(x).flatten())


def traces_enlarging_as_one_operation():
    """Tell whether torch traces it as one: torch 2.6 looks up each pixel, and there is nothing to join."""
    graph = make_fx(nn.Upsample(scale_factor=2))(torch.rand(1, 2, 3, 4)).graph
    return any(node.target is torch.ops.aten.upsample_nearest2d.default for node in graph.nodes)


@pytest.mark.parametrize(
    ("factor", "size", "padding", "joined"),
    [((2, 2), 3, 1, True), ((3, 3), 3, 1, False), ((2, 1), 3, 1, False), ((1, 2), 3, 1, False), ((2, 2), 5, 2, False)],
)
def test_upsampling_by_two_is_joined_with_the_convolution_after_it(factor, size, padding, joined):
    stride = tuple(factor)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, stride, 1),
        nn.Tanh(),
        nn.Upsample(scale_factor=factor),
        nn.Conv2d(3, 2, size, 1, padding),
    ).double()
    x = torch.rand(3, 2, 6, 12).double()
    graph = trace(model, x)
    found = any(node.target is convolve_upsampled for node in graph.nodes)
    assert found is (joined and traces_enlarging_as_one_operation())
    with torch.no_grad():
        fast = accelerate_convolutions_in_dtype(model, x, torch.float64)
        torch.testing.assert_close(fast(x), model(x))


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_an_image_doubled_in_size(bias):
    layer = nn.Conv2d(2, 3, 3, padding=1, bias=bias).double()
    x = torch.rand(2, 2, 5, 4).double()
    expected = layer(functional.interpolate(x, scale_factor=2))
    torch.testing.assert_close(convolve_upsampled(x, layer.weight, layer.bias), expected)
