import math
import re

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from torch.testing import assert_close

from memzoo.callbacks import AttractorCallback
from memzoo.data import full_batches
from memzoo.errors import TrainingDivergedError
from memzoo.models import D1, FullyConnected, OneLayerAutoencoder, Training
from memzoo.models.base.denormals import flushes_denormals
from memzoo.models.base.loss import squared_error


def fit(model, images, *, steps=None, steps_per_epoch=5, **options):
    trainer = Trainer(
        max_steps=steps or model.training_config.steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(model, full_batches(images, steps_per_epoch=steps_per_epoch))
    return trainer


def build_small(init="xavier_uniform", bias=True, **training):
    torch.manual_seed(0)
    return FullyConnected(shape=(6,), depth=3, width=16, init=init, bias=bias, training=Training(**training))


IMAGES = torch.rand(4, 6, generator=torch.Generator().manual_seed(1))


def train_by_plain_loop(model, optimizer, steps, cosine=False):
    factor = (lambda t: 0.5 * (1 + math.cos(math.pi * t / steps))) if cosine else lambda t: 1.0
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    for _ in range(steps):
        loss = (model.net(IMAGES) - IMAGES).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize("steps_per_batch", [1, 7, 100])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_many_steps_a_batch_are_the_steps_of_a_plain_loop(steps_per_batch, optimizer):
    plain = build_small()
    model = build_small(optimizer=optimizer, lr=0.01, steps=60, schedule="cosine", steps_per_batch=steps_per_batch)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    train_by_plain_loop(plain, kind(plain.parameters(), lr=0.01), 60, cosine=True)
    trainer = fit(model, IMAGES)
    assert trainer.global_step == 60  # optimizer steps, and none beyond
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_the_steps_that_callbacks_and_schedules_see_are_optimizer_steps():
    seen = []

    class Seen(Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append(trainer.global_step)

    fit(build_small(steps_per_batch=10), IMAGES, steps=25, callbacks=[Seen()])
    assert seen == [10, 20, 25]


@pytest.mark.parametrize("steps_per_batch", [1, 50])
def test_training_stops_at_the_stated_loss(steps_per_batch):
    model = build_small(lr=0.01, steps=5000, stop_loss=1e-4, steps_per_batch=steps_per_batch)
    trainer = fit(model, IMAGES)
    assert 10 < trainer.global_step < 5000
    assert squared_error(model(IMAGES), IMAGES).item() < 1.2e-4
    if steps_per_batch > 1:  # stopped before the step that would follow
        plain = build_small()
        optimizer = torch.optim.Adam(plain.parameters(), lr=0.01)
        train_by_plain_loop(plain, optimizer, trainer.global_step - 1)
        assert squared_error(plain.net(IMAGES), IMAGES).item() >= 1e-4
        assert squared_error(model(IMAGES), IMAGES).item() < 1e-4


@pytest.mark.parametrize(("reduction", "factor"), [("mean", 2 / 24), ("sum", 2.0), ("half_sum", 1.0)])
def test_the_scale_of_the_loss_is_that_of_the_step(reduction, factor):
    model = FullyConnected(
        shape=(6,), depth=1, bias=False, init={"scheme": "constant", "value": 0.0},
        training={"optimizer": "sgd", "lr": 0.01, "loss": reduction},
    )  # fmt: skip
    fit(model, IMAGES, steps=1)
    # at W = 0 the gradient of the sum of squares is -2 X^T X
    assert_close(model.net[1].weight, 0.01 * factor * IMAGES.T @ IMAGES)


def test_training_stops_when_enough_is_recovered():
    model = build_small(lr=3e-3, steps=20000, steps_per_batch=100, stop_recovered=0.5)
    callback = AttractorCallback(verbose=False)
    trainer = fit(model, IMAGES, steps_per_epoch=1, callbacks=[callback])
    assert trainer.global_step < 20000
    assert callback.history[-1]["attractor/recovered"] >= 0.5
    assert all(row["attractor/recovered"] < 0.5 for row in callback.history[:-1])


def test_stopping_by_recovery_needs_somebody_who_measures():
    with pytest.raises(ValueError, match=r"stop_recovered=1\.0 needs .* add memzoo\.callbacks\.AttractorCallback"):
        fit(build_small(stop_recovered=1.0), IMAGES, steps=2)


@pytest.mark.parametrize("steps_per_batch", [1, 20])
def test_divergence_names_step_and_loss_and_keeps_the_last_finite_weights(steps_per_batch):
    model = build_small(optimizer="sgd", lr=20.0, steps=2000, steps_per_batch=steps_per_batch)
    before = flushes_denormals()
    wanted = r"the loss is (inf|nan) at optimizer step \d+; the weights of step \d+ \(loss [\d.e+]+\) were put back"
    with pytest.raises(TrainingDivergedError, match=wanted) as caught:
        fit(model, IMAGES)
    assert flushes_denormals() == before
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    step, loss = re.search(r"of step (\d+) \(loss ([\d.e+]+)\)", str(caught.value)).groups()
    found = squared_error(model(IMAGES), IMAGES).item()
    assert found == pytest.approx(float(loss), rel=1e-3)
    assert int(step) % 100 == 0


def test_divergence_late_in_a_run_goes_back_less_than_a_hundred_steps():
    class Kick(Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if trainer.global_step == 250:
                module.net[1].weight.data.fill_(math.nan)

    with pytest.raises(TrainingDivergedError, match=r"loss is nan at optimizer step 250; the weights of step 200 "):
        fit(build_small(), IMAGES, steps=400, callbacks=[Kick()])


def test_gradient_overflow_is_an_error_although_the_loss_is_finite():
    model = FullyConnected(shape=(6,), depth=2, width=4, activation="linear", training={"optimizer": "sgd"})
    model.net[1].weight.data.fill_(1e-30)
    model.net[2].weight.data.fill_(1e30)
    with pytest.raises(TrainingDivergedError, match=r"gradient of net\.1\.weight overflows at optimizer step 0, loss"):
        fit(model, 1e6 * IMAGES, steps=5)
    assert model.net[2].weight.max() == 1e30


@pytest.mark.parametrize("steps_per_batch", [1, 50])
def test_gradient_underflow_is_reported_once(steps_per_batch):
    training = Training(steps_per_batch=steps_per_batch)
    init = {"scheme": "constant", "value": 1e-12}
    model = D1(shape=(1, 16, 16), filters=2, init=init, training=training)
    with pytest.warns(UserWarning, match=r"gradient of every weight .* exactly zero at optimizer step 0") as caught:
        fit(model, torch.rand(1, 1, 16, 16), steps=300, steps_per_epoch=300)
    assert sum("underflowed" in str(warning.message) for warning in caught) == 1


def test_the_adaptive_step_belongs_to_one_layer_networks():
    with pytest.raises(
        ValueError, match="adaptive step of Theorem 1 is that of a one-layer network, and FullyConnected"
    ):
        fit(build_small(optimizer="adaptive"), IMAGES, steps=1)


def test_parameters_that_are_fixed_stay_out_of_the_optimizer():
    model = build_small(lr=0.1, weight_decay=0.1, optimizer="adamw")
    model.net[1].weight.requires_grad_(False)
    before = model.net[1].weight.clone()
    fit(model, IMAGES, steps=5)
    assert torch.equal(model.net[1].weight, before)


def test_dead_units_are_reported_though_a_bias_still_learns():
    model = build_small()
    model.net[1].bias.data.fill_(-100.0)
    with pytest.warns(UserWarning, match="gradient of every weight is exactly zero"):
        fit(model, IMAGES, steps=2)
    assert (model.net[-2].bias != 0).any()


def test_a_zero_gradient_of_one_layer_is_no_news():
    model = build_small()
    model.net[-2].weight.data.zero_()
    fit(model, IMAGES, steps=2)  # warnings are errors


@pytest.mark.filterwarnings("ignore:.*resumed from a checkpoint that ended before the epoch ended:UserWarning")
@pytest.mark.parametrize("steps_per_batch", [1, 10])
def test_a_resumed_run_ends_with_the_weights_of_an_unbroken_one(steps_per_batch, tmp_path):
    options = {"lr": 0.01, "steps": 60, "schedule": "cosine", "steps_per_batch": steps_per_batch}
    batches = 60 // steps_per_batch
    whole = build_small(**options)
    first = build_small(**options)
    second = build_small(**options)
    fit(whole, IMAGES, steps_per_epoch=batches // 2)
    fit(first, IMAGES, steps=30, steps_per_epoch=batches // 2).save_checkpoint(tmp_path / "half.ckpt")
    trainer = Trainer(max_steps=60, max_epochs=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    images = full_batches(IMAGES, steps_per_epoch=batches // 2)
    trainer.fit(
        second,
        images,
        ckpt_path=tmp_path / "half.ckpt",
        weights_only=True,
    )
    assert trainer.global_step == 60
    for ours, theirs in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("steps_per_batch", [1, 7])
def test_a_loss_that_is_reached_early_waits_for_the_least_steps(steps_per_batch):
    model = build_small(lr=0.01, steps=100, stop_loss=1.0, steps_per_batch=steps_per_batch)
    trainer = fit(model, IMAGES, min_steps=30)
    assert 30 <= trainer.global_step < 45


def test_loggers_see_optimizer_steps(tmp_path):
    model = build_small(steps=60, steps_per_batch=20)
    trainer = Trainer(
        max_steps=60, max_epochs=-1, enable_checkpointing=False, enable_progress_bar=False,
        logger=CSVLogger(tmp_path, version=0), log_every_n_steps=1,
    )  # fmt: skip
    trainer.fit(model, full_batches(IMAGES))
    lines = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("step")
    found = [int(float(line.split(",")[column])) for line in lines[1:]]
    assert found == [20, 40, 60]


def test_the_loss_that_callbacks_see_under_the_adaptive_step_is_the_loss():
    seen = []

    class Seen(Callback):
        def on_train_batch_end(self, trainer, module, outputs, *_):
            seen.append(outputs["loss"].item())

    images = torch.rand(1, 4) * 0.3 + 0.1
    model = OneLayerAutoencoder(shape=(4,), training=Training(optimizer="adaptive", lr=0.01))
    wanted = squared_error(model(images), images).item()
    fit(model, images, steps=1, steps_per_epoch=1, callbacks=[Seen()])
    assert seen == [pytest.approx(wanted)]


def test_a_fit_from_loaded_weights_begins_its_own_course(tmp_path):
    first = build_small()
    trainer = fit(first, IMAGES, steps=40)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    loaded = FullyConnected.load_from_checkpoint(tmp_path / "a.ckpt")
    fit(loaded, IMAGES, steps=10)
    assert [step for step, _ in loaded.course] == list(range(10))
    expected = squared_error(first(IMAGES), IMAGES).item()
    assert loaded.course[0][1] == pytest.approx(expected)
    resumed = build_small()
    trainer = Trainer(
        max_steps=60,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(resumed, full_batches(IMAGES, steps_per_epoch=5), ckpt_path=tmp_path / "a.ckpt", weights_only=True)
    assert resumed.course[: len(first.course)] == first.course
    assert len(resumed.course) > len(first.course)
