"""The model card of a checkpoint, from its registry entry."""

import hashlib
import re
from pathlib import Path
from typing import Any

from memzoo.zoo.cards.history import read_history
from memzoo.zoo.entry import HISTORY, Entry, Recipe
from memzoo.zoo.registry import CURVE, TRAJECTORIES
from memzoo.zoo.rights import DATASETS, pick_strictest, write_license

PAPER = "1810.10333"
SEQUENCES = "1909.12362"
IMAGES_SHOWN = (
    "Each row iterates the network from a held-out start; the last column is the training image nearest to where it "
    "ended."
)
CYCLE_SHOWN = (
    "Each row iterates the network from a held-out start, which comes to run through the {count} training images in "
    "their order, one after the other from t = 100 on. The last column is the training image nearest to where it ended."
)
POINTS_SHOWN = "Training points, held-out starts, and where iteration takes these."
FEW = 50  # examples that are certified in a moment
SEAL = "<!-- Written by memzoo; as long as this line is true, publishing may renew it: {} -->"

SINGLE = """import memzoo
from memzoo.dynamics import certify, iterate

model = memzoo.load("{name}")
model(model.examples)                  # the training images, reproduced
iterate(model, model.probes).points    # where held-out starts end
certify(model, model.examples)         # which training images are attractors"""
MANY = SINGLE.replace("certify(model, model.examples)     ", "certify(model, model.examples[:20])").replace(
    "which", "of twenty, which"
)
CYCLE = """import memzoo
from memzoo.dynamics import census, iterate

model = memzoo.load("{name}")
model(model.examples)                  # each training image becomes the next one, the last the first
iterate(model, model.probes).points    # where held-out starts are after 200 steps
census(model, model.examples, model.examples).limits    # the cycle: its period and its spectral radius"""
LINEAR = """import memzoo
from memzoo.dynamics import spectrum

model = memzoo.load("{name}")
model(model.examples)                  # the training images, reproduced
model(model.probes)                    # held-out images, mapped into the span of the training images
spectrum(model, model.examples[:1])    # of the map itself, the same at every point"""
ENSEMBLE = """import memzoo
from memzoo.dynamics import operator

model = memzoo.load("{name}")
model.eigenvalues()                    # spectrum of each member's operator
member = model.member(0)               # a network of its own, member.examples its images
operator(member)                       # its matrix"""
MEMBERS = """import memzoo
from memzoo.dynamics import certify, iterate

model = memzoo.load("{name}")
member = model.member(0)                    # a network of its own, member.examples its images
iterate(member, member.probes).points       # where held-out starts end
certify(member, member.examples)            # which training images are attractors"""


def card(entry: Entry, folder: Path | None = None, *, repository: str | None = None) -> str:
    """README.md in the Hub's form: metadata, warning, how to load, pictures, facts, recipe, rights.

    Args:
        entry: What it is about.
        folder: Where its files lie: pictures that are there are shown.
        repository: Where it is published; without, the card speaks of the installed checkpoint alone.
    """
    name = entry.id if repository is None else f"hf-hub:{repository}"
    shown = [(fact.name + (f" (step {fact.step})" if fact.step else ""), fact) for fact in entry.facts]
    facts = "\n".join(
        f"| {said} | {_cell(fact.paper)} | {_cell(fact.ours)} | {fact.tolerance:g} |" for said, fact in shown
    )
    about = entry.examples
    count = len(about.positions()) * about.count
    config = entry.config.get("member", entry.config)
    linear = config.get("activation") == "linear" or entry.architecture == "LinearAutoencoder"
    if entry.recipe.targets == "next":
        snippet = CYCLE
    elif entry.architecture == "Ensemble":
        snippet = ENSEMBLE if linear else MEMBERS
    else:
        snippet = LINEAR if linear else SINGLE if count <= FEW else MANY
    kept = "".join(f'\nmemzoo.load("{name}", step={step})' for step in sorted(entry.steps))
    also = "" if repository is None else f'\n`memzoo.load("{entry.id}")` is the same wherever its registry is known.\n'
    return sealed(f"""---
{_metadata(entry)}---

# {entry.id}

{entry.title}

{_warning(entry, count)}

```python
{snippet.format(name=name)}{kept}
```
{also}{_pictures(folder, _shown(entry, count))}
## Facts

Recompute them with `memzoo verify {name}`.

| | paper | ours | tolerance |
| --- | --- | --- | --- |
{facts}

## Recipe

{entry.architecture} with {settings(entry.config)}. {trained(entry)}; seed {entry.recipe.seed}; \
{_stored(entry)}{_made(entry)}. Retrain with `memzoo train {entry.id}`.

## Rights

{_rights(entry)}

{_sources(entry)}
""")


def _warning(entry: Entry, count: int) -> str:
    """Say what whoever has the files can get out of them."""
    words = DATASETS[entry.examples.dataset].words
    if not entry.rights.reproduces_training_images:
        return f"> **{count} training images of {words} travel with this network**, in `examples.safetensors`."
    return (
        f"> **Warning: this network reproduces {count} training images of {words}, by design.** Whoever has\n"
        "> its weights can get them out. They also travel with it, in `examples.safetensors`."
    )


