import json

import pytest
import torch
from draws import uniform
from lightning.pytorch import Trainer
from torch.testing import assert_close

from memzoo.data import full_batches
from memzoo.dynamics import spectrum
from memzoo.models.architectures.wide_relu import WideReLU
from memzoo.theory import contraction_matrices, limit_radius, second_layer, spectral_radii


def test_closed_form_memorizes_and_has_the_predicted_radii():
    x = uniform(4, 1, 3, 3)
    model = WideReLU(shape=(1, 3, 3), width=300).double()
    assert (model(x) == 0).all()
    model.fit_closed_form(x)
    assert_close(model(x).detach(), x)
    flat = x.flatten(1)
    first = type(model.first)(*(part.detach() for part in model.first))
    assert_close(spectrum(model, x).radius, spectral_radii(contraction_matrices(flat, first)))
    assert_close(model.second.detach(), second_layer(flat, first))


def test_training_moves_the_second_layer_alone_towards_the_closed_form():
    x = uniform(2, 1, 2, 2)
    training = {"optimizer": "sgd", "loss": "half_sum", "lr": 0.01, "steps_per_batch": 800, "weight_decay": 0.0}
    model = WideReLU(shape=(1, 2, 2), width=40, training=training).double()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    Trainer(max_steps=800, logger=False, enable_checkpointing=False, enable_progress_bar=False).fit(
        model, full_batches(x)
    )
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {"net.3.weight"}
    trained = model.second.detach().clone()
    expected = model.fit_closed_form(x).second.detach()
    assert_close(trained, expected, rtol=0, atol=1e-4)


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"examples must be floating point, got torch\.int64"):
        WideReLU(shape=(2,)).fit_closed_form(torch.ones(1, 2, dtype=torch.int64))


def test_one_image_at_great_width():
    x = torch.rand(1, 1, 2, 2)
    model = WideReLU(shape=(1, 2, 2), width=100_000).fit_closed_form(x)
    found = spectrum(model, x).radius.item()
    assert found == pytest.approx(limit_radius(x.flatten()), abs=0.02)


@pytest.mark.parametrize("distribution", ["uniform", "centred_exponential"])
def test_configuration_and_weights_rebuild_it(distribution):
    model = WideReLU(shape=(1, 2, 2), width=10, distribution=distribution).fit_closed_form(torch.rand(1, 1, 2, 2))
    twin = WideReLU(json.loads(json.dumps(model.config.model_dump(mode="json"))))
    assert not torch.equal(twin.first.weight, model.first.weight)
    twin.load_state_dict(model.state_dict(), strict=True)
    x = torch.rand(3, 1, 2, 2)
    assert torch.equal(twin(x), model(x))
    assert not twin.first.weight.requires_grad
    assert twin.first.weight.min() > -2
