"""The four memories of three orthogonal images, whose fixed points have closed forms."""

import math

import pytest
import torch
from stand_in import StandIn, assert_only_figure, index_rows, pull, read_line, read_thumbnails
from torch.testing import assert_close

from memzoo.figures import Material
from memzoo.figures.beyond import recall
from memzoo.figures.beyond.memories import BETA, FIGURE, NAMES, STEPS

UNITS = 32
COUNT = 3
SIGNS = torch.tensor([[1.0, 1.0], [1.0, -1.0]])


def build_orthogonal_images():
    """Build binary images whose values, as -1 and 1, have the inner products 32 and 0: rows of a Hadamard matrix."""
    rows = torch.ones(1, 1)
    for _ in range(5):
        rows = torch.kron(SIGNS, rows)
    return (rows[1 : COUNT + 1].reshape(COUNT, 1, 4, 8) + 1) / 2


@pytest.fixture(scope="module")
def known():
    """Store three orthogonal images in each memory; the network keeps a tenth of the distance to the nearest."""
    patch = pytest.MonkeyPatch()
    patch.setattr(recall, "NOISE", (0.0, 0.1))
    patch.setattr(recall, "AREAS", (0.0, 1.0))
    patch.setattr(recall, "DRAWS", 2)
    stored = build_orthogonal_images()
    probes = (stored[:2] * 0.8 + 0.1).repeat(2, 1, 1, 1)  # none of the third
    material = StandIn(FIGURE.ids(), {0: pull(stored, probes, rate=0.1)})
    yield material, stored, FIGURE.arrays(material)
    patch.undo()


def solve_softmax_fixed_point():
    """Solve a / b = exp(beta N (a - b)), a + 2 b = 1 by bisection, for the stored pattern (a) and the others (b)."""
    low = 0.6
    high = 1.0
    for _ in range(100):
        a = (low + high) / 2
        b = (1 - a) / 2
        if math.exp(BETA * UNITS * (a - b)) > a / b:
            low = a
        else:
            high = a
    return a, b


def test_orthogonal_images_are_attractors_of_all_four(known):
    _, _, found = known
    assert found["count"] == COUNT
    assert found["attractors"].tolist() == [COUNT] * 4
    assert found["limits"].tolist() == [COUNT] * 4
    distance = (UNITS / 2) ** 0.5  # half of the pixels differ
    expected = torch.full((4,), 0.1 * distance, dtype=torch.float64)
    assert_close(found["eps"], expected)
    for index in range(4):
        for kind in ("noise", "mask"):
            assert found[f"{kind}_{index}_rate"][0] == 1
            assert found[f"{kind}_{index}_looked_up"][0] == 1
    assert found["noise_1_rate"][1] == 1  # a tenth of the pixels' range turns no sign


def test_offsets_and_radii_are_those_of_the_closed_forms(known):
    _, stored, found = known
    a, b = solve_softmax_fixed_point()
    offset = 0.5 * math.sqrt(UNITS * ((1 - a) ** 2 + 2 * b**2))  # pixels are half as far apart as the signs
    wanted = torch.tensor([0.0, 0, 0, offset], dtype=torch.float64)
    assert_close(found["offset"].double(), wanted, atol=1e-5, rtol=0)
    share = torch.tensor([a, b, b], dtype=torch.float64)
    derivative = share.diag() - torch.outer(share, share)  # of the softmax
    radius = BETA * UNITS * torch.linalg.eigvalsh(derivative).max().item()
    wanted = torch.tensor([0.1, 0, 0, radius], dtype=torch.float64)  # a sign is flat where it is not a jump
    assert_close(found["radius"].double(), wanted, atol=1e-5, rtol=0)
    expected = stored[:1].expand(3, -1, -1, -1)
    assert_close(found["ends"][:3].float(), expected, atol=1e-5, rtol=0)
    pattern = 2 * stored[:, 0].double() - 1
    mixed = a * pattern[0] + b * (pattern[1] + pattern[2])
    assert_close(found["ends"][3, 0].double(), (mixed + 1) / 2, atol=1e-5, rtol=0)


def test_starts_near_two_of_three_images_recover_these(known):
    _, stored, found = known
    expected = torch.full((4,), 2 / 3, dtype=torch.float64)
    assert_close(found["recovery"].double(), expected)
    assert found["arrived"].tolist() == [1] * 4
    # a tenth in each pixel, 0.57 in all, is more than eps = 0.4: they are not there before the first step
    assert found["arrived_at_once"].tolist() == [1] * 4
    assert torch.equal(found["first"], stored[:1])
    assert found["gap"] == UNITS
    majority = stored.mean(0) > 0.5
    same = (stored[0] > 0.5) == majority
    expected = same.double().mean().item()
    assert found["majority"].item() == pytest.approx(expected)


def test_the_gap_is_that_between_an_image_and_the_most_similar_one(monkeypatch):
    monkeypatch.setattr(recall, "NOISE", (0.0,))
    monkeypatch.setattr(recall, "AREAS", (0.0,))
    monkeypatch.setattr(recall, "DRAWS", 1)
    stored = torch.ones(2, 1, 8, 8)
    stored[1, 0, :2] = 0  # a quarter of 64 values differs: products 64 and 32
    material = StandIn(FIGURE.ids(), {0: pull(stored, stored)})
    assert FIGURE.arrays(material)["gap"] == 32


