import math
import random
from functools import partial
from types import SimpleNamespace

import pytest
import their_runs
import torch
from fake_runs import Corners, Net, begin_run
from fake_runs import trainer as fake_trainer
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from their_runs import IMAGES
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from memzoo.callbacks import AttractorCallback, ContractionCallback, TrajectoryLogger
from memzoo.callbacks.shards import Part
from memzoo.data import full_batches, white_squares
from memzoo.dynamics import certify, example_eps, recovery_curve, spectrum
from memzoo.errors import NotASelfMapError

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:the loss was still falling when the run ended"),
]

KEYS = AttractorCallback().keys


class TheirAutoencoder(LightningModule):
    """A module that memzoo did not write: dropout, batch norm, its own loss and optimizer."""

    def __init__(self, lr=1e-3):
        super().__init__()
        self.lr = lr
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 64), nn.BatchNorm1d(64), nn.Tanh(), nn.Dropout(0.1))
        self.decoder = nn.Sequential(nn.Linear(64, 16), nn.Unflatten(1, (1, 4, 4)))

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def training_step(self, batch, batch_idx):
        loss = nn.functional.mse_loss(self(batch[0]), batch[0])
        self.log("their_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.mse_loss(self(batch[0]), batch[0]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Wide(nn.Module):
    """Nowhere narrower than its input, and too large for a full Jacobian."""

    def forward(self, x):
        return torch.tanh(0.5 * x)


class Augmented(Dataset):
    """Random augmentation from all three global generators."""

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return IMAGES[index] + 0.01 * torch.randn(1, 4, 4) + 0.001 * random.random()


loader = partial(their_runs.loader, batch_size=3, shuffle=False)


def fit(module, *callbacks, data=None, validation=None, logger=False, **options):
    settings = {"max_epochs": 3, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = Trainer(
        callbacks=list(callbacks),
        logger=logger,
        enable_model_summary=False,
        log_every_n_steps=1,
        **{**settings, **options},
    )
    trainer.fit(module, loader() if data is None else data, validation)
    return trainer


def test_zero_arguments_on_their_module_log_every_key_and_no_attractor_untrained():
    callback = AttractorCallback()
    trainer = fit(TheirAutoencoder(), callback, max_epochs=2)
    assert trainer.callback_metrics.keys() >= set(KEYS)
    assert callback.history[0]["attractor/fraction"] == 0
    assert callback.history[0]["step"] == 2
    quartiles = {"attractor/radius_q25", "attractor/radius_q75"}
    expected = {"step", "epoch", "loss", "seconds", *KEYS, *quartiles}
    assert callback.history[0].keys() == expected
    assert all(type(value) in (int, float) for row in callback.history for value in row.values())


def test_values_are_those_of_the_dynamics():
    module = TheirAutoencoder()
    callback = AttractorCallback(steps=30)
    fit(module, callback, validation=loader(torch.rand(9, 1, 4, 4)))
    module.eval()
    eps = example_eps(IMAGES)
    curve = recovery_curve(module, callback.starts, IMAGES, 30, eps=eps)
    last = callback.history[-1]
    assert last["attractor/fraction"] == certify(module, IMAGES, eps=eps).fraction
    assert last["attractor/recovered"] == curve.rate[-1].item()
    assert last["attractor/ever_recovered"] == curve.ever[-1].item()
    assert last["attractor/converged"] == curve.arrived[-1].item()
    expected = spectrum(module, IMAGES).radius.max().item()
    assert last["attractor/radius_max"] == pytest.approx(expected)
    with torch.no_grad():
        # relative residual |f(x) - x| / |x|
        residual = (module(IMAGES) - IMAGES).flatten(1).norm(dim=1) / IMAGES.flatten(1).norm(dim=1)
    assert last["attractor/residual"] == pytest.approx(residual.quantile(0.5).item())


def test_a_memorizing_network_shows_its_attractors():
    # a wide shallow network trained to interpolate two far points of the plane
    class Plane(TheirAutoencoder):
        def __init__(self):
            super().__init__(lr=5e-3)
            self.encoder = nn.Sequential(nn.Linear(2, 100), nn.Tanh(), nn.Linear(100, 100), nn.Tanh())
            self.decoder = nn.Linear(100, 2)

    points = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    callback = AttractorCallback(starts=torch.rand(40, 2) * 2 - 1)
    fit(Plane(), callback, data=full_batches(points, steps_per_epoch=50), max_epochs=20)
    assert callback.history[-1]["loss"] < 1e-4
    assert callback.history[-1]["attractor/fraction"] == 1
    assert callback.history[-1]["attractor/recovered"] == 1


@pytest.mark.parametrize("validation", [False, True])
def test_training_is_bit_identical_with_and_without(validation):
    def weights(callbacks):
        seed_everything(3, verbose=False)
        module = TheirAutoencoder()
        data = DataLoader(Augmented(), batch_size=3, shuffle=True)
        module.training_step = lambda batch, batch_idx: nn.functional.mse_loss(module(batch), batch)
        fit(module, *callbacks(), data=data, validation=loader(shuffle=False) if validation else None, max_epochs=4)
        assert module.training or not validation
        return {**module.state_dict(), "generator": torch.get_rng_state(), "python": torch.tensor(random.random())}

    plain = weights(list)
    watched = weights(lambda: [AttractorCallback(every_n_epochs=1, steps=20)])
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_recovered_is_counted_at_the_last_step_and_ever_recovered_at_any():
    # a step of 1 along the line: one example lies where the orbit ends, one where it passes, one behind its start
    examples = torch.tensor([[5.0], [3.0], [-1.0]])
    callback = AttractorCallback(examples, torch.zeros(1, 1), self_map=lambda module, x: x + 1, eps=0.1, steps=5)
    row = callback.measure(nn.Linear(1, 1))
    assert row["attractor/recovered"] == pytest.approx(1 / 3)
    assert row["attractor/ever_recovered"] == pytest.approx(2 / 3)


def test_eps_is_taken_over_all_rows_that_came_by():
    # a wide map: 8 of the 128 rows are tracked, and each row has another one nearer to it than most
    x = torch.rand(64, 257)
    x = torch.cat([x, x + 0.2 * torch.rand(64, 257)])[torch.randperm(128)]
    run = fake_trainer(train_dataloader=DataLoader(TensorDataset(x), batch_size=16))
    callback, *_ = begin_run(AttractorCallback(starts=x[:2] + 0.1, steps=2), run, Net(Wide()))
    assert len(callback.examples) == 8
    places = torch.cdist(callback.examples, x).argmin(1)
    assert torch.equal(callback.examples, x[places])
    assert torch.equal(callback.eps, example_eps(x)[places])
    assert (callback.eps < 0.9 * example_eps(callback.examples)).any()


def test_a_subset_is_measured_with_the_radii_of_its_own_rows():
    x = torch.cat([torch.rand(12, 2), torch.rand(12, 2) + 10])
    run = fake_trainer(train_dataloader=DataLoader(TensorDataset(x)), num_training_batches=24)
    watch = AttractorCallback(starts=x[:3] + 0.1, steps=2, max_examples=8, rotate=3)
    callback, run, module = begin_run(watch, run, Net(nn.Identity()))
    for turn in range(3):
        callback._record(run, module, closing=False, must=True)
        places = torch.cdist(callback.examples, x).argmin(1)
        assert torch.equal(callback.certificates.eps, example_eps(x)[places][turn::3])


def resume_run(callback, state, run, module):
    """Begin a run as Lightning resumes one: a callback takes its state after it is set up."""
    run.callbacks = [callback]
    callback.setup(run, module, "fit")
    callback.load_state_dict(state)
    callback.on_train_start(run, module)


def test_a_resumed_run_keeps_the_radii_of_rows_that_it_does_not_know():
    x = torch.rand(32, 257)
    run = fake_trainer(train_dataloader=DataLoader(TensorDataset(x)), num_training_batches=32)
    callback, *_ = begin_run(AttractorCallback(starts=x[:2] + 0.1, steps=2), run, Net(Wide()))
    again = AttractorCallback(starts=x[:2] + 0.1, steps=2)
    resume_run(again, callback.state_dict(), run, Net(Wide()))
    assert torch.equal(again.examples, callback.examples)
    assert torch.equal(again.eps, callback.eps)


def test_a_radius_that_is_given_to_a_resumed_run_holds():
    x = torch.rand(8, 2)
    run = fake_trainer(train_dataloader=DataLoader(TensorDataset(x)), num_training_batches=8)
    callback, _, module = begin_run(AttractorCallback(starts=x[:2] + 0.1, steps=2), run)
    again = AttractorCallback(starts=x[:2] + 0.1, steps=2, eps=0.25)
    resume_run(again, callback.state_dict(), run, module)
    assert again.eps.tolist() == [0.25] * 8


def test_a_radius_for_each_example_may_be_given():
    examples = torch.tensor([[5.0], [5.3], [-1.0]])
    eps = torch.tensor([0.2, 0.4, 0.1])
    callback = AttractorCallback(examples, torch.zeros(1, 1), self_map=lambda module, x: x + 1, eps=eps, steps=5)
    assert callback.measure(nn.Linear(1, 1))["attractor/recovered"] == pytest.approx(2 / 3)
    assert "eps = 0.1 / 0.2 / 0.4" in callback.about()


def test_submodules_keep_their_own_mode():
    module = TheirAutoencoder()
    module.encoder[2].eval()  # a frozen batch norm
    callback = AttractorCallback(IMAGES, IMAGES, eps=0.1)
    callback.examples = IMAGES
    callback.starts = IMAGES
    callback.measure(module)
    assert not module.encoder[2].training
    assert module.encoder[4].training


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
@pytest.mark.parametrize("validation", [False, True])
def test_early_stopping_and_checkpoint_monitor_in_any_order(order, validation, tmp_path):
    callbacks = [
        AttractorCallback(every_n_epochs=1, steps=5),
        EarlyStopping(monitor="attractor/fraction", mode="max", patience=2),
        ModelCheckpoint(dirpath=tmp_path, monitor="attractor/recovered", mode="max", filename="best"),
    ]
    trainer = fit(
        TheirAutoencoder(),
        *(callbacks[i] for i in order),
        validation=loader() if validation else None,
        max_epochs=10,
        enable_checkpointing=True,
    )
    assert trainer.current_epoch == 3  # nothing is memorized so fast: 1 epoch and a patience of 2
    assert (tmp_path / "best.ckpt").is_file()


def test_the_closing_state_is_measured_and_logged_however_the_run_ends(tmp_path):
    ends = {
        "max_epochs": {"max_epochs": 5},
        "max_steps": {"max_steps": 7, "max_epochs": -1},
    }
    for name, options in ends.items():
        callback = AttractorCallback(every_n_epochs=100, steps=5)
        logger = CSVLogger(tmp_path, name=name)
        trainer = fit(TheirAutoencoder(), callback, logger=logger, **options)
        assert [row["step"] for row in callback.history] == [2, trainer.global_step]
        assert trainer.callback_metrics["attractor/residual"] == pytest.approx(
            callback.history[-1]["attractor/residual"]
        )
        lines = next((tmp_path / name).rglob("metrics.csv")).read_text().splitlines()
        residual = lines[0].split(",").index("attractor/residual")
        logged = [float(line.split(",")[residual]) for line in lines[1:] if line.split(",")[residual]]
        assert logged == pytest.approx([row["attractor/residual"] for row in callback.history])


def test_a_run_stopped_by_another_callback_is_measured(tmp_path):
    callback = AttractorCallback(every_n_epochs=100, steps=5)
    logger = CSVLogger(tmp_path)
    trainer = fit(
        TheirAutoencoder(), callback, EarlyStopping("their_loss", stopping_threshold=1e9), logger=logger, max_epochs=9
    )
    assert trainer.current_epoch == 1
    callback = AttractorCallback(every_n_epochs=100, steps=5)
    stop = EarlyStopping("their_loss", mode="max", patience=2)
    trainer = fit(TheirAutoencoder(lr=0.0), callback, stop, logger=CSVLogger(tmp_path, name="second"), max_epochs=9)
    assert [row["step"] for row in callback.history] == [2, trainer.global_step]
    assert [row["epoch"] for row in callback.history] == [0, trainer.global_step // 2 - 1]
    assert trainer.global_step < 18
    lines = next((tmp_path / "second").rglob("metrics.csv")).read_text().splitlines()
    residual = lines[0].split(",").index("attractor/residual")
    expected = callback.history[-1]["attractor/residual"]
    assert float(lines[-1].split(",")[residual]) == pytest.approx(expected)


def test_an_interrupted_run_is_measured():
    class Interrupted(TheirAutoencoder):
        def on_train_batch_start(self, batch, batch_idx):
            if self.global_step == 5:
                raise KeyboardInterrupt

    callback = AttractorCallback(every_n_epochs=100, steps=5)
    with pytest.raises(SystemExit):
        fit(Interrupted(), callback, max_epochs=10)
    assert callback.history[-1]["step"] == 5


def test_the_budget_sets_the_cadence(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("memzoo.callbacks.cadence.time", SimpleNamespace(monotonic=lambda: clock.now))
    values = dict.fromkeys(KEYS, 0.0)

    class Timed(Callback):  # a step takes 1 s
        def on_train_batch_end(self, *args):
            clock.now += 1.0

    callback = AttractorCallback(budget=0.1, verbose=False)

    def measure(*_):  # a measurement takes 2 s: this one, those before and a closing one are at most a tenth of all
        clock.now += 2.0
        return values

    monkeypatch.setattr(callback, "_measure_in_all_processes", measure)
    fit(TheirAutoencoder(), callback, Timed(), max_epochs=50)
    assert [row["step"] for row in callback.history] == [2, 60, 80, 100]
    assert sum(row["seconds"] for row in callback.history) <= 0.1 * 100


def test_steps_that_turn_out_faster_do_not_break_the_budget(monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("memzoo.callbacks.cadence.time", SimpleNamespace(monotonic=lambda: clock.now))

    class Timed(Callback):  # the first epoch warms up
        def on_train_batch_end(self, trainer, *args):
            clock.now += 10.0 if trainer.current_epoch == 0 else 0.5

    callback = AttractorCallback(budget=0.1, verbose=False)

    def measure(*_):
        clock.now += 1.0
        return dict.fromkeys(KEYS, 0.0)

    monkeypatch.setattr(callback, "_measure_in_all_processes", measure)
    fit(TheirAutoencoder(), callback, Timed(), max_epochs=50)
    # 2 steps of 10 s, 98 steps of 0.5 s, and 1 s for each measurement
    assert clock.now == 20.0 + 98 * 0.5 + len(callback.history)
    assert [row["step"] for row in callback.history] == [2, 22, 42, 62, 82, 100]  # 30, 40, ... s of training


def measured_at(callback, **options):
    fit(TheirAutoencoder(), callback, **options)
    return [row["step"] for row in callback.history]


def test_cadence_by_steps_goes_through_the_epochs():
    expected = [2, 3, 6, 9, 10]
    assert measured_at(AttractorCallback(every_n_steps=3, steps=2, verbose=False), max_epochs=5) == expected


def test_long_epochs_are_measured_between_batches():
    data = loader(torch.rand(900, 1, 4, 4))  # 300 batches
    callback = AttractorCallback(budget=1.0, steps=2, verbose=False)
    steps = measured_at(callback, data=data, max_epochs=1)
    assert steps[0] == 100
    assert steps[-1] == 300


def test_loggers_and_checkpoints_see_what_is_measured_between_batches(tmp_path):
    callback = AttractorCallback(every_n_steps=3, steps=2, verbose=False)
    saver = ModelCheckpoint(
        tmp_path / "saved", monitor="attractor/residual", every_n_train_steps=3, save_top_k=-1, filename="{step}"
    )
    logger = CSVLogger(tmp_path)
    data = loader(torch.rand(30, 1, 4, 4))
    fit(TheirAutoencoder(), callback, saver, data=data, logger=logger, max_epochs=1, enable_checkpointing=True)
    lines = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()
    names = lines[0].split(",")
    table = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    logged = {int(row["step"]): float(row["attractor/residual"]) for row in table if row["attractor/residual"]}
    expected = {row["step"]: row["attractor/residual"] for row in callback.history}
    assert {step: logged[step - 1] for step in (3, 6, 9, 10)} == pytest.approx(expected)  # Lightning counts from 0
    best = torch.load(saver.best_model_path, weights_only=True)["callbacks"]
    score = next(state["best_model_score"] for name, state in best.items() if name.startswith("ModelCheckpoint"))
    assert score == pytest.approx(min(expected[s] for s in (3, 6, 9)))


def test_starts_come_from_validation_else_from_matching_noise():
    validation = torch.rand(7, 1, 4, 4)
    callback = AttractorCallback(steps=2, verbose=False)
    fit(TheirAutoencoder(), callback, validation=loader(validation), max_epochs=1)
    assert torch.equal(callback.starts, validation)
    callback = AttractorCallback(steps=2, max_starts=5000, verbose=False)
    fit(TheirAutoencoder(), callback, max_epochs=1)
    assert callback.starts.shape == (5000, 1, 4, 4)
    expected = IMAGES.mean().item()
    assert callback.starts.mean().item() == pytest.approx(expected, abs=0.01)
    expected = IMAGES.std(correction=0).item()
    assert callback.starts.std().item() == pytest.approx(expected, rel=0.02)


def test_starts_that_are_asked_for():
    def starts(given, **options):
        callback = AttractorCallback(starts=given, steps=2, max_starts=9, verbose=False)
        fit(TheirAutoencoder(), callback, max_epochs=1, **options)
        return callback.starts

    validation = loader(torch.rand(7, 1, 4, 4))
    squares = white_squares(9, (1, 4, 4))
    assert torch.equal(starts(squares, validation=validation), squares)
    found = starts(lambda examples: examples[:2] + 1)
    assert torch.equal(found, IMAGES[:2] + 1)
    assert starts("noise", validation=validation).shape == (9, 1, 4, 4)
    with pytest.raises(ValueError, match=r"starts='validation' needs a validation set"):
        starts("validation")
    with pytest.raises(ValueError, match=r"starts and examples must be points of one space, got shapes \(2, 3\)"):
        starts(torch.rand(2, 3))
    with pytest.raises(ValueError, match=r"starts must be a tensor, a function, 'validation' or 'noise', got 'nois'"):
        AttractorCallback(starts="nois")


def test_iteration_does_not_start_at_the_tracked_examples():
    callback = AttractorCallback(steps=2, verbose=False)
    images = torch.cat([IMAGES[:4], IMAGES[:2] + 0.5])
    fit(TheirAutoencoder(), callback, validation=loader(images), max_epochs=1)
    assert torch.equal(callback.starts, IMAGES[:2] + 0.5)
    fit(TheirAutoencoder(), callback, validation=loader(), max_epochs=1)
    assert callback.starts.shape == (200, 1, 4, 4)  # noise: nothing else is left


def test_starts_of_a_validation_that_comes_late():
    validation = torch.rand(7, 1, 4, 4)
    callback = AttractorCallback(steps=2, verbose=False)
    fit(
        TheirAutoencoder(),
        callback,
        validation=loader(validation),
        check_val_every_n_epoch=3,
        num_sanity_val_steps=0,
        max_epochs=3,
    )
    assert torch.equal(callback.starts, validation)


def test_examples_are_a_sample_of_a_large_set():
    callback = AttractorCallback(steps=2, max_examples=3, verbose=False)
    images = torch.arange(50.0).reshape(50, 1, 1, 1).expand(50, 1, 4, 4) + IMAGES[0]
    fit(TheirAutoencoder(), callback, data=loader(images), max_epochs=1)
    places = (callback.examples - IMAGES[0])[:, 0, 0, 0].round().long()
    assert torch.equal(callback.examples, images[places])
    assert len(places.unique()) == 3
    again = AttractorCallback(steps=2, max_examples=3, verbose=False)
    fit(TheirAutoencoder(), again, data=loader(images, shuffle=True), max_epochs=1)
    assert torch.equal(again.examples.unique(dim=0), callback.examples.unique(dim=0))


class Pairs(Dataset):
    def __init__(self, make):
        self.make = make

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, index):
        return self.make(IMAGES[index], index)


@pytest.mark.parametrize(
    "make",
    [lambda x, i: x, lambda x, i: (x, i), lambda x, i: {"label": i, "pixel_values": x}, lambda x, i: ({"x": x}, i)],
    ids=["tensor", "tuple", "dict", "nested"],
)
def test_samples_of_the_usual_forms(make):
    callback = AttractorCallback(steps=2, verbose=False)

    class Theirs(TheirAutoencoder):
        def training_step(self, batch, batch_idx):
            return nn.functional.mse_loss(self(IMAGES), IMAGES)

    fit(Theirs(), callback, data=DataLoader(Pairs(make), batch_size=3), max_epochs=1)
    assert torch.equal(callback.examples, IMAGES)


class Encoding(TheirAutoencoder):
    """Like Lightning's own example: forward is the encoder."""

    def forward(self, x):
        return self.encoder(x)

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self.decoder(self(batch[0])), batch[0])


def test_no_self_map_says_which_argument_is_needed():
    with pytest.raises(
        NotASelfMapError, match=r"forward of Encoding is no self-map .*became \(1, 64\).*Pass self_map="
    ):
        fit(Encoding(), AttractorCallback())


def test_self_map_adapts():
    callback = AttractorCallback(self_map=lambda module, x: module.decoder(module.encoder(x)), verbose=False)
    fit(Encoding(), callback, max_epochs=1)
    assert callback.history[-1]["attractor/residual"] > 0


def test_modules_that_take_vectors_are_measured_on_flattened_images():
    class Vectors(TheirAutoencoder):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Linear(16, 5)
            self.decoder = nn.Linear(5, 16)

        def training_step(self, batch, batch_idx):
            return super().training_step((batch[0].flatten(1),), batch_idx)

    callback = AttractorCallback(verbose=False)
    fit(Vectors(), callback, max_epochs=1)
    assert callback.history[-1]["attractor/radius_max"] > 0


class Stream(torch.utils.data.IterableDataset):
    """Can be read once: looking ahead would take images from the training."""

    def __init__(self, images=IMAGES):
        self.images = iter([(image,) for image in images])

    def __iter__(self):
        return self.images


def test_of_a_stream_a_sample_is_tracked():
    seen = []

    class Recording(TheirAutoencoder):
        def training_step(self, batch, batch_idx):
            seen.append(batch[0].clone())
            return super().training_step(batch, batch_idx)

    images = torch.rand(40, 1, 4, 4)
    callback = AttractorCallback(steps=2, max_examples=10, verbose=False)
    fit(Recording(), callback, data=DataLoader(Stream(images), batch_size=4), max_epochs=1)
    assert torch.equal(torch.cat(seen), images)
    assert torch.equal(
        callback.examples, images[(torch.cdist(callback.examples.flatten(1), images.flatten(1))).argmin(1)]
    )
    assert len(callback.examples.unique(dim=0)) == 10
    assert callback.history[-1]["step"] == 10
    short = AttractorCallback(verbose=False)  # asks for 32
    fit(TheirAutoencoder(), short, data=DataLoader(Stream(), batch_size=2), max_epochs=1)
    assert torch.equal(short.examples, IMAGES)


def test_a_stream_is_measured_from_its_beginning():
    callback = AttractorCallback(steps=2, every_n_steps=2, max_examples=10, verbose=False)
    fit(TheirAutoencoder(), callback, data=DataLoader(Stream(torch.rand(40, 1, 4, 4)), batch_size=2), max_epochs=1)
    assert [row["step"] for row in callback.history] == list(range(2, 21, 2))


class Random(TheirAutoencoder):
    """Draws in eval mode too, as a variational autoencoder does."""

    def forward(self, x):
        return super().forward(x) + 0.1 * torch.randn_like(x)


@pytest.mark.parametrize("kind", [AttractorCallback, ContractionCallback, TrajectoryLogger])
def test_a_map_of_two_answers_is_refused(kind, tmp_path):
    callback = kind(folder=tmp_path) if kind is TrajectoryLogger else kind()
    with pytest.raises(NotASelfMapError, match=r"two answers to one image.* Pass self_map="):
        fit(Random(), callback)


def test_starts_drawn_from_the_global_generator_do_not_change_the_training():
    def weights(*callbacks):
        seed_everything(3, verbose=False)
        module = TheirAutoencoder()
        fit(module, *callbacks, data=loader(shuffle=True), max_epochs=2)
        return {**module.state_dict(), "generator": torch.get_rng_state()}

    plain = weights()
    watched = weights(AttractorCallback(starts=torch.rand_like, steps=2, verbose=False))
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_out_of_memory_says_nothing_of_the_map():
    class Large(TheirAutoencoder):
        def forward(self, x):
            raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError, match=r"no room"):
        fit(Large(), AttractorCallback())


def test_several_validations_an_epoch_are_one_measurement():
    data = loader(IMAGES.repeat(4, 1, 1, 1) + torch.rand(24, 1, 4, 4))  # 8 batches
    callback = AttractorCallback(every_n_epochs=2, steps=2, verbose=False)
    fit(TheirAutoencoder(), callback, data=data, validation=loader(), val_check_interval=0.25, max_epochs=4)
    assert [row["step"] for row in callback.history] == [2, 16, 32]  # the first for the monitors


def test_a_measurement_outside_of_a_run_has_its_table():
    callback = AttractorCallback(IMAGES, IMAGES + 1)
    callback.measure(TheirAutoencoder())
    assert len(callback.examples_table().splitlines()) == 3 + len(IMAGES)


def test_a_stream_of_something_else_asks_for_examples():
    words = DataLoader(Stream([torch.tensor([1, 2])] * 6), batch_size=2)
    with pytest.raises(TypeError, match=r"could not read the tracked examples: samples are torch.int64 .* examples="):
        fit(TheirAutoencoder(), AttractorCallback(), data=words)
    with pytest.raises(NotASelfMapError, match=r"became \(1, 64\).*Pass self_map="):
        fit(Encoding(), AttractorCallback(), data=DataLoader(Stream(), batch_size=2))
    fit(TheirAutoencoder(), AttractorCallback(IMAGES, verbose=False), data=DataLoader(Stream(), batch_size=2))


def test_samples_that_only_the_loader_makes_tensors_of():
    class Numbers(Dataset):
        def __len__(self):
            return len(IMAGES)

        def __getitem__(self, index):
            return index

    def collate(indices):
        return {"pixel_values": IMAGES[indices]}

    class Theirs(TheirAutoencoder):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch["pixel_values"],), batch_idx)

    callback = AttractorCallback(steps=2, verbose=False)
    fit(Theirs(), callback, data=DataLoader(Numbers(), batch_size=3, collate_fn=collate), max_epochs=1)
    assert torch.equal(callback.examples, IMAGES)


