"""The small pieces that the callbacks are made of, each alone."""

import contextlib
import math
from dataclasses import FrozenInstanceError, fields
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, StochasticWeightAveraging, Timer, WeightAveraging
from records import records
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Subset, SubsetRandomSampler, TensorDataset

from memzoo import callbacks
from memzoo.callbacks.shards import Part, find_part, gather_parts
from memzoo.callbacks.weights import common_buffers, compute_fingerprint, delivered_weights, stand_behind_averaging
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.modules.evaluation import evaluation_mode
from memzoo.modules.inputs import find_first_loader, has_rows, input_of, matching_noise, read_rows
from memzoo.modules.self_map import Adapted, Widened, check_repeats, find_self_map
from memzoo.plotting.image_grid import as_images, image_grid, show_image
from memzoo.plotting.pictures import FARTHEST, draw_iterates, draw_spectrum, shown_range
from memzoo.runs.reason import ends_here, stopping_reason

# Shares of several processes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 5, 6])
@pytest.mark.parametrize("of", [1, 2, 4])
def test_parts_share_out_all_rows_and_are_put_back_in_order(count, of):
    parts = [Part(index, of).select(torch.arange(count)) for index in range(of)]
    assert sorted(torch.cat(parts).tolist()) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert torch.cat(parts)[Part(0, of).restore_order(count)].tolist() == list(range(count))
    assert Part() == Part(0, 1)


def process(world_size=1, rank=0, told=None):
    strategy = SimpleNamespace(broadcast=lambda own: own if rank == 0 else told)
    return SimpleNamespace(world_size=world_size, global_rank=rank, is_global_zero=rank == 0, strategy=strategy)


def test_where_processes_cannot_talk_the_first_measures_all():
    assert find_part(process(3, 1)) == Part()
    assert gather_parts(process(3, 0), Part(), lambda: 7) == [7]
    assert gather_parts(process(3, 1, told=7), Part(), lambda: pytest.fail("the first one works alone")) == [7]


def test_an_error_of_one_process_is_one_of_all():
    def fails(error):
        raise error

    with pytest.raises(KeyError, match="own"):
        gather_parts(process(), Part(), lambda: fails(KeyError("own")))
    with pytest.raises(RuntimeError, match=r"KeyError in process 0: 'lost'"):
        gather_parts(process(2), Part(), lambda: fails(KeyError("lost")))
    with pytest.raises(NonFiniteError, match="grew"):
        gather_parts(process(2), Part(), lambda: fails(NonFiniteError("grew")))


def test_the_results_of_all_processes_come_together(monkeypatch):
    others = [None, 8, None]

    def gather(found, own):
        found[:] = [own if other is None else other for other in others]

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    assert gather_parts(process(3, 2), Part(2, 3), lambda: 7) == [7, 8, 7]
    others[1] = RuntimeError("KeyError in process 1: 'lost'")
    with pytest.raises(RuntimeError, match="KeyError in process 1"):
        gather_parts(process(3, 2), Part(2, 3), lambda: 7)


# The self-map of a module ---------------------------------------------------------------------------------------------


def test_a_module_its_adapter_or_the_module_on_vectors():
    images = torch.rand(3, 1, 2, 2)
    identity = nn.Identity()
    f, same = find_self_map(identity, None, images)
    assert f is identity
    assert same is images
    linear = nn.Linear(4, 4)
    f, flat = find_self_map(linear, None, images)
    assert f is linear
    assert torch.equal(flat, images.flatten(1))
    f, same = find_self_map(linear, lambda module, x: module(x.flatten(1)).reshape(x.shape), images)
    assert isinstance(f, Adapted)
    assert same is images
    assert list(f.parameters()) == list(linear.parameters())
    torch.testing.assert_close(f(images), linear(images.flatten(1)).reshape(images.shape))


