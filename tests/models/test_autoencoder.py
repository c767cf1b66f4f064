import math

import pytest
import torch
from pydantic import ValidationError

from memzoo.errors import NotASelfMapError
from memzoo.models import D1, FullyConnected, Training
from memzoo.models.base.schedule import build_schedule


def test_wrong_input_shape():
    with pytest.raises(NotASelfMapError, match=r"D1 maps batches of shape \(B, 3, 8, 8\), got \(1, 3, 9, 9\)"):
        D1(shape=(3, 8, 8), filters=2)(torch.zeros(1, 3, 9, 9))


def test_configs_are_frozen_and_strict():
    model = FullyConnected(depth=2)
    with pytest.raises(ValidationError, match="frozen"):
        model.config.depth = 3
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        FullyConnected(deph=3)
    with pytest.raises(ValidationError, match="greater than 0"):
        FullyConnected(depth=0)
    with pytest.raises(ValidationError, match="'relu'"):
        FullyConnected(activation="rleu")
    with pytest.raises(TypeError, match="a config or its fields, not both"):
        FullyConnected({"depth": 2}, width=3)


def test_training_uses_the_configured_optimizer_and_schedule():
    training = Training(optimizer="sgd", lr=0.1, weight_decay=0.01, schedule="cosine", decay=0.5, steps=10)
    model = FullyConnected(shape=(1, 4, 4), depth=3, width=6, training=training)
    configured = model.configure_optimizers()
    optimizer = configured["optimizer"]
    scheduler = configured["lr_scheduler"]["scheduler"]
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.defaults["weight_decay"] == 0.01
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # constant for six steps, then half a period of the cosine over five
    expected = [0.1] * 6 + [0.05 * (1 + math.cos(math.pi * k / 5)) for k in range(1, 6)]
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize(("decay", "steps"), [(0.3, 1000), (0.5, 10), (0.25, 7)])
def test_a_ramp_rises_from_a_twentieth_and_falls_as_half_a_cosine(decay, steps):
    factor = build_schedule(Training(schedule="ramp", decay=decay, steps=steps))
    top = steps * (1 - decay)
    found = [factor(step) for step in range(steps + 1)]
    rising = [0.05 + 0.95 * step / top for step in range(math.ceil(top))]
    falling = [math.cos(math.pi / 2 * (step - top) / (steps - top)) ** 2 for step in range(math.ceil(top), steps + 1)]
    assert found == pytest.approx(rising + falling, abs=1e-12)
    assert factor(steps + 5) == 0  # a run that goes on has no steps left to make


def test_a_ramp_needs_steps_before_the_decay():
    with pytest.raises(ValidationError, match="decay must be below 1"):
        Training(schedule="ramp")


@pytest.mark.parametrize("optimizer", ["sgd", "adaptive"])
def test_betas_are_refused_where_nothing_uses_them(optimizer):
    with pytest.raises(ValidationError, match=f"{optimizer} keeps no means of gradients: leave them out"):
        Training(optimizer=optimizer, betas=(0.9, 0.9))


@pytest.mark.parametrize("betas", [(1.0, 0.9), (0.9, -0.1)])
def test_betas_lie_in_the_unit_interval(betas):
    with pytest.raises(ValidationError, match="betas"):
        Training(betas=betas)


def test_usual_betas_are_not_written_and_others_are_read_back():
    assert "betas" not in Training().model_dump()
    training = Training(betas=(0.5, 0.9))
    assert Training.model_validate_json(training.model_dump_json()) == training
