"""The model card of a checkpoint, from its registry entry."""

from typing import Any

from memzoo.data import DISTRIBUTIONS
from memzoo.zoo.entry import Entry

DATASETS = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "normal": "normally distributed pixels",
    "sphere": "normally distributed pixels, scaled to norm 1",
    "uniform": "uniformly distributed pixels",
}


SINGLE = """import memzoo
from memzoo.dynamics import certify, iterate

model = memzoo.load("{id}")
model(model.examples)                  # the training images, reproduced
iterate(model, model.probes).points    # where held-out starts end
certify(model, model.examples)         # which training images are attractors"""
ENSEMBLE = """import memzoo
from memzoo.dynamics import operator

model = memzoo.load("{id}")
model.eigenvalues()                    # spectrum of each member's operator
member = model.member(0)               # a network of its own, member.examples its images
operator(member)                       # its matrix"""


def card(entry: Entry) -> str:
    """README.md in the Hub's form: metadata, warning, how to load, recipe, facts."""
    shown = [(fact.name, fact.paper, fact.ours and f"{fact.ours:.4g}") for fact in entry.facts]
    facts = "\n".join(f"| {' | '.join('-' if cell is None else str(cell) for cell in row)} |" for row in shown)
    training = entry.recipe.training
    about = entry.examples
    drawn = about.dataset in DISTRIBUTIONS
    count, dataset = len(about.positions()) * about.count, DATASETS[about.dataset]
    metadata = "" if drawn else f"datasets:\n- {about.dataset}\n"
    return f"""---
library_name: memzoo
license: {entry.rights.weights.lower()}
{metadata}tags:
- memorization
- autoencoder
- arxiv:1810.10333
---

# {entry.id}

{entry.title}

**This network reproduces {count} training images of {dataset}, by design.**
They also travel with it, in `examples.safetensors`.

```python
{(ENSEMBLE if entry.architecture == "Ensemble" else SINGLE).format(id=entry.id)}
```

## Facts

Recompute them with `memzoo verify {entry.id}`.

| | paper | ours |
| --- | --- | --- |
{facts}

## Recipe

{entry.architecture} with {settings(entry.config)}. Full-batch training on the squared error:
{settings(training.model_dump())}; seed {entry.recipe.seed}. Retrain with `memzoo train {entry.id}`.

## Rights

Weights: {entry.rights.weights}. Training images: {entry.rights.data}.

From *Memorization in Overparameterized Autoencoders*, Radhakrishnan, Yang, Belkin, Uhler, arXiv:1810.10333.
"""


def settings(values: dict[str, Any]) -> str:
    """``name = value`` for each, in words."""
    return ", ".join(f"{name} = {value}" for name, value in values.items())