@pytest.mark.filterwarnings("ignore:nothing is measured on a network that is not finite")
def test_diverged_training_is_measured_as_nothing_and_does_not_crash():
    class Diverging(TheirAutoencoder):
        def on_train_batch_end(self, *args):
            self.decoder[0].weight.data.fill_(torch.nan)

    callback = AttractorCallback(steps=2, verbose=False)
    fit(Diverging(), callback, max_epochs=1)
    assert callback.history[-1]["attractor/fraction"] == 0
    assert math.isnan(callback.history[-1]["attractor/residual"])


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_history_and_cadence_survive_a_resume(tmp_path):
    first = AttractorCallback(every_n_epochs=1, steps=2, verbose=False)
    saver = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    fit(TheirAutoencoder(), first, saver, max_epochs=2, enable_checkpointing=True)
    second = AttractorCallback(every_n_epochs=1, steps=2, verbose=False)
    options = {"logger": False, "enable_progress_bar": False}
    saver = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    trainer = Trainer(
        max_epochs=3, callbacks=[second, saver], enable_model_summary=False, log_every_n_steps=1, **options
    )
    trainer.fit(TheirAutoencoder(), loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert [row["step"] for row in second.history] == [2, 4, 6]
    assert second.history[:1] == first.history[:1]


def test_two_callbacks_of_two_names_stand_side_by_side():
    near = AttractorCallback(IMAGES, steps=2, verbose=False)
    far = AttractorCallback(IMAGES + 9, steps=2, name="far")
    trainer = fit(TheirAutoencoder(), near, far, max_epochs=2)
    for callback, name in ((near, "attractor"), (far, "far")):
        assert trainer.callback_metrics[f"{name}/residual"] == pytest.approx(callback.history[-1][f"{name}/residual"])
    assert near.history[-1]["attractor/residual"] != far.history[-1]["far/residual"]
    assert "nan" not in far.table()
    assert far.plot().axes


@pytest.mark.parametrize("monitor", ["stopping", "checkpoint"])
def test_a_monitored_key_is_measured_at_every_epoch_whatever_the_budget(monitor, tmp_path):
    # else EarlyStopping takes one old value for many new ones
    callback = AttractorCallback(budget=1e-6, steps=2, verbose=False)
    other = {
        "stopping": EarlyStopping("attractor/fraction", mode="max", patience=3),
        "checkpoint": ModelCheckpoint(tmp_path, monitor="attractor/fraction", mode="max"),
    }[monitor]
    trainer = fit(TheirAutoencoder(), callback, other, max_epochs=6, enable_checkpointing=monitor == "checkpoint")
    expected = list(range(trainer.current_epoch))
    assert [row["epoch"] for row in callback.history] == expected
    assert trainer.current_epoch == (4 if monitor == "stopping" else 6)


def test_a_second_fit_starts_a_new_history():
    callback = AttractorCallback(steps=2, verbose=False)
    fit(TheirAutoencoder(), callback, max_epochs=2)
    first = callback.history
    module = TheirAutoencoder()
    fit(module, callback, EarlyStopping("attractor/fraction", mode="max"), max_epochs=2)
    assert [row["step"] for row in callback.history] == [2, 4]
    assert callback.history[-1]["attractor/residual"] != first[-1]["attractor/residual"]


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
def test_a_resumed_run_finds_its_monitored_key_without_a_new_measurement(tmp_path):
    class Unwatched(EarlyStopping):  # looks the key up by itself, so that the budget stays in force
        def __init__(self):
            super().__init__("their_loss", patience=100)

        def on_train_epoch_end(self, trainer, pl_module):
            seen.append(float(trainer.callback_metrics["attractor/residual"]))

    seen = []
    first = AttractorCallback(budget=1e-6, steps=2, verbose=False)
    saver = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    fit(TheirAutoencoder(), first, saver, Unwatched(), max_epochs=2, enable_checkpointing=True)
    second = AttractorCallback(budget=1e-6, steps=2, verbose=False)
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    saver = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    trainer = Trainer(max_epochs=5, callbacks=[second, saver, Unwatched()], **options)
    trainer.fit(TheirAutoencoder(), loader(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert [row["step"] for row in second.history] == [2, 4, 10]
    assert len(seen) == 5


@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled training dataloader shuffling")
@pytest.mark.filterwarnings("ignore:.*overfit_batches.*")
def test_only_what_is_trained_on_is_tracked():
    callback = AttractorCallback(steps=2, verbose=False)
    fit(TheirAutoencoder(), callback, overfit_batches=1, max_epochs=1)
    assert torch.equal(callback.examples, IMAGES[:3])
    train, held_out = (loader(sampler=torch.utils.data.SubsetRandomSampler(half)) for half in ([0, 1, 4], [2, 3, 5]))
    fit(TheirAutoencoder(), callback, data=train, validation=held_out, max_epochs=1)
    for points, rows in ((callback.examples, [0, 1, 4]), (callback.starts, [2, 3, 5])):
        assert torch.equal(points.unique(dim=0), IMAGES[rows].unique(dim=0))


def test_validating_many_times_in_the_last_epoch_does_not_measure_each_time():
    callback = AttractorCallback(budget=1e-6, steps=2, verbose=False)
    images = IMAGES.repeat(5, 1, 1, 1) + torch.rand(30, 1, 4, 4)
    data = loader(images)
    fit(TheirAutoencoder(), callback, data=data, validation=loader(), val_check_interval=1, max_epochs=1)
    assert [row["step"] for row in callback.history] == [1, 10]


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "64-true"])
def test_other_precisions(precision):
    callback = AttractorCallback(steps=2, verbose=False)
    fit(Plain(), callback, precision=precision, max_epochs=1)
    assert callback.history[-1]["attractor/radius_max"] > 0


class Plain(TheirAutoencoder):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh())
        self.decoder = nn.Sequential(nn.Linear(8, 16), nn.Unflatten(1, (1, 4, 4)))


