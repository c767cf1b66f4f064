import inspect
import random
from functools import partial

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import their_runs
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import Logger
from their_runs import IMAGES
from torch import nn

from memzoo.callbacks import AttractorCallback, TrajectoryLogger
from memzoo.callbacks.shards import Part
from memzoo.callbacks.trajectories import LEADING
from memzoo.dynamics import iterate, nearest, spectrum

pytestmark = [
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:the loss was still falling when the run ended"),
]

TAGS = ("trajectories/iterates", "trajectories/spectrum")


class Theirs(LightningModule):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Dropout(0.1))
        self.decoder = nn.Sequential(nn.Linear(8, 16), nn.Unflatten(1, (1, 4, 4)))

    def forward(self, x):
        return self.decoder(self.encoder(x))

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self(batch[0]), batch[0])

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


loader = partial(their_runs.loader, batch_size=3, shuffle=False)


def fit(module, *callbacks, logger=False, data=None, validation=None, **options):
    trainer = Trainer(
        **{"max_epochs": 2, "logger": logger, "callbacks": list(callbacks), "accelerator": "cpu", **options},
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(module, loader() if data is None else data, validation)
    return trainer


class Recording(Logger):
    """A logger without methods for figures."""

    name = "recording"
    version = 0

    def __init__(self):
        super().__init__()
        self.got = []
        self.metrics = []

    def log_metrics(self, metrics, step=None):
        self.metrics.append(metrics)

    def log_hyperparams(self, *args, **kwargs):
        pass


class LikeWandb(Recording):
    def log_image(self, key, images, step=None, **kwargs):
        self.got.append((key, step, images))


class LikeMLFlow(MLFlowLogger):
    """The client's signature, without the client."""

    def __init__(self):
        self.got = []

    experiment = property(lambda self: self)
    run_id = property(lambda self: "run")
    name = version = save_dir = property(lambda self: None)

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params):
        pass

    def finalize(self, status="success"):
        pass

    def log_figure(self, run_id, figure, artifact_file, *, save_kwargs=None):
        self.got.append((run_id, artifact_file, figure))


class Failing(LikeWandb):
    def log_image(self, key, images, step=None, **kwargs):
        raise ConnectionError("no route to host")


def nearest_of(points, rows):
    return rows[nearest(points, rows).index]


def test_what_is_drawn_is_what_the_dynamics_find():
    module = Theirs()
    validation = torch.rand(9, 1, 4, 4)
    callback = TrajectoryLogger(times=(7, 1, 3), folder="memory://drawn")
    fit(module, callback, validation=loader(validation))
    module.eval()
    drawn = callback.trajectories
    assert torch.equal(drawn.starts, nearest_of(drawn.starts, validation))
    assert len(drawn.starts.unique(dim=0)) == 4
    orbit = iterate(module, drawn.starts, 7, keep=(1, 3, 7))
    assert list(drawn.iterates) == [1, 3, 7]
    for t, points in orbit.kept.items():
        torch.testing.assert_close(drawn.iterates[t], points)
    assert torch.equal(drawn.nearest, nearest(orbit.points, IMAGES).index)
    torch.testing.assert_close(drawn.eigenvalues, spectrum(module, IMAGES).eigenvalues)
    iterates, values = callback.plot()
    grid = np.array(iterates.axes).reshape(4, 5)  # start, three times, nearest
    found = [axes.get_title() for axes in grid[0]]
    assert found == ["start", "t = 1", "t = 3", "t = 7", "nearest\nexample"]
    for row in range(4):
        shown = [np.asarray(axes.images[0].get_array()) for axes in grid[row]]
        points = [drawn.starts, *(orbit.kept[t] for t in (1, 3, 7)), IMAGES[drawn.nearest]]
        for pixels, point in zip(shown, points, strict=True):
            np.testing.assert_allclose(pixels, point[row, 0].clamp(0, 1).numpy(), atol=1e-6)
    assert iterates.get_suptitle() == "step 4"
    dots = np.concatenate([np.asarray(dot.get_offsets()) for dot in values.axes[0].collections])
    expected = torch.view_as_real(spectrum(module, IMAGES).eigenvalues).flatten(0, 1).numpy()
    assert len(dots) == len(expected)
    np.testing.assert_allclose(dots[np.lexsort(dots.T.round(6))], expected[np.lexsort(expected.T.round(6))], atol=1e-6)


