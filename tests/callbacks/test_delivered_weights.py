"""What is measured and put back where an optimizer or the module itself chooses the weights of the end."""

import copy

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelPruning
from torch import nn
from torch.utils.data import DataLoader

from memzoo.callbacks import AttractorCallback, KeepSteps, StopBeforeMemorized

ROWS = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
pytestmark = pytest.mark.filterwarnings("ignore:the loss was still falling when the run ended")


class ScheduleFree(torch.optim.SGD):
    """Steps with weights y and evaluates with their running mean x, as optimizers without a schedule do."""

    def __init__(self, *arguments, **settings):
        super().__init__(*arguments, **settings)
        for group in self.param_groups:
            group["train_mode"] = True

    def step(self, closure=None):
        loss = super().step(closure)
        for weight in self.param_groups[0]["params"]:
            state = self.state[weight]
            mean = state.setdefault("mean", weight.detach().clone())
            mean.lerp_(weight.detach(), 0.1)
        return loss

    def eval(self):
        self._move("train_mode", False, 0.7)

    def train(self):
        self._move("train_mode", True, -0.7 / 0.3)

    def _move(self, name, mode, share):
        for group in self.param_groups:
            if group[name] is not mode:
                group[name] = mode
                for weight in group["params"]:
                    if "mean" in self.state[weight]:
                        weight.data.lerp_(self.state[weight]["mean"], share)  # there and back, this rounds


class Autoencoder(LightningModule):
    def __init__(self, kind=ScheduleFree, at_the_end="nothing"):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))
        self.kind = kind
        self.at_the_end = at_the_end
        self.evaluated = []

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self(batch), batch)

    def on_train_epoch_end(self):
        if self.kind is not ScheduleFree:
            return
        other = copy.deepcopy(self.net)
        with torch.no_grad():
            for weight, own in zip(other.parameters(), self.net.parameters(), strict=True):
                mean = self.optimizers().optimizer.state[own].get("mean")
                weight.copy_(own if mean is None else torch.lerp(own, mean, 0.7))
        self.evaluated.append(other)

    def _end(self):
        for parameter in self.parameters():
            parameter.data.mul_(0.5)

    def on_train_end(self):
        if self.at_the_end == "train":
            self._end()

    def on_fit_end(self):
        if self.at_the_end == "fit":
            self._end()

    def configure_optimizers(self):
        return self.kind(self.parameters(), 0.5)


def fit(module, *callbacks, epochs=3):
    torch.manual_seed(0)
    module.net.apply(lambda part: part.reset_parameters() if isinstance(part, nn.Linear) else None)
    trainer = Trainer(
        max_epochs=epochs,
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(ROWS, batch_size=4))
    return module


def watching(**settings):
    return AttractorCallback(ROWS, ROWS[:2] + 1, steps=2, verbose=False, **{"every_n_epochs": 1, **settings})


def residual(module):
    difference = (module(ROWS) - ROWS).norm(dim=1) / ROWS.norm(dim=1)
    return difference.detach().quantile(0.5).item()


def test_weights_that_an_optimizer_evaluates_with_are_measured_and_kept_without_a_trace():
    watch = watching()
    keep = KeepSteps(epochs=[2])
    plain = fit(Autoencoder()).state_dict()
    module = fit(Autoencoder(), watch, keep)
    assert all(torch.equal(value, plain[name]) for name, value in module.state_dict().items())
    *within, closing = [row["attractor/residual"] for row in watch.history]
    assert within[:2] == pytest.approx([residual(net) for net in module.evaluated[:2]], rel=1e-4)
    assert closing == pytest.approx(residual(module), rel=1e-4)  # nobody has switched to the mean for good
    assert watch.measured_weights == "averaged (ScheduleFree)"
    for name, value in module.evaluated[1].state_dict().items():
        torch.testing.assert_close(keep.kept[4][f"net.{name}"], value)


@pytest.mark.parametrize("hook", ["train", "fit", "nothing"])
@pytest.mark.parametrize("kind", [torch.optim.SGD, ScheduleFree])
def test_the_last_row_is_of_the_weights_that_the_run_ends_with(kind, hook):
    watch = watching()
    module = fit(Autoencoder(kind, hook), watch)
    last = watch.history[-1]
    assert last["step"] == 6
    assert last["epoch"] == 2
    found = watch.measure(module)
    assert {key: last[key] for key in found} == found
    assert len(watch.history) == 3 + (hook != "nothing") + (kind is ScheduleFree)


class Memorized:
    """Lets a rule believe that everything is memorized from a step on."""

    def __init__(self, monkeypatch, step):
        combine = AttractorCallback.combine_parts

        def believe(callback, parts, examples):
            memorized = float(len(callback.history) == step)
            return {**combine(callback, parts, examples), "fraction": memorized, "recovered": memorized}

        monkeypatch.setattr(AttractorCallback, "combine_parts", believe)


@pytest.mark.parametrize("hook", ["train", "fit"])
def test_clean_weights_stay_in_place_whatever_the_module_does_at_the_end(hook, monkeypatch):
    Memorized(monkeypatch, 2)
    rule = StopBeforeMemorized()
    watch = watching()
    keep = KeepSteps(epochs=[2])
    module = fit(Autoencoder(torch.optim.SGD, hook), rule, watch, keep, epochs=5)
    assert rule.clean_step == 4
    assert all(torch.equal(value, keep.kept[4][name]) for name, value in module.state_dict().items())
    assert watch.history[-1]["attractor/residual"] == watch.history[1]["attractor/residual"]


@pytest.mark.parametrize("permanent", [True, False])
def test_weights_from_before_a_pruning_are_put_back(permanent, monkeypatch):
    Memorized(monkeypatch, 2)
    rule = StopBeforeMemorized()
    keep = KeepSteps(epochs=[2])
    pruning = ModelPruning(
        "l1_unstructured",
        amount=0.5,
        apply_pruning=lambda epoch: epoch == 2,
        use_global_unstructured=True,
        make_pruning_permanent=permanent,
    )
    module = fit(Autoencoder(torch.optim.SGD), rule, watching(), pruning, keep, epochs=5)
    assert rule.clean_step == 4
    assert module.state_dict().keys() == keep.kept[4].keys()
    assert all(torch.equal(value, keep.kept[4][name]) for name, value in module.state_dict().items())
    assert residual(module)


def test_a_module_that_cannot_take_the_clean_weights_is_named(monkeypatch):
    Memorized(monkeypatch, 1)
    rule = StopBeforeMemorized()
    monkeypatch.setattr("memzoo.callbacks.stopping.write_tensors", lambda module, values: ["net.0.weight"])
    with pytest.warns(UserWarning, match=r"no longer has net.0.weight, so that the weights of step 2 are put back in"):
        fit(Autoencoder(torch.optim.SGD), rule, watching())