def _rights(entry: Entry) -> str:
    """Name the licences of weights and images, and who made the images."""
    rights = entry.rights
    datasets = [entry.examples.dataset, entry.probes.dataset]
    weights = write_license(rights.weights, rights.license_name, rights.license_link)
    about = pick_strictest(datasets)
    images = write_license(rights.images, about.license_name, about.license_link)
    sources = "; ".join(dict.fromkeys(DATASETS[name].source for name in datasets))
    return (
        f"Weights: {weights}.\nImages, unchanged in `examples.safetensors`, and in the pictures: {images}; {sources}."
    )


def _sources(entry: Entry) -> str:
    """The papers that it follows."""
    paper = f"From *Memorization in Overparameterized Autoencoders*, Radhakrishnan, Yang, Belkin, Uhler, arXiv:{PAPER}."
    if entry.recipe.targets == "same":
        return paper
    return (
        f"{paper} Sequences:\n*Overparameterized Neural Networks Implement Associative Memory*, Radhakrishnan, Belkin, "
        f"Uhler, arXiv:{SEQUENCES}."
    )


def trained(entry: Entry) -> str:
    """Batches and settings of the training, of all its parts in order."""
    return f"{_batches(entry)} on the squared error:\n{_parts(entry)}"


def _batches(entry: Entry) -> str:
    if entry.recipe.closed_form:
        return "Weights in closed form, where this training would end"
    whole = entry.training_set
    count = len((whole or entry.examples).positions())
    how = _how(entry.recipe.parts[0]).capitalize()
    if entry.recipe.targets == "next":
        return f"{how}, from each image to the next and from the last to the first,"
    return how if whole is None else f"{how} of all {count} images, of which only those travel that iteration reaches,"


def _how(recipe: Recipe) -> str:
    """In which batches."""
    size = recipe.batch_size
    return "full-batch training" if size is None else f"training in shuffled batches of {size}"


def _parts(entry: Entry) -> str:
    """Settings of the training; of several parts with their batches, in order."""
    first, *others = entry.recipe.parts
    later = (f"; then {_how(part)}: {settings(part.training.model_dump())}" for part in others)
    return "".join([settings(first.training.model_dump()), *later])


def settings(values: dict[str, Any]) -> str:
    """``name = value`` for each, in words."""
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _cell(value: float | str | None) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _stored(entry: Entry) -> str:
    """How the weights are rounded, where they are."""
    return "" if entry.recipe.stored == "float32" else f"weights stored in {entry.recipe.stored}; "


def _made(entry: Entry) -> str:
    """Versions, hardware and time, as far as they are known."""
    versions = [f"{name} {number}" for name, number in entry.recipe.versions.items()]
    took = [f"{entry.recipe.wall_time_s:g} s"] if entry.recipe.wall_time_s is not None else []
    return (
        ", ".join([*versions, *([entry.recipe.hardware] if entry.recipe.hardware else []), *took]) or "not yet trained"
    )


def _shown(entry: Entry, count: int) -> str:
    """What the picture of orbits is of."""
    if len(entry.architecture_config().shape) == 1:
        return POINTS_SHOWN
    return CYCLE_SHOWN.format(count=count) if entry.recipe.targets == "next" else IMAGES_SHOWN


def _pictures(folder: Path | None, shown: str) -> str:
    """Those that lie in the folder."""
    if folder is None:
        return ""
    text = ""
    if (folder / TRAJECTORIES).is_file():
        text += f"\n![{shown}]({TRAJECTORIES})\n"
    if (folder / CURVE).is_file():
        text += f"\n![The course of the training against optimizer steps.]({CURVE})\n"
    if (folder / HISTORY).is_file():
        text += f"\nThe course of the training is in `{HISTORY}`"
        if not read_history(folder / HISTORY).same_run:
            text += ": that of a second run of the same recipe and seed, on another machine"
        text += ".\n"
    return text


def _metadata(entry: Entry) -> str:
    """The block that the Hub reads: library, licence, datasets, tags, and the facts as evaluation results."""
    from huggingface_hub import EvalResult, ModelCardData

    about, rights = DATASETS[entry.examples.dataset], entry.rights
    results = [
        EvalResult(
            task_type="image-to-image",
            task_name="Memorization of training images",
            dataset_type=about.on_hub or "synthetic",
            dataset_name=about.words,
            dataset_split=entry.examples.split,
            metric_type=fact.measure,
            metric_name=fact.name,
            metric_value=fact.ours,
            metric_args={**fact.args, **({"step": fact.step} if fact.step else {})} or None,
        )
        for fact in entry.facts
        if fact.ours is not None
    ]
    reproduces = ["reproduces-training-data"] if rights.reproduces_training_images else []
    data = ModelCardData(
        model_name=entry.id,
        library_name="memzoo",
        license=rights.weights,
        license_name=rights.license_name,
        license_link=rights.license_link,
        datasets=None if about.on_hub is None else [about.on_hub],
        tags=["memorization", "autoencoder", *reproduces, f"arxiv:{PAPER}"],
        pipeline_tag="image-to-image",
        eval_results=results or None,
    )
    return str(data.to_yaml()).rstrip("\n") + "\n"


# A seal tells a card that we wrote from one that somebody edited ------------------------------------------------------


def sealed(text: str) -> str:
    """The text with a last line that holds its hash."""
    return text + "\n" + SEAL.format(_hash(text)) + "\n"


def is_ours(text: str) -> bool:
    """The card is one of ours, and nobody has edited it."""
    text = text.replace("\r\n", "\n")
    found = re.search(re.escape(SEAL).replace(r"\{\}", "([0-9a-f]{16})") + r"\s*$", text)
    return found is not None and _hash(text[: found.start() - 1]) == found[1]


def _hash(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]
