"""The callbacks in the Trainer of pytorch_lightning, whose classes are not those of lightning."""

import lightning.pytorch
import pytest
import torch
from torch import nn

from memzoo.callbacks import AttractorCallback, ContractionCallback, KeepSteps, StopBeforeMemorized, StopWhenMemorized
from memzoo.data import full_batches

pytorch_lightning = pytest.importorskip("pytorch_lightning")
pytestmark = [
    pytest.mark.filterwarnings("ignore:the loss was still falling when the run ended"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
BOTH = [lightning.pytorch, pytorch_lightning]

POINTS = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
STARTS = torch.rand(20, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


def make_module(package, **hooks):
    class Plane(package.LightningModule):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

        def forward(self, x):
            self.log("seen", x.mean())
            return self.net(x)

        def training_step(self, batch, batch_idx):
            return nn.functional.mse_loss(self(batch[0]), batch[0])

        def validation_step(self, batch, batch_idx):
            self.training_step(batch, batch_idx)

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=5e-3)

    return type("Plane", (Plane,), hooks)()


def fit(package, *callbacks, epochs=4, module=None, **options):
    module = module or make_module(package)
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = package.Trainer(
        max_epochs=epochs, callbacks=list(callbacks), enable_model_summary=False, **{**settings, **options}
    )
    trainer.fit(module, full_batches(POINTS, steps_per_epoch=5), full_batches(STARTS, steps_per_epoch=1))
    return trainer, module


def rows_of(callback):
    return [repr({key: value for key, value in row.items() if key != "seconds"}) for row in callback.history]


def attractor(**options):
    return AttractorCallback(steps=20, verbose=False, **options)


@pytest.mark.parametrize(
    "make",
    [
        lambda: attractor(every_n_epochs=2),
        lambda: attractor(every_n_steps=3),
        lambda: ContractionCallback(every_n_epochs=1, verbose=False),
    ],
)
def test_both_packages_give_the_same_history(make):
    histories = []
    for package in BOTH:
        callback = make()
        trainer, _ = fit(package, callback)
        assert (
            trainer.callback_metrics[f"{callback.name}/residual"] == callback.history[-1][f"{callback.name}/residual"]
        )
        histories.append(rows_of(callback))
    assert histories[0] == histories[1]
    assert len(histories[0]) > 1


@pytest.mark.parametrize("package", BOTH)
def test_its_monitors_are_found(package):
    callback = attractor()
    stopping = package.callbacks.EarlyStopping("attractor/fraction", mode="max", patience=2)
    trainer, _ = fit(package, stopping, callback, epochs=6)
    assert len(callback.history) == trainer.current_epoch < 6  # every epoch, whatever the budget
    assert callback.stopping_reason.startswith("EarlyStopping: ")
    late = attractor(every_n_epochs=2)
    with pytest.warns(UserWarning, match="EarlyStopping reads attractor/fraction after every epoch"):
        fit(package, package.callbacks.EarlyStopping("attractor/fraction", mode="max"), late, epochs=2)


@pytest.mark.parametrize("package", BOTH)
def test_its_averaged_weights_are_measured(package):
    callback = attractor(every_n_epochs=1)
    keeper = KeepSteps(epochs=(1,))
    fit(package, callback, keeper, package.callbacks.EMAWeightAveraging(decay=0.5), epochs=2)
    assert callback.measured_weights == "averaged (EMAWeightAveraging)"
    plain = KeepSteps(epochs=(1,))
    fit(package, plain, epochs=2)
    assert not torch.equal(plain.kept[5]["net.0.weight"], keeper.kept[5]["net.0.weight"])


@pytest.mark.parametrize("package", BOTH)
def test_weights_that_its_module_validates_with_are_measured(package):
    def shift(module, by):
        with torch.no_grad():
            module.net[0].bias += by

    hooks = {
        "on_validation_model_eval": lambda self: (self.eval(), shift(self, 4.0)),
        "on_validation_model_train": lambda self: (self.train(), shift(self, -4.0)),
    }
    shifted = attractor(every_n_steps=3)
    fit(package, shifted, module=make_module(package, **hooks), epochs=1, limit_val_batches=0)
    plain = attractor(every_n_steps=3)
    fit(package, plain, epochs=1, limit_val_batches=0)
    assert shifted.history[0]["attractor/residual"] != plain.history[0]["attractor/residual"]


@pytest.mark.parametrize("rule", [StopWhenMemorized, StopBeforeMemorized])
def test_rules_stop_its_run(rule):
    callback = attractor(every_n_epochs=4)
    stop = rule()
    trainer, _ = fit(pytorch_lightning, callback, stop, epochs=400)
    assert trainer.current_epoch < 400
    assert callback.stopping_reason == stop.stopped_because
