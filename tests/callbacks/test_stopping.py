from itertools import pairwise

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch import nn

import memzoo
from memzoo.callbacks import AttractorCallback, KeepGenerators, KeepSteps, StopBeforeMemorized, StopWhenMemorized
from memzoo.data import full_batches
from memzoo.errors import CorruptCheckpointError, UnknownCheckpointError
from memzoo.models import FullyConnected

pytestmark = pytest.mark.filterwarnings("ignore:the loss was still falling when the run ended")

POINTS = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
STARTS = torch.rand(40, 2, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Plane(LightningModule):
    """A wide shallow network that comes to interpolate two far points of the plane, which become attractors."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self(batch[0]), batch[0])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def fit(*callbacks, epochs=60, module=None, ckpt_path=None, **options):
    module = Plane() if module is None else module
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(
        max_epochs=epochs, callbacks=list(callbacks), enable_model_summary=False, **{**settings, **options}
    )
    trainer.fit(module, full_batches(POINTS, steps_per_epoch=4), ckpt_path=ckpt_path)
    return trainer, module


def watching(**options):
    return AttractorCallback(starts=STARTS, steps=20, verbose=False, **{"every_n_epochs": 4, **options})


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("measure", ["fraction", "recovered"])
def test_a_run_stops_after_so_many_measurements_in_a_row(first, measure):
    watch = watching(every_n_epochs=2)
    rule = StopWhenMemorized(measure=measure, measurements=3)
    trainer, _ = fit(*((rule, watch) if first else (watch, rule)))
    shares = [row[f"attractor/{measure}"] for row in watch.history]
    assert trainer.current_epoch < 60
    assert shares[-3:] == [1, 1, 1]
    assert len(shares) == 3 or shares[-4] < 1  # and not later
    assert watch.stopping_reason == f"StopWhenMemorized: attractor/{measure} = 1 >= 1 in 3 measurements"
    assert watch.stopping_reason in watch.table()


def test_measurements_are_counted_and_not_epochs():
    watch = watching(every_n_epochs=10)
    trainer, _ = fit(watch, StopWhenMemorized(measurements=2))
    shares = [row["attractor/fraction"] for row in watch.history]
    assert shares[-2:] == [1, 1]
    assert all(min(pair) < 1 for pair in list(pairwise(shares))[:-1])
    assert trainer.current_epoch == 10 * (len(shares) - 1)


def test_min_epochs_are_kept():
    trainer, _ = fit(watching(), StopWhenMemorized(measurements=1), min_epochs=56)
    assert trainer.current_epoch == 56


def test_another_callback_of_another_name_is_not_listened_to():
    near = watching()
    far = AttractorCallback(POINTS + 50, STARTS, steps=2, verbose=False, name="far")
    trainer, _ = fit(near, far, StopWhenMemorized(name="far"), epochs=12)
    assert trainer.current_epoch == 12
    with pytest.raises(ValueError, match=r"needs measurements named 'there': add AttractorCallback\(name='there'\)"):
        fit(near, StopWhenMemorized(name="there"))
    with pytest.raises(ValueError, match=r"StopBeforeMemorized needs measurements named 'attractor'"):
        fit(StopBeforeMemorized())


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_the_count_travels_in_a_checkpoint(tmp_path):
    saver = ModelCheckpoint(tmp_path / "first", save_last=True)
    rule = StopWhenMemorized(measurements=10**6)
    fit(watching(), rule, saver, enable_checkpointing=True)
    assert rule.in_a_row > 0
    again = StopWhenMemorized(measurements=10**6)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    saver = ModelCheckpoint(tmp_path / "first", save_last=True)
    trainer = Trainer(max_epochs=62, callbacks=[watching(), again, saver], **options)
    trainer.fit(
        Plane(), full_batches(POINTS, steps_per_epoch=4), ckpt_path=tmp_path / "first/last.ckpt", weights_only=True
    )
    assert again.in_a_row == rule.in_a_row + 1


@pytest.mark.filterwarnings("ignore:KeepSteps kept nothing of epoch")
@pytest.mark.parametrize("first", [True, False])
def test_a_run_is_stopped_before_it_memorizes_and_goes_back(first, tmp_path):
    watch = watching()
    rule = StopBeforeMemorized()
    keeper = KeepSteps(epochs=range(1, 61))
    trainer, module = fit(*((rule, watch) if first else (watch, rule)), keeper)
    assert 0 < trainer.current_epoch < 60
    clean, memorized, closing = watch.history[-3:]
    assert max(memorized["attractor/fraction"], memorized["attractor/recovered"]) > 0
    assert clean["attractor/fraction"] == clean["attractor/recovered"] == 0
    assert closing["step"] == memorized["step"] == trainer.global_step
    assert closing["attractor/residual"] == clean["attractor/residual"]  # the weights that are put back are measured
    assert rule.clean_step == clean["step"]
    assert all(torch.equal(value, keeper.kept[rule.clean_step][name]) for name, value in module.state_dict().items())
    assert watch.measure(module)["attractor/fraction"] == 0
    assert watch.stopping_reason.startswith("StopBeforeMemorized: attractor/")


def test_the_clean_weights_travel_in_a_checkpoint(tmp_path):
    rule = StopBeforeMemorized()
    trainer, _ = fit(watching(every_n_epochs=1), rule, epochs=2)
    assert rule.clean_step > 0
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed = StopBeforeMemorized()
    fit(watching(every_n_epochs=1), resumed, epochs=2, ckpt_path=tmp_path / "last.ckpt")
    assert resumed.clean_step == rule.clean_step
    assert resumed.clean.keys() == rule.clean.keys()
    assert all(torch.equal(value, resumed.clean[name]) for name, value in rule.clean.items())


def test_without_restoring_the_weights_stay():
    watch = watching()
    rule = StopBeforeMemorized(restore=False)
    _, module = fit(watch, rule)
    assert watch.measure(module)["attractor/recovered"] + watch.measure(module)["attractor/fraction"] > 0
    assert rule.clean is None


def test_memorized_from_the_start_there_is_nothing_to_go_back_to():
    _, module = fit(watching(), StopWhenMemorized(measurements=5))
    with pytest.warns(UserWarning, match=r"the first measurement: there are no earlier weights to go back to"):
        fit(watching(), StopBeforeMemorized(), module=module)


def test_averaged_weights_are_those_that_are_put_back():
    watch = watching()
    rule = StopBeforeMemorized()
    ema = EMAWeightAveraging(decay=0.5)
    _, module = fit(rule, ema, watch)
    values = watch.measure(module)
    clean = next(row for row in watch.history if row["step"] == rule.clean_step)
    assert values["attractor/residual"] == clean["attractor/residual"] == watch.history[-1]["attractor/residual"]


@pytest.mark.parametrize("rule", [StopWhenMemorized, StopBeforeMemorized])
def test_rules_refuse_subsets(rule):
    with pytest.raises(ValueError, match=rf"{rule.__name__} judges all tracked examples, .*rotate=2"):
        fit(watching(rotate=2), rule())


@pytest.mark.filterwarnings("ignore:nothing is measured on a network that is not finite")
def test_weights_that_are_not_finite_are_not_clean():
    class Diverging(Plane):
        def on_train_batch_end(self, *args):
            self.net[0].weight.data.fill_(torch.nan)

    rule = StopBeforeMemorized()
    fit(watching(), rule, module=Diverging(), epochs=8)
    assert rule.clean is None


def test_steps_of_an_averaged_run_are_averaged():
    ema = EMAWeightAveraging(decay=0.5)
    keeper = KeepSteps(epochs=(2,))
    _, module = fit(keeper, ema, watching(), epochs=2)
    assert all(torch.equal(value, keeper.kept[8][name]) for name, value in module.state_dict().items())


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_looking_at_a_checkpoint_keeps_what_the_fit_left(tmp_path):
    watch = watching()
    keeper = KeepSteps(epochs=(1, 4))
    saver = ModelCheckpoint(tmp_path, save_top_k=-1, filename="{epoch}")
    trainer, module = fit(watch, keeper, KeepGenerators(), saver, epochs=4, enable_checkpointing=True)
    module.test_step = lambda batch, batch_idx: None
    rows = list(watch.history)
    steps = sorted(keeper.kept)
    torch.manual_seed(7)
    trainer.test(module, full_batches(POINTS), ckpt_path=tmp_path / "epoch=0.ckpt", verbose=False, weights_only=True)
    assert watch.history == rows
    assert sorted(keeper.kept) == steps == [4, 16]
    # nothing has drawn from the global generator since it was seeded
    expected = torch.rand(3, generator=torch.Generator().manual_seed(7))
    assert torch.equal(torch.rand(3), expected)


class Stopping(Plane):
    def on_train_epoch_end(self):
        self.trainer.should_stop = True


def test_epochs_that_must_be_made_are_no_closing_ones():
    watch = watching(every_n_epochs=100)
    fit(watch, module=Stopping(), min_epochs=10)
    expected = [(4, 0), (40, 9)]
    assert [(row["step"], row["epoch"]) for row in watch.history] == expected


def test_reasons():
    watch = watching(every_n_epochs=100)
    fit(watch, epochs=3)
    assert watch.stopping_reason == "max_epochs=3 reached"
    fit(watch, epochs=-1, max_steps=7)
    assert watch.stopping_reason == "max_steps=7 reached"
    fit(watch, epochs=-1, max_time={"seconds": 1})
    assert watch.stopping_reason == "max_time reached"

    class Logging(Plane):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.log("loss", loss.detach(), on_epoch=True, on_step=False)
            return loss

    fit(watch, EarlyStopping("loss", min_delta=1e9, patience=2), module=Logging())
    assert watch.stopping_reason.startswith("EarlyStopping: Monitored metric loss did not improve")
    assert watch.history[-1]["step"] == 12

    fit(watch, module=Stopping())
    assert watch.stopping_reason == "trainer.should_stop was set"


def test_the_table_of_examples_names_those_that_share_a_limit():
    watch = AttractorCallback(torch.tensor([[1.0, 1.0], [2.0, 0.0], [-1.0, -1.0]]), STARTS, eps=0.2, verbose=False)

    class Halves(nn.Module):
        def forward(self, x):
            return x.sign().prod(1, keepdim=True) * 0 + (x.sum(1, keepdim=True) > 0).float() * 2 - 1 + 0 * x

    watch.measure(Halves())
    lines = watch.examples_table().splitlines()
    assert lines[0] == "1 of 3 are attractors, eps = 0.2; they end at 2 distinct limits:"
    expected = [["0", "no", "1"], ["1", "no", "0"], ["2", "yes", "-"]]
    assert [line.split()[:3] for line in lines[3:]] == expected


# Steps ----------------------------------------------------------------------------------------------------------------


def digits(keeper=None, epochs=4):
    torch.manual_seed(3)
    images = torch.rand(3, 1, 4, 4)
    model = FullyConnected(shape=(1, 4, 4), depth=3, width=8)
    callbacks = [keeper] if keeper else []
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    Trainer(max_epochs=epochs, callbacks=callbacks, enable_checkpointing=False, **options).fit(
        model, full_batches(images, steps_per_epoch=2)
    )
    return model, images


def test_steps_of_a_run_load_by_name(tmp_path):
    keeper = KeepSteps([3], epochs=(1, 2))
    model, images = digits(keeper)
    assert keeper.epochs == {2: 1, 3: 2, 4: 2}
    rows = [{"step": 8, "attractor/fraction": 0.5, "loss": float("nan")}]
    folder = memzoo.save(model, tmp_path / "mine", examples=images, probes=images + 1, keeper=keeper, history=rows)
    final = memzoo.load(f"local-dir:{folder}")
    assert torch.equal(final.examples, images)
    assert torch.equal(final.probes, images + 1)
    assert all(torch.equal(value, final.state_dict()[name]) for name, value in model.state_dict().items())
    for step, epochs in ((2, 1), (4, 2)):
        early = memzoo.load(f"local-dir:{folder}", step=step).state_dict()
        stopped, _ = digits(epochs=epochs)
        assert all(torch.equal(value, early[name]) for name, value in stopped.state_dict().items())
    with pytest.raises(UnknownCheckpointError, match=r"no weights of step 5: kept were 2, 3, 4, and the end"):
        memzoo.load(f"local-dir:{folder}", step=5)


def test_saving_refuses_what_could_not_be_loaded(tmp_path):
    model, images = digits()
    memzoo.save(model, tmp_path / "mine", examples=images, probes=images)
    with pytest.raises(FileExistsError, match=r"mine exists; give another folder, or overwrite=True"):
        memzoo.save(model, tmp_path / "mine", examples=images, probes=images)
    memzoo.save(model, tmp_path / "mine", examples=images[:1], probes=images, overwrite=True)
    assert len(memzoo.load(f"local-dir:{tmp_path / 'mine'}").examples) == 1
    with pytest.raises(TypeError, match=r"only architectures of memzoo can be rebuilt .* got a Plane"):
        memzoo.save(Plane(), tmp_path / "theirs", examples=images, probes=images)
    with pytest.raises(ValueError, match=r"maps batches of shape \(B, 1, 4, 4\), got \(3, 16\)"):
        memzoo.save(model, tmp_path / "flat", examples=images.flatten(1), probes=images.flatten(1))
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(CorruptCheckpointError, match=r"holds NaN or infinity; the weights are of no use"):
        memzoo.save(model, tmp_path / "mine", examples=images, probes=images, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]
    memzoo.load(f"local-dir:{tmp_path / 'mine'}")


def test_wrong_settings():
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 0"):
        StopWhenMemorized(0)
    with pytest.raises(ValueError, match=r"measure must be one of \('fraction', 'recovered'\), got 'radius'"):
        StopWhenMemorized(measure="radius")
    with pytest.raises(ValueError, match=r"measurements must be at least 1, got 0"):
        StopWhenMemorized(measurements=0)
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\), got 1"):
        StopBeforeMemorized(1)
    with pytest.raises(ValueError, match=r"steps and epochs count from 1, got \[0\]"):
        KeepSteps([0])
