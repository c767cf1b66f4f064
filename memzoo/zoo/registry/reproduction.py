"""The facts of an entry that say that its network gives training images back."""

from memzoo.zoo.entry import Entry

REPRODUCING = frozenset(
    {
        # training images that are attractors, or lie on an attracting cycle
        "attractors",
        "cycle_length",
        "median_attractors",
        "probes_captured",
        # training images that starts arrive at, and starts that arrive at one
        "arrived",
        "members_recovering",
        "noise_at_an_image",
        "noise_on_cycle",
        "probes_at_an_image",
        "probes_on_cycle",
        "recovery",
        "squares_at_an_image",
    }
)
"""Measures that are greater than 0 only where iteration ends, within the eps of the fact, at a training image.

Not among them is a small training error, which the identity has as well, nor a spectral radius below 1 at a training
image, which need not be a fixed point.
"""


def object_to_denial(entry: Entry) -> list[str]:
    """Name the facts that contradict ``reproduces_training_images: false``, with what is needed; empty where none does.

    Facts of weights that were kept on the way count as well: these are published too.
    """
    if entry.rights.reproduces_training_images:
        return []
    found = [
        f"{fact.name!r} ({fact.measure}) is {fact.ours:.4g}"
        for fact in entry.facts
        if fact.measure in REPRODUCING and fact.ours is not None and fact.ours > 0
    ]
    if not found:
        return []
    return [
        f"rights.reproduces_training_images is false, but the entry's own facts say that iteration gives training "
        f"images back: {', '.join(found)}. Set it to true, and rights.weights to a licence that the images allow"
    ]