def test_what_is_no_self_map_says_whose_fault_it_is():
    encoder = nn.Linear(4, 2)
    for adapter, what in ((None, "forward"), (lambda module, x: module(x), "self_map")):
        for x in (torch.rand(3, 4), torch.rand(3, 2, 2)):
            with pytest.raises(NotASelfMapError, match=rf"^{what} of Linear is no self-map .* Pass self_map=lambda"):
                find_self_map(encoder, adapter, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_the_precision_of_the_points(dtype):
    half = nn.Linear(3, 3).to(dtype)
    for wide in (torch.float32, torch.float64):
        x = torch.rand(2, 3, dtype=wide)
        f, _ = find_self_map(half, None, x)
        assert isinstance(f, Widened)
        expected = nn.functional.linear(x, half.weight.to(wide), half.bias.to(wide))
        torch.testing.assert_close(f(x), expected)
        assert f(x).dtype == wide
    assert half.weight.dtype == dtype
    assert not isinstance(find_self_map(nn.Linear(3, 3), None, torch.rand(2, 3))[0], Widened)


@pytest.mark.parametrize(("size", "refused"), [(0.0, False), (0.9e-3, False), (1.1e-3, True), (1.0, True)])
def test_two_answers_to_one_point(size, refused):
    answers = iter([torch.ones(1, 2), torch.ones(1, 2) * (1 + size)])
    if refused:
        with pytest.raises(NotASelfMapError, match="two answers to one image"):
            check_repeats(lambda x: next(answers), torch.rand(3, 2))
    else:
        check_repeats(lambda x: next(answers), torch.rand(3, 2))


# A module while it is measured ----------------------------------------------------------------------------------------


def test_a_module_comes_back_as_it_was():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.BatchNorm1d(2).eval())
    torch.set_float32_matmul_precision("medium")
    try:
        with contextlib.suppress(KeyError), evaluation_mode(module):
            assert not any(part.training for part in module.modules())
            assert torch.get_float32_matmul_precision() == "highest"
            assert not torch.backends.cudnn.allow_tf32
            assert not torch.is_grad_enabled()
            raise KeyError("within")
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert [part.training for part in module.modules()] == [True, True, True, False]
    assert torch.is_grad_enabled()


def test_neither_autocast_nor_inference_mode_reaches_a_measurement():
    linear = nn.Linear(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode(), evaluation_mode(linear):
        y = linear(torch.rand(1, 2))
    assert y.dtype == torch.float32
    assert not y.is_inference()


def test_the_fingerprint_of_weights_sees_every_change():
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    before = compute_fingerprint(module)
    assert len(before) == 2 * len([t for t in module.state_dict().values() if t.is_floating_point()])
    weight = module[0].weight.detach()
    torch.testing.assert_close(before[:2], torch.stack([weight.sum(), weight.norm()]))
    assert torch.equal(compute_fingerprint(module), before)
    with torch.no_grad():
        weight.copy_(weight.roll(1, 0))
    torch.testing.assert_close(compute_fingerprint(module), before)  # two sums cannot tell an order
    with torch.no_grad():
        weight.neg_()
    assert not torch.allclose(compute_fingerprint(module), before)
    module[1].running_mean.fill_(torch.nan)
    assert compute_fingerprint(module).isfinite().all()  # so that it equals itself
    assert len(compute_fingerprint(nn.Identity())) == 0


def test_the_newer_interface_to_precision_is_left_alone(monkeypatch):
    def forbidden(*_):
        raise RuntimeError("do not mix")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", forbidden)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", forbidden)
    module = nn.Linear(2, 2)
    with evaluation_mode(module):
        assert not module.training
    assert module.training


