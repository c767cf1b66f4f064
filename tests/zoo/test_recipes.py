"""Recipes beyond a few images in one batch: mini-batches, formulas, large training sets, interrupted runs."""

import math
import re
import shutil
from datetime import timedelta
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from safetensors.torch import load_file

import memzoo
from memzoo.data import image_sha256, points
from memzoo.errors import RegistryError, UsageError
from memzoo.zoo import train
from memzoo.zoo.cards.history import read_history
from memzoo.zoo.entry import Entry, Recipe
from memzoo.zoo.loading.images import find_two_nearest
from memzoo.zoo.loading.locating import read_entry
from memzoo.zoo.recipes.deviations import list_deviations
from memzoo.zoo.recipes.part_training import make_batches
from memzoo.zoo.recipes.training import round_weights
from memzoo.zoo.registry.files import CARD
from memzoo.zoo.registry.registry_file import entry_yaml, parse_entry
from memzoo.zoo.verification import find_versions

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}
STEPS = 60
RECIPE = {
    "training": {"optimizer": "adam", "lr": 3e-3, "schedule": "cosine", "steps": STEPS},
    "seed": 3,
    "batch_size": 20,
    "steps_per_epoch": 6,
    "keep": [],
}


def register(tmp_path, **changes: Any) -> str:
    """Register a small network on fifty points of the Swiss roll, of which it may keep only some."""
    shape = (3,)
    examples = points("swissroll", range(50), shape)
    probes = points("swissroll", range(0, 1000, 50), shape, split="test")
    about = {"dataset": "swissroll", "split": "train", "indices": "0:50", "sha256": examples.digest}
    content = {
        "title": "A test",
        "architecture": "FullyConnected",
        "config": {"shape": shape, "depth": 3, "width": 64},
        "examples": about,
        "probes": {
            "dataset": "swissroll",
            "split": "test",
            "indices": list(probes.indices),
            "sha256": [image_sha256(image) for image in probes.images],
        },
        "recipe": {**RECIPE, "keep": [30]},
        "facts": [{"name": "loss", "measure": "mean_squared_error", "tolerance": 1e-6}],
        "rights": {"weights": "mit", "images": "mit", "reproduces_training_images": True},
        **changes,
    }
    path = tmp_path / "registry.yaml"
    path.write_text(entry_yaml(parse_entry("test-roll", content, path)))
    memzoo.register(path)
    return "test-roll"


@pytest.fixture
def save_every_epoch(monkeypatch):
    """Let a run save its state after each epoch."""
    monkeypatch.setattr("memzoo.zoo.recipes.unfinished_run.SAVE_INTERVAL", timedelta(0))


class Interrupt(Callback):
    """Raise at an optimizer step, which ends the run as a power cut would.

    Args:
        step: The step.
        batch_size: Of the part in which to raise; None for any.
    """

    def __init__(self, step: int = 40, batch_size: int | None = None) -> None:
        self.step = step
        self.batch_size = batch_size

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step and self.batch_size in (None, len(batch[0])):
            raise RuntimeError("cut")


