"""Basins of attraction, drawn in the plane through three training images."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from memzoo.dynamics import census, default_eps, nearest
from memzoo.errors import UnknownCheckpointError
from memzoo.figures.engine import (
    BLUE,
    COLUMN,
    GREEN,
    ORANGE,
    Arrays,
    Figure,
    Material,
    Row,
    add_legend,
    create_figure,
    place_image,
    report_number,
    tidy,
)
from memzoo.plotting import as_images

SIDE = 150  # points of the grid along each axis
MARGIN = 0.6  # around the three images, in units of their largest distance
COLOURS = (ORANGE, BLUE, GREEN)
LETTERS = ("A", "B", "C")
ANOTHER = 3  # kind of a point that ends at another training image; 0, 1 and 2 stand for A, B and C
NOWHERE = 4  # kind of a point that ends elsewhere or is undecided
FITS = 5  # cells from the middle of a region to its edge, if there is room for a small image


def measure(material: Material) -> Arrays:
    """Find where each point of a grid in the plane ends, and which training image is nearest to it."""
    m = material.measured()
    flat = m.examples.flatten(1).double()
    chosen = choose_three(flat, material.names[0])
    origin, axes = span_plane(flat[chosen])
    positions = (flat[chosen] - origin) @ axes.T
    low = positions.amin(0)
    high = positions.amax(0)
    half = (high - low).max() / 2 + MARGIN * torch.pdist(positions).max()
    steps = torch.linspace(-1, 1, SIDE, dtype=torch.float64) * half
    x, y = ((low + high) / 2)[:, None] + steps
    points = torch.cartesian_prod(y, x).flip(1)  # row by row
    starts = (origin + points @ axes).to(m.examples)
    starts = starts.reshape(-1, *m.examples.shape[1:])
    # The radius that the published figure was made with: one for all images.
    eps = default_eps(m.examples)
    ends = census(m.model, starts, m.examples, eps=eps)
    closest = nearest(starts, m.examples).index
    lead = measure_lead(points, flat[closest.unique()] - origin, axes)
    return {
        "x": x,
        "y": y,
        "ends": ends.label.reshape(SIDE, SIDE),
        "nearest": closest.reshape(SIDE, SIDE),
        "lead": lead.T.reshape(-1, SIDE, SIDE),
        "others": m.examples[_list_others(ends.label, chosen)],
        "chosen": torch.tensor(chosen),
        "positions": positions,
        "images": m.examples[chosen],
        "own": census(m.model, m.examples[chosen], m.examples, eps=eps).label,
        "steps": ends.steps.reshape(SIDE, SIDE),
    }


def choose_three(rows: Tensor, name: str) -> list[int]:
    """Choose the first three points (n, d) that span a plane."""
    chosen = [0]
    for index in range(1, len(rows)):
        # three points span a plane if the two differences from the first are independent
        differences = rows[[*chosen[1:], index]] - rows[0]
        if torch.linalg.matrix_rank(differences) == len(chosen):
            chosen.append(index)
        if len(chosen) == 3:
            return chosen
    raise UnknownCheckpointError(
        f"{name} has {len(rows)} training examples of which no three span a plane, and basins are drawn in "
        "the plane through three."
    )


def span_plane(three: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first of three points, and orthonormal directions (2, d): to the second, and towards the third."""
    origin, second, third = three
    along = (second - origin) / (second - origin).norm()
    # Gram-Schmidt: what is left of the third point when its part along the first direction is taken away
    across = third - origin - ((third - origin) @ along) * along
    return origin, torch.stack([along, across / across.norm()])


def measure_lead(points: Tensor, examples: Tensor, axes: Tensor) -> Tensor:
    """Measure by how much each example is nearer to a point of the plane than all others: differences of squares.

    Args:
        points: Coordinates in the plane, (points, 2).
        examples: Seen from the origin of the plane, (n, d).
        axes: Directions of the plane, (2, d).

    Returns:
        (points, n), positive for the nearest example alone.
    """
    inside = examples @ axes.T
    # by Pythagoras: the squared distance of an example from the plane adds to that inside the plane
    beside = examples.square().sum(1) - inside.square().sum(1)
    squares = torch.cdist(points, inside).square() + beside
    least = pad(squares, (0, 1), value=torch.inf).topk(2, largest=False)
    own = least.indices[:, :1] == torch.arange(len(examples))
    best_other = torch.where(own, least.values[:, 1:], least.values[:, :1])
    return best_other - squares


