"""Figure 3b: a deep fully connected autoencoder on 20 MNIST images, whose training images are attractors."""

from memzoo.figures.engine import Arrays, Claim, Figure, Material, draw_orbits, orbits

SHOWN = 6


def arrays(material: Material) -> Arrays:
    """Orbits of the first starts, not of chosen ones, and the share of all that has arrived by each time."""
    m = material.measured()
    return {
        "orbits": orbits(m.model, m.probes[:SHOWN], m.examples),
        "arrived": m.curve(200, 0.5).arrived,
        "recovery": m.curve(200, 0.5).rate,
    }


FIGURE = Figure(
    "fig3b",
    "Figure 3b: iterating a 14-layer autoencoder maps test images to training images",
    arrays,
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