def test_csv_and_tensorboard_loggers_side_by_side(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    csv = CSVLogger(tmp_path, name="csv")
    board = TensorBoardLogger(tmp_path, name="board")
    callback = TrajectoryLogger(every_n_epochs=2)
    trainer = fit(Theirs(), callback, logger=[csv, board], max_epochs=5)
    assert [row["step"] for row in callback.history] == [2, 4, 8, 10]  # the first and the closing state too
    folder = tmp_path / "csv/version_0/trajectories"
    expected = {f"step-{n}.png" for n in (2, 4, 8, 10)}
    assert {path.name for path in (folder / "iterates").iterdir()} == expected
    table = pd.read_csv(folder / "spectrum/step-10.csv")
    values = callback.trajectories.eigenvalues
    expected = torch.arange(6).repeat_interleave(values.shape[1]).tolist()
    assert table["example"].tolist() == expected
    np.testing.assert_array_equal(table["real"] + 1j * table["imag"], values.flatten().numpy())
    np.testing.assert_allclose(table["modulus"], values.abs().flatten().numpy())
    assert matplotlib.image.imread(folder / "spectrum/step-10.png").std() > 0.01
    events = EventAccumulator(board.log_dir, size_guidance={"images": 0}).Reload()
    assert events.Tags()["images"] == list(TAGS)
    for tag in TAGS:
        assert [image.step for image in events.Images(tag)] == [1, 3, 7, 9]  # Lightning numbers the first step 0
    assert not trainer.callback_metrics


def test_wandb_gets_images_by_its_own_method():
    expected = list(inspect.signature(LikeWandb.log_image).parameters)
    assert list(inspect.signature(WandbLogger.log_image).parameters) == expected
    logger = LikeWandb()
    fit(Theirs(), TrajectoryLogger(every_n_epochs=2), logger=logger)
    expected = [(tag, step) for step in (1, 3) for tag in TAGS]
    assert [(key, step) for key, step, _ in logger.got] == expected
    assert all(np.asarray(image).std() > 1 for _, _, images in logger.got for image in images)


def test_mlflow_gets_files():
    logger = LikeMLFlow()
    fit(Theirs(), TrajectoryLogger(every_n_epochs=2, name="mine"), logger=logger)
    files = [f"mine/{kind}/step-{step}.png" for step in (2, 4) for kind in ("iterates", "spectrum")]
    expected = [("run", file) for file in files]
    assert [(run, file) for run, file, _ in logger.got] == expected
    assert all(figure.axes for _, _, figure in logger.got)


def test_other_loggers_are_left_out_once_and_said_so(caplog):
    other = LikeWandb()
    with caplog.at_level("INFO"):
        fit(Theirs(), TrajectoryLogger(every_n_epochs=1), logger=[Recording(), other])
    assert caplog.text.count("Recording takes no figures") == 1
    assert len(other.got) == 4


def test_a_failing_logger_is_warned_of_once_and_the_others_go_on():
    good = LikeWandb()
    with pytest.warns(UserWarning, match=r"trajectories: Failing failed") as caught:
        trainer = fit(Theirs(), TrajectoryLogger(every_n_epochs=1), logger=[Failing(), good], max_epochs=3)
    said = [str(w.message) for w in caught if "Failing" in str(w.message)]
    assert said == [
        "trajectories: Failing failed, it got none, training goes on: ConnectionError: no route to host",
    ]
    assert trainer.global_step == 6
    assert len(good.got) == 6


def test_a_picture_that_cannot_be_drawn_does_not_end_the_run(monkeypatch):
    def broken(*args):
        raise ValueError("no font")

    monkeypatch.setattr("memzoo.callbacks.trajectories.draw_spectrum", broken)
    logger = LikeWandb()
    with pytest.warns(UserWarning, match=r"drawing failed, the pictures are left out, .*ValueError: no font"):
        trainer = fit(Theirs(), TrajectoryLogger(every_n_epochs=1), logger=logger)
    assert trainer.global_step == 4
    assert not logger.got


def test_without_a_logger_it_says_what_it_needs():
    callback = TrajectoryLogger()
    with pytest.warns(UserWarning, match=r"no logger to send pictures to: give the Trainer one, .* or pass folder="):
        fit(Theirs(), callback)
    assert len(callback.plot()) == 2
    with pytest.raises(ValueError, match=r"TrajectoryLogger has nothing to draw"):
        TrajectoryLogger().plot()


def test_a_folder_takes_the_files_too(tmp_path):
    fit(Theirs(), TrajectoryLogger(folder=tmp_path), max_epochs=1)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    kinds = ("iterates/step-2.png", "spectrum/step-2.png", "spectrum/step-2.csv")
    assert files == {f"trajectories/{kind}" for kind in kinds}


def test_a_folder_that_cannot_be_written_does_not_end_the_run(tmp_path):
    (tmp_path / "trajectories").write_text("in the way")
    with pytest.warns(UserWarning, match=r"folder failed, nothing is written, training goes on: .*Error"):
        assert fit(Theirs(), TrajectoryLogger(folder=tmp_path)).global_step == 4


class Rolling(LikeWandb):
    """Draws names at random, as some do."""

    def log_image(self, key, images, step=None, **kwargs):
        self.got.append(random.random() + np.random.rand() + torch.rand(1).item())  # noqa: NPY002


@pytest.mark.parametrize("validation", [False, True])
def test_training_is_bit_identical_with_and_without(validation, tmp_path):
    def weights(*callbacks):
        seed_everything(3, verbose=False)
        module = Theirs()
        logger = [Rolling(), CSVLogger(tmp_path, name=f"{len(callbacks)}{validation}")]
        held_out = loader(IMAGES + 0.1) if validation else None
        fit(module, *callbacks, logger=logger, data=loader(shuffle=True), validation=held_out, max_epochs=4)
        assert len(logger[0].got) == 8 * len(callbacks)
        return {**module.state_dict(), "torch": torch.get_rng_state(), "python": torch.tensor(random.random())}

    plain = weights()
    watched = weights(TrajectoryLogger(every_n_epochs=1))
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_no_figure_stays_open_and_pyplot_is_not_told():
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    callback = TrajectoryLogger()
    fit(Theirs(), callback, logger=LikeWandb())
    callback.plot()
    assert plt.get_fignums() == before


def test_beside_the_attractor_callback_and_a_second_one_of_another_name():
    logger = LikeWandb()
    callbacks = [
        TrajectoryLogger(),
        AttractorCallback(steps=2, verbose=False),
        TrajectoryLogger(name="far", times=(2,)),
    ]
    trainer = fit(Theirs(), *callbacks, logger=logger)
    assert {key for key, _, _ in logger.got} == {*TAGS, "far/iterates", "far/spectrum"}
    assert all(key.startswith("attractor/") for key in trainer.callback_metrics)
    assert len({callback.state_key for callback in callbacks}) == 3


def test_a_large_module_without_a_narrow_place_shows_its_leading_eigenvalues():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(300, 300), nn.Tanh()).eval()
    examples = torch.rand(2, 300)
    callback = TrajectoryLogger(examples, 1 + examples, times=(1,))
    callback.measure(module)
    found = callback.trajectories.eigenvalues
    assert found.shape == (2, LEADING)
    expected = spectrum(module, examples, top=LEADING).eigenvalues.abs()
    torch.testing.assert_close(found.abs(), expected)
    assert callback.about() == "2 examples, 2 starts"
    assert TrajectoryLogger(examples).about() == "2 examples, 0 starts"


