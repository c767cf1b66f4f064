"""A whole checkpoint that is made in a moment."""

import shutil
from pathlib import Path

from memzoo.data import Selection, mnist20
from memzoo.models import FullyConnected, Training
from memzoo.zoo.cards.history import make_history
from memzoo.zoo.entry import Entry, Fact, Images, Recipe, Step
from memzoo.zoo.loading.fingerprint import take_fingerprint
from memzoo.zoo.recipes.folder import write_folder
from memzoo.zoo.rights import Rights
from memzoo.zoo.verification import find_versions, measure_facts


def small_checkpoint(folder: Path, *, width: int = 4, steps: tuple[int, ...] = (), title: str = "Small") -> Path:
    """Write ``small-fc``, an untrained network on MNIST images, and a registry of it alone; return the latter."""
    examples, starts = mnist20()
    starts = Selection(starts.dataset, starts.split, starts.indices[:30], starts.images[:30])

    def build():
        return FullyConnected(shape=(1, 28, 28), depth=2, width=width).eval()

    model = build()
    model.examples = examples.pixels()
    model.probes = starts.pixels()
    fact = Fact(name="training loss", measure="mean_squared_error", tolerance=1e-6)
    weights = {None: model.state_dict()}
    measured = {}
    for step in steps:
        early = build()
        weights[step] = early.state_dict()
        measured[step] = Step(epoch=1, fingerprint=take_fingerprint(early, early.config.shape))
    training_images = Images(
        dataset="mnist", split="train", indices=list(examples.indices), sha256=list(examples.sha256)
    )
    probes = Images(dataset="mnist", split="test", indices="0:30", sha256=starts.digest)
    recipe = Recipe(training=Training(steps=1000), seed=0, keep=list(steps), versions=find_versions())
    facts = [row.fact.model_copy(update={"ours": row.measured}) for row in measure_facts(lambda _: model, [fact])]
    entry = Entry(
        id="small-fc",
        title=title,
        aliases=["small"],
        architecture="FullyConnected",
        config=model.config.model_dump(mode="json"),
        examples=training_images,
        probes=probes,
        recipe=recipe,
        facts=facts,
        fingerprint=take_fingerprint(model, model.config.shape),
        rights=Rights(weights="cc-by-sa-3.0", images="cc-by-sa-3.0", reproduces_training_images=True),
    )
    entry = entry.model_copy(update={"steps": measured})  # their files are not written yet
    course = [(0, 1.0), (10, 0.1)]
    target = folder / "checkpoints/small-fc"
    write_folder(target, entry, model, examples, starts, make_history(course, []), weights)
    shutil.move(target / "entry.yaml", folder / "registry.yaml")
    return folder / "registry.yaml"