def test_a_failure_after_the_first_measurement_does_not_end_the_run(monkeypatch):
    callback = AttractorCallback(every_n_epochs=1, steps=2, verbose=False)
    measure = callback.measure_part

    def once(*arguments):
        if callback.history:
            raise RuntimeError("out of memory")
        return measure(*arguments)

    monkeypatch.setattr(callback, "measure_part", once)
    with pytest.warns(UserWarning, match=r"attractor: 6 of 6 examples could not be measured: .*out of memory"):
        trainer = fit(TheirAutoencoder(), callback, max_epochs=3)
    assert trainer.global_step == 6
    assert len(callback.history) == 3


def test_an_image_of_zeros_has_a_residual():
    images = torch.cat([IMAGES, torch.zeros(1, 1, 4, 4)])
    callback = AttractorCallback(images, steps=2, verbose=False)
    fit(TheirAutoencoder(), callback, max_epochs=1)
    assert callback.history[-1]["attractor/residual"] < 100


def test_table_and_plot():
    callback = AttractorCallback(every_n_epochs=1, steps=2, verbose=False)
    fit(TheirAutoencoder(), callback, max_epochs=16)
    lines = callback.table().splitlines()
    assert lines[0].startswith("Attractors among 6 examples, 200 starts, T = 2, eps = ")
    assert len(lines) <= 16
    assert lines[-2].split()[0] == "32"
    assert lines[-1] == "The run ended: max_epochs=16 reached."
    figure = callback.plot()
    assert len(figure.axes) == 3
    expected = [row["step"] for row in callback.history]
    assert list(figure.axes[0].lines[0].get_xdata()) == expected


