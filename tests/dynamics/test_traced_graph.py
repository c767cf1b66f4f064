"""What a trace knows of a map: which values are affine, how large they are, what severs input from output."""

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional

from memzoo.dynamics.tracing.convolution import upsampled_convolution
from memzoo.dynamics.tracing.fast_convolution import rearranged_in_dtype
from memzoo.dynamics.tracing.minimum_cut import anatomy
from memzoo.dynamics.tracing.precision import tensors_of
from memzoo.dynamics.tracing.traced_graph import traced


class Written(nn.Module):
    """A map that is written down as a function of its parameter and a point."""

    def __init__(self, function, shape):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.randn(shape, dtype=torch.float64))

    def forward(self, x):
        return self.function(self.weight, x)


def program_of(model, x):
    return traced(model, x[:1], {name: tensor.detach() for name, tensor in tensors_of(model).items()})


MAPS = {  # the weight is (1, 3, 3), a point (1, 3, 3): every place that an argument can have
    "mm left": lambda w, x: (x[0] @ w[0])[None],
    "mm right": lambda w, x: (w[0] @ x[0])[None],
    "mm both": lambda w, x: (x[0] @ x[0])[None],
    "bmm left": torch.bmm,
    "bmm right": lambda w, x: torch.bmm(x, w),
    "bmm both": lambda w, x: torch.bmm(x, x),
    "mv left": lambda w, x: torch.mv(x[0], w[0, 0])[None, None].expand(1, 3, 3),
    "mv right": lambda w, x: torch.mv(w[0], x[0, 0])[None, None].expand(1, 3, 3),
    "mv both": lambda w, x: torch.mv(x[0], x[0, 0])[None, None].expand(1, 3, 3),
    "dot left": lambda w, x: torch.dot(x[0, 0], w[0, 0]).expand(1, 3, 3),
    "dot right": lambda w, x: torch.dot(w[0, 0], x[0, 1]).expand(1, 3, 3),
    "dot both": lambda w, x: torch.dot(x[0, 0], x[0, 1]).expand(1, 3, 3),
    "addmm sum": lambda w, x: torch.addmm(x[0], w[0], w[0])[None],
    "addmm left": lambda w, x: torch.addmm(w[0], x[0], w[0])[None],
    "addmm right": lambda w, x: torch.addmm(w[0], w[0], x[0])[None],
    "addmm two": lambda w, x: torch.addmm(x[0], w[0], x[0])[None],
    "addmm both": lambda w, x: torch.addmm(w[0], x[0], x[0])[None],
    "baddbmm sum": lambda w, x: torch.baddbmm(x, w, w),
    "baddbmm left": lambda w, x: torch.baddbmm(w, x, w),
    "baddbmm right": lambda w, x: torch.baddbmm(w, w, x),
    "baddbmm both": lambda w, x: torch.baddbmm(w, x, x),
    "product": lambda w, x: w * x,
    "product turned": lambda w, x: x * w,
    "square": lambda w, x: x * x,
    "quotient": lambda w, x: x / w,
    "reciprocal": lambda w, x: w / x,
    "ratio": lambda w, x: x / (x + w),
    "floor": lambda w, x: torch.div(x, 0.3, rounding_mode="floor") + 0 * w,
    "convolution": lambda w, x: functional.conv1d(x, w[0, :, :, None]),
    "sum": lambda w, x: x + 2 * w + 1,
    "rsub": lambda w, x: 1 - x + w,
    "mean": lambda w, x: x.mean(1, keepdim=True).expand(1, 3, 3) + w,
    "cat": lambda w, x: torch.cat([x[:, :1], x.flip(1)[:, :1], w[:, :1]], 1),
    "pool": lambda w, x: functional.avg_pool1d(x, 3, 1, 1) + w,
    "max": lambda w, x: functional.max_pool1d(x, 3, 1, 1) + w,
    "relu": lambda w, x: x.relu() + w,
    "abs": lambda w, x: x.abs() * w,
    "chain": lambda w, x: (x @ w + 1) @ w,
    "bent inside": lambda w, x: (x @ w).tanh() @ w,
}


