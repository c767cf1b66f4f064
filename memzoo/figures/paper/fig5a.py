"""Figure 5a of the paper: D1 with leaky ReLU on a hundred CIFAR-10 images; iteration yields single training images.

What is measured and drawn is the same as in Figure 5b, on another network.
"""

from memzoo.figures.engine import Claim, Figure
from memzoo.figures.paper.fig5b import CAPTION, draw, make_rows, measure

FIGURE = Figure(
    "fig5a",
    "Figure 5a: iterating a convolutional network on a hundred images yields single training images",
    measure,
    draw,
    checkpoints=lambda: ["cifar10n100-d1-leaky"],
    rows=make_rows,
    claims={
        "share of test images within .01 of a training image at t = 100": Claim(
            least=0.5, paper="single training images"
        ),
        "median relative distance of test images at t = 100": Claim(most=0.01, paper="single training images"),
    },
    caption=CAPTION,
    notes=(
        "The paper shows orbits of some test images, and neither says how many end at a training image nor names the "
        "architecture of this network; ours is D1 with leaky ReLU, as in Figure 5b. Asked for here: the larger part.",
        "Test images end at the attractors of single training images, which lie about 1 % from the images themselves. "
        "Gaussian inputs, far outside of the training data, diverge.",
    ),
)
