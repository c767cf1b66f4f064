"""A map is checked where it enters: one answer to one point, whatever stands beside it in the batch."""

import random
import warnings
from functools import partial

import numpy
import pytest
import torch
from torch import nn
from torch.nn import functional

from memzoo._checks import check_map
from memzoo._module_state import keep_module_unchanged
from memzoo.dynamics import (
    basin_radius,
    capacity_curve,
    census,
    certify,
    find_attractors,
    iterate,
    latent_map,
    operator,
    output_range,
    radius_bracket,
    recall_against_mask,
    recall_against_noise,
    recovery_curve,
    spectrum,
)
from memzoo.dynamics.orbits import compose_with_itself
from memzoo.dynamics.tracing import promote_to_float64
from memzoo.errors import InvalidArgumentError, NonFiniteError, NotASelfMapError

X = torch.linspace(-1, 1, 30).reshape(5, 6).sin() + torch.arange(5.0)[:, None]
WEIGHT = torch.linspace(-0.3, 0.3, 36).reshape(6, 6).cos() / 6
ENTRIES = {
    "spectrum": lambda f, x: spectrum(f, x),
    "radius_bracket": lambda f, x: radius_bracket(f, x),
    "operator": lambda f, x: operator(f, tuple(x.shape[1:])),
    "certify": lambda f, x: certify(f, x),
    "basin_radius": lambda f, x: basin_radius(f, x, 0.1, directions=2),
    "census": lambda f, x: census(f, x, x, steps=5),
    "find_attractors": lambda f, x: find_attractors(f, x, steps=5),
    "iterate": lambda f, x: iterate(f, x, 3),
    "recovery_curve": lambda f, x: recovery_curve(f, x, x + 1, 3),
    "recall_against_noise": lambda f, x: recall_against_noise(f, x, [0.1], draws=2, steps=3),
    "recall_against_mask": lambda f, x: recall_against_mask(f, x, [0.1], draws=2, steps=3),
    "capacity_curve": lambda f, x: capacity_curve(lambda rows: f, x, [2], level=0.1, steps=3),
    "latent_map": lambda f, x: latent_map(f, x),
    "output_range": lambda f, x: output_range(f, x),
}


def check(f, x=X):
    with keep_module_unchanged(f):
        check_map(f, x)


def test_another_map_within_a_measurement_is_checked():
    noisy = RANDOM["normal"]
    net = nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 6)).requires_grad_(False)
    evaluations = 0

    def counting(x):
        nonlocal evaluations
        evaluations += 1
        return x / 2

    for f in (counting, net):
        with keep_module_unchanged(f):
            check_map(f, X)
            made_of_it = (f, compose_with_itself(f, 3), promote_to_float64(f, X)[0])
            evaluations = 0
            for same in made_of_it:
                check_map(same, X)
            assert evaluations == 0
            for other in (noisy, compose_with_itself(noisy, 2), nn.Dropout(0.5)):
                with pytest.raises((NotASelfMapError, InvalidArgumentError)):
                    check_map(other, X)
            with pytest.raises(NotASelfMapError):
                iterate(noisy, X, 2)


def draw_own(x, generator=torch.Generator().manual_seed(0)):  # noqa: B008
    return x / 2 + torch.rand(x.shape, generator=generator)


def skip_branch(x):
    return x / 2 if random.random() < 0.7 else x / 3