def test_buffers_of_the_first_process_are_lent_to_the_others():
    module = nn.BatchNorm1d(2)
    own = module.running_mean.clone()
    sent = {"running_mean": own + 3, "running_var": module.running_var * 2, "num_batches_tracked": torch.tensor(9)}
    told = SimpleNamespace(strategy=SimpleNamespace(broadcast=lambda value: sent))
    with contextlib.suppress(KeyError), common_buffers(told, module, Part(1, 2)):
        assert torch.equal(module.running_mean, own + 3)
        assert module.num_batches_tracked == 9
        raise KeyError("within")
    assert torch.equal(module.running_mean, own)
    assert module.num_batches_tracked == 0
    told.strategy.broadcast = lambda value: pytest.fail("nobody to ask")
    with common_buffers(told, module, Part()), common_buffers(told, nn.Linear(1, 1), Part(0, 2)):
        assert torch.equal(module.running_mean, own)


class Average(WeightAveraging):
    def __init__(self):
        super().__init__()

    def on_save_checkpoint(self, trainer, module, checkpoint):
        checkpoint["state_dict"] = {name: value + 1 for name, value in checkpoint["state_dict"].items()}


def test_averaged_weights_are_in_place_for_a_moment():
    module, averaging = nn.Linear(2, 2), Average()
    before = module.weight.detach().clone()
    run = SimpleNamespace(callbacks=[averaging])
    with contextlib.suppress(KeyError), delivered_weights(run, module):
        torch.testing.assert_close(module.weight.detach(), before + 1)
        raise KeyError("within")
    assert torch.equal(module.weight, before)
    with delivered_weights(run, module, ended=True):
        assert torch.equal(module.weight, before)
    with delivered_weights(SimpleNamespace(callbacks=[]), module):
        assert torch.equal(module.weight, before)


def test_those_that_change_weights_act_before_those_that_look():
    class Rule(Callback):
        puts_weights_back = True

    averaging, swa, rule, other, observer = Average(), StochasticWeightAveraging(1e-2), Rule(), Callback(), Callback()

    def order(who, *callbacks):
        run = SimpleNamespace(callbacks=list(callbacks))
        stand_behind_averaging(run, who)
        return run.callbacks

    assert order(observer, observer, other, averaging) == [other, averaging, observer]
    assert order(observer, observer, averaging, other) == [averaging, observer, other]
    assert order(observer, swa, observer, rule, other) == [swa, rule, observer, other]
    assert order(observer, averaging, other, observer) == [averaging, other, observer]  # stands well
    assert order(observer, observer, other) == [observer, other]
    assert order(rule, rule, Rule())[0] is rule  # of two rules none is first
    assert order(rule, rule, averaging) == [averaging, rule]


# Examples from data ---------------------------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        return iter([torch.zeros(1)])


def test_the_first_loader_of_any_nesting():
    one, two = DataLoader(TensorDataset(torch.rand(3, 2))), DataLoader(TensorDataset(torch.rand(4, 2)))
    for loaders in (one, [one, two], (one, two), {"a": one, "b": two}, [{"a": [one]}, two]):
        assert find_first_loader(loaders) is one
        assert has_rows(loaders)
    assert find_first_loader([]) == []
    assert not has_rows([])
    assert not has_rows(None)
    assert not has_rows(DataLoader(Stream()))
    with pytest.raises(TypeError, match="a Stream has no rows to look up; pass the tracked examples"):
        read_rows(DataLoader(Stream()), 3)
    with pytest.raises(TypeError, match="a NoneType has no rows to look up"):
        read_rows(None, 3)


DATA = TensorDataset(torch.arange(10.0)[:, None])


