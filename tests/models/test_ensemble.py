import pytest
import torch
from draws import normal, uniform
from lightning.pytorch import Trainer
from torch.testing import assert_close

from memzoo.data import full_batches
from memzoo.dynamics import operator
from memzoo.models import ARCHITECTURES, FullyConnected, Training
from memzoo.models.architectures.convolutional import ConvAutoencoder
from memzoo.models.ensembles.ensemble import Ensemble
from memzoo.models.ensembles.single_filter import single_filter_chain

CONV = {"shape": (1, 4, 4), "layers": 6, "filters": 3, "activation": "leaky_relu", "skip": None}
MEMBERS = {
    "leaky": ("ConvAutoencoder", CONV),
    "linear": ("ConvAutoencoder", CONV | {"activation": "linear"}),
    "colour": ("ConvAutoencoder", CONV | {"shape": (3, 4, 4), "skip": 2}),
    "single": ("ConvAutoencoder", {"shape": (1, 3, 5), "layers": 7, "skip": 3}),
    "dense": ("FullyConnected", {"shape": (1, 3, 3), "depth": 3, "width": 8}),
    "dense without biases": ("FullyConnected", {"shape": (7,), "depth": 2, "width": 8, "bias": False}),
    "mapped": ("D1", {"shape": (1, 4, 4), "filters": 5}),
}


def build_ensemble(name, members=4, **training):
    architecture, config = MEMBERS[name]
    return Ensemble(architecture=architecture, member=config, members=members, training=Training(**training))


def fit(model, images, **options):
    trainer = Trainer(
        max_steps=model.training_config.steps, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(model, full_batches(images))
    return trainer


@pytest.mark.parametrize("name", MEMBERS)
def test_each_member_is_the_network_of_its_own(name):
    model = build_ensemble(name).double()
    x = normal(5, *model.shape)
    expected = torch.stack([member.double()(x[:, e]) for e, member in enumerate(model)], dim=1)
    assert_close(model(x), expected, rtol=0, atol=1e-12)
    found = len({tuple(member(x[:1, 0].float()).flatten().tolist()) for member in model.float()})
    assert found == 4


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", MEMBERS)
def test_training_together_is_training_each_alone(name, optimizer):
    model = build_ensemble(name, optimizer=optimizer, lr=1e-2, steps=5, steps_per_batch=3).double()
    images = uniform(2, *model.shape)
    alone = [member.double().train() for member in model]
    for e, member in enumerate(alone):
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer](member.parameters(), lr=1e-2)
        for _ in range(5):
            kind.zero_grad()
            (member(images[:, e]) - images[:, e]).square().mean().backward()
            kind.step()
    fit(model, images)
    for ours, theirs in zip(model, alone, strict=True):
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(a.double(), b, rtol=0, atol=1e-6)


def test_every_member_stops_at_its_own_loss_and_stays_there():
    torch.manual_seed(0)
    model = build_ensemble("dense", optimizer="adam", lr=3e-3, steps=4000, steps_per_batch=50, stop_loss=1e-4)
    images = torch.rand(2, *model.shape)
    images[:, 1] *= 0.01  # below the loss at once
    start = [p.clone() for p in model.member(1).parameters()]
    trainer = fit(model, images)
    steps = model.stopped_at.tolist()
    assert steps[1] == 0
    assert len(set(steps)) == 4
    assert trainer.global_step == max(steps) < 4000
    assert all(torch.equal(a, b) for a, b in zip(start, model.member(1).parameters(), strict=True))
    losses = (model(images) - images).square().mean((0, 2, 3, 4))
    assert (losses < 1e-4).all()
    for e, steps in enumerate(model.stopped_at.tolist()):  # alone it would have stopped at the same step
        torch.manual_seed(0)
        again = build_ensemble("dense", optimizer="adam", lr=3e-3, steps=max(steps, 1), steps_per_batch=50)
        alone = again.member(e).train()
        optimizer = torch.optim.Adam(alone.parameters(), lr=3e-3)
        values = []
        for _ in range(steps + 1):
            loss = (alone(images[:, e]) - images[:, e]).square().mean()
            values.append(loss.item() < 1e-4)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        assert values == [False] * steps + [True]