RANDOM = {
    "normal": lambda x: x / 2 + torch.randn_like(x),
    "tiny noise": lambda x: x / 2 + 1e-5 * torch.randn_like(x),
    "mask": lambda x: x * (torch.rand_like(x) < 0.5),
    "rare dropout": lambda x: functional.dropout(x @ WEIGHT.to(x), 0.02, training=True),
    "functional rrelu": lambda x: functional.rrelu(x - 2, training=True),
    "own generator": draw_own,
    "python's generator": lambda x: x / 2 + random.random(),
    "numpy's generator": lambda x: x / 2 + float(numpy.random.rand()),  # noqa: NPY002
    "a branch that is skipped": skip_branch,
    "rows are shuffled": lambda x: x[torch.randperm(len(x))] / 2,
}
INTERACTING = {
    "batch mean": lambda x: x / 2 - 1e-4 * x.mean(0),
    "all entries": lambda x: (x - x.mean()) / x.std(),
    "largest entry": lambda x: x / x.abs().max(),
    "smallest entry": lambda x: x - x.min(),
    "softmax over the batch": lambda x: x.softmax(0),
    "earlier rows": lambda x: x.cumsum(0) / 2,
    "later rows": lambda x: x.flip(0).cumsum(0).flip(0) / 2,
    "neighbours in the batch": lambda x: x + x.roll(1, 0) / 100,
    "number of rows": lambda x: x / len(x),
    "place in the batch": lambda x: x * (1 + torch.arange(len(x)).to(x) / 10).reshape(-1, *[1] * (x.ndim - 1)),
    "batch statistics": lambda x: functional.batch_norm(x, None, None, training=True),
    "ranks in the batch": lambda x: x.argsort(0).to(x.dtype),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_refuses_maps_that_draw_and_maps_that_mix_rows(entry):
    with pytest.raises(NotASelfMapError, match=r"two answers to one image.* keeps one mask"):
        ENTRIES[entry](RANDOM["normal"], X)
    if entry != "operator":
        with pytest.raises(NotASelfMapError, match=r"rows of a batch interact.*batch_first"):
            ENTRIES[entry](INTERACTING["batch mean"], X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("kind", RANDOM)
def test_random_maps_are_refused_at_every_scale(kind, scale, dtype):
    torch.manual_seed(1)
    random.seed(1)
    f = RANDOM[kind]
    with pytest.raises(NotASelfMapError, match="two answers to one image"):
        check(lambda x: scale * f(x / scale), scale * X.to(dtype))


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("kind", INTERACTING)
def test_interacting_rows_are_refused_for_any_number_of_rows(kind, count):
    message = "rows of a batch interact|Expected more than 1 value per channel"
    with pytest.raises(NotASelfMapError, match=message):
        check(INTERACTING[kind], X[:count])
    with pytest.raises(NotASelfMapError, match=message):
        check(INTERACTING[kind], X[:1].repeat(count, 1))  # duplicates


@pytest.mark.parametrize("layer", ["attention", "recurrence"])
def test_layers_that_read_the_batch_as_a_sequence_are_refused(layer):
    torch.manual_seed(0)
    x = torch.randn(4, 3, 8)
    for first in (False, True):
        if layer == "attention":
            f = nn.TransformerEncoderLayer(8, 2, 16, batch_first=first).eval()
        else:
            net = nn.GRU(8, 8, batch_first=first)
            f = lambda rows, net=net: net(rows)[0]  # noqa: E731
        if first:
            check(f, x)
        else:
            with pytest.raises(NotASelfMapError, match=r"rows of a batch interact.*batch_first=True"):
                check(f, x)


def test_a_dynamically_quantised_network_shares_its_range_between_rows():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(NotASelfMapError, match="rows of a batch interact"):
        check(quantised, X * torch.tensor([[1.0], [50.0], [3.0], [2.0], [90.0]]))
    check(lambda x: torch.cat([quantised(row) for row in x.split(1)]), X)


class Masked(nn.Module):
    def __init__(self, *, fixed):
        super().__init__()
        self.fixed = fixed
        self.net = nn.Linear(6, 6)

    def forward(self, x):
        generator = torch.Generator().manual_seed(3) if self.fixed else None
        return self.net(x * (torch.rand(x.shape[1:], generator=generator) < 0.5).to(x.dtype))


def draw_in_place_of(x):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return x / 2 + torch.randn(x.shape[1:])


MAPS = {
    "mask from a seed": Masked(fixed=True),
    "draws from a seed": draw_in_place_of,
    "draws times zero": lambda x: x / 2 + 0 * torch.randn_like(x),
    "dropout of rate zero": lambda x: functional.dropout(x / 2, 0.0, training=True),
    "dropout layer of rate zero": nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.0)).train(),
    "constant": lambda x: torch.ones_like(x),
    "signs": lambda x: (x @ WEIGHT.to(x)).sign(),
    "chaos": lambda x: (4 * x.sin() * (1 - x.sin())) * 1e3,
    "expanding": lambda x: 1e6 * x @ WEIGHT.to(x),
    "stabilised by the largest entry of the batch": lambda x: x.max() + (x - x.max()).exp().log(),
    "layer norm": nn.LayerNorm(6),
    "batch norm in eval mode": nn.BatchNorm1d(6).eval(),
    "autocast inside": lambda x: torch.autocast("cpu", torch.bfloat16)(functional.linear)(x, WEIGHT).float() + x / 2,
    "one row at a time": lambda x: torch.cat([row / row.norm() for row in x.split(1)]),
    "infinite at a point": lambda x: torch.where(x > 4, torch.inf, x / 2),
}


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("kind", MAPS)
def test_maps_of_each_row_alone_pass(kind, count):
    check(MAPS[kind], X[:count])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("width", [1, 6, 300])