def test_closing_table_is_printed(capsys, caplog):
    with caplog.at_level("INFO"):
        fit(TheirAutoencoder(), AttractorCallback(steps=2), max_epochs=1)
    assert "Attractors among 6 examples" in caplog.text + capsys.readouterr().err


def test_wrong_settings():
    with pytest.raises(ValueError, match=r"budget is a share of the training time in \(0, 1\], got 5"):
        AttractorCallback(budget=5)
    with pytest.raises(ValueError, match=r"every_n_epochs must be at least 1, got 0"):
        AttractorCallback(every_n_epochs=0)
    with pytest.raises(ValueError, match=r"max_examples must be at least 1, got 0"):
        AttractorCallback(max_examples=0)
    with pytest.raises(ValueError, match=r"eps must be a finite number > 0"):
        AttractorCallback(eps=-1.0)
    assert AttractorCallback().table() == "Attractors: nothing was measured yet."


# Maps with known attractors -------------------------------------------------------------------------------------------


def test_the_attractors_of_a_map_with_four():
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0], [1.8, -1.0]])  # the last one is 0.8 from its limit
    starts = torch.tensor([[1.5, 1.5], [3.0, 3.0], [-3e3, -3e3], [1.1, -1.2]])  # the last two reach no example
    callback = AttractorCallback(x, starts, eps=0.1, steps=8)
    found = callback.measure(Net(Corners()))
    # f(x) = (x + sign x) / 2 has slope 1/2 everywhere: every radius is 1/2
    expected = {"fraction": 2 / 3, "recovered": 1 / 3, "converged": 0.5, "residual": 0.0, "radius_q25": 0.5}
    expected |= {"radius_median": 0.5, "radius_max": 0.5, "radius_q75": 0.5}
    for name, value in expected.items():
        assert found[f"attractor/{name}"] == pytest.approx(value), name
    assert callback.certificates.limit_of.tolist() == [0, 1, 2]
    assert callback.about() == "3 examples, 4 starts, T = 8, eps = 0.1"
    assert callback.examples_table().splitlines()[3].split()[:2] == ["0", "yes"]
    assert AttractorCallback(x).examples_table() == "Nothing was measured yet."
    assert AttractorCallback(x, eps=0.1).about() == "3 examples, 0 starts, T = 200, eps = nan"


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_parts_of_several_processes_combine_to_the_measurement_of_one(processes):
    x = torch.tensor([[1.0, 1.0], [1.8, -1.0], [-1.0, -1.0]])
    callback = AttractorCallback(x, torch.tensor([[1.5, 1.5], [-2.0, -2.0]]), eps=0.1, steps=8)
    alone = callback.measure(Net(Corners()))
    certificates = callback.certificates
    parts = [callback.measure_part(Corners(), x, Part(index, processes)) for index in range(processes)]
    together = callback.combine_parts(parts, x)
    assert {f"attractor/{name}": value for name, value in together.items()} | {
        "attractor/measured": 1
    } == pytest.approx(alone)
    assert torch.equal(callback.certificates.attractor, certificates.attractor)
    assert torch.equal(callback.certificates.limit_of, certificates.limit_of)


