import math

import pytest
import torch
from pydantic import ValidationError

from memzoo.errors import NotASelfMapError
from memzoo.models import D1, FullyConnected, Training


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
