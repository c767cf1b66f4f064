"""What every function of the dynamics refuses, by the name of the argument, and what it just accepts."""

from dataclasses import is_dataclass
from functools import partial
from inspect import signature

import pytest
import torch

from memzoo._checks import check_module
from memzoo.dynamics import (
    basin_radius,
    capacity_curve,
    census,
    certify,
    default_eps,
    dense_associative_memory,
    example_eps,
    find_attractors,
    group_near_copies,
    hopfield,
    iterate,
    local_dimension,
    nearest,
    nearest_margin,
    polynomial_memory,
    radius_bracket,
    recall_against_mask,
    recall_against_noise,
    recover,
    recovery_curve,
    spectrum,
    wilson,
)
from memzoo.dynamics.memory.capacity import CapacityCurve
from memzoo.dynamics.memory.recall import level_at
from memzoo.errors import NonFiniteError, NotASelfMapError

POINTS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.5]])
SIGNS = torch.tensor([[1.0, -1.0], [1.0, 1.0]])


def half(x):
    return 0.5 * x


def test_measurements_are_drawn_by_seed_0_unless_another_is_asked_for():
    functions = [basin_radius, capacity_curve, recall_against_mask, recall_against_noise]
    expected = [0, 0, 0, 0]
    assert [signature(function).parameters["seed"].default for function in functions] == expected


# function, and valid arguments for each batch that it takes
CALLS = {
    "iterate": (partial(iterate, half), {"x0": POINTS}),
    "spectrum": (partial(spectrum, half), {"x": POINTS}),
    "local_dimension": (partial(local_dimension, half), {"x": POINTS}),
    "recover": (partial(recover, half), {"damaged": POINTS, "examples": POINTS}),
    "radius_bracket": (partial(radius_bracket, half), {"x": POINTS}),
    "certify": (partial(certify, half), {"examples": POINTS}),
    "basin_radius": (partial(basin_radius, half, tol=0.1, directions=2), {"attractors": 0 * POINTS}),
    "recovery_curve": (partial(recovery_curve, half, steps=1), {"starts": POINTS, "examples": POINTS}),
    "census": (partial(census, half), {"starts": POINTS, "examples": POINTS}),
    "find_attractors": (partial(find_attractors, half), {"starts": POINTS}),
    "recall_against_noise": (partial(recall_against_noise, half, levels=[0.0]), {"examples": POINTS}),
    "recall_against_mask": (partial(recall_against_mask, half, areas=[0.0]), {"examples": POINTS}),
    "capacity_curve": (partial(capacity_curve, lambda x: half, counts=[1], level=0.0), {"examples": POINTS}),
    "default_eps": (default_eps, {"examples": POINTS}),
    "example_eps": (example_eps, {"examples": POINTS}),
    "group_near_copies": (group_near_copies, {"examples": POINTS}),
    "nearest_margin": (nearest_margin, {"points": POINTS, "examples": POINTS}),
    "hopfield": (hopfield, {"patterns": SIGNS}),
    "polynomial_memory": (partial(polynomial_memory, degree=3), {"patterns": SIGNS}),
    "dense_associative_memory": (partial(dense_associative_memory, beta=1.0), {"patterns": SIGNS}),
}
BATCHES = [(name, batch) for name, (_, batches) in CALLS.items() for batch in batches]


def with_batch(name, batch, value):
    function, batches = CALLS[name]
    arguments = {**batches, batch: value}
    return lambda: function(**arguments)


@pytest.mark.parametrize(("name", "batch"), BATCHES)
def test_a_batch_is_refused_under_its_name(name, batch):
    good = CALLS[name][1][batch]
    bad = good.clone()
    bad[1, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=rf"{batch} holds NaN or infinity in 1 of {len(bad)} rows.* row 1"):
        with_batch(name, batch, bad)()
    with pytest.raises(ValueError, match=rf"{batch} must be a batch .*got shape \(2,\)"):
        with_batch(name, batch, good[0])()
    with pytest.raises(ValueError, match=rf"{batch} must hold at least one point"):
        with_batch(name, batch, good[:0])()
    with pytest.raises(TypeError, match=rf"{batch} must be floating point, got torch.int64"):
        with_batch(name, batch, good.long())()
    with pytest.raises(TypeError, match=rf"{batch} must be a tensor .*got list"):
        with_batch(name, batch, good.tolist())()


