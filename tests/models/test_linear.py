import json

import pytest
import torch
from draws import uniform
from lightning.pytorch import Trainer
from torch.testing import assert_close

from memzoo.data import full_batches
from memzoo.dynamics import operator
from memzoo.models.architectures.linear import LinearAutoencoder
from memzoo.theory import gradient_descent_solution, minimum_norm_solution, step_bound


def fit(model, x, steps):
    trainer = Trainer(max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.fit(model, full_batches(x))


@pytest.mark.parametrize("loss", ["half_sum", "mean"])
def test_training_is_theorem_a_at_every_time(loss):
    x = uniform(2, 1, 3, 3)
    g = 0.8 * step_bound(x.flatten(1))
    # the gradient of the mean is 2 / numel times that of the half sum
    lr = g if loss == "half_sum" else g * x.numel() / 2
    training = {"optimizer": "sgd", "lr": lr, "loss": loss}
    model = LinearAutoencoder(shape=(1, 3, 3), training=training).double()
    assert (model.matrix == 0).all()
    fit(model, x, 12)
    expected = gradient_descent_solution(x.flatten(1), g, 12)
    assert_close(model.matrix.detach(), expected, rtol=0, atol=1e-12)


def test_closed_form_is_the_projection_and_keeps_the_start_outside_the_span():
    x = uniform(2, 1, 3, 3)
    model = LinearAutoencoder(shape=(1, 3, 3)).double().fit_closed_form(x)
    found = operator(model)
    assert_close(found.matrix, minimum_norm_solution(x.flatten(1)))
    assert found.bracket(2).startswith("1, 1, [<")
    model = LinearAutoencoder(shape=(1, 3, 3), init="default").double()
    start = model.matrix.detach().clone()
    expected = minimum_norm_solution(x.flatten(1), start)
    assert_close(model.fit_closed_form(x).matrix.detach(), expected)


def test_configuration_and_weights_rebuild_it():
    model = LinearAutoencoder(shape=(2, 2, 2), init="xavier_normal")
    twin = LinearAutoencoder(json.loads(json.dumps(model.config.model_dump(mode="json"))))
    twin.load_state_dict(model.state_dict(), strict=True)
    x = torch.rand(3, 2, 2, 2)
    assert torch.equal(twin(x), model(x))
    assert sum(p.numel() for p in model.parameters()) == 64  # no bias
