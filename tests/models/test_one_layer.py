import json

import pytest
import torch
from draws import uniform
from lightning.pytorch import Trainer
from pydantic import ValidationError
from torch.testing import assert_close

from memzoo.data import full_batches
from memzoo.models.architectures.one_layer import OneLayerAutoencoder
from memzoo.theory import Phi, adaptive_descent, adaptive_step_bound, minimum_norm_preimage, register_phi

NAMES = ("sigmoid", "tanh", "reflected_sigmoid")


def examples():
    return 0.1 + 0.35 * uniform(2, 1, 2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_following_the_objective_is_the_adaptive_descent(name):
    x = examples()
    g = 0.9 * adaptive_step_bound(x.flatten(1))
    training = {"optimizer": "adaptive", "lr": g, "loss": "half_sum"}
    model = OneLayerAutoencoder(shape=(1, 2, 3), phi=name, training=training).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=g)
    for step in range(25):
        expected = adaptive_descent(x.flatten(1), name, g, step)
        assert_close(model.matrix.detach(), expected, rtol=0, atol=1e-12)
        loss, followed = model.objective(x)
        assert loss.item() == pytest.approx(0.5 * (model(x) - x).square().sum().item())
        optimizer.zero_grad()
        followed.backward()
        optimizer.step()


def test_the_trainer_runs_theorem_1():
    x = examples()
    g = 0.9 * adaptive_step_bound(x.flatten(1))
    training = {"optimizer": "adaptive", "lr": g}
    model = OneLayerAutoencoder(shape=(1, 2, 3), training=training).double()
    Trainer(max_steps=7, logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(
        model, full_batches(x)
    )
    expected = adaptive_descent(x.flatten(1), "sigmoid", g, 7)
    assert_close(model.matrix.detach(), expected, rtol=0, atol=1e-12)


def test_other_optimizers_follow_the_squared_error():
    x = examples()
    model = OneLayerAutoencoder(shape=(1, 2, 3), training={"optimizer": "sgd"}).double()
    loss, followed = model.objective(x)
    assert followed is loss
    assert loss.item() == pytest.approx((0.5 - x).square().mean().item())  # zero weights: phi(0) everywhere


@pytest.mark.parametrize("name", NAMES)
def test_closed_form(name):
    x = examples()
    model = OneLayerAutoencoder(shape=(1, 2, 3), phi=name).double()
    assert (model.matrix == 0).all()
    model.fit_closed_form(x)
    expected = minimum_norm_preimage(x.flatten(1), name)
    assert_close(model.matrix.detach(), expected)
    assert_close(model(x).detach(), x)
    twin = OneLayerAutoencoder(json.loads(json.dumps(model.config.model_dump(mode="json")))).double()
    twin.load_state_dict(model.state_dict(), strict=True)
    assert torch.equal(twin(x), model(x))


def test_a_phi_of_ones_own_by_its_registered_name():
    with pytest.raises(ValidationError, match="no phi is named 'algebraic', known are sigmoid"):
        OneLayerAutoencoder(shape=(1, 2, 3), phi="algebraic")
    phi = Phi(
        "algebraic",
        lambda z: z / (1 + z * z).sqrt(),
        lambda x: x / (1 - x * x).sqrt(),
        lambda z: (1 + z * z) ** -1.5,
        -1.0,
        1.0,
    )
    register_phi(phi)
    x = examples()
    model = OneLayerAutoencoder(shape=(1, 2, 3), phi="algebraic").double().fit_closed_form(x)
    assert_close(model(x).detach(), x)
    assert "algebraic" in repr(model)


def test_examples_outside_the_range_are_refused():
    model = OneLayerAutoencoder(shape=(1, 2, 3), training={"optimizer": "adaptive"})
    with pytest.raises(ValueError, match=r"outside the open range \(0, 1\) of phi = sigmoid"):
        model.objective(torch.ones(1, 1, 2, 3))