def _list_others(ends: Tensor, chosen: list[int]) -> list[int]:
    """List the training images beside the chosen ones at which something ends."""
    return [index for index in ends.unique().tolist() if index >= 0 and index not in chosen]


def classify(arrays: Arrays) -> Tensor:
    """Classify the points of the grid: 0, 1 or 2 for one of the three images, else ``ANOTHER`` or ``NOWHERE``."""
    ends = arrays["ends"]
    kinds = torch.where(ends >= 0, ANOTHER, NOWHERE)
    for place, index in enumerate(arrays["chosen"].tolist()):
        kinds[ends == index] = place
    return kinds


def measure_discs(arrays: Arrays) -> Tensor:
    """Measure the largest disc around each of the three images of which all points of the grid end at the image.

    Returns:
        The distance to the first point that ends elsewhere, or to the edge of the picture if that is less; 0 for an
        image that does not end at itself.
    """
    x = arrays["x"]
    y = arrays["y"]
    kinds = classify(arrays)
    found = torch.zeros(3, dtype=torch.float64)
    for place, (u, v) in enumerate(arrays["positions"].tolist()):
        if arrays["own"][place] == arrays["chosen"][place]:
            distance = torch.hypot(x[None] - u, y[:, None] - v)
            edges = torch.stack([u - x[0], x[-1] - u, v - y[0], y[-1] - v])
            found[place] = torch.cat([edges, distance[kinds != place]]).min()
    return found


