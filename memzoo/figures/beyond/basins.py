"""Beyond the paper: basins of attraction, drawn in the plane through three training images."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from memzoo.dynamics import census, nearest
from memzoo.errors import UnknownCheckpointError
from memzoo.figures.engine import BLUE, COLUMN, GREEN, ORANGE, Arrays, Figure, Material, Row, tidy
from memzoo.plotting import as_images

SIDE = 150  # points of the grid along each axis
MARGIN = 0.6  # around the three images, in units of their largest distance
COLOURS = (ORANGE, BLUE, GREEN)
LETTERS = ("A", "B", "C")
FITS = 5  # cells from the middle of a region to its edge, where a small image finds room


def arrays(material: Material) -> Arrays:
    """Where each point of a grid in the plane ends, where the nearest training image is, and the three images."""
    m = material.measured()
    chosen = _three(m.examples, material.names[0])
    origin, axes = plane(m.examples[chosen])
    flat = m.examples.flatten(1).double()
    images = (flat[chosen] - origin) @ axes.T
    centre = (images.amin(0) + images.amax(0)) / 2
    half = (images.amax(0) - images.amin(0)).max() / 2 + MARGIN * torch.pdist(images).max()
    steps = torch.linspace(-1, 1, SIDE, dtype=torch.float64) * half
    x, y = centre[0] + steps, centre[1] + steps
    points = torch.cartesian_prod(y, x).flip(1)  # row by row
    starts = (origin + points @ axes).to(m.examples).reshape(-1, *m.examples.shape[1:])
    found = census(m.model, starts, m.examples)
    closest = nearest(starts, m.examples).index
    return {
        "x": x,
        "y": y,
        "ends": found.label.reshape(SIDE, SIDE),
        "nearest": closest.reshape(SIDE, SIDE),
        "lead": _lead(points, flat[closest.unique()] - origin, axes).T.reshape(-1, SIDE, SIDE),
        "others": m.examples[_others(found.label, chosen)],
        "chosen": torch.tensor(chosen),
        "positions": images,
        "images": m.examples[chosen],
        "own": census(m.model, m.examples[chosen], m.examples).label,
        "steps": found.steps.reshape(SIDE, SIDE),
    }


def _three(examples: Tensor, name: str) -> list[int]:
    """The first three that span a plane."""
    rows, chosen = examples.flatten(1).double(), [0]
    for index in range(1, len(rows)):
        if len(chosen) < 3 and torch.linalg.matrix_rank(rows[[*chosen[1:], index]] - rows[0]) == len(chosen):
            chosen.append(index)
    if len(chosen) < 3:
        raise UnknownCheckpointError(
            f"{name} has {len(examples)} training examples of which no three span a plane, and basins are drawn in "
            "the plane through three."
        )
    return chosen


def plane(three: Tensor) -> tuple[Tensor, Tensor]:
    """Its first point, and two orthonormal directions (2, d): to the second point, and towards the third."""
    rows = three.flatten(1).double()
    along = (rows[1] - rows[0]) / (rows[1] - rows[0]).norm()
    across = rows[2] - rows[0] - ((rows[2] - rows[0]) @ along) * along
    return rows[0], torch.stack([along, across / across.norm()])


def _lead(points: Tensor, examples: Tensor, axes: Tensor) -> Tensor:
    """By how much nearer each example is to a point of the plane than all others are: differences of squares."""
    inside = examples @ axes.T
    beyond = examples.square().sum(1) - inside.square().sum(1)
    squares = torch.cdist(points, inside).square() + beyond
    least = pad(squares, (0, 1), value=torch.inf).topk(2, largest=False)
    own = least.indices[:, :1] == torch.arange(len(examples))
    return torch.where(own, least.values[:, 1:], least.values[:, :1]) - squares


def _others(ends: Tensor, chosen: list[int]) -> list[int]:
    """The training images beside the chosen ones where something ends."""
    return [index for index in ends.unique().tolist() if index >= 0 and index not in chosen]


def _kinds(arrays: Arrays) -> Tensor:
    """0, 1, 2 at one of the three, 3 at another training image, 4 elsewhere or undecided."""
    ends = arrays["ends"]
    kinds = torch.where(ends >= 0, 3, 4)
    for place, index in enumerate(arrays["chosen"].tolist()):
        kinds[ends == index] = place
    return kinds


def discs(arrays: Arrays) -> Tensor:
    """Around each of the three, the distance to the first point of the grid that does not end at it; 0 if it does not.

    At most the distance to the edge of the picture.
    """
    x, y, kinds = arrays["x"], arrays["y"], _kinds(arrays)
    found = []
    for place, (u, v) in enumerate(arrays["positions"].tolist()):
        apart = torch.hypot(x[None] - u, y[:, None] - v)
        edge = min(u - x[0].item(), x[-1].item() - u, v - y[0].item(), y[-1].item() - v)
        own = arrays["own"][place] == arrays["chosen"][place]
        found.append(min([edge, *apart[kinds != place].tolist()]) if own else 0.0)
    return torch.tensor(found, dtype=torch.float64)


def rows(material: Material, arrays: Arrays) -> list[Row]:
    """Shares of the plane in the picture, and how far each of the three basins reaches."""
    kinds, name = _kinds(arrays), material.names[0]
    apart = torch.cdist(arrays["positions"], arrays["positions"])
    own = int((arrays["own"] == arrays["chosen"]).sum())

    def share(where: Tensor) -> float:
        return where.double().mean().item()

    found = [
        Row("images that lie in their own basin, of the three", "", float(own), own == 3, name, "3"),
        Row("share of the plane that ends at one of the three images", "", share(kinds < 3), None, name),
        Row("share of the plane that ends at another training image", "", share(kinds == 3), None, name),
        Row("share of the plane that ends elsewhere or is undecided", "", share(kinds == 4), None, name),
        Row(
            "share of the plane that ends at the training image nearest to the start",
            "",
            share(arrays["ends"] == arrays["nearest"]),
            None,
            name,
        ),
        Row("other training images that the plane leads to", "", float(len(arrays["others"])), None, name),
        Row("distance between the points of the grid, L2", "", (arrays["x"][1] - arrays["x"][0]).item(), None, name),
        Row(
            "most steps that a start of the plane takes to settle",
            "",
            arrays["steps"].max().double().item(),
            None,
            name,
        ),
    ]
    for place, radius in enumerate(discs(arrays).tolist()):
        nearest_other = apart[place][[k for k in range(3) if k != place]].min().item()
        found.append(
            Row(
                f"radius of a disc around {LETTERS[place]} all of whose starts end there, L2",
                "",
                f"{radius:.2f} (nearest of the other two: {nearest_other:.2f})",
                None,
                name,
            )
        )
    return found


def _deepest(inside: Tensor) -> tuple[int, int, int]:
    """Row and column of a cell as far from the edge of a region as any, and how far that is in cells."""
    left, depth = inside, 0
    while True:
        outside = max_pool2d(pad((~left).double()[None], (1, 1, 1, 1), value=1.0), 3, 1)[0]
        if (outside > 0).all():
            cells = left.nonzero()
            row, column = cells[len(cells) // 2].tolist()
            return row, column, depth
        left, depth = outside == 0, depth + 1


def draw(arrays: Arrays) -> Any:
    """The plane, coloured by where its points end."""
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_rgb
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage
    from matplotlib.patches import Patch

    x, y, kinds = arrays["x"], arrays["y"], _kinds(arrays)
    colours = torch.ones(*kinds.shape, 3, dtype=torch.float64)
    for place, colour in enumerate(COLOURS):
        colours[kinds == place] = torch.tensor(to_rgb(colour), dtype=torch.float64)
    others = _others(arrays["ends"], arrays["chosen"].tolist())
    for tone, index in zip(torch.linspace(0.55, 0.88, len(others)).tolist(), others, strict=True):
        colours[arrays["ends"] == index] = tone
    figure = plt.figure(figsize=(COLUMN, COLUMN + 0.2), layout="constrained")
    axes = figure.subplots()
    step = (x[1] - x[0]).item() / 2
    extent = (x[0].item() - step, x[-1].item() + step, y[0].item() - step, y[-1].item() + step)
    axes.imshow(colours.numpy(), extent=extent, origin="lower", interpolation="nearest")
    if (kinds == 4).any():
        axes.contourf(x, y, (kinds == 4).double(), levels=[0.5, 1.5], colors="none", hatches=["////"])
    for lead in arrays["lead"]:
        axes.contour(x, y, lead, levels=[0.0], colors="black", linewidths=0.7)

    def thumbnail(
        image: Tensor, points: float, place: tuple[float, float], offset: tuple[float, float], **box: Any
    ) -> None:
        pixels = image.clamp(0, 1).permute(1, 2, 0).squeeze(-1).numpy(force=True)
        shown = OffsetImage(pixels, zoom=points / max(image.shape[1:]), cmap="gray", interpolation="nearest")
        axes.add_artist(AnnotationBbox(shown, place, offset, boxcoords="offset points", **box))

    positions = arrays["positions"]
    for letter, image, position in zip(LETTERS, as_images(arrays["images"]), positions, strict=True):
        away = position - positions.mean(0)
        u, v = (30 * away / away.norm()).tolist()
        place = position[0].item(), position[1].item()
        line = {"arrowstyle": "-", "linewidth": 0.6}
        thumbnail(image, 24, place, (u, v), pad=0.1, arrowprops=line, bboxprops={"linewidth": 0.5})
        axes.plot(*place, "o", ms=4, color="white", mec="black", mew=0.8)
        axes.annotate(letter, place, (4, 3), textcoords="offset points", fontsize=8, fontweight="bold")
    for index, image in zip(others, as_images(arrays["others"]), strict=True):
        row, column, depth = _deepest(arrays["ends"] == index)
        if depth >= FITS:
            thumbnail(image, 11, (x[column].item(), y[row].item()), (0, 0), pad=0.05, bboxprops={"linewidth": 0.4})
    axes.set(xlabel="along A to B, L2 distance", ylabel="across, L2 distance")
    tidy(axes)
    handles = [Patch(color=colour, label=f"ends at {letter}") for colour, letter in zip(COLOURS, LETTERS, strict=True)]
    if others:
        handles.append(Patch(color="0.7", label="at another"))
    if (kinds == 4).any():
        handles.append(Patch(facecolor="white", edgecolor="black", hatch="////", label="elsewhere"))
    options = {"frameon": False, "fontsize": 7, "handlelength": 1, "columnspacing": 1, "handletextpad": 0.5}
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), **options)
    return figure


FIGURE = Figure(
    "basins",
    "Basins of attraction in the plane through three training images",
    arrays,
    draw,
    lambda: ["mnist20-fc14x128"],
    rows,
    caption="Every point of the plane through the training images A, B and C is a start. Colour: the image that its "
    "orbit ends at; grey tones, with their images where there is room: "
    "other training images; hatched: none. Lines: borders between the starts that are "
    "nearest to one training image and to another.",
    notes=(
        "The plane goes beyond images: where it is far from the three, pixels are outside of [0, 1]. A share of it is "
        "that of the square in the picture, and depends on its margin.",
        "All starts are iterated, and one of each group of end points is certified as an attractor (memzoo.dynamics."
        "census); the basins are those of the grid, with no statement on what lies between its points.",
    ),
)