@pytest.mark.parametrize(
    ("loader", "most", "batches", "expected"),
    [
        (DataLoader(DATA), 10, math.inf, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (DataLoader(DATA), 99, math.inf, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (DataLoader(DATA), 4, math.inf, [0, 3, 6, 9]),
        (DataLoader(DATA), 1, math.inf, [0]),
        (DataLoader(DATA, batch_size=3), 99, 2, [0, 1, 2, 3, 4, 5]),
        (DataLoader(DATA, batch_size=3), 2, 2.0, [0, 5]),
        (DataLoader(DATA, batch_size=8), 99, 2, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (DataLoader(DATA, batch_size=3, shuffle=True), 4, 2, [0, 3, 6, 9]),
        (DataLoader(DATA, sampler=SubsetRandomSampler([7, 2, 5])), 99, math.inf, [2, 5, 7]),
        (DataLoader(DATA, batch_sampler=[[4, 1], [8]]), 99, math.inf, [1, 4, 8]),
        (DataLoader(DATA, batch_sampler=[[4, 1], [8]]), 99, 1, [1, 4]),
        (DataLoader(Subset(DATA, [9, 1])), 99, math.inf, [9, 1]),
    ],
)
def test_rows_are_spread_over_what_is_visited(loader, most, batches, expected):
    assert read_rows(loader, most, batches=batches).flatten().tolist() == expected


def test_the_input_of_a_sample():
    x = torch.rand(2)
    for sample in (x, (x, 1), [x], [[x, 2], 3], {"label": 1, "image": x}, {"x": (x, 1)}, {"pixel_values": x}):
        assert input_of(sample) is x
    for sample, message in (
        (torch.ones(2).long(), r"samples are torch.int64 tensors; .* pass examples="),
        ({"label": x}, r"dicts with keys \['label'\], none of \('image',"),
        ((), "samples are tuple, not tensors"),
        ("text", "samples are str, not tensors"),
    ):
        with pytest.raises(TypeError, match=message):
            input_of(sample)


def test_samples_of_different_shapes_need_a_collate():
    data = [torch.ones(2), torch.ones(3)]
    with pytest.raises(TypeError, match=r"samples are not all of one shape .*; pass examples=tensor"):
        read_rows(DataLoader(data), 2)
    padded = read_rows(DataLoader(data, collate_fn=lambda some: nn.utils.rnn.pad_sequence(some, batch_first=True)), 2)
    assert padded.tolist() == [[1, 1, 0], [1, 1, 1]]


def test_noise_has_the_mean_and_the_variance_of_the_examples():
    examples = 3 + 2 * torch.rand(50, 4, dtype=torch.float64)
    noise = matching_noise(examples, 20000, torch.Generator().manual_seed(0))
    assert noise.shape == (20000, 4)
    assert noise.dtype == torch.float64
    assert noise.mean().item() == pytest.approx(examples.mean().item(), abs=0.02)
    assert noise.std().item() == pytest.approx(examples.std(correction=0).item(), rel=0.02)
    constant = matching_noise(torch.full((1, 1), 5.0), 3, torch.Generator())
    assert constant.flatten().tolist() == [5, 5, 5]


@pytest.mark.parametrize("shuffled", [False, True])
def test_of_a_distributed_run_the_rows_of_all_processes_are_visited(shuffled):
    sampler = DistributedSampler(DATA, num_replicas=2, rank=0, shuffle=shuffled)
    loader = DataLoader(DATA, batch_size=2, sampler=sampler)
    expected = list(range(10)) if shuffled else [0, 1, 2, 3]  # one batch of two in each of two processes
    assert read_rows(loader, 99, batches=1).flatten().tolist() == expected
    assert read_rows(loader, 99, batches=3).flatten().tolist() == list(range(10))
    assert read_rows(loader, 99).flatten().tolist() == list(range(10))


def test_a_sampler_that_lightning_wrapped_is_the_user_s():
    own = SubsetRandomSampler([6, 3])
    wrapped = SimpleNamespace(dataset=SimpleNamespace(_sampler=own))
    loader = SimpleNamespace(dataset=DATA, sampler=wrapped, batch_size=2)
    assert read_rows(loader, 99).flatten().tolist() == [3, 6]


def test_a_collate_that_fails_does_not_hide_what_is_wrong():
    def fails(samples):
        raise ZeroDivisionError

    with pytest.raises(TypeError, match="not all of one shape"):
        read_rows(DataLoader([torch.ones(2), torch.ones(3)], collate_fn=fails), 2)


def test_rows_leave_the_generators_and_the_samples_alone():
    class Drawn(TensorDataset):
        def __getitem__(self, index):
            return self.tensors[0][index] + torch.rand(1)

    state = torch.get_rng_state()
    read_rows(DataLoader(Drawn(DATA.tensors[0])), 3)
    assert torch.equal(torch.get_rng_state(), state)
    found = read_rows(DataLoader(DATA), 10)
    found.zero_()
    assert DATA.tensors[0][9] == 9


# Why a run ends -------------------------------------------------------------------------------------------------------


def run(**changes):
    known = {
        "max_epochs": -1,
        "max_steps": -1,
        "min_epochs": None,
        "min_steps": None,
        "current_epoch": 4,
        "global_step": 50,
        "should_stop": False,
        "callbacks": [],
    }
    return SimpleNamespace(**{**known, **changes})


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, False),
        ({"max_epochs": 5}, True),
        ({"max_epochs": 6}, False),
        ({"max_epochs": None}, False),
        ({"max_epochs": 0}, True),
        ({"max_steps": 50}, True),
        ({"max_steps": 51}, False),
        ({"should_stop": True}, True),
        ({"should_stop": True, "min_epochs": 5}, True),
        ({"should_stop": True, "min_epochs": 6}, False),
        ({"should_stop": True, "min_steps": 50}, True),
        ({"should_stop": True, "min_steps": 51}, False),
    ],
)
def test_whether_a_run_ends_with_this_epoch(changes, ends):
    assert ends_here(run(**changes)) is ends