def test_a_member_that_diverges_is_named_and_the_others_go_on():
    torch.manual_seed(0)
    model = build_ensemble("linear", optimizer="sgd", lr=0.1, steps=200, steps_per_batch=20)
    images = torch.rand(2, *model.shape)
    images[:, 2] *= 1e4
    with pytest.warns(UserWarning, match=r"member 2 diverged: its loss is not finite .* optimizer step \d+; it stops"):
        fit(model, images)
    assert model.stopped_at.tolist() == [-1, -1, -2, -1]
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
    assert model.eigenvalues().isfinite().all()


def test_a_member_that_is_lost_from_the_start_is_zero_and_the_others_go_on():
    model = build_ensemble("linear", optimizer="sgd", lr=0.01, steps=150, steps_per_batch=50)
    images = torch.rand(2, *model.shape)
    images[:, 0] *= 1e30
    with pytest.warns(UserWarning, match=r"member 0 diverged: its loss is not finite .* step 0; it stops with zeros"):
        fit(model, images)
    assert model.stopped_at.tolist() == [-2, -1, -1, -1]
    assert all((parameter == 0).all() for parameter in model.member(0).parameters())


@pytest.mark.parametrize("name", ["linear", "single", "mapped"])
def test_operators_are_those_of_the_members(name):
    model = build_ensemble(name)
    for found, member in zip(model.operators(), model, strict=True):
        assert_close(found, operator(member).matrix, rtol=0, atol=1e-12)
    radii = [operator(member).spectrum.radius.item() for member in model]
    expected = torch.tensor(radii, dtype=torch.float64)
    assert_close(model.eigenvalues()[:, 0].abs(), expected)


def test_what_is_not_linear_has_no_operator():
    with pytest.raises(ValueError, match=r"ConvAutoencoder with .* is not linear"):
        build_ensemble("leaky").operators()


@pytest.mark.parametrize("skips", [{}, {3: 0, 6: 3}, {6: 3, 9: 6}, {2: 1, 3: 1}])
@pytest.mark.parametrize("cached", [0, 2**20])
def test_matrices_of_layers_give_what_convolutions_give(skips, cached, monkeypatch):
    monkeypatch.setattr("memzoo.models.ensembles.single_filter.MATRIX_ELEMENTS", cached)
    filters = (0.3 * normal(10, 4, 3, 3)).requires_grad_()
    x = normal(4, 2, 5, 6)
    values = [x.transpose(0, 1)]
    for layer, weight in enumerate(filters, 1):
        y = torch.nn.functional.conv2d(values[-1], weight[:, None], padding=1, groups=4)
        values.append(y + values[skips[layer]] if layer in skips else y)
    expected = values[-1].transpose(0, 1)
    weights = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), filters)
    found = single_filter_chain(filters, x, skips)
    (gradient,) = torch.autograd.grad((found * weights).sum(), filters)
    assert_close(found, expected, rtol=0, atol=1e-12)
    assert_close(gradient, wanted, rtol=0, atol=1e-10)


def test_config_travels_as_json():
    model = build_ensemble("colour")
    config = model.config.model_dump(mode="json")
    again = ARCHITECTURES["Ensemble"](config)
    again.load_state_dict(model.state_dict())
    x = torch.rand(2, *model.shape)
    assert torch.equal(model(x), again(x))


def test_member_carries_its_images():
    model = build_ensemble("dense")
    model.examples = torch.rand(2, *model.shape)
    model.probes = torch.rand(3, *model.shape)
    assert torch.equal(model.member(2).examples, model.examples[:, 2])
    assert torch.equal(model.member(2).probes, model.probes[:, 2])


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"architecture": "Ensemble"}, "members of an ensemble are of one architecture of the table, got 'Ensemble'"),
        ({"architecture": "Nonsense"}, "got 'Nonsense'"),
        ({"member": {"shape": (1, 3, 3)}, "shape": (2, 1, 3, 3)}, r"5 members of shape \(1, 3, 3\) make"),
    ],
)
def test_configurations_that_make_no_ensemble(config, problem):
    with pytest.raises(ValueError, match=problem):
        Ensemble(config)


