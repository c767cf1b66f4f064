"""Figure 3b of the paper: a deep fully connected network on 20 MNIST images, which are attractors of the network."""

from memzoo.figures.engine import Arrays, Claim, Figure, Material, draw_orbits, follow_orbits

SHOWN = 6  # starts in the picture
STEPS = 200  # iterations of the curve
EPS = 0.5  # distance from a training image within which a start has arrived, L2


def measure(material: Material) -> Arrays:
    """Follow the first starts, which are not chosen, and measure the share of all starts that arrived by each time."""
    m = material.measured()
    curve = m.curve(STEPS, EPS)
    return {
        "orbits": follow_orbits(m.model, m.probes[:SHOWN], m.examples),
        "arrived": curve.arrived,
        "recovery": curve.rate,
    }


FIGURE = Figure(
    "fig3b",
    "Figure 3b: iterating a 14-layer autoencoder maps test images to training images",
    measure,
    lambda arrays: draw_orbits(arrays["orbits"]),
    claims={
        "starts at an example by t = 1": Claim(least=0.5, paper="all"),
        "starts at an example by t = 200": Claim(least=0.99, paper="all"),
        "R_200": Claim(least=1.0, paper="all"),
    },
    caption="A row a test image: the image, its iterates, and the training image nearest to the last of these.",
    notes=(
        "The paper's networks do this in a single iteration. Here every image is an attractor and every start arrives, "
        "but half of them need five iterations: see the page on reproduction for the recipes that were tried.",
    ),
)