@pytest.mark.parametrize("name", ["recovery_curve", "census", "nearest_margin"])
def test_two_batches_live_in_one_space(name):
    function, batches = CALLS[name]
    first, second = batches
    with pytest.raises(ValueError, match=rf"{first} and {second} must be points of one space, .*\(3, 2\) and \(3, 1\)"):
        function(**{**batches, second: POINTS[:, :1]})


@pytest.mark.parametrize(
    "memory", [hopfield, partial(polynomial_memory, degree=2), partial(dense_associative_memory, beta=1.0)]
)
def test_a_memory_takes_points_of_the_shape_of_its_patterns(memory):
    f = memory(SIGNS)
    assert f(SIGNS).shape == SIGNS.shape
    with pytest.raises(ValueError, match="points and patterns must be points of one space"):
        f(SIGNS[:, :1])
    with pytest.raises(ValueError, match="points and examples must be points of one space"):
        nearest(SIGNS[:, :1], SIGNS)


STEPS = ["iterate", "certify", "basin_radius", "recovery_curve", "recall_against_noise", "recall_against_mask"]


@pytest.mark.parametrize("name", [*STEPS, "capacity_curve"])
@pytest.mark.parametrize("steps", [-1, 1.5, True, "3"])
def test_steps_count_iterations(name, steps):
    function, batches = CALLS[name]
    with pytest.raises(ValueError, match=r"steps must be a whole number >= 0, got "):
        function(**batches, steps=steps)


@pytest.mark.filterwarnings("ignore:eps = .* is below 3 times")
@pytest.mark.parametrize("name", STEPS)
def test_no_step_at_all_is_a_count(name):
    function, batches = CALLS[name]
    function(**batches, steps=0)


RADII = ["certify", "recovery_curve", "census", "find_attractors", "recall_against_noise", "capacity_curve"]


@pytest.mark.parametrize("name", RADII)
@pytest.mark.parametrize("eps", [0, -1.0, torch.inf, torch.nan, "1"])
def test_eps_is_a_radius(name, eps):
    function, batches = CALLS[name]
    with pytest.raises(ValueError, match=r"eps must be a finite number > 0, got "):
        function(**batches, eps=eps)


@pytest.mark.parametrize("name", ["iterate", "spectrum", "certify", "recovery_curve", "recall_against_noise"])
def test_a_module_that_is_no_map_of_its_rows_is_refused(name):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.5))
    function, batches = CALLS[name]
    with pytest.raises(ValueError, match=r"module '1' \(Dropout\) is in training mode"):
        function.func(model, **function.keywords, **batches)
    model.eval()[0].bias.data[0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"parameter '0\.bias' holds NaN or infinity in 1 of 2 entries"):
        function.func(model, **function.keywords, **batches)


@pytest.mark.parametrize("name", ["iterate", "spectrum", "certify", "radius_bracket", "recovery_curve", "census"])
def test_an_encoder_is_no_self_map(name):
    function, batches = CALLS[name]
    with pytest.raises(NotASelfMapError, match=r"input \(\d+, 2\) became \(\d+, 1\); pass the full autoencoder"):
        function.func(lambda x: x[:, :1], **function.keywords, **batches)


def check_refusal(message, function, *arguments, **settings):
    with pytest.raises(ValueError, match=message):
        function(*arguments, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tol": 0.0}, "needs tol > 0, .* got tol = 0.0"),
        ({"tol": torch.nan}, "got tol = nan"),
        ({"directions": 0}, "directions = 0"),
        ({"confidence": 0.0}, "confidence = 0.0"),
        ({"confidence": 1.0}, "confidence = 1.0"),
    ],
)
def test_settings_of_a_basin_radius_have_their_ranges(settings, message):
    check_refusal(message, basin_radius, half, POINTS, **{"tol": 0.1, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_period": 0}, "max_period must be a whole number >= 1, got 0"),
        ({"max_limits": 0}, "max_limits must be a whole number >= 1, got 0"),
        ({"max_limits": 2.0}, "max_limits must be a whole number >= 1, got 2.0"),
        ({"confidence": 0}, "confidence must lie between 0 and 1, got 0"),
        ({"confidence": 1}, "confidence must lie between 0 and 1, got 1"),
    ],
)
def test_settings_of_a_census_have_their_ranges(settings, message):
    check_refusal(message, census, half, POINTS, POINTS, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_period": 0}, "max_period must be a whole number >= 1, got 0"),
        ({"max_limits": 0}, "max_limits must be a whole number >= 1, got 0"),
    ],
)
def test_settings_of_a_search_for_attractors_have_their_ranges(settings, message):
    check_refusal(message, find_attractors, half, POINTS, **settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 2, 0), "confidence must lie between 0 and 1, got 0"),
        ((1, 2, 1), "confidence must lie between 0 and 1, got 1"),
        ((0, 0), "at least one trial, got 0 of 0"),
        ((-1, 2), "got -1 of 2"),
        ((3, 2), "got 3 of 2"),
    ],
)
def test_an_interval_needs_a_count_of_trials_and_a_confidence(arguments, message):
    check_refusal(message, wilson, *arguments)


