"""Figure 3b of the paper: a deep network on 20 MNIST images takes most inputs to one of them in one iteration."""

from memzoo.figures.engine import Arrays, Claim, Figure, Material, draw_orbits, follow_orbits

SHOWN = 6  # starts in the picture
STEPS = 200  # iterations of the curve
EPS = 0.544  # distance from a training image within which a start has arrived, L2


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
        "starts at an example by t = 1": Claim(least=0.89, paper="all"),
        "Gaussians like the images at an example by t = 1": Claim(least=0.85, paper="arbitrary inputs"),
        "standard Gaussians at an example by t = 1": Claim(least=0.79, paper="arbitrary inputs"),
        "starts at an example by t = 5": Claim(least=0.995, paper="all"),
        "starts at an example by t = 200": Claim(least=1.0, paper="all"),
        "Gaussians like the images at an example by t = 200": Claim(least=1.0, paper="arbitrary inputs"),
        "standard Gaussians at an example by t = 200": Claim(least=1.0, paper="arbitrary inputs"),
        "R_1": Claim(least=1.0, paper="all"),
        "R_200": Claim(least=1.0, paper="all"),
    },
    caption="A row a test image: the image, its iterates, and the training image nearest to the last of these.",
    notes=(
        "Every image is reached in a single iteration. Of the starts that are not there after one, most are after two, "
        "and all after 200: see the page on reproduction for what decides, and the figure superattractors for more.",
    ),
)