class Observe(Callback):
    """Note the steps that are made, and their batches."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.batches: list[torch.Tensor] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.steps.append(trainer.global_step)
        self.batches.append(batch[0].clone())


def interrupt(name, out, *, at: Interrupt | None = None, **options):
    """Train until a power cut."""
    with pytest.raises(RuntimeError, match="cut"):
        train(name, out, callbacks=[at or Interrupt()], **options, **QUIET)


def load_weights(folder, **options):
    return memzoo.load(f"local-dir:{folder}", **options).state_dict()


def are_equal(one, other):
    return all(torch.equal(value, other[key]) for key, value in one.items())


def test_mini_batches_are_those_of_the_recipe(tmp_path):
    name = register(tmp_path)
    observer = Observe()
    train(name, tmp_path / "a", callbacks=[observer], **QUIET)
    batches = observer.batches
    assert [len(batch) for batch in batches[:6]] == [20, 20, 10, 20, 20, 10]  # an epoch: two passes
    everything = points("swissroll", range(50), (3,)).images
    for first in (0, 3):
        rows = torch.cat(batches[first : first + 3])
        expected = everything[everything[:, 0].argsort()]
        assert torch.equal(rows[rows[:, 0].argsort()], expected)
    assert not torch.equal(batches[0], batches[6])
    assert len(batches) == STEPS


def test_an_interrupted_run_is_resumed(tmp_path, save_every_epoch):
    name = register(tmp_path)
    whole, rows = train(name, tmp_path / "whole", **QUIET)
    interrupt(name, tmp_path / "cut")
    assert not (tmp_path / "cut" / name).exists()
    observer = Observe()
    resumed, rows_again = train(name, tmp_path / "cut", callbacks=[observer], **QUIET)
    assert observer.steps[0] == 36  # the last epoch's end
    assert not (tmp_path / "cut" / f"{name}.unfinished").exists()
    for step in (None, 30):
        assert are_equal(load_weights(whole, step=step), load_weights(resumed, step=step))
    assert [row.measured for row in rows] == [row.measured for row in rows_again]
    assert read_history(whole / "history.json").loss == read_history(resumed / "history.json").loss


def test_a_run_of_another_seed_is_not_resumed(tmp_path, save_every_epoch):
    name = register(tmp_path)
    interrupt(name, tmp_path)
    with pytest.raises(FileExistsError, match=r"unfinished run of another recipe or seed; remove it to begin anew"):
        train(name, tmp_path, seed=4, **QUIET)


def test_only_the_images_that_iteration_reaches_travel_of_a_large_set(tmp_path, monkeypatch):
    few = points("swissroll", [0], (3,))
    whole = {"dataset": "swissroll", "split": "train", "indices": "0:50"}
    digest = points("swissroll", range(50), (3,)).digest
    facts = [
        {"name": "all", "measure": "whole_error", "tolerance": 1e-6},
        {"name": "others", "measure": "probe_error", "tolerance": 1e-6},
        {"name": "captured", "measure": "probes_captured"},
    ]
    examples = {**whole, "indices": [0], "sha256": list(few.sha256)}
    name = register(
        tmp_path,
        examples=examples,
        training_set={**whole, "sha256": digest},
        facts=facts,
    )
    folder, rows = train(name, tmp_path / "out", **QUIET)
    model = memzoo.load(f"local-dir:{folder}")
    assert model.examples is not None
    assert 2 <= len(model.examples) < 50
    everything = points("swissroll", range(50), (3,)).images
    at = model.entry.examples.positions()
    assert torch.equal(model.examples, everything[at])
    with torch.no_grad():
        error = (model(everything) - everything).square().mean().item()
    assert rows[0].measured == pytest.approx(error, rel=1e-5)

    assert memzoo.verify(f"local-dir:{folder}").verdict == "verified"  # a formula is at hand
    monkeypatch.setattr("memzoo.zoo.verification.FORMULAS", ())
    without = memzoo.verify(f"local-dir:{folder}")
    assert [row.recomputed for row in without.rows] == [False, True, True]
    assert math.isnan(without.rows[0].measured)
    assert without.verdict == "provisional"
    assert "not recomputed: --data DIR" in str(without)
    assert memzoo.verify(f"local-dir:{folder}", data_root=tmp_path).verdict == "verified"
    card = (folder / CARD).read_text()
    assert "shuffled batches of 20 of all 50 images, of which only those travel that iteration reaches" in card


@pytest.mark.parametrize(
    ("changes", "different"),
    [
        ({"config": {"shape": (3,), "depth": 3, "width": 64, "activation": "tanh"}}, "config"),
        (
            {
                "examples": {
                    "dataset": "swissroll",
                    "split": "train",
                    "indices": "0:40",
                    "sha256": points("swissroll", range(40), (3,)).digest,
                }
            },
            "images",
        ),
        ({"recipe": {**RECIPE, "steps_per_epoch": 12, "keep": [30]}}, "recipe"),
    ],
)
def test_a_run_of_an_entry_that_was_edited_is_not_resumed(changes, different, tmp_path, monkeypatch, save_every_epoch):
    interrupt(register(tmp_path), tmp_path)
    monkeypatch.setattr("memzoo.zoo.registry.registries._registered", [])
    name = register(tmp_path, **changes)
    with pytest.raises(FileExistsError, match=rf"of another recipe or seed; .* Different are: {different}\."):
        train(name, tmp_path, **QUIET)


def test_deviations_from_the_recipe_are_written_into_the_entry(tmp_path):
    name = register(tmp_path)
    folder, _ = train(name, tmp_path, precision="64-true", max_steps=36, gradient_clip_val=0.5, **QUIET)
    hardware = read_entry(folder / "entry.yaml").recipe.hardware
    assert hardware.endswith(" threads; precision 64-true, gradient_clip_val 0.5, stopped at step 36")
    folder, _ = train(name, tmp_path / "plain", **QUIET)
    assert read_entry(folder / "entry.yaml").recipe.hardware.endswith(" threads")


def test_weights_too_large_for_float16_are_not_stored():
    recipe = Recipe.model_validate({**RECIPE, "stored": "float16"})
    with pytest.raises(OverflowError, match=r"^b hold values beyond those of float16; store them in more bits"):
        round_weights({"a": torch.tensor([6e4]), "b": torch.tensor([1.0, 7e4])}, recipe)


def test_weights_stored_in_float16_are_those_that_are_measured(tmp_path, monkeypatch):
    name = register(tmp_path, recipe={**RECIPE, "keep": [30], "stored": "float16"})
    folder, rows = train(name, tmp_path, **QUIET)
    for file in ("model.safetensors", "step-30.safetensors"):
        assert {tensor.dtype for tensor in load_file(folder / file).values()} == {torch.float16}
    model = memzoo.load(f"local-dir:{folder}")
    early = memzoo.load(f"local-dir:{folder}", step=30)
    found = {value.dtype for net in (model, early) for value in net.state_dict().values()}
    assert found == {torch.float32}
    with torch.no_grad():
        loss = float((model(model.examples) - model.examples).square().mean())
    assert rows[0].measured == pytest.approx(loss, rel=1e-6)
    assert "; weights stored in float16; " in (folder / CARD).read_text()

    monkeypatch.setattr("memzoo.zoo.registry.registries._registered", [])
    (tmp_path / "full").mkdir()
    exact, _ = train(register(tmp_path / "full"), tmp_path / "full", **QUIET)
    assert "stored in" not in (exact / CARD).read_text()
    for key, value in load_weights(exact).items():
        expected = value.half().float()
        assert torch.equal(load_weights(folder)[key], expected)
    for key, value in load_weights(exact, step=30).items():
        expected = value.half().float()
        assert torch.equal(load_weights(folder, step=30)[key], expected)


@pytest.mark.filterwarnings("ignore:KeepSteps kept nothing of step 30")
def test_steps_that_a_run_does_not_reach_are_left_out_with_their_facts(tmp_path):
    fact = {"measure": "mean_squared_error", "tolerance": 1e-6}
    facts = [{"name": "loss", **fact}, {"name": "late loss", "step": 30, **fact}]
    recipe = {**RECIPE, "keep": [6, 30]}
    name = register(tmp_path, recipe=recipe, facts=facts)
    with pytest.warns(UserWarning, match=r"the run ended before steps \[30\], which were to be kept"):
        folder, rows = train(name, tmp_path, max_steps=12, **QUIET)
    assert [row.fact.name for row in rows] == ["loss"]
    entry = read_entry(folder / "entry.yaml")
    assert list(entry.steps) == [6]
    assert [fact.name for fact in entry.facts] == ["loss"]


@pytest.mark.parametrize("varies", [False, True])
def test_weights_trained_again_are_held_to_the_recorded_value_unless_it_varies(tmp_path, varies):
    fact = {"name": "loss", "measure": "mean_squared_error", "tolerance": 1e-6, "ours": 7.0, "varies": varies}
    folder, rows = train(register(tmp_path, facts=[fact, fact | {"name": "bound", "most": 0.0}]), tmp_path, **QUIET)
    assert [row.agrees for row in rows] == [varies, varies]
    assert [row.holds for row in rows] == [True, False]  # a bound holds for all weights
    found = read_entry(folder / "entry.yaml").facts[0]
    assert found.varies is varies
    assert found.ours == pytest.approx(rows[0].measured)


def test_several_processes_are_a_deviation():
    recipe = Recipe.model_validate(RECIPE)
    trainer = Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_steps=STEPS, max_epochs=-1, logger=False, **QUIET
    )
    assert list_deviations(recipe, trainer, STEPS) == ["2 processes"]
    one = Trainer(accelerator="cpu", max_steps=STEPS, max_epochs=-1, logger=False, **QUIET)
    assert list_deviations(recipe, one, STEPS) == []
    assert list_deviations(recipe, one, 12) == ["stopped at step 12"]
    update = {"training": recipe.training.model_copy(update={"stop_loss": 0.1})}
    stopping = recipe.model_copy(update=update)
    assert list_deviations(stopping, one, 12) == []


def test_a_run_resumes_only_with_the_options_that_it_began_with(tmp_path, save_every_epoch):
    name = register(tmp_path)
    interrupt(name, tmp_path)
    with pytest.raises(FileExistsError, match=r"began with precision 32-true and is to go on with precision 64-true"):
        train(name, tmp_path, precision="64-true", **QUIET)
    train(name, tmp_path, **QUIET)


def test_a_fact_that_is_no_number_is_left_open(tmp_path):
    fact = {"name": "radius", "measure": "attractor_radius_max", "args": {"eps": 1e-9}}
    name = register(tmp_path, recipe=RECIPE, facts=[fact])
    folder, rows = train(name, tmp_path, **QUIET)
    assert math.isnan(rows[0].measured)
    assert memzoo.load(f"local-dir:{folder}").entry.facts[0].ours is None


def test_the_state_is_kept_until_the_entry_can_be_read(tmp_path, monkeypatch):
    name = register(tmp_path, recipe=RECIPE)
    with monkeypatch.context() as patched:
        patched.setattr("memzoo.zoo.recipes.folder.entry_yaml", lambda entry: f"{entry.id}:\n  title: half\n")
        with pytest.raises(RegistryError, match=r"test-roll"):
            train(name, tmp_path, **QUIET)
    assert (tmp_path / f"{name}.unfinished/last.ckpt").is_file()


def test_a_run_in_float64_resumes_in_float64(tmp_path, save_every_epoch):
    name = register(tmp_path, recipe={**RECIPE, "precision": "64-true"})
    losses = []

    class NoteLoss(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            losses.append((trainer.global_step, outputs["loss"].item()))

    train(name, tmp_path / "whole", callbacks=NoteLoss(), **QUIET)
    whole = dict(losses)
    interrupt(name, tmp_path / "cut")
    losses.clear()
    train(name, tmp_path / "cut", callbacks=(NoteLoss(),), **QUIET)
    assert losses[0][0] == 37
    assert all(loss == whole[step] for step, loss in losses)


def test_a_run_that_a_rule_ended_stays_ended(tmp_path, monkeypatch):
    training = {**RECIPE["training"], "stop_loss": 0.3}
    name = register(tmp_path, recipe={**RECIPE, "training": training, "keep": [6]})
    whole, rows = train(name, tmp_path / "whole", **QUIET)
    with monkeypatch.context() as patched:

        def fail(*_):
            raise OSError("disk full")

        patched.setattr("memzoo.zoo.recipes.training.write_folder", fail)
        with pytest.raises(OSError, match="disk full"):
            train(name, tmp_path / "again", **QUIET)
    observer = Observe()
    again, same_rows = train(name, tmp_path / "again", callbacks=[observer], **QUIET)
    assert observer.steps == []
    assert all(are_equal(load_weights(whole, step=step), load_weights(again, step=step)) for step in (None, 6))
    assert [row.measured for row in rows] == [row.measured for row in same_rows]
    one, other = (read_history(folder / "history.json").model_dump() for folder in (whole, again))
    assert one["loss"] == other["loss"]
    for row in [*one["measured"], *other["measured"]]:
        del row["seconds"]
    assert one["measured"] == other["measured"]
    entry = read_entry(again / "entry.yaml")
    assert entry.recipe.hardware.endswith(" threads")  # the rule is the recipe's
    assert not (tmp_path / f"again/{name}.unfinished").exists()


def test_the_time_limit_of_the_trainer_holds(tmp_path):
    name = register(tmp_path, recipe=RECIPE)
    observer = Observe()
    folder, _ = train(name, tmp_path, max_time={"seconds": 0}, callbacks=[observer], **QUIET)
    assert len(observer.steps) < STEPS
    assert f"stopped at step {len(observer.steps)}" in read_entry(folder / "entry.yaml").recipe.hardware


def test_no_states_are_saved_where_checkpointing_is_off(tmp_path, save_every_epoch):
    name = register(tmp_path)
    interrupt(name, tmp_path, enable_checkpointing=False)
    assert not list(tmp_path.rglob("*.ckpt"))
    train(name, tmp_path, enable_checkpointing=False, **QUIET)


def test_overwriting_trains_anew_after_a_kill_at_the_very_end(tmp_path, monkeypatch, save_every_epoch):
    name = register(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("memzoo.zoo.recipes.training.remove_states", lambda folder: None)
        train(name, tmp_path, **QUIET)
    assert (tmp_path / f"{name}.unfinished/last.ckpt").is_file()
    observer = Observe()
    train(name, tmp_path, overwrite=True, callbacks=[observer], **QUIET)
    assert observer.steps == list(range(STEPS))
    interrupt(name, tmp_path, overwrite=True)
    observer = Observe()
    train(name, tmp_path, overwrite=True, callbacks=[observer], **QUIET)
    assert observer.steps[0] == 36  # the state is of the new run


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])
def test_strategies_that_lose_what_callbacks_keep_are_refused(strategy, tmp_path):
    name = register(tmp_path)
    with pytest.raises(UsageError, match=r"trains in copies of the process.*give strategy='ddp'"):
        train(name, tmp_path, strategy=strategy, devices=2, accelerator="cpu", **QUIET)


def test_a_resumed_run_says_where_it_began(tmp_path, monkeypatch, save_every_epoch):
    name = register(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("platform.machine", lambda: "abacus")
        patched.setattr("memzoo.zoo.recipes.unfinished_run.find_versions", lambda: {"torch": "1.0"})
        interrupt(name, tmp_path)
    folder, _ = train(name, tmp_path, **QUIET)
    recipe = read_entry(folder / "entry.yaml").recipe
    assert re.fullmatch(r"\w+, 1 threads; begun on abacus, 1 threads with torch 1\.0", recipe.hardware)
    assert recipe.versions == find_versions()


def test_the_two_nearest_images_are_found_in_any_blocks(monkeypatch):
    monkeypatch.setattr("memzoo.zoo.loading.images.BLOCK", 3)
    images = 1000 + torch.tensor([[0.0], [1.0], [2.0], [3.0]]) / 1000  # too near for products in float32
    ends = 1000 + torch.tensor([[0.0031], [0.0009], [0.0004]])
    expected = [[3, 2], [1, 0], [0, 1]]
    many = ends.expand(-1, 50).repeat(20, 1)  # so many that torch multiplies matrices
    assert find_two_nearest(many, images.expand(-1, 50)).tolist() == expected * 20
    assert find_two_nearest(ends, images[:1]).tolist() == [[0, 0]] * 3


PARTS = {
    **RECIPE,
    "before": [{"training": {"optimizer": "adam", "lr": 3e-3, "steps": STEPS}, "batch_size": 10}],
    "training": {"optimizer": "muon", "lr": 1e-3, "schedule": "cosine", "steps": 30},
    "batch_size": None,
}


def flatten_weights(model) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def train_by_hand(name: str) -> torch.Tensor:
    """Return the weights of two plain fits, the second with a new optimizer on what the first ended with."""
    recipe = memzoo.info(name).recipe
    x = points("swissroll", range(50), (3,)).pixels()
    model = memzoo.create(name, seed=3)
    for part in recipe.parts:
        model.train_by(part.training)
        trainer = Trainer(max_steps=part.training.steps, logger=False, enable_checkpointing=False, **QUIET)
        trainer.fit(model, make_batches(part, x))
    return flatten_weights(model)


def test_a_training_of_two_parts_equals_two_plain_fits(tmp_path):
    name = register(tmp_path, recipe=PARTS)
    folder, _ = train(name, tmp_path / "whole", **QUIET)
    model = memzoo.load(f"local-dir:{folder}")
    assert torch.equal(flatten_weights(model), train_by_hand(name))
    assert model.training_config.optimizer == "muon"
    history = read_history(folder / "history.json")
    steps = [step for step, _ in history.loss]
    assert steps == sorted(steps)
    assert steps[-1] > STEPS  # counted over both
    assert [row["step"] for row in history.measured][-1] == STEPS + 30
    text = (folder / CARD).read_text()
    assert "Training in shuffled batches of 10 on the squared error:" in text
    assert "; then full-batch training: optimizer = muon, lr = 0.001" in text
    recipe = read_entry(folder / "entry.yaml").recipe
    assert recipe.before[0].training.steps == STEPS
    assert recipe.wall_time_s > 0


@pytest.mark.parametrize(("step", "batch_size"), [(40, 10), (12, 50)], ids=["first part", "second part"])
def test_a_training_of_two_parts_resumes_in_either(step, batch_size, tmp_path, save_every_epoch):
    name = register(tmp_path, recipe=PARTS)
    interrupt(name, tmp_path, at=Interrupt(step, batch_size))
    observer = Observe()
    folder, _ = train(name, tmp_path, callbacks=[observer], **QUIET)
    assert (observer.steps[0], len(observer.batches[0])) == (step, batch_size)
    model = memzoo.load(f"local-dir:{folder}")
    assert torch.equal(flatten_weights(model), train_by_hand(name))
    steps = [step for step, _ in read_history(folder / "history.json").loss]
    assert len(set(steps)) == len(steps)
    assert not (tmp_path / f"{name}.unfinished").exists()


def test_foreign_states_are_refused_before_anything_is_trained(tmp_path, monkeypatch, save_every_epoch):
    name = register(tmp_path, recipe=PARTS)

    class RefuseToTrain(Callback):
        def on_fit_start(self, trainer, pl_module):
            raise AssertionError("trained")

    def train_again(recipe):
        monkeypatch.setattr("memzoo.zoo.registry.registries._registered", [])
        train(register(tmp_path, recipe=recipe), tmp_path, callbacks=[RefuseToTrain()], **QUIET)

    interrupt(name, tmp_path, at=Interrupt(12, batch_size=50))
    with pytest.raises(FileExistsError, match=r"part-2 holds an unfinished run of another .* Different are: recipe\."):
        train_again({**PARTS, "training": {**PARTS["training"], "lr": 2e-3}})
    with pytest.raises(
        FileExistsError, match=r"test-roll.unfinished holds an unfinished run .* Different are: parts\."
    ):
        train_again(RECIPE)
    assert sorted(path.name for path in (tmp_path / f"{name}.unfinished").iterdir()) == ["part-1", "part-2"]
    with pytest.raises(AssertionError, match="trained"):
        train_again(PARTS)
    shutil.rmtree(tmp_path / f"{name}.unfinished/part-1")
    with pytest.raises(FileExistsError, match=r"part-2 holds an unfinished run of another .* Different are: recipe\."):
        train_again({**PARTS, "before": [{**PARTS["before"][0], "batch_size": 25}]})


def test_the_steps_of_three_parts_are_counted_together(tmp_path):
    first = {"training": {"steps": STEPS, "lr": 3e-3, "stop_loss": 1e-2}, "batch_size": 10}
    second = {"training": {"steps": 20, "lr": 1e-3, "steps_per_batch": 10}}
    name = register(tmp_path, recipe={**PARTS, "before": [first, second]})
    folder, _ = train(name, tmp_path, precision="64-true", **QUIET)
    history = read_history(folder / "history.json")
    steps = [step for step, _ in history.loss]
    assert steps == sorted(set(steps))
    ended = history.measured[-1]["step"] - 20 - 30
    assert 0 < ended < STEPS  # where the first one's loss was small enough
    assert ended in steps
    assert read_entry(folder / "entry.yaml").recipe.hardware.count("precision 64-true") == 3


def test_several_parts_need_one_process_and_a_trained_network(tmp_path, monkeypatch):
    name = register(tmp_path, recipe=PARTS)
    monkeypatch.setattr("lightning.pytorch.Trainer.world_size", 2)
    with pytest.raises(UsageError, match=r"several parts runs in one process, got 2; give --trainer.devices 1"):
        train(name, tmp_path, **QUIET)
    with pytest.raises(UsageError, match=r"max_steps and max_time would hold for each of the 2 parts"):
        train(name, tmp_path, max_steps=5, max_time="00:00:01:00", **QUIET)
    with pytest.raises(ValueError, match=r"recovery is measured in the last part alone: stop_recovered belongs there"):
        Recipe.model_validate({**PARTS, "before": [{"training": {"steps": 3, "stop_recovered": 0.5}}]})
    for other in ({"keep": [30]}, {"closed_form": True}):
        with pytest.raises(ValueError, match=r"neither in closed form nor are steps kept of it"):
            Recipe.model_validate({**PARTS, **other})
    entry = memzoo.info(name).model_dump()
    with pytest.raises(ValueError, match=r"members of an Ensemble are trained in one part"):
        Entry.model_validate({**entry, "architecture": "Ensemble", "config": memzoo.info("pixels2-conv5x1").config})