@pytest.mark.parametrize("processes", [1, 3, 4, 7])
def test_near_copies_in_other_processes_count_as_one_example(processes):
    # The first image moves to its near-copy, whose process is another one, and which alone has the limit within eps.
    x = torch.cat([4 * torch.eye(6), 4 * torch.eye(6)[:1]])
    x[6, 1] = 0.3
    limits = x[1:].clone()
    limits[-1, 1] = 0.84

    class Nearest(nn.Module):
        def forward(self, x):
            own = limits[torch.cdist(x.float(), limits).argmin(1)].to(x)
            return own + 0.1 * (x - own)

    f = Nearest()
    callback = AttractorCallback(x, torch.zeros(1, 6), steps=8)
    assert callback.measure(Net(f))["attractor/fraction"] == 1
    certificates = callback.certificates
    assert certificates.offset[0] > callback.eps[0] > certificates.group_offset[0]
    parts = [callback.measure_part(f, x, Part(index, processes)) for index in range(processes)]
    assert callback.combine_parts(parts, x)["fraction"] == 1
    assert torch.equal(callback.certificates.group_offset, certificates.group_offset)
    given = AttractorCallback(x, torch.zeros(1, 6), steps=8, eps=callback.eps)
    assert given.measure(Net(f))["attractor/fraction"] == pytest.approx(5 / 7)