def test_fast_dev_run_and_sanity_check(tmp_path):
    callback = TrajectoryLogger(folder=tmp_path)
    fit(Theirs(), callback, logger=True, validation=loader(IMAGES + 0.1), fast_dev_run=True)
    assert callback.history[-1]["step"] == 1
    assert not list(tmp_path.iterdir())
    callback = TrajectoryLogger(folder=tmp_path)
    fit(Theirs(), callback, validation=loader(IMAGES + 0.1), num_sanity_val_steps=2, max_epochs=1)
    assert [row["step"] for row in callback.history] == [2]
    assert len(list(tmp_path.rglob("*.png"))) == 2


def test_averaged_weights_are_drawn():
    module = Theirs()
    averaging = EMAWeightAveraging(decay=0.5)
    callback = TrajectoryLogger(IMAGES, IMAGES + 0.1, every_n_epochs=100, folder="memory://averaged")
    fit(module, callback, averaging)
    module.eval()  # the run ends with the averaged weights
    torch.testing.assert_close(callback.trajectories.iterates[10], iterate(module, IMAGES + 0.1, 10).points)


@pytest.mark.parametrize("processes", [2, 5, 9])
def test_the_shares_of_several_processes_make_the_same_pictures(processes):
    module = Theirs().eval()
    alone = TrajectoryLogger(IMAGES, torch.rand(4, 1, 4, 4))
    alone.measure(module)
    shared = TrajectoryLogger(IMAGES, alone.given_starts)
    shared.examples = IMAGES
    shared.starts = alone.given_starts
    parts = [shared.measure_part(module, IMAGES, Part(i, processes)) for i in range(processes)]
    shared.combine_parts(parts, IMAGES)
    one = alone.trajectories
    many = shared.trajectories
    torch.testing.assert_close(one.iterates, many.iterates)
    torch.testing.assert_close(one.eigenvalues, many.eigenvalues)
    assert torch.equal(one.nearest, many.nearest)