def test_deep_networks_pass_in_every_type(dtype, width):
    torch.manual_seed(0)
    layers = [part for _ in range(12) for part in (nn.Linear(width, width), nn.GELU())]
    check(nn.Sequential(*layers).to(dtype), torch.randn(3, width).to(dtype))


def test_convolutions_and_attention_pass():
    torch.manual_seed(0)
    check(
        nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, 3, padding=1)), torch.rand(7, 3, 9, 9)
    )
    check(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), torch.rand(7, 5, 8))


LAYERS = [nn.Dropout(0.5), nn.BatchNorm1d(6), nn.AlphaDropout(0.1), nn.RReLU()]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("route", ["lambda", "partial", "list", "attribute"])
def test_a_layer_in_training_mode_is_named_behind_a_function_too(layer, route):
    net = nn.Sequential(nn.Linear(6, 6), layer.train(), nn.Linear(6, 6))
    statistics = [buffer.clone() for buffer in net.buffers()]
    nets = [net]

    class Holder:
        def __init__(self):
            self.net = net

        def reconstruct(self, x):
            return self.net(x)

    routes = {
        "lambda": lambda x: net(x),
        "partial": partial(lambda module, x: module(x), net),
        "list": lambda x: nets[0](x),
        "attribute": Holder().reconstruct,
    }
    for call in (iterate, certify):
        with pytest.raises(
            InvalidArgumentError, match=rf"module '1' \({type(layer).__name__}\) is in training mode.*eval"
        ):
            call(routes[route], X)
    assert all(torch.equal(old, new) for old, new in zip(statistics, net.buffers(), strict=True))
    assert net.training


def test_a_layer_in_training_mode_that_does_not_run_is_no_reason_to_refuse():
    used = nn.Linear(6, 6)
    unused = nn.Dropout(0.5).train()
    check(lambda x: used(x) if unused.training else x)


def test_a_function_may_set_its_module_to_eval_mode_itself():
    net = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)).train()

    def f(x):
        net.eval()
        return net(x)

    check(f)
    assert iterate(f, X, 3).points.shape == X.shape
    assert all(module.training for module in net.modules())


def test_a_dropout_whose_mask_the_user_has_fixed_is_measured():
    class FixedDropout(nn.Dropout):
        def forward(self, x):
            return x * torch.tensor([1.0, 0.0, 2.0, 0.0, 2.0, 1.0]).to(x)

    net = nn.Sequential(nn.Linear(6, 6), FixedDropout(0.5)).train()
    expected = torch.linalg.eigvals(net[1](net[0].weight.detach().double().T).T).abs().max()
    torch.testing.assert_close(spectrum(net, X[:1]).radius[0], expected)