def timer(left):
    callback = Timer(duration={"hours": 1})
    callback.time_remaining = lambda: left
    return callback


def early(reason):
    callback = EarlyStopping("loss")
    callback.stopping_reason_message = reason
    return callback


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "the data ended"),
        ({"should_stop": True}, "trainer.should_stop was set"),
        ({"max_epochs": 4}, "max_epochs=4 reached"),
        ({"max_epochs": 0}, "max_epochs=0 reached"),
        ({"max_epochs": 5}, "the data ended"),
        ({"max_epochs": None}, "the data ended"),
        ({"max_steps": 50, "max_epochs": 4}, "max_steps=50 reached"),
        ({"max_steps": 51}, "the data ended"),
        ({"callbacks": [timer(0.0)]}, "max_time reached"),
        ({"callbacks": [timer(1.0)]}, "the data ended"),
        ({"callbacks": [timer(None)]}, "the data ended"),
        ({"callbacks": [early(" no better ")], "max_epochs": 4}, "EarlyStopping: no better"),
        ({"callbacks": [early(None)]}, "the data ended"),
        ({"callbacks": [SimpleNamespace(stopped_because="a rule")], "max_steps": 50}, "a rule"),
        ({"callbacks": [SimpleNamespace(stopped_because=None)]}, "the data ended"),
    ],
)
def test_why_a_run_has_ended(changes, reason):
    assert stopping_reason(run(**changes)) == reason
    assert stopping_reason(run(**changes), KeyboardInterrupt()) == "interrupted (KeyboardInterrupt)"


# Pictures -------------------------------------------------------------------------------------------------------------


def test_whatever_is_mapped_becomes_an_image():
    assert as_images(torch.rand(2, 7)).shape == (2, 1, 1, 7)
    assert as_images(torch.rand(2, 5, 7)).shape == (2, 1, 5, 7)
    assert as_images(torch.rand(2, 2, 3, 4, 5)).shape == (2, 1, 1, 120)
    for channels in (1, 3):
        x = torch.rand(2, channels, 5, 7)
        assert as_images(x) is x
    x = torch.rand(2, 4, 5, 7)
    torch.testing.assert_close(as_images(x), x.mean(1)[:, None])