def test_starts_and_examples_survive_a_resume():
    first = TrajectoryLogger(folder="memory://first")
    fit(Theirs(), first, validation=loader(IMAGES + 0.1))
    second = TrajectoryLogger()
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.starts, first.starts)
    assert second.history == first.history


def test_flattened_images_are_drawn_as_images_and_only_the_leading_eigenvalues_kept():
    class Vectors(Theirs):
        def forward(self, x):
            return self.decoder[0](self.encoder[1:](x))

        def training_step(self, batch, batch_idx):
            return super().training_step((batch[0].flatten(1),), batch_idx)

    callback = TrajectoryLogger(top=3, folder="memory://flat")
    fit(Vectors(), callback)
    assert callback.trajectories.iterates[1].shape == (4, 1, 4, 4)
    assert callback.trajectories.eigenvalues.shape == (6, 3)


@pytest.mark.filterwarnings("ignore:nothing is measured on a network that is not finite")
def test_a_network_that_is_not_finite_sends_nothing():
    class Diverging(Theirs):
        def on_train_batch_end(self, *args):
            if self.global_step > 2:
                self.decoder[0].weight.data.fill_(torch.nan)

    logger = LikeWandb()
    callback = TrajectoryLogger(every_n_epochs=1)
    fit(Diverging(), callback, logger=logger)
    assert len(callback.history) == 2
    assert [step for _, step, _ in logger.got] == [1, 1]
    assert callback.trajectories is None


def test_orbits_that_diverge_are_drawn_to_their_last_point_and_counted():
    class Exploding(Theirs):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(1e6))

        def forward(self, x):
            return self.scale * x

    callback = TrajectoryLogger(IMAGES, IMAGES[:3] + 0.1)
    callback.measure(Exploding())
    assert "3 of 3 diverged (last finite points)" in callback.plot()[0].get_suptitle()
    assert callback.trajectories.iterates[100].isfinite().all()


def test_the_nearest_example_is_that_of_the_last_iterate():
    class Rolling(Theirs):
        def forward(self, x):
            return x.roll(1, dims=-1)

    callback = TrajectoryLogger(torch.eye(5), torch.eye(5)[:2], times=(1, 3))
    callback.measure(Rolling())
    assert callback.trajectories.nearest.tolist() == [3, 4]


def test_no_numbers_are_logged_within_epochs_either():
    logger = LikeWandb()
    trainer = fit(Theirs(), TrajectoryLogger(every_n_steps=1), logger=logger)
    expected = [0, 0, 1, 1, 2, 2, 3, 3]
    assert [step for _, step, _ in logger.got] == expected
    assert not logger.metrics
    assert not trainer.callback_metrics


def test_validation_and_test_send_pictures_too():
    logger = LikeWandb()
    callback = TrajectoryLogger(IMAGES)
    trainer = Trainer(
        logger=logger, callbacks=[callback], accelerator="cpu", enable_progress_bar=False, barebones=False
    )
    trainer.validate(Theirs(), loader(IMAGES + 0.1), verbose=False)
    assert [key for key, _, _ in logger.got] == list(TAGS)
    expected = (IMAGES + 0.1)[[0, 2, 3, 5]]
    assert torch.equal(callback.trajectories.starts, expected)


def test_wrong_settings():
    with pytest.raises(ValueError, match=r"times must be numbers of iterations, .* got \(0, 3\)"):
        TrajectoryLogger(times=(0, 3))
    with pytest.raises(ValueError, match=r"times must be numbers of iterations, .* got \(\)"):
        TrajectoryLogger(times=())
    with pytest.raises(ValueError, match=r"top must be at least 1, got 0"):
        TrajectoryLogger(top=0)
    with pytest.raises(ValueError, match=r"max_starts must be at least 1, got 0"):
        TrajectoryLogger(max_starts=0)
    with pytest.raises(ValueError, match=r"starts must be a tensor, a function, 'validation' or 'noise', got 'nois'"):
        TrajectoryLogger(starts="nois")
    with pytest.raises(ValueError, match=r"TrajectoryLogger has no starts yet: pass starts=tensor"):
        TrajectoryLogger(IMAGES).measure(Theirs())
