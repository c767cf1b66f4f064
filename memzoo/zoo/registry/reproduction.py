"""Find the facts of an entry which say that its network gives training images back."""

from memzoo.zoo.entry import Entry

REPRODUCING = frozenset(
    {
        # Training images that are attractors, or lie on an attracting cycle.
        "attractors",
        "cycle_length",
        "median_attractors",
        "probes_captured",
        # Training images at which starts arrive, and starts that arrive at one.
        "arrived",
        "matched_noise_arrived",
        "members_recovering",
        "noise_arrived",
        "noise_at_an_image",
        "noise_on_cycle",
        "probes_at_an_image",
        "probes_on_cycle",
        "recovery",
        "squares_at_an_image",
    }
)
"""Measures that are greater than 0 only if iteration ends, within the eps of the fact, at a training image.

A small training error is not among them, since the identity has it as well. A spectral radius below 1 at a training
image is not among them either, since the image need not be a fixed point.
"""


def object_to_denial(entry: Entry) -> list[str]:
    """Name the facts that contradict ``reproduces_training_images: false``, and say what to do.

    Facts of weights that were kept during training count as well: these weights are published too.

    Returns:
        One text, or none if no fact contradicts.
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