def test_pixels_are_clipped_to_the_range_that_is_shown():
    from matplotlib.figure import Figure

    figure = Figure()
    image_grid(
        figure, [("a", torch.tensor([-3.0, 0, 1, 5]).reshape(1, 1, 2, 2)), ("b", torch.zeros(1, 3, 2, 2))], -1, 3
    )
    first, second = figure.axes
    assert first.images[0].get_array().tolist() == [[0, 0.25], [0.5, 1]]
    assert second.images[0].get_array().shape == (2, 2, 3)
    assert first.images[0].get_clim() == (0, 1)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
    assert not first.get_xticks().size
    assert not first.get_yticks().size
    axes = Figure().subplots()
    show_image(axes, torch.tensor([[[0.25]]]))
    assert axes.images[0].get_array().tolist() == [[0.25]]  # from 0 to 1 where nothing else is asked for


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 1.0], (0, 1)), ([0.2, 0.7], (0, 1)), ([0.0, 4.0], (0, 4)), ([-2.0, 1.0], (-2, 2)), ([-1.0, 3.0], (-3, 3))],
)
def test_the_range_that_is_shown(values, expected):
    assert shown_range(torch.tensor(values)) == expected


def test_iterates_are_rows_of_images_under_their_headings():
    points = torch.rand(2, 1, 4, 4)
    figure = draw_iterates([("start", points), ("end", points)], points, "title")
    assert len(figure.axes) == 4
    assert figure.get_suptitle() == "title"
    assert (
        draw_iterates([("start", points)], 4 * points + 1, "title").get_suptitle().startswith("title\nshown from 0 to")
    )
    strips = draw_iterates([("start", torch.rand(2, 9))], torch.rand(2, 9), "title")
    assert strips.axes[0].get_aspect() == "auto"
    assert figure.axes[0].get_aspect() != "auto"


def test_a_spectrum_in_the_plane():
    values = torch.tensor([[1.0, 0.5j, 0.25], [-2.0, 0.999, 0.0]], dtype=torch.complex128)
    figure = draw_spectrum(values, "here")
    axes = figure.axes[0]
    drawn = {marks.get_label(): marks.get_offsets() for marks in axes.collections if len(marks.get_offsets())}
    points = sorted(tuple(point) for marks in axes.collections for point in marks.get_offsets())
    assert points == sorted((value.real, value.imag) for value in values.flatten().tolist())
    assert {label for label in drawn if label.endswith(")")} == {"inside the unit circle (4)"}
    labels = [marks.get_label() for marks in axes.collections]
    assert "on or outside it (2)" in labels
    assert "largest of an example" in labels
    assert axes.get_xlim() == axes.get_ylim() == pytest.approx((-2.3, 2.3))
    assert axes.get_aspect() == 1
    assert axes.patches[0].get_radius() == 1
    assert [axes.spines[side].get_visible() for side in ("top", "right", "bottom", "left")] == [False] * 2 + [True] * 2
    assert figure.get_suptitle() == "here: largest |λ| = 2"
    assert draw_spectrum(0.1 * values, "").axes[0].get_xlim() == pytest.approx((-1.15, 1.15))


def test_what_lies_far_outside_is_put_on_the_rim_in_its_direction():
    values = torch.tensor([[30 + 40j, 0.5]], dtype=torch.complex128)
    figure = draw_spectrum(values, "here")
    points = [tuple(point) for marks in figure.axes[0].collections for point in marks.get_offsets()]
    assert any(point == pytest.approx((0.6 * FARTHEST, 0.8 * FARTHEST)) for point in points)
    assert figure.axes[0].get_xlim() == (-FARTHEST, FARTHEST)
    assert figure.get_suptitle() == f"here: largest |λ| = 50\n1 beyond |λ| = {FARTHEST:g}, drawn on the rim"


# Records --------------------------------------------------------------------------------------------------------------

RECORDS = records(callbacks)


@pytest.mark.parametrize("name", RECORDS)
def test_records_cannot_be_changed(name):
    kind = RECORDS[name]
    record = object.__new__(kind)
    with pytest.raises(FrozenInstanceError):
        setattr(record, fields(kind)[0].name, None)