def test_members_are_drawn_one_after_another():
    torch.manual_seed(3)
    first = [FullyConnected(shape=(4,), depth=2, width=3) for _ in range(2)]
    torch.manual_seed(3)
    member = {"shape": (4,), "depth": 2, "width": 3}
    model = Ensemble(architecture="FullyConnected", member=member, members=2)
    for ours, theirs in zip(model, first, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_single_filter_networks_are_recognised():
    assert ConvAutoencoder(shape=(1, 3, 3), layers=2).net.single_filter
    assert not ConvAutoencoder(shape=(1, 3, 3), layers=2, filters=2).net.single_filter
    assert not ConvAutoencoder(shape=(1, 3, 3), layers=2, activation="leaky_relu").net.single_filter
    assert not ConvAutoencoder(shape=(1, 3, 3), layers=2, bias=True).net.single_filter


def test_gradients_of_350_layers_are_those_of_convolutions():
    config = {"shape": (1, 7, 7), "layers": 350, "skip": 10, "skip_from": 10}
    model = ConvAutoencoder(config | {"init": {"scheme": "kaiming_normal", "gain": 0.36}}).double()
    x = normal(5, 1, 7, 7)
    (model(x) - x).square().mean().backward()
    filters = torch.stack([layer.weight.detach()[0, 0] for layer in model.convolutions])[:, None].requires_grad_()
    points = x.transpose(0, 1)
    (single_filter_chain(filters, points, model.net.skips) - points).square().mean().backward()
    wanted = torch.stack([layer.weight.grad[0, 0] for layer in model.convolutions])[:, None]
    atol = 1e-10 * wanted.abs().max().item()
    assert_close(filters.grad, wanted, rtol=1e-10, atol=atol)


def test_fixed_parameters_stay_fixed():
    member = {"shape": (4,), "width": 6}
    training = {"lr": 0.1, "steps": 5}
    model = Ensemble(architecture="WideReLU", member=member, members=3, training=training)
    before = [{name: value.clone() for name, value in member.named_parameters()} for member in model]
    fixed = {name for name, value in ARCHITECTURES["WideReLU"](member).named_parameters() if not value.requires_grad}
    fit(model, torch.rand(2, *model.shape))
    assert fixed
    for old, member in zip(before, model, strict=True):
        for name, value in member.named_parameters():
            assert torch.equal(old[name], value) == (name in fixed)


def test_the_adaptive_step_is_refused():
    with pytest.raises(ValueError, match="adaptive step of Theorem 1 is not for ensembles"):
        fit(build_ensemble("dense", optimizer="adaptive", steps=2), torch.rand(2, 4, 1, 3, 3))
    with pytest.raises(ValueError, match="muon would orthogonalise across the members"):
        fit(build_ensemble("dense", optimizer="muon", steps=2), torch.rand(2, 4, 1, 3, 3))


def test_a_member_whose_gradient_overflows_is_given_up_and_the_others_go_on():
    member = {"shape": (6,), "depth": 2, "width": 4, "activation": "linear"}
    training = {"steps": 20, "optimizer": "sgd"}
    model = Ensemble(architecture="FullyConnected", member=member, members=3, training=training)
    for stack, names in zip(model.net.stacks, model.net.names, strict=True):
        if names == ["1.weight"]:
            stack.data[:, 1] = 1e-30
        if names == ["2.weight"]:
            stack.data[:, 1] = 1e30
    images = torch.rand(2, 3, 6)
    images[:, 1] *= 1e6
    with pytest.warns(UserWarning, match="member 1 diverged: its gradient overflows .* at optimizer step 0"):
        fit(model, images)
    assert model.stopped_at.tolist() == [-1, -2, -1]
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_mixed_precision_takes_the_grouped_convolution():
    model = build_ensemble("single", steps=3, lr=1e-3)
    fit(model, torch.rand(2, *model.shape), precision="bf16-mixed")
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_a_fit_with_nothing_left_to_train_says_so():
    model = build_ensemble("dense", steps=2)
    model.stopped_at.fill_(3)
    with pytest.warns(UserWarning, match="every member has ended in an earlier fit"):
        fit(model, torch.rand(2, *model.shape))