OUTPUTS = {
    "complex": (lambda x: x + 0j, r"complex64.*real numbers"),
    "integer": (lambda x: x.long(), r"torch\.int64.*floating-point"),
    "boolean": (lambda x: x > 0, r"torch\.bool.*floating-point"),
    "double": (lambda x: x.double(), r"torch\.float64.*return y\.to\(x\.dtype\)"),
    "half": (lambda x: x.half(), r"torch\.float16.*return y\.to\(x\.dtype\)"),
    "device": (lambda x: x.to("meta"), r"on meta.*device of the model"),
    "shape": (lambda x: x[:, :3], r"\(2, 6\) became \(2, 3\)"),
    "tuple": (lambda x: (x, x), "holds no floating-point tensor"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("call", [iterate, certify, find_attractors])
def test_outputs_of_another_kind_are_refused(kind, call):
    f, message = OUTPUTS[kind]
    with pytest.raises(NotASelfMapError, match=message):
        call(f, X)


def test_an_error_inside_of_a_map_is_worded_and_kept():
    with pytest.raises(NotASelfMapError, match=r"batch \(1, 6\) of torch\.float64.*Linear|dtype") as caught:
        iterate(nn.Linear(6, 6), X.double())
    assert isinstance(caught.value.__cause__, RuntimeError)
    with pytest.raises(NotASelfMapError, match="KeyError"):
        iterate(lambda x: {}["missing"], X)


def test_nan_everywhere_is_refused_and_parameters_without_values_are_named():
    with pytest.raises(NonFiniteError, match="NaN at finite x"):
        iterate(lambda x: (x - 100).sqrt(), X)
    with pytest.raises(InvalidArgumentError, match=r"'weight' has no values yet.*call f\(x\) once"):
        iterate(nn.LazyLinear(6), X)


def refuse_company(x):
    if len(x) > 1:
        raise ValueError("one row, please")
    return x / 2


BRANCHES = {
    "sign of the sum": lambda x: 0.9 * x.tanh() if x.sum() > 0 else 0.4 * x,
    "mean": lambda x: 0.9 * x if x.mean() < X[0].mean() + 0.01 else x.cos(),
    "any entry": lambda x: x / 2 if (x < 0.95 * X[0].min()).any() else x / 3 + 1,
    "one row at a time": refuse_company,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", BRANCHES)
def test_one_row_is_not_refused_for_a_branch_that_made_up_company_takes(kind, dtype):
    check(BRANCHES[kind], X[:1].to(dtype))
    both = torch.cat([X[:1], -3 * X[:1] - 1]).to(dtype)
    with pytest.raises(NotASelfMapError, match=r"rows of a batch interact|one row, please"):
        check(BRANCHES[kind], both)
    if kind != "one row at a time":
        with pytest.raises(NotASelfMapError, match=r"rows of a batch interact"):
            check(lambda x: BRANCHES[kind](x) + 0.1 * x.mean(), X[:1].to(dtype))


@pytest.mark.parametrize("interaction", [0.0, 1e-2])
def test_rounding_of_sums_that_cancel_is_told_from_an_interaction_by_float64(interaction):
    class Cancelling(nn.Module):
        def forward(self, x):
            return (x + 1e7 / len(x)) - 1e7 / len(x) + interaction * x.mean()

    f = Cancelling()
    x = torch.rand(5, 6) + torch.arange(5.0)[:, None]
    if interaction:
        with pytest.raises(NotASelfMapError, match="rows of a batch interact"):
            iterate(f, x, 3)
    else:
        with pytest.raises(NotASelfMapError, match="rows of a batch interact"):
            check(f, x)  # nobody offers float64
        iterate(f, x, 3)


@pytest.mark.parametrize("route", ["scripted", "traced", "graph"])
def test_modules_that_torch_has_compiled_are_measured(route):
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 6))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = {
            "scripted": torch.jit.script,
            "traced": lambda net: torch.jit.trace(net, X),
            "graph": torch.fx.symbolic_trace,
        }[route](net)
        found, expected = spectrum(compiled, X), spectrum(net, X)
        # a scripted network may compute in float32 alone
        assert ((found.radius - expected.radius).abs() <= found.radius_error + expected.radius_error).all()
        assert found.verdict == expected.verdict
        assert certify(compiled, X).attractor.tolist() == certify(net, X).attractor.tolist()
