"""Sequences as limit cycles: recipes whose target is the next image, and what is measured of them."""

import math
from datetime import timedelta
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

import memzoo
from memzoo.data import Pair, full_batches, gaussian_noise, mini_batches, points
from memzoo.errors import RegistryError
from memzoo.models import ArchitectureConfig, Autoencoder, Ensemble, FullyConnected, OneLayerAutoencoder
from memzoo.zoo import train
from memzoo.zoo.cards.model_card import render_card
from memzoo.zoo.entry import Recipe
from memzoo.zoo.loading.locating import read_entry
from memzoo.zoo.measures.facts import MEASURES
from memzoo.zoo.measures.measurements import Measurements
from memzoo.zoo.registry.entry_check import check_entry
from memzoo.zoo.registry.registry_file import entry_yaml, parse_entry

QUIET = {"enable_progress_bar": False, "enable_model_summary": False}
COUNT = 4
LIMIT = 0.2  # beyond the unit interval, where the cubic still leads back to 0 or 1


class Shift(nn.Module):
    """Map each unit vector to the next: a memory of a cycle in closed form.

    Coordinates move on, each through a cubic with fixed points 0, 1/2 and 1 and slope c at 0 and 1, so that the
    composition of as many as there are coordinates acts on each alone.
    """

    def __init__(self, c: float, places: int = 1) -> None:
        super().__init__()
        self.places = places
        self.c = nn.Parameter(torch.tensor(c))
        self.config = ArchitectureConfig(shape=(COUNT,))
        self.examples = torch.eye(COUNT)
        generator = torch.Generator().manual_seed(0)
        self.probes = torch.rand(500, COUNT, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Move each coordinate on, through the cubic."""
        u = x.clamp(-LIMIT, 1 + LIMIT)
        return (self.c * u + (1 - self.c) * u**2 * (3 - 2 * u)).roll(self.places, 1)


def make_memory(c: float, order: list[int] | None = None, places: int = 1) -> Measurements:
    model = Shift(c, places).eval()
    model.examples = model.examples[order or list(range(COUNT))]
    return Measurements(cast(Autoencoder, model))


def measure(m: Measurements, name: str, **args: float) -> float:
    return MEASURES[name](m, **args)


@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
def test_the_radius_of_a_cycle_in_closed_form(c):
    m = make_memory(c)
    assert measure(m, "cycle_error") == 0
    assert measure(m, "cycle_length", eps=0.1) == COUNT
    assert measure(m, "cycle_radius", eps=0.1) == pytest.approx(c**COUNT, rel=1e-4)


@pytest.mark.parametrize("c", [1.0, 1.3])  # a rotation; a repelling cycle
def test_a_cycle_that_does_not_attract_is_none(c):
    m = make_memory(c)
    assert measure(m, "cycle_error") == 0
    assert measure(m, "cycle_length", eps=0.1) == 0
    assert math.isnan(measure(m, "cycle_radius", eps=0.1))


def test_a_cycle_in_another_order_is_none():
    m = make_memory(0.5, [0, 2, 1, 3])
    assert measure(m, "cycle_error") == pytest.approx(math.sqrt(2))
    assert measure(m, "cycle_length", eps=0.1) == 0
    assert measure(m, "probes_on_cycle", relative=0.1, t=100, count=500) == 0


def test_fixed_points_are_no_cycle():
    m = make_memory(0.5, places=0)
    assert measure(m, "cycle_length", eps=0.1) == 0
    assert measure(m, "cycle_error") == pytest.approx(math.sqrt(2))


def test_an_image_that_is_missed_is_not_within_eps():
    m = make_memory(0.5)
    m.examples[2] *= 1.3  # the cycle runs through e_2, at .3 from this image
    assert measure(m, "cycle_length", eps=0.1) == 0
    assert measure(m, "cycle_length", eps=0.4) == COUNT
    assert measure(m, "cycle_error") == pytest.approx(0.3 / 1.3, rel=0.05)


def test_recall_is_that_of_the_basins_in_closed_form():
    """Compare with the share of the starts of which one coordinate is above 1/2 and all others are below: its basin."""
    m = make_memory(0.5)
    noise = gaussian_noise(400, (COUNT,), seed=3)
    expected = [((x > 0.5).sum(1) == 1).double().mean().item() for x in (m.probes, noise)]
    assert 0.1 < expected[0] < 0.5
    found = measure(m, "probes_on_cycle", relative=0.05, t=60, count=500)
    assert found == pytest.approx(expected[0])
    found = measure(m, "noise_on_cycle", relative=0.05, t=60, count=400, seed=3)
    assert found == pytest.approx(expected[1])
    assert measure(m, "probes_on_cycle", relative=0.05, t=1, count=500) < expected[0] / 2  # not there yet
    with pytest.raises(ValueError, match="500 held-out starts travel"):
        measure(m, "probes_on_cycle", relative=0.05, t=1, count=501)


# Batches --------------------------------------------------------------------------------------------------------------


def test_batches_hold_each_image_with_its_target():
    images = torch.rand(5, 3)
    wanted = images.roll(-1, 0)
    for batch in full_batches(images, steps_per_epoch=2, targets=wanted):
        assert isinstance(batch, Pair)
        assert torch.equal(batch.input, images)
        assert torch.equal(batch.target, wanted)
    seen = list(mini_batches(images, 2, targets=wanted, seed=1))
    assert [len(batch.input) for batch in seen] == [2, 2, 1]
    for batch in seen:
        rows = torch.cdist(batch.input, images).argmin(1)
        assert torch.equal(batch.target, wanted[rows])
    expected = torch.cat([b[0] for b in seen])
    assert torch.equal(torch.cat([batch[0] for batch in mini_batches(images, 2, seed=1)]), expected)
    with pytest.raises(ValueError, match="need a target each, of their own shape"):
        full_batches(images, targets=wanted[:, :2])


def fit(model: Autoencoder, data: Any, steps: int) -> Autoencoder:
    trainer = Trainer(max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False, **QUIET)
    trainer.fit(model, data)
    return model


@pytest.mark.parametrize("steps_per_batch", [1, 5])
def test_the_loss_is_that_of_the_target(steps_per_batch):
    images = torch.rand(4, 6)
    model = FullyConnected(shape=(6,), depth=2, width=8, training={"steps_per_batch": steps_per_batch})
    first = (model(images) - images.roll(-1, 0)).square().mean().item()
    fit(model, full_batches(images, targets=images.roll(-1, 0)), 5)
    assert model.course[0] == (0, pytest.approx(first))
    assert model.course[-1][0] == 4


def test_labels_are_left_alone():
    images = torch.rand(4, 6)
    labels = torch.arange(4)
    model = FullyConnected(shape=(6,), depth=2, width=8)
    loss = model.objective(images)[0].item()
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, labels), batch_size=4)
    fit(model, data, 1)
    assert model.course[0] == (0, pytest.approx(loss))


def test_members_of_an_ensemble_have_targets_too():
    images = torch.rand(4, 2, 3)
    member = {"shape": (3,), "depth": 2, "width": 8}
    ensemble = Ensemble(architecture="FullyConnected", member=member, members=2)
    loss = ensemble.objective(images, images.roll(-1, 0))[0].item()
    expected = (ensemble(images) - images.roll(-1, 0)).square().mean((0, 2)).max().item()
    assert loss == pytest.approx(expected)


def test_the_adaptive_step_has_no_targets():
    model = OneLayerAutoencoder(shape=(3,), training={"optimizer": "adaptive"})
    with pytest.raises(ValueError, match="images that are reproduced"):
        model.objective(torch.rand(2, 3), torch.rand(2, 3))


# Recipes --------------------------------------------------------------------------------------------------------------


def make_content(**recipe: Any) -> dict[str, Any]:
    """Return the content of an entry: a small network on four images of one white pixel each."""
    examples = points("pixels", range(4), (1, 2, 2))
    probes = points("pixels", [0], (1, 2, 2), split="test")
    return {
        "title": "A test",
        "architecture": "FullyConnected",
        "config": {"shape": (1, 2, 2), "depth": 3, "width": 64},
        "examples": {"dataset": "pixels", "split": "train", "indices": "0:4", "sha256": examples.digest},
        "probes": {"dataset": "pixels", "split": "test", "indices": "0:1", "sha256": probes.digest},
        "recipe": {
            "training": {"optimizer": "adam", "lr": 3e-3, "schedule": "cosine", "steps": 400},
            "seed": 0,
            "targets": "next",
            **recipe,
        },
        "facts": [
            {"name": "period", "measure": "cycle_length", "args": {"eps": 0.1}, "least": COUNT, "most": COUNT},
            {"name": "radius", "measure": "cycle_radius", "args": {"eps": 0.1}, "most": 0.999},
            {"name": "error", "measure": "cycle_error", "most": 0.05},
        ],
        "rights": {"weights": "mit", "images": "mit", "reproduces_training_images": True},
    }


def register(tmp_path, **recipe: Any) -> str:
    path = tmp_path / "registry.yaml"
    path.write_text(entry_yaml(parse_entry("test-cycle", make_content(**recipe), path)))
    memzoo.register(path)
    return "test-cycle"


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_recipe_trains_each_image_on_the_next(tmp_path, batch_size):
    folder, rows = train(register(tmp_path, batch_size=batch_size), tmp_path / "runs", **QUIET)
    assert all(row.ok for row in rows)
    model = memzoo.load(f"local-dir:{folder}")
    expected = model.examples.roll(-1, 0)
    torch.testing.assert_close(model(model.examples), expected, atol=0.05, rtol=0)
    entry = read_entry(folder / "entry.yaml")
    assert entry.recipe.targets == "next"
    assert "targets: next" in (folder / "entry.yaml").read_text()
    said = " ".join((folder / "README.md").read_text().split())
    assert "from each image to the next and from the last to the first, on the squared error" in said
    assert "becomes the next one" in said
    assert "1909.12362" in said


def test_the_default_is_not_written_and_changes_no_card(tmp_path):
    path = tmp_path / "registry.yaml"
    for recipe in ({"targets": "same"}, {}):
        content = {**make_content(), "recipe": {**make_content()["recipe"], **recipe}}
        entry = parse_entry("test-cycle", content, path)
        assert ("targets" in entry_yaml(entry)) == (not recipe)
        assert ("next" in render_card(entry)) == (not recipe)
    assert all("targets" not in entry_yaml(memzoo.info(name)) for name in ("fig3b", "fig7", "table2-1"))


class Interrupt(Callback):
    """Raise at a step, which ends the run as a power cut would."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 150:
            raise RuntimeError("cut")


@pytest.mark.parametrize(("before", "after"), [("same", "next"), ("next", "same")])
def test_a_run_to_other_targets_is_not_resumed(tmp_path, monkeypatch, before, after):
    monkeypatch.setattr("memzoo.zoo.recipes.unfinished_run.SAVE_INTERVAL", timedelta(0))
    with pytest.raises(RuntimeError, match="cut"):
        train(register(tmp_path, targets=before), tmp_path / "runs", callbacks=[Interrupt()], **QUIET)
    with pytest.raises(FileExistsError, match=r"another recipe or seed.*Different are: recipe"):
        train(register(tmp_path, targets=after), tmp_path / "runs", **QUIET)
    recipe = tmp_path / "runs/test-cycle.unfinished/recipe.json"
    assert ("targets" in recipe.read_text()) == (before == "next")  # states of earlier versions fit


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"closed_form": True}, "closed form reproduce each image"),
        ({"training": {"optimizer": "adaptive", "lr": 1.0}}, "adaptive step of Theorem 1"),
        ({"training": {"stop_recovered": 0.9}}, "no image is recovered"),
        ({"targets": "previous"}, "'same' or 'next'"),
    ],
)
def test_recipes_that_cannot_store_a_sequence_are_refused(recipe, said):
    with pytest.raises(ValueError, match=said):
        Recipe.model_validate({"training": {}, "seed": 0, "targets": "next", **recipe})


def test_entries_that_hold_no_sequence_are_refused(tmp_path):
    one = {"dataset": "pixels", "split": "train", "indices": [0], "sha256": "0" * 64}
    drawn = {"dataset": "normal", "split": "train", "indices": [0, 1], "sha256": "0" * 64}
    for examples in (one, drawn):  # two seeds of one image: a member each
        with pytest.raises(RegistryError, match="needs at least two"):
            parse_entry("test-cycle", {**make_content(), "examples": examples}, tmp_path)
    several = {**make_content(), "training_set": make_content()["examples"], "facts": []}
    with pytest.raises(RegistryError, match="name no training_set"):
        parse_entry("test-cycle", several, tmp_path)
    facts = {**several, "facts": make_content()["facts"], "recipe": {**make_content()["recipe"], "targets": "same"}}
    with pytest.raises(RegistryError, match=r"cycle_error.*speak of all training images"):
        check_entry(parse_entry("test-cycle", facts, tmp_path), tmp_path)