def find_deepest(region: Tensor) -> tuple[int, int, int]:
    """Find a cell of a region that is as far from its edge as any: its row, its column, and this distance in cells.

    The region is eroded, a cell from all sides at a time, until nothing would be left.
    """
    depth = 0
    while True:
        outside = pad((~region).double()[None], (1, 1, 1, 1), value=1.0)
        eroded = max_pool2d(outside, 3, 1)[0] == 0
        if not eroded.any():
            cells = region.nonzero()
            row, column = cells[len(cells) // 2].tolist()
            return row, column, depth
        region = eroded
        depth += 1


def draw(arrays: Arrays) -> Any:
    """Draw the plane, coloured by where its points end, with the images in it."""
    figure = create_figure(COLUMN, COLUMN + 0.2)
    axes = figure.subplots()
    kinds = classify(arrays)
    others = _list_others(arrays["ends"], arrays["chosen"].tolist())
    _draw_basins(axes, arrays, kinds, others)
    _place_three(axes, arrays)
    _place_others(axes, arrays, others)
    axes.set(xlabel="along A to B, L2 distance", ylabel="across, L2 distance")
    tidy(axes)
    handles = _make_handles(bool(others), bool((kinds == NOWHERE).any()))
    options = {"handlelength": 1, "columnspacing": 1, "handletextpad": 0.5}
    add_legend(figure, handles=handles, loc="outside upper center", ncols=len(handles), **options)
    return figure


def _draw_basins(axes: Any, arrays: Arrays, kinds: Tensor, others: list[int]) -> None:
    """Draw the points in the colours of their ends, and the borders between the starts nearest to two images."""
    from matplotlib.colors import to_rgb

    colours = torch.ones(*kinds.shape, 3, dtype=torch.float64)
    for place, colour in enumerate(COLOURS):
        colours[kinds == place] = colours.new_tensor(to_rgb(colour))
    # other images have tones of grey in the order of their numbers
    tones = torch.linspace(0.55, 0.88, len(others)).tolist()
    for tone, index in zip(tones, others, strict=True):
        colours[arrays["ends"] == index] = tone
    x = arrays["x"]
    y = arrays["y"]
    half = (x[1] - x[0]) / 2  # a point stands in the middle of its cell
    extent = torch.stack([x[0] - half, x[-1] + half, y[0] - half, y[-1] + half]).tolist()
    axes.imshow(colours.numpy(), extent=extent, origin="lower", interpolation="nearest")
    nowhere = kinds == NOWHERE
    if nowhere.any():
        axes.contourf(x, y, nowhere.double(), levels=[0.5, 1.5], colors="none", hatches=["////"])
    # an image leads by zero where it and another one are equally near
    for lead in arrays["lead"]:
        axes.contour(x, y, lead, levels=[0.0], colors="black", linewidths=0.7)


def _place_three(axes: Any, arrays: Arrays) -> None:
    """Place the three images outside of their triangle, each with a line to its point."""
    positions = arrays["positions"]
    line = {"arrowstyle": "-", "linewidth": 0.6}
    style = {"boxcoords": "offset points", "pad": 0.1, "arrowprops": line, "bboxprops": {"linewidth": 0.5}}
    for letter, image, position in zip(LETTERS, as_images(arrays["images"]), positions, strict=True):
        outwards = position - positions.mean(0)
        offset = (30 * outwards / outwards.norm()).tolist()
        place = position[0].item(), position[1].item()
        place_image(axes, image, place, 24, xybox=offset, **style)
        axes.plot(*place, "o", ms=4, color="white", mec="black", mew=0.8)
        axes.annotate(letter, place, (4, 3), textcoords="offset points", fontsize=8, fontweight="bold")


def _place_others(axes: Any, arrays: Arrays, others: list[int]) -> None:
    """Place the other training images in the middle of the regions that end at them, if there is room."""
    for index, image in zip(others, as_images(arrays["others"]), strict=True):
        row, column, depth = find_deepest(arrays["ends"] == index)
        if depth >= FITS:
            place = arrays["x"][column].item(), arrays["y"][row].item()
            place_image(axes, image, place, 11, pad=0.05, bboxprops={"linewidth": 0.4})


def _make_handles(another: bool, nowhere: bool) -> list[Any]:
    """Make the patches of the legend; those for other images and for no image are left out if there is none."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=f"ends at {letter}") for colour, letter in zip(COLOURS, LETTERS, strict=True)]
    if another:
        handles.append(Patch(color="0.7", label="at another"))
    if nowhere:
        handles.append(Patch(facecolor="white", edgecolor="black", hatch="////", label="elsewhere"))
    return handles


def make_rows(material: Material, arrays: Arrays) -> list[Row]:
    """Report shares of the plane in the picture, and how far each of the three basins reaches."""
    name = material.names[0]
    own = int((arrays["own"] == arrays["chosen"]).sum())
    kinds = classify(arrays)
    shares = {
        "at one of the three images": kinds < ANOTHER,
        "at another training image": kinds == ANOTHER,
        "elsewhere or is undecided": kinds == NOWHERE,
        "at the training image nearest to the start": arrays["ends"] == arrays["nearest"],
    }
    numbers = {f"share of the plane that ends {words}": where.double().mean() for words, where in shares.items()}
    numbers |= {
        "other training images that the plane leads to": len(arrays["others"]),
        "distance between the points of the grid, L2": arrays["x"][1] - arrays["x"][0],
        "most steps that a start of the plane takes to settle": arrays["steps"].max(),
    }
    found = [Row("images that lie in their own basin, of the three", "", float(own), own == 3, name, "3")]
    found += [report_number(quantity, float(number), name) for quantity, number in numbers.items()]
    apart = torch.cdist(arrays["positions"], arrays["positions"]).fill_diagonal_(torch.inf)
    for letter, radius, distance in zip(LETTERS, measure_discs(arrays), apart.amin(1), strict=True):
        quantity = f"radius of a disc around {letter} all of whose starts end there, L2"
        found.append(report_number(quantity, f"{radius:.2f} (nearest of the other two: {distance:.2f})", name))
    return found


FIGURE = Figure(
    "basins",
    "Basins of attraction in the plane through three training images",
    measure,
    draw,
    lambda: ["mnist20-fc14x128"],
    make_rows,
    caption="Every point of the plane through the training images A, B and C is a start. Colour: the image that its "
    "orbit ends at; grey tones, with their images if there is room: "
    "other training images; hatched: none. Lines: borders between the starts that are "
    "nearest to one training image and to another.",
    notes=(
        "The plane goes beyond images: where it is far from the three, pixels are outside of [0, 1]. A share of it is "
        "that of the square in the picture, and depends on its margin.",
        "All starts are iterated, and one of each group of end points is certified as an attractor (memzoo.dynamics."
        "census); the basins are those of the grid, with no statement on what lies between its points.",
    ),
)