@pytest.mark.parametrize("name", MAPS)
def test_a_value_is_called_affine_where_it_is(name):
    model = Written(MAPS[name], (1, 3, 3))
    x, y, zero = *torch.randn(2, 1, 3, 3, dtype=torch.float64), torch.zeros(1, 3, 3, dtype=torch.float64)
    with torch.no_grad():
        # an affine map is one for which this holds at all points; two random ones are witnesses enough
        origin = model(zero)
        straight = bool(((model(x) + model(y) - model(x + y) - origin).abs() < 1e-9).all())
    program = program_of(model, torch.randn(1, 3, 3, dtype=torch.float64))
    assert (program.target in program.affine({program.source})) is straight
    assert anatomy(program).affine is straight


def layered(*sizes):
    layers = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize(
    ("model", "entry", "waist", "exit_"),
    [
        (layered(20, 4, 20), 4, 4, 4),
        (layered(20, 6, 3, 20), 6, 3, 3),
        (layered(20, 6, 3, 8, 20), 6, 3, 8),
        (nn.Sequential(nn.Linear(20, 10), nn.Linear(10, 5), nn.ReLU(), nn.Linear(5, 7), nn.Linear(7, 20)), 5, 5, 5),
        (nn.Sequential(nn.ReLU(), nn.Linear(20, 4), nn.ReLU(), nn.Linear(4, 20), nn.ReLU()), 20, 4, 20),
        (layered(6, 9, 6), 6, 6, 6),
    ],
)
def test_a_network_is_taken_apart_at_its_narrowest_places(model, entry, waist, exit_):
    program = program_of(
        model.double(), torch.rand(1, model(torch.rand(1, 20).double()[:, : _width(model)]).shape[1]).double()
    )
    plan = anatomy(program)
    assert (program.size(plan.entry), plan.size, program.size(plan.exit)) == (entry, waist, exit_)
    assert plan is anatomy(program)
    if waist in (entry, exit_):  # nothing is formed between an end and a waist that is no narrower
        assert plan.waist == ((plan.entry,) if waist == entry else (plan.exit,))


def _width(model):
    return next(part.in_features for part in model if isinstance(part, nn.Linear))


def test_the_largest_value_and_the_narrowest_arithmetic_are_known():
    model = layered(4, 30, 4).double()
    program = program_of(model, torch.rand(1, 4).double())
    assert program.widest == 30
    assert program.eps == torch.finfo(torch.float64).eps
    assert program.shape(program.source) == (1, 4)
    narrow = Written(lambda w, x: (x.float() @ w.float()).double(), (4, 4))
    assert program_of(narrow, torch.rand(1, 4).double()).eps == torch.finfo(torch.float32).eps


def test_a_part_of_a_program_is_the_function_between_its_ends():
    model, x = layered(5, 3, 5).double(), torch.rand(1, 5).double()
    program = program_of(model, x)
    constants = {name: tensor.detach() for name, tensor in tensors_of(model).items()}
    plan = anatomy(program)
    inner = program.run(constants, [program.source], [plan.entry])
    outer = program.run(constants, [plan.entry], [program.target])
    torch.testing.assert_close(inner(x)[0], model[0](x))
    torch.testing.assert_close(outer(inner(x)[0])[0], model(x))
    doubled = {name: 2 * tensor for name, tensor in constants.items()}  # parameters are handed in anew at each run
    torch.testing.assert_close(program.run(doubled, [program.source], [plan.entry])(x)[0], 2 * model[0](x))


def enlarging_is_one_operation():
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
        nn.Conv2d(2, 3, 3, stride, 1), nn.Tanh(), nn.Upsample(scale_factor=factor), nn.Conv2d(3, 2, size, 1, padding)
    ).double()
    x = torch.rand(3, 2, 6, 12).double()
    program = program_of(model, x)
    found = any(node.target is upsampled_convolution for node in program.nodes)
    assert found is (joined and enlarging_is_one_operation())
    with torch.no_grad():
        torch.testing.assert_close(rearranged_in_dtype(model, x, torch.float64)(x), model(x))


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_an_image_doubled_in_size(bias):
    layer = nn.Conv2d(2, 3, 3, padding=1, bias=bias).double()
    x = torch.rand(2, 2, 5, 4).double()
    expected = layer(functional.interpolate(x, scale_factor=2))
    torch.testing.assert_close(upsampled_convolution(x, layer.weight, layer.bias), expected)