def test_a_resumed_run_keeps_the_groups_of_rows_that_it_does_not_know():
    # a stream brings two tracked rows that are near-copies only beside the rows that came with them
    x = torch.cat([torch.zeros(1, 2), torch.full((1, 2), 0.01), 10 * torch.rand(14, 2) + 5])
    callback = AttractorCallback(x[:2], x[:2] + 0.1, steps=2)
    assert callback._choose_eps(x[:2]) is callback.eps
    assert callback.group.tolist() == [0, 1]
    again = AttractorCallback(starts=x[:2] + 0.1, steps=2)
    again.restore({"examples": x[:2], "eps": torch.full((2,), 0.5), "group": torch.zeros(2, dtype=torch.long)})
    again._choose_eps(x[:2])
    assert again.group.tolist() == [0, 0]
    assert again.kept()["group"].tolist() == [0, 0]


def test_the_room_of_a_run_is_asked_for_or_the_default():
    x = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    for given, eps in ((None, example_eps(x)), (0.3, torch.tensor([0.3, 0.3], dtype=torch.float64))):
        callback = AttractorCallback(x, x + 0.1, eps=given, steps=3)
        callback.measure(Net(Corners()))
        assert torch.equal(callback.eps, eps)
        other, *_ = begin_run(AttractorCallback(x, x + 0.1, eps=given, steps=3), module=Net(Corners()))
        assert torch.equal(other.eps, eps)
        assert torch.equal(other.starts, x + 0.1)


