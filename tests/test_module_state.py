"""Measuring a map leaves no trace in the modules that it is made of."""

import copy
import random
from collections import Counter, OrderedDict, deque
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from memzoo._generators import generators_are_at, read_generators, restore_generators
from memzoo._module_state import keep_module_unchanged
from memzoo.dynamics import (
    basin_radius,
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
from memzoo.modules import evaluation_mode

X = torch.linspace(-1, 1, 24).reshape(4, 6).sin()
EYE = torch.eye(6)


class Touching(nn.Module):
    """A contraction whose forward changes everything that a forward can reach, and depends on none of it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(0.5 * EYE)
        self.register_buffer("replaced", torch.zeros(3))
        self.register_buffer("in_place", torch.tensor([7.0, 0.0]))
        self.register_buffer("absent", None)
        self.table = {"first": torch.zeros(2)}
        self.deep = [{"list": [torch.zeros(1)]}]
        self.calls = 0
        self.part = nn.Dropout(0.5)
        self.part.eval()

    def forward(self, x):
        self.replaced = self.replaced + 1
        self.absent = torch.ones(1)
        self.calls += 1
        self.code = x.detach()
        self.table[len(self.table)] = torch.ones(2)
        self.table["first"] = torch.full((2,), float(self.calls))
        self.deep[0]["list"].append(self.calls)
        self.deep.append(self.calls)
        self.training = not self.training
        return x @ self.weight.T


class TouchingInPlace(Touching):
    """The same, and a weight that is clipped behind autograd's back, as constrained layers do."""

    def forward(self, x):
        with torch.no_grad():
            self.in_place.add_(1)
            self.table["first"].add_(1)
            self.weight.data.clamp_(max=0.4)  # the same after the first time
        return super().forward(x)


def describe(value):
    """Describe a state as plain values, in which tensors are their bytes."""
    if isinstance(value, torch.Tensor):
        return (id(value), value.dtype, value.detach().flatten().view(torch.uint8).tolist(), value.requires_grad)
    if isinstance(value, nn.Module):
        return {name: describe(item) for name, item in vars(value).items()}
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    return value


ENTRIES = {
    "spectrum": lambda f: spectrum(f, X),
    "radius_bracket": lambda f: radius_bracket(f, X),
    "operator": lambda f: operator(f, (6,)),
    "certify": lambda f: certify(f, X),
    "basin_radius": lambda f: basin_radius(f, X[:1] * 0, 0.1, directions=2),
    "census": lambda f: census(f, X, X, steps=5),
    "find_attractors": lambda f: find_attractors(f, X, steps=5),
    "iterate": lambda f: iterate(f, X, 3),
    "recovery_curve": lambda f: recovery_curve(f, X, X + 1, 3),
    "recall_against_noise": lambda f: recall_against_noise(f, X, [0.1], draws=2, steps=3),
    "recall_against_mask": lambda f: recall_against_mask(f, X, [0.1], draws=2, steps=3),
    "latent_map": lambda f: latent_map(f, X),
    "output_range": lambda f: output_range(f, X),
}


@pytest.mark.parametrize("route", ["module", "lambda", "partial", "method", "object"])
@pytest.mark.parametrize("name", ENTRIES)
def test_everything_that_a_forward_changes_is_as_it_was(name, route):
    module = Touching()
    before = describe(module)

    class Calling:
        def __init__(self):
            self.kept = [module]
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            return self.kept[0](x)

    calling = Calling()
    routes = {
        "module": module,
        "lambda": lambda x: module(x),
        "partial": partial(nn.Module.__call__, module),
        "method": module.forward,
        "object": calling,
    }
    ENTRIES[name](routes[route])
    assert describe(module) == before
    assert (calling.calls > 0) == (route == "object")  # no module: what it records stays


def test_parameters_and_buffers_that_are_changed_in_place_are_as_they_were():
    module = TouchingInPlace()
    before = describe(module)
    for call in (lambda: iterate(module, X, 3), lambda: iterate(lambda x: module(x), X, 3)):
        call()
        assert describe(module) == before


class Recorder:
    """Counts calls, in a slot and in a table."""

    __slots__ = ("calls", "last", "table")

    def __init__(self):
        self.calls = 0
        self.table = Counter()

    def note(self, *arguments):
        self.calls += 1
        self.table["calls"] += 1
        self.last = self.calls  # there is none before the first call


class Drawing(nn.Module):
    """Draws from generators of its own, counts in arrays and objects, and adds hooks while it is called."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.generators = [
            torch.Generator().manual_seed(1),
            np.random.default_rng(1),
            np.random.RandomState(1),
            random.Random(1),
            random.SystemRandom(),
        ]
        self.counts = np.zeros(3)
        self.recent = deque([1.0], maxlen=2)
        self.recorder = Recorder()
        self.layer.register_forward_hook(self.recorder.note)
        self.layer.register_forward_pre_hook(lambda module, arguments: None)

    def forward(self, x):
        torch.rand(2, generator=self.generators[0])
        self.generators[1].normal()
        for generator in self.generators[2:]:
            generator.random()
        self.counts[1] += 1
        self.recent.append(float(self.counts[1]))
        if len(self.layer._forward_hooks) < 3:
            self.layer.register_forward_hook(lambda *arguments: None)
        return self.layer(x) / 9

    def kept(self):
        own, by_numpy, legacy, python, _ = self.generators
        return [
            own.get_state().tolist(),
            by_numpy.bit_generator.state,
            legacy.get_state()[1].tolist(),
            python.getstate(),
            self.counts.tolist(),
            list(self.recent),
            self.recorder.calls,
            dict(self.recorder.table),
            getattr(self.recorder, "last", None),
            [len(self.layer._forward_hooks), len(self.layer._forward_pre_hooks)],
        ]


@pytest.mark.filterwarnings("ignore:eps = .* is below 3 times")
@pytest.mark.parametrize("name", ["spectrum", "certify", "iterate", "recovery_curve", "census"])
def test_generators_arrays_objects_and_hooks_of_a_module_are_as_they_were(name):
    module = Drawing()
    before = module.kept()
    ENTRIES[name](module)
    assert module.kept() == before
    module(X)
    assert module.kept() != before
    before = module.kept()
    with evaluation_mode(module):
        module(X)
    assert module.kept() == before


class Frozen(OrderedDict):
    """A configuration that refuses every change, as those of other packages do."""

    def _refuse(self, *arguments, **keywords):
        raise RuntimeError("a configuration does not change")

    __delitem__ = pop = setdefault = update = clear = _refuse

    def __setitem__(self, key, value):
        if key in self:
            self._refuse()
        super().__setitem__(key, value)


class Configured(nn.Module):
    """A network with a configuration that holds tuples, one of them with a tensor, and that may grow."""

    def __init__(self, *, grows=False):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.config = Frozen(sizes=(6, (1, 2)), scale=torch.full((2,), 0.5), nested=(torch.ones(1),))
        self.grows = grows

    def forward(self, x):
        if self.grows:
            self.config[f"key {len(self.config)}"] = 1
        return self.config["scale"][0] * self.layer(x) + self.config["nested"][0]


@pytest.mark.parametrize("grows", [False, True])
def test_a_configuration_that_refuses_changes_is_as_it_was(grows):
    module = Configured(grows=grows)
    before = list(module.config.items())
    expected = module(X).detach()
    if grows:
        OrderedDict.__delitem__(module.config, "key 3")
    torch.testing.assert_close(iterate(module, X, 1).points, expected)
    spectrum(module, X)
    assert [(key, id(value)) for key, value in module.config.items()] == [(key, id(value)) for key, value in before]


def test_what_a_function_records_outside_of_modules_stays():
    seen = []

    def f(x):
        seen.append(len(x))
        return x / 2

    iterate(f, X, 2)
    assert seen[-1] == len(X)


def test_caches_by_type_serve_the_user_afterwards():
    class OnAGrid(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 6)
            self.grids = {}

        def forward(self, x):
            if x.shape[-1] not in self.grids:
                self.grids[x.shape[-1]] = torch.linspace(0, 1, x.shape[-1], dtype=x.dtype)
            return torch.tanh(self.layer(x + self.grids[x.shape[-1]]))

    module = OnAGrid()
    expected = copy.deepcopy(module)(X)
    for call in (spectrum, certify, iterate):
        call(module, X)
        assert module.grids == {}
        assert torch.equal(copy.deepcopy(module)(X), expected)


def test_an_error_within_leaves_no_trace_either_and_an_inner_measurement_restores_nothing_early():
    module = Touching()
    before = describe(module)

    def fail():
        with keep_module_unchanged(module):
            with keep_module_unchanged(lambda x: module(x)):
                module(X)
            assert module.calls == 1
            raise ValueError("outside")

    with pytest.raises(ValueError, match="outside"):
        fail()
    assert describe(module) == before


def test_the_place_of_a_tensor_is_kept_where_its_shape_changes():
    module = nn.Module()
    module.register_buffer("seen", torch.zeros(2))
    module.register_buffer("broken", torch.tensor([torch.nan, 1.0]))
    buffer = module.seen
    with keep_module_unchanged(module):
        buffer.resize_(4).fill_(1)
        module.broken.add_(1)
        module.extra = nn.Linear(1, 1)
        module.register_buffer("more", torch.ones(1))
    assert module.seen is buffer
    assert buffer.tolist() == [0.0, 0.0]
    assert module.broken[1] == 1
    assert list(module.state_dict()) == ["seen", "broken"]


def test_gradients_that_a_forward_leaves_are_removed():
    class Backward(nn.Linear):
        def forward(self, x):
            with torch.enable_grad():
                super().forward(x.detach()).sum().backward()
            return super().forward(x)

    module = Backward(6, 6)
    iterate(module, X, 2)
    assert module.weight.grad is None
    assert module.bias.grad is None


def draw_from_all(x):
    """Halve a point, and draw from every global generator without using what was drawn."""
    return x / 2 + 0 * (torch.rand(1).item() + np.random.rand() + random.gauss(0, 1))  # noqa: NPY002


@pytest.mark.parametrize("measure", ENTRIES.values(), ids=ENTRIES)
def test_the_global_generators_keep_their_states(measure):
    states = read_generators()
    measure(draw_from_all)
    assert generators_are_at(states)
    for draw in (lambda: torch.rand(1), np.random.rand, lambda: random.gauss(0, 1)):
        states = read_generators()
        draw()
        assert not generators_are_at(states)
        restore_generators(states)
        assert generators_are_at(states)


GENERATORS = {
    "torch": (torch.Generator, lambda own: torch.rand(2, generator=own).tolist()),
    "numpy": (lambda: np.random.default_rng(5), lambda own: own.random(2).tolist()),
    "numpy, old": (lambda: np.random.RandomState(5), lambda own: own.rand(2).tolist()),
    "python": (lambda: random.Random(5), lambda own: [own.gauss(0, 1), own.gauss(0, 1)]),
}


@pytest.mark.parametrize("holder", ["attribute", "closure", "default"])
@pytest.mark.parametrize(("make", "draw"), GENERATORS.values(), ids=GENERATORS)
def test_a_generator_that_a_map_holds_keeps_its_state(make, draw, holder):
    expected = draw(make())
    own = make()

    class Draws(nn.Linear):
        def forward(self, x):
            draw(self.own)
            return super().forward(x)

    module = Draws(6, 6)
    module.own = own

    def by_closure(x):
        draw(own)
        return x / 2

    def by_default(x, own=own):
        draw(own)
        return x / 2

    iterate({"attribute": module, "closure": by_closure, "default": by_default}[holder], X, 3)
    assert draw(own) == expected


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning", "ignore:.*torch.jit.script:DeprecationWarning")
def test_a_scripted_module_gets_its_modes_back():
    net = torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.Dropout(0.5), nn.Dropout(0.5)))
    net.train()
    net[1].eval()
    with evaluation_mode(net):
        assert not any(module.training for module in net.modules())
    assert [net.training, net[0].training, net[1].training, net[2].training] == [True, True, False, True]
