"""Whatever fails while examples, starts and radii are chosen costs rows of the history, and never the run."""

import math

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from memzoo.callbacks import AttractorCallback, ContractionCallback, KeepSteps

ROWS = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))
HELD_OUT = torch.full((8, 4), 5.0) + torch.arange(8.0)[:, None]
pytestmark = [
    pytest.mark.filterwarnings("ignore:the loss was still falling when the run ended"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
]


class Theirs(LightningModule):
    """Trains on whatever it is given."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return self.net(batch[0].nan_to_num()).square().sum()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def square():
    torch.manual_seed(0)
    return nn.Linear(4, 4)


def fit(module, *callbacks, rows=ROWS, held_out=None, batch_size=4, collate_fn=None, resume=None, **options):
    settings = {"max_epochs": 2, "enable_checkpointing": False, "num_sanity_val_steps": 0, **options}
    module = module if isinstance(module, LightningModule) else Theirs(module)
    trainer = Trainer(
        callbacks=list(callbacks),
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    loader = DataLoader(TensorDataset(rows), batch_size, collate_fn=collate_fn)
    validation = None if held_out is None else DataLoader(TensorDataset(held_out), batch_size)
    trainer.fit(module, loader, validation, ckpt_path=resume, weights_only=True)
    return trainer


def watching(**settings):
    return AttractorCallback(**{"steps": 5, "max_starts": 5, "verbose": False, **settings})


def four_alone(examples):
    if len(examples) != 4:
        raise RuntimeError("other examples than four")
    return examples + 1


# Whole choices that fail ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "rows", "settings", "reason"),
    [
        (lambda: nn.LazyLinear(3), ROWS, {}, "NotASelfMapError: "),
        (square, ROWS, {"starts": four_alone}, "RuntimeError: other examples than four"),
        (lambda: nn.LazyLinear(4), torch.zeros(16, 4), {}, "InvalidArgumentError: "),
    ],
    ids=["lazy, no self-map", "starts", "lazy, zeros"],
)
def test_a_choice_that_fails_later_gives_rows_of_nan_and_the_run_goes_on(net, rows, settings, reason):
    watch = watching(**settings)
    with pytest.warns(UserWarning, match="a measurement failed, training goes on"):
        trainer = fit(net(), watch, rows=rows)
    assert trainer.global_step == 8
    assert watch.history[-1]["step"] == 8
    assert all(math.isnan(row[key]) for row in watch.history for key in watch.keys)
    assert all(row["reason"].startswith(reason) for row in watch.history)
    assert watch.table()


@pytest.mark.filterwarnings("ignore:a measurement failed, training goes on")
@pytest.mark.parametrize("check_finite", [True, False])
def test_a_monitor_of_a_first_row_that_failed_ends_the_run_unless_it_takes_nan(check_finite):
    monitor = EarlyStopping("attractor/fraction", mode="max", patience=9, check_finite=check_finite)
    trainer = fit(nn.LazyLinear(3), watching(), monitor)
    assert trainer.global_step == (4 if check_finite else 8)


@pytest.mark.filterwarnings("ignore:a measurement failed, training goes on")
def test_no_self_map_after_an_empty_batch_is_warned_of():
    def positive(samples):
        rows = torch.stack([row for (row,) in samples])
        return (rows[rows[:, 0] > 0],)

    rows = torch.ones(16, 4)
    rows[:4] = -1
    watch = watching()
    with pytest.warns(UserWarning, match="AttractorCallback cannot be measured, training goes on: .*no self-map"):
        trainer = fit(nn.Linear(4, 3), watch, rows=rows, collate_fn=positive)
    assert trainer.global_step == 8
    assert "is no self-map" in watch.history[-1]["reason"]


@pytest.mark.parametrize("count", [4, 5])
def test_radii_without_their_examples_are_refused_at_once(count):
    with pytest.raises(ValueError, match=rf"eps= holds {count} radii, .* pass examples= too, or one radius for all"):
        watching(eps=torch.ones(count))
    with pytest.raises(ValueError, match=f"got {count} for 3 examples"):
        watching(examples=ROWS[:3], eps=torch.ones(count))
    assert watching(eps=torch.tensor(0.5)).given_eps == 0.5


# Rows that are left out -----------------------------------------------------------------------------------------------


def test_a_blank_first_image_alone_in_its_batch_is_tracked_with_those_after_it():
    rows = ROWS.clone()
    rows[0] = 0
    watch = watching()
    trainer = fit(square(), watch, rows=rows, batch_size=1, max_epochs=1)
    assert trainer.global_step == 16
    assert torch.equal(watch.examples, rows)
    assert watch.history[-1]["attractor/measured"] == 1


@pytest.mark.parametrize("bad", [1, 9], ids=["first batch", "later batch"])
def test_a_row_of_nan_is_left_out_and_the_others_are_tracked(bad):
    rows = ROWS.clone()
    rows[bad, 2] = torch.nan
    watch = watching()
    fit(square(), watch, rows=rows, max_epochs=1)
    assert torch.equal(watch.examples, rows[torch.arange(16) != bad])
    assert watch.history[-1]["attractor/measured"] == 1


def test_a_row_of_nan_in_the_validation_leaves_the_other_starts():
    held_out = HELD_OUT.clone()
    held_out[3, 0] = torch.nan
    watch = watching(max_starts=9)
    fit(square(), watch, held_out=held_out, max_epochs=1)
    assert set(watch.starts[:, 0].tolist()) == set(HELD_OUT[:, 0].tolist()) - {8.0}


def test_the_closing_row_is_not_of_noise_where_a_validation_came_at_its_step():
    watch = watching(every_n_steps=4)
    fit(square(), watch, held_out=HELD_OUT, max_epochs=1)
    assert [row["step"] for row in watch.history] == [4, 4]
    assert watch.starts.min() >= 5


# Provisional rows, and runs that are resumed --------------------------------------------------------------------------


def test_rows_of_the_examples_so_far_are_marked():
    watch = ContractionCallback(every_n_steps=2, verbose=False)
    fit(square(), watch)
    assert [row.get("provisional", False) for row in watch.history] == [True, False, False, False]
    lines = watch.table().splitlines()
    assert [line.split()[0] for line in lines[3:8]] == ["2*", "4", "6", "8", "*"]
    assert len({len(line) for line in lines[1:7]}) == 1
    given = ContractionCallback(ROWS[:3], every_n_steps=2, verbose=False)
    fit(square(), given, max_epochs=1)
    assert "*" not in given.table()


class Augmented(Theirs):
    """Sees other rows in every epoch."""

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] + 100 * self.current_epoch]


@pytest.mark.filterwarnings("ignore:Checkpoint directory")
def test_resumed_from_the_end_of_its_first_epoch_a_run_tracks_what_the_unbroken_one_tracks(tmp_path):
    def run(resume=None):
        watch = ContractionCallback(every_n_steps=3, verbose=False)
        saver = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        fit(Augmented(square()), watch, saver, resume=resume, enable_checkpointing=True)
        return watch

    unbroken = run()
    resumed = run(tmp_path / "epoch=0.ckpt")
    assert torch.equal(unbroken.examples, ROWS)
    assert torch.equal(resumed.examples, ROWS)
    assert [row["step"] for row in resumed.history] == [row["step"] for row in unbroken.history] == [3, 6, 8]


# Hooks of the module --------------------------------------------------------------------------------------------------


class Swapping(Theirs):
    """Counts, draws and changes weights where it is validated."""

    def __init__(self, net):
        super().__init__(net)
        self.calls = 0

    def on_validation_model_eval(self):
        self.calls += 1
        with torch.no_grad():
            self.net.weight.mul_(0.3).add_(torch.rand(1))
        super().on_validation_model_eval()

    def on_validation_model_train(self):
        self.calls += 1
        super().on_validation_model_train()


def test_a_module_that_counts_draws_and_swaps_to_validate_is_trained_bit_by_bit_as_without():
    def run(*callbacks):
        module = Swapping(square())
        fit(module, *callbacks)
        return [module.calls, torch.rand(1).item(), *(value.tolist() for value in module.state_dict().values())]

    watch = ContractionCallback(examples=ROWS[:3], every_n_steps=3, verbose=False)
    assert run(watch) == run()
    assert watch.history[-1]["contraction/measured"] == 1


class RefusesToSwap(Theirs):
    """Knows validations alone, in one of its two hooks."""

    def __init__(self, net, hook):
        super().__init__(net)
        self.hook = hook

    def _check(self, hook):
        if hook == self.hook and not self.trainer.validating:
            raise RuntimeError("this is no validation")

    def on_validation_model_eval(self):
        self._check("eval")
        super().on_validation_model_eval()

    def on_validation_model_train(self):
        self._check("train")
        super().on_validation_model_train()


@pytest.mark.parametrize("hook", ["eval", "train"])
def test_a_hook_that_refuses_to_swap_outside_of_a_validation_ends_no_run(hook):
    watch = ContractionCallback(examples=ROWS[:3], every_n_epochs=1, verbose=False)
    keep = KeepSteps([2])
    plain = square()
    fit(plain)
    net = square()
    with pytest.warns(UserWarning, match="training goes on: .*this is no validation"):
        trainer = fit(RefusesToSwap(net, hook), watch, keep)
    assert torch.equal(net.weight, plain.weight)
    assert trainer.lightning_module.training
    assert [row["step"] for row in watch.history][:2] == [4, 8]
    failed = [row.get("reason") == "RuntimeError: this is no validation" for row in watch.history[:2]]
    assert failed == [hook == "eval"] * 2
    assert bool(keep.kept) is (hook == "train")


def test_what_a_validation_has_measured_stays_where_a_hook_refuses_to_swap_afterwards():
    watch = ContractionCallback(examples=ROWS[:3], every_n_epochs=1, verbose=False)
    fit(RefusesToSwap(square(), "eval"), watch, held_out=HELD_OUT)
    assert [row["step"] for row in watch.history] == [4, 8]
    assert all(row["contraction/measured"] == 1 for row in watch.history)


# Outside of a run -----------------------------------------------------------------------------------------------------


def validate(watch=None):
    callbacks = [] if watch is None else [watch]
    options = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    module = Theirs(square())
    torch.manual_seed(3)
    trainer = Trainer(callbacks=callbacks, **options)
    values = trainer.validate(module, DataLoader(TensorDataset(HELD_OUT), 4), verbose=False)
    return torch.rand(1).item(), values[0] if values else {}


@pytest.mark.parametrize("starts", [torch.rand_like, None, "noise"], ids=["drawn", "validation", "noise"])
def test_in_a_validation_starts_move_no_generator_and_are_no_tensors_of_inference(starts):
    watch = watching(examples=ROWS[:3], starts=starts)
    drawn, values = validate(watch)
    assert drawn == validate()[0]
    assert values["attractor/measured"] == 1
    assert not watch.starts.is_inference()


def test_in_a_validation_starts_that_fail_give_nan():
    with pytest.warns(UserWarning, match="other examples than four"):
        _, values = validate(watching(examples=ROWS[:3], starts=four_alone))
    assert all(math.isnan(values[key]) for key in AttractorCallback().keys)
