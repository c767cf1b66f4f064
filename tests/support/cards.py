"""Which model cards run their example as a test."""

SAME_EXAMPLE = {
    "cifar10-d1-leaky": "cifar10-d1x32-xavier-uniform",
    "cifar10n100-d1-leaky": "mnist200-fc7x64",
    "cifar10-d1x32-kaiming-normal": "cifar10-d1x32-xavier-uniform",
    "cifar10-d1x32-kaiming-uniform": "cifar10-d1x32-xavier-uniform",
    "cifar10-d1x32-xavier-normal": "cifar10-d1x32-xavier-uniform",
    "mnist1000-fc10x512": "mnist200-fc7x64",
    "mnist1000-fc5x512": "mnist200-fc7x64",
    "mnist1000-fc7x384": "mnist200-fc7x64",
    "mnist1000-fc7x512": "mnist200-fc7x64",
    "mnist50k-fc7x512": "mnist200-fc7x64",
}
"""Checkpoints whose card shows the example of another card, on a network that takes much longer. Of these two the other
card's example is run; what it would compute of the first network, the facts of that network are made of."""