@pytest.mark.parametrize("time", [4, -1])
def test_points_are_kept_of_times_that_are_reached(time):
    check_refusal(rf"keep holds \[{time}\], but only t = 0..3", iterate, half, POINTS, 3, keep=[time])


def test_a_spectrum_has_at_least_one_eigenvalue():
    check_refusal("top must be at least 1, got 0", spectrum, half, POINTS, top=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # levels increase, are finite and not negative
        ({"levels": [0.2, 0.1]}, "levels must be finite numbers >= 0 in increasing"),
        ({"levels": [0.1, 0.1]}, "sort them, each once"),
        ({"levels": [-0.1]}, "levels must be finite numbers >= 0"),
        ({"levels": [torch.inf]}, "levels must be finite numbers >= 0"),
        ({"levels": []}, "levels must be finite numbers >= 0"),
        # True is no count, although Python takes it for 1
        ({"draws": 0}, "draws must be a whole number >= 1, got 0"),
        ({"draws": True}, "draws must be .* got True"),
        ({"draws": 1.0}, "draws must be .* got 1.0"),
        # a range has two ends, and holds all examples
        ({"clip": (1, 1)}, r"clip must be a range .* got \(1, 1\)"),
        ({"clip": (0, 1)}, r"clip must .* got \(0, 1\) for values from -1"),
        ({"clip": (-1, 0.5)}, r"clip must be a range .* to 1;"),
    ],
)
def test_settings_of_recall_against_noise_have_their_ranges(settings, message):
    check_refusal(message, recall_against_noise, half, POINTS, **{"levels": [0.0], **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"areas": [0.0, 1.01]}, r"areas are shares of the image in \[0, 1\], got 1.01"),
        ({"draws": 0}, "draws must be a whole number >= 1, got 0"),
        ({"fill": "mean"}, "fill must be a finite number or 'noise'"),
        ({"fill": torch.inf}, "fill must be a finite number or 'noise'"),
    ],
)
def test_settings_of_recall_against_a_mask_have_their_ranges(settings, message):
    check_refusal(message, recall_against_mask, half, POINTS, **{"areas": [0.5], **settings})


@pytest.mark.parametrize("rate", [0, 1.5])
def test_a_level_has_a_rate_between_0_and_1(rate):
    check_refusal(rf"rate must lie in \(0, 1\], got {rate}", level_at, torch.ones(1), torch.ones(1), rate)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"counts": [0]}, "counts must be whole numbers >= 1"),
        ({"counts": []}, "counts must be whole numbers >= 1"),
        ({"counts": [2, 2]}, "in increasing order"),
        ({"counts": [True]}, r"got \[True\]"),
        ({"counts": [4]}, "counts go up to 4, but there are 3"),
        ({"level": -1}, "level must be finite numbers >= 0"),
    ],
)
def test_settings_of_a_capacity_curve_have_their_ranges(settings, message):
    check_refusal(message, capacity_curve, lambda x: half, POINTS, **{"counts": [1], "level": 0.0, **settings})


@pytest.mark.parametrize(
    ("memory", "setting", "message"),
    [
        (polynomial_memory, {"degree": 1}, "degree must be a whole number >= 2, got 1"),
        (polynomial_memory, {"degree": 2.5}, "degree must be a whole number >= 2, got 2.5"),
        (hopfield, {"gain": 0}, "gain must be a finite number > 0, got 0"),
        (dense_associative_memory, {"beta": torch.inf}, "beta must be a finite number > 0, got inf"),
        (dense_associative_memory, {"beta": True}, "beta must be a finite number > 0, got True"),
    ],
)
def test_settings_of_a_memory_have_their_ranges(memory, setting, message):
    check_refusal(message, memory, SIGNS, **setting)


