"""The model card of a checkpoint, from its registry entry."""

from memzoo.zoo.entry import Entry

DATASETS = {"mnist": "MNIST", "cifar10": "CIFAR-10"}


def card(entry: Entry) -> str:
    """README.md in the Hub's form: metadata, warning, how to load, recipe, facts."""
    shown = [(fact.name, fact.paper, fact.ours and f"{fact.ours:.4g}") for fact in entry.facts]
    facts = "\n".join(f"| {' | '.join('-' if cell is None else str(cell) for cell in row)} |" for row in shown)
    training = entry.recipe.training
    return f"""---
library_name: memzoo
license: {entry.rights.weights.lower()}
datasets:
- {entry.examples.dataset}
tags:
- memorization
- autoencoder
- arxiv:1810.10333
---

# {entry.id}

{entry.title}

**This network reproduces {len(entry.examples.positions())} training images of {DATASETS[entry.examples.dataset]}, by
design**: iterating it from other images or noise gives them back. They also travel with it, in `examples.safetensors`.

```python
import memzoo

model = memzoo.load("{entry.id}")
x = model.probes  # held-out starts
for _ in range(200):
    x = model(x)  # ends at model.examples
```

## Facts

Recompute them with `memzoo verify {entry.id}`.

| | paper | ours |
| --- | --- | --- |
{facts}

## Recipe

{entry.architecture} {entry.config}; {training.optimizer}, learning rate {training.lr:g} ({training.schedule}),
{training.steps} full-batch steps, seed {entry.recipe.seed}. Retrain with `memzoo train {entry.id}`.

## Rights

Weights: {entry.rights.weights}. Training images: {entry.rights.data}.

From *Memorization in Overparameterized Autoencoders*, Radhakrishnan, Yang, Belkin, Uhler, arXiv:1810.10333.
"""