class EndsOtherwise(TheirAutoencoder):
    """Gets other weights when the run ends, after all callbacks have heard of it."""

    def on_train_end(self):
        with torch.no_grad():
            self.decoder[0].bias.add_(1)


class ChangesAtTheEnd(Callback):
    def on_train_end(self, trainer, module):
        with torch.no_grad():
            module.decoder[0].bias.add_(1)


@pytest.mark.parametrize("by_module", [False, True])
def test_the_last_row_is_of_the_weights_that_the_run_ends_with(by_module):
    callback = AttractorCallback(every_n_epochs=1, steps=2, verbose=False)
    module = EndsOtherwise() if by_module else TheirAutoencoder()
    fit(module, callback, *([] if by_module else [ChangesAtTheEnd()]), max_epochs=2)
    steps = [row["step"] for row in callback.history]
    assert steps == [2, 4, 4]
    last = callback.history[-1]["attractor/residual"]
    assert last == pytest.approx(callback.measure(module)["attractor/residual"])
    assert last != pytest.approx(callback.history[-2]["attractor/residual"])


def test_points_that_were_chosen_in_a_validation_are_no_tensors_of_inference():
    callback = AttractorCallback(steps=2, verbose=False)
    fit(TheirAutoencoder(), callback, validation=loader(torch.rand(5, 1, 4, 4)), max_epochs=1)
    assert not callback.examples.is_inference()
    assert not callback.starts.is_inference()
    assert not callback.eps.is_inference()


def test_a_figure_of_the_history_is_unknown_to_pyplot():
    from matplotlib import pyplot

    callback = AttractorCallback(steps=2, verbose=False)
    fit(TheirAutoencoder(), callback, max_epochs=1)
    before = pyplot.get_fignums()
    callback.plot()
    assert pyplot.get_fignums() == before