@pytest.fixture
def drawn_arrays():
    """Make numbers that tell every memory apart."""
    level = torch.tensor([0.0, 1.0, 2.0])
    found = {
        "count": torch.tensor(20),
        "attractors": torch.tensor([20, 0, 19, 18]),
        "limits": torch.tensor([20, 1, 19, 20]),
        "offset": torch.tensor([0.1, 5.0, 0.2, 0.3]),
        "radius": torch.tensor([0.9, math.nan, 0.0, 0.5]),
        "recovery": torch.tensor([0.95, 0.05, 0.5, 0.25]),
        "arrived": torch.tensor([0.7, 0.0, 0.6, 0.5]),
        "arrived_at_once": torch.tensor([0.4, 0.1, 0.3, 0.2]),
        "ends": torch.rand(4, 1, 4, 4),
        "majority": torch.tensor(0.8),
        "gap": torch.tensor(32.0),
    }
    for shift, kind in enumerate(("noise", "mask")):
        for index in range(4):
            rate = torch.tensor([1.0, 0.6 - 0.2 * shift, 0.1 * index], dtype=torch.float64)
            looked_up = torch.tensor([1.0, 0.9, 0.51 + shift / 10 + index / 100], dtype=torch.float64)
            parts = {
                "level": level + index + 10 * shift,
                "rate": rate,
                "low": 0.9 * rate,
                "high": 0.9 * rate + 0.1,
                "looked_up": looked_up,
            }
            found |= {f"{kind}_{index}_{name}": value for name, value in parts.items()}
    return found


def test_rows_say_the_same_of_each_memory(drawn_arrays):
    row = index_rows(FIGURE.rows(Material(FIGURE.ids()), drawn_arrays))
    assert len(row) == 4 * 11 + 2
    words = {
        "certified attractors": "attractors",
        f"R_{STEPS} from the held-out starts": "recovery",
        f"starts at a stored image by t = {STEPS}": "arrived",
        "starts at a stored image by t = 1": "arrived_at_once",
        "distinct limits of the stored images": "limits",
        "median distance of a stored image from its limit, L2": "offset",
        "largest spectral radius of an attractor": "radius",
    }
    for index, name in enumerate(NAMES):
        for quantity, part in words.items():
            wanted = drawn_arrays[part][index].item()
            assert row[f"{name}: {quantity}"].ours == pytest.approx(wanted, nan_ok=True)
        reach = {
            "noise, standard deviation, up to which at least half is recalled": 1 + index,
            "noise, standard deviation, up to which at least half is found by look-up": 2 + index,
            "masked share of the area up to which at least half is recalled": 10 + index,
            "masked share of the area up to which at least half is found by look-up": 12 + index,
        }
        for quantity, value in reach.items():
            assert row[f"{name}: {quantity}"].ours == value
    verdicts = {quantity: one.holds for quantity, one in row.items() if one.holds is not None}
    assert verdicts == {
        "trained network: certified attractors": True,
        f"trained network: R_{STEPS} from the held-out starts": False,
    }
    assert row[f"{NAMES[1]}: share of pixels of the first limit as in most images"].ours == pytest.approx(0.8)
    assert row[f"{NAMES[3]}: smallest gap between products of images"].ours == 32


def test_the_picture_has_a_recall_curve_for_each_memory(drawn_arrays):
    figure = FIGURE.draw(drawn_arrays)
    assert_only_figure(figure)
    noise, mask, _ = figure.axes
    assert (noise.get_xlabel(), mask.get_xlabel()) == ("standard deviation of the noise", "masked share")
    assert noise.get_ylabel() == "share recalled"
    curves = [(name, index, "rate") for index, name in enumerate(NAMES)]
    curves += [("look-up, grey", 0, "looked_up"), ("look-up, binary", 1, "looked_up")]
    for axes, kind in ((noise, "noise"), (mask, "mask")):
        assert len(axes.lines) == len(curves)
        for label, index, part in curves:
            x, y = read_line(axes, label)
            assert_close(x, drawn_arrays[f"{kind}_{index}_level"].double())
            assert_close(y, drawn_arrays[f"{kind}_{index}_{part}"])
    (legend,) = figure.legends
    expected = {label for label, *_ in curves}
    assert {text.get_text() for text in legend.get_texts()} == expected


def test_the_picture_has_two_bars_and_an_image_for_each_memory(drawn_arrays):
    bars = FIGURE.draw(drawn_arrays).axes[-1]
    lengths = [bar.get_width() for bar in bars.patches]
    assert lengths[0::2] == [20, 0, 19, 18]
    assert lengths[1::2] == pytest.approx([19, 1, 10, 5])  # shares of 20 images
    centres = [bar.get_y() + bar.get_height() / 2 for bar in bars.patches]
    expected = [0, 0, 1, 1, 2, 2, 3, 3]
    assert [round(centre) for centre in centres] == expected
    words = [text.get_text() for text in bars.texts]
    assert words[:2] == ["20 attractors", f"19 recovered, t = {STEPS}"]
    thumbnails = read_thumbnails(bars)
    assert len(thumbnails) == len(NAMES)
    for index, (place, pixels) in enumerate(thumbnails):
        assert place[1] == index
        assert_close(pixels, drawn_arrays["ends"][index, 0])