def test_hebbs_rule_stores_signs_alone():
    check_refusal("patterns must be -1 or 1 everywhere", hopfield, 0.5 * SIGNS)


def test_a_builder_that_builds_nothing():
    with pytest.raises(TypeError, match="build must return a map from a batch to a batch, got NoneType"):
        capacity_curve(lambda x: None, POINTS, [1], level=0.0)


def test_values_at_the_ends_of_their_ranges():
    # share = ((1 - confidence) / 29)^(1 / directions)
    assert basin_radius(half, 0 * POINTS, 0.1, directions=1, confidence=0.01).share == pytest.approx(0.99 / 29)
    assert census(half, POINTS, POINTS, max_period=1, max_limits=1).counts == {-1: 3}
    found = iterate(half, POINTS, 3, keep=[0, 3]).kept.keys()
    assert found == {0, 3}
    assert spectrum(half, POINTS, top=1).eigenvalues.shape == (3, 1)
    assert recall_against_noise(half, POINTS, [0.0], draws=1, clip=(-1, 1)).rate.shape == (1,)
    found = recall_against_mask(half, POINTS, [0.0, 1.0], draws=1).levels.tolist()
    assert found == [0, 1]
    assert level_at(torch.tensor([3.0]), torch.tensor([1.0]), 1) == 3
    found = capacity_curve(lambda x: half, POINTS, [1, 3], level=0.0, draws=1).counts.tolist()
    assert found == [1, 3]
    assert polynomial_memory(SIGNS, degree=2)(SIGNS).shape == SIGNS.shape


@pytest.mark.parametrize("share", [0, -0.1, 1.1])
def test_the_share_of_a_capacity(share):
    curve = CapacityCurve(torch.tensor([1, 2]), torch.tensor([1.0, 0.5]), torch.tensor([0.4, 1.0]), 0.1, 1, 0.1)
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got "):
        curve.capacity(share)
    with pytest.raises(ValueError, match="by must be 'attractors' or 'recalled', got 'both'"):
        curve.capacity(0.5, by="both")
    found = (curve.capacity(1), curve.capacity(0.5), curve.capacity(0.9, by="recalled"))
    assert found == (1, 2, 0)


def test_settings_that_are_left_out():
    # the paper iterates 200 times; a step that only ever moves on shows how many were taken
    def drift(x):
        return x + 1.0

    assert iterate(drift, POINTS).steps.tolist() == [200] * 3
    assert len(recovery_curve(drift, POINTS, POINTS, offset=torch.nan).rate) == 201
    assert recall_against_noise(half, POINTS, [0.0]).steps == 200
    assert recall_against_noise(half, POINTS, [0.0]).draws == 16
    assert recall_against_mask(half, POINTS, [0.0]).steps == 200
    assert recall_against_mask(half, POINTS, [0.0]).draws == 16
    assert capacity_curve(lambda x: half, POINTS, [1], level=0.0).draws == 16
    assert census(drift, POINTS, POINTS, eps=1.0).steps.tolist() == [1000] * 3
    assert census(half, POINTS, POINTS).confidence == 0.95
    # confidence 95 %, 32 directions
    expected = (0.05 / 29) ** (1 / 32)
    assert basin_radius(half, 0 * POINTS, 0.1).share == pytest.approx(expected)


# the bounds of radius_bracket are there to be differentiated
@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"radius_bracket"}))
def test_results_carry_no_graph(name):
    function, batches = CALLS[name]
    result = function(**{key: value.clone().requires_grad_() for key, value in batches.items()})
    values = vars(result).values() if is_dataclass(result) else []
    assert not any(value.requires_grad for value in values if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("layer", [torch.nn.Dropout2d(), torch.nn.AlphaDropout(), torch.nn.RReLU()])
def test_a_layer_that_is_random_in_training_mode_is_refused_there(layer):
    module = torch.nn.Sequential(layer)
    with pytest.raises(ValueError, match=rf"module '0' \({type(layer).__name__}\) is in training mode.*call \.eval"):
        check_module(module)
    check_module(module.eval())
