import math
from dataclasses import replace
from statistics import NormalDist

import pytest
import torch
from torch import nn

from memzoo.dynamics import iterate, recall_against_mask, recall_against_noise, wilson
from memzoo.errors import NonFiniteError, NotASelfMapError
from memzoo.models import FullyConnected

SIGNS = torch.tensor([[1.0], [-1.0]])


def identity(x):
    return x.clone()


def look_up(examples):
    """Build the map that looks up the nearest example."""

    def f(x):
        gaps = (x[:, None] - examples[None]).flatten(2).norm(dim=2)
        return examples[gaps.argmin(1)]

    return f


def random_basis(dim):
    return torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64)).Q


def collect_starts(measure, examples, *args, **options):
    """Return the corrupted points, (levels, n, draws, *shape), as the map is given them; also the result."""
    seen = []

    def f(x):
        seen.append(x.clone())
        return x.clone()

    found = measure(f, examples, *args, eps=1.0, steps=0, **options)
    checked = 4  # evaluations that find the map and check it
    return torch.cat(seen[checked:]).unflatten(0, (len(found.levels), len(examples), found.draws)), found


@pytest.mark.parametrize("f", [torch.sign, lambda x: torch.tanh(3 * x) / math.tanh(3)])
def test_two_half_lines_recall_unless_noise_changes_the_sign(f):
    recall = recall_against_noise(f, SIGNS, [0.0, 0.5, 1.0, 3.0], draws=2000)
    # the example at distance 1 from the boundary keeps its side with probability Phi(1 / level)
    expected = [1.0] + [NormalDist().cdf(1 / level) for level in (0.5, 1.0, 3.0)]
    low, high = recall.interval(0.9999).T
    assert ((low <= torch.tensor(expected)) & (torch.tensor(expected) <= high)).all()
    assert torch.equal(recall.rate, recall.input_nearest)
    assert torch.equal(recall.nearest, recall.rate)
    torch.testing.assert_close(recall.confused, 1 - recall.rate)


def test_the_identity_recalls_what_noise_leaves_within_eps():
    # in the plane: P(|sigma g| < eps) = 1 - exp(-eps^2 / 2 sigma^2)
    levels = torch.tensor([0.0, 0.2, 0.5, 1.0])
    examples = torch.tensor([[0.0, 0], [90, 0]])
    recall = recall_against_noise(identity, examples, levels, draws=2000, eps=0.5)
    expected = 1 - (-(0.5**2) / (2 * levels.double() ** 2)).exp()
    low, high = recall.interval(0.9999).T
    assert ((low <= expected) & (expected <= high)).all()
    assert recall.confused.tolist() == [0] * 4
    assert recall.input_nearest.tolist() == [1] * 4


def test_recall_of_the_identity_never_rises_since_directions_are_kept():
    levels = torch.linspace(0, 1, 30)
    recall = recall_against_noise(identity, torch.randn(5, 3), levels, eps=0.7)
    assert (recall.per_example.diff(dim=0) <= 0).all()


@pytest.mark.parametrize("measure", [recall_against_noise, recall_against_mask])
def test_a_constant_map_recalls_the_one_example_that_it_is(measure):
    examples = torch.rand(4, 1, 5, 5)
    recall = measure(lambda x: examples[2].expand_as(x), examples, [0.0, 0.5, 1.0])
    assert recall.per_example.tolist() == [[0, 0, 1, 0]] * 3
    assert recall.rate.tolist() == recall.nearest.tolist() == [0.25] * 3
    assert recall.confused.tolist() == [0.75] * 3
    order = torch.tensor([3, 2, 0, 1])  # examples in another order
    found = measure(lambda x: examples[2].expand_as(x), examples[order], [0.5]).per_example.tolist()
    assert found == [[0, 1, 0, 0]]


@pytest.mark.parametrize("measure", [recall_against_noise, recall_against_mask])
def test_looking_up_the_nearest_example_is_the_baseline_itself(measure):
    examples = torch.rand(9, 1, 6, 6, dtype=torch.float64)
    recall = measure(look_up(examples), examples, [0.0, 0.3, 0.6, 0.9])
    assert 0 < recall.rate[-1] < recall.rate[0] == 1
    assert torch.equal(recall.rate, recall.input_nearest)
    assert torch.equal(recall.rate, recall.nearest)
    torch.testing.assert_close(recall.confused, 1 - recall.rate)


def test_two_examples_in_any_basis_part_at_half_their_distance():
    # P(g along the line between them < D / 2 sigma), whatever the direction of that line
    basis = random_basis(6)
    for turn in (torch.eye(6, dtype=torch.float64), basis):
        examples = torch.tensor([[0.0] * 6, [3.0, *[0.0] * 5]], dtype=torch.float64) @ turn
        recall = recall_against_noise(look_up(examples), examples, [1.0], draws=3000)
        low, high = recall.interval(0.9999)[0]
        assert low <= NormalDist().cdf(1.5) <= high


def test_a_change_of_basis_leaves_the_recall_of_the_identity():
    examples = torch.randn(6, 8, dtype=torch.float64)
    basis = random_basis(8)
    options = {"levels": [0.1, 0.2, 0.4], "eps": 0.6}
    one = recall_against_noise(identity, examples, **options)
    assert 0 < one.rate[1] < 1
    assert torch.equal(one.per_example, recall_against_noise(identity, examples @ basis, **options).per_example)


def test_a_change_of_units_changes_nothing():
    examples = torch.randn(6, 8)
    f = look_up(examples)
    one = recall_against_noise(f, examples, [0.5, 1.0])
    two = recall_against_noise(lambda x: 4 * f(x / 4), 4 * examples, [2.0, 4.0])
    assert torch.equal(one.per_example, two.per_example)
    torch.testing.assert_close(two.eps, 4 * one.eps)


@pytest.mark.parametrize("measure", [recall_against_noise, recall_against_mask])
def test_nothing_added_or_masked_is_the_orbit_of_the_example(measure):
    model = FullyConnected(shape=(1, 5, 5), depth=3, width=6)
    examples = torch.rand(6, 1, 5, 5)
    with torch.no_grad():
        examples[:3] = iterate(model, examples[:3], 60).points
    gap = (iterate(model, examples, 40).points - examples).flatten(1).double().norm(dim=1)
    eps = gap.median().item() * 1.01  # three or four of the six come back
    recall = measure(model, examples, [0.0], steps=40, eps=eps)
    expected = (gap < eps).double().tolist()
    assert recall.per_example[0].tolist() == expected
    assert 0 < recall.rate[0] < 1


def test_an_orbit_is_followed_for_the_steps_asked_for():
    # the example is left by 0.1 a step
    examples = torch.tensor([[0.0], [9.0]])
    for steps, rate in ((4, 1), (6, 0)):
        found = recall_against_noise(lambda x: x + 0.1, examples, [0.0], steps=steps, eps=0.5).rate.tolist()
        assert found == [rate]


def test_a_seed_is_one_set_of_corruptions():
    examples = torch.randn(5, 4)
    one, two, other = (recall_against_noise(identity, examples, [0.3], eps=0.6, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.per_example, two.per_example)
    assert not torch.equal(one.per_example, other.per_example)
    state = torch.get_rng_state()
    recall_against_noise(identity, examples, [0.3], eps=0.6)
    recall_against_mask(identity, examples, [0.3], eps=0.6, fill="noise")
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_of_an_example_does_not_depend_on_those_behind_it():
    examples = torch.randn(5, 4)
    whole, _ = collect_starts(recall_against_noise, examples, [0.3])
    part, _ = collect_starts(recall_against_noise, examples[:2], [0.3])
    assert torch.equal(whole[:, :2], part)


def test_noise_has_the_level_as_its_deviation_and_one_direction():
    examples = torch.randn(3, 2, 20)
    starts, _ = collect_starts(recall_against_noise, examples, [0.0, 0.5, 2.0], draws=50)
    noise = starts - examples[:, None]
    expected = examples[:, None].expand_as(starts[0])
    assert torch.equal(starts[0], expected)
    assert noise[1].std().item() == pytest.approx(0.5, rel=0.05)
    assert abs(noise[1].mean()) < 0.05
    torch.testing.assert_close(noise[2], 4 * noise[1], rtol=1e-4, atol=1e-5)
    assert len(noise[1].flatten(0, 1).unique(dim=0)) == 150


def test_clipped_points_stay_in_their_range():
    examples = torch.rand(3, 1, 4, 4)
    starts, _ = collect_starts(recall_against_noise, examples, [0.0, 0.5], clip=(0, 1))
    free, _ = collect_starts(recall_against_noise, examples, [0.0, 0.5])
    assert (starts.min(), starts.max()) == (0, 1)
    assert torch.equal(starts, free.clamp(0, 1))
    assert torch.equal(starts[0], free[0])


def test_a_mask_is_a_growing_block_in_all_channels():
    examples = torch.rand(4, 3, 8, 12) + 1
    areas = [0.0, 0.1, 0.25, 0.6, 1.0]
    starts, recall = collect_starts(recall_against_mask, examples, areas, fill=0, draws=30)
    masked = starts == 0
    expected = torch.where(masked, 0.0, examples[:, None])
    assert torch.equal(starts, expected)
    assert (masked == masked[:, :, :, :1]).all()
    plane = masked[:, :, :, 0]
    assert (plane[1:] >= plane[:-1]).all()
    rows = plane.any(-1)
    columns = plane.any(-2)
    assert torch.equal(plane, rows[..., :, None] & columns[..., None, :])  # a rectangle
    for runs in (rows, columns):
        assert (runs.int().diff(dim=-1).clamp(min=0).sum(-1) + runs[..., 0].int() <= 1).all()  # without gaps
    # the block has the proportions of the image
    sides = [(round(8 * area**0.5), round(12 * area**0.5)) for area in areas]
    for level, (height, width) in enumerate(sides):
        assert (rows[level].sum(-1) == height).all()
        assert (columns[level].sum(-1) == width).all()
    expected = [height * width / 96 for height, width in sides]
    assert recall.levels.tolist() == pytest.approx(expected)


def test_a_mask_may_lie_anywhere():
    examples = torch.ones(1, 1, 4, 6)
    starts, _ = collect_starts(recall_against_mask, examples, [0.25], fill=0, draws=3000)
    corner = (starts[0, 0, :, 0] == 0).flatten(1).int().argmax(1)  # first masked pixel, row by row
    places = {row * 6 + column for row in range(3) for column in range(4)}  # blocks of 2 x 3
    count = torch.bincount(corner, minlength=24)
    assert set(count.nonzero().flatten().tolist()) == places
    # Pearson's statistic for places that are equally likely
    chi2 = ((count[sorted(places)] - 250) ** 2 / 250).sum()
    assert chi2 < 31.3  # 11 degrees of freedom, one in a thousand


def test_vectors_are_masked_at_growing_random_sets_of_coordinates():
    starts, recall = collect_starts(recall_against_mask, torch.ones(2, 10), [0.0, 0.29, 0.5, 1.0], fill=0, draws=500)
    masked = starts == 0
    assert (masked.sum(-1) == torch.tensor([0, 3, 5, 10])[:, None, None]).all()
    assert recall.levels.tolist() == pytest.approx([0, 0.3, 0.5, 1])
    assert (masked[1:] >= masked[:-1]).all()
    assert (masked[2].double().mean((0, 1)) - 0.5).abs().max() < 0.08  # five deviations of 1000 draws


def test_the_mask_is_filled_with_the_mean_or_with_noise():
    examples = torch.rand(3, 1, 4, 4) * 2 + 5
    mean, _ = collect_starts(recall_against_mask, examples, [1.0])
    torch.testing.assert_close(mean, examples.mean().expand_as(mean))
    noise, _ = collect_starts(recall_against_mask, examples, [0.5, 1.0], fill="noise", draws=200)
    assert examples.min() <= noise.min()
    assert noise.max() <= examples.max()
    middle = (examples.min() + examples.max()) / 2
    assert abs(noise[1].mean() - middle) < 0.02
    # a uniform law of width w has deviation w / sqrt(12)
    expected = (examples.max() - examples.min()).item() / 12**0.5
    assert noise[1].std().item() == pytest.approx(expected, rel=0.02)
    covered = noise[0] != examples[:, None]
    assert torch.equal(noise[0][covered], noise[1][covered])


def test_a_hopfield_network_of_two_orthogonal_patterns_completes_any_half():
    # m of N masked by 0: own field (N - m) / N, the other pattern's at most m / N, so m < N / 2 is completed at once
    half = torch.ones(20, dtype=torch.float64)
    patterns = torch.stack([torch.cat([half, half]), torch.cat([half, -half])])
    weight = patterns.T @ patterns / 40
    areas = [0.0, 0.2, 0.475, 1.0]
    recall = recall_against_mask(lambda x: (x @ weight).sign(), patterns, areas, fill=0, draws=200)
    assert recall.rate.tolist() == [1, 1, 1, 0]
    assert recall.level_at(0.99) == pytest.approx(0.475)


@pytest.mark.filterwarnings("ignore:1 of 3 examples are exact duplicates")
def test_duplicates_are_one_example():
    examples = torch.tensor([[1.0], [-1.0], [1.0]])
    recall = recall_against_noise(torch.sign, examples, [0.0, 0.1])
    assert recall.rate.tolist() == recall.nearest.tolist() == recall.input_nearest.tolist() == [1, 1]
    assert recall.confused.tolist() == [0, 0]


def test_an_orbit_that_diverges_ends_nowhere():
    recall = recall_against_noise(lambda x: x / 0, SIGNS, [0.0, 0.01])  # its last finite point is its start
    for share in (recall.rate, recall.nearest, recall.confused):
        assert share.tolist() == [0, 0]
    assert recall.input_nearest.tolist() == [1, 1]


def test_what_ends_within_eps_of_its_own_example_is_not_confused():
    recall = recall_against_noise(identity, SIGNS, [0.0], eps=5.0)
    assert (recall.rate.item(), recall.confused.item()) == (1, 0)


def test_ends_between_examples_are_neither_recalled_nor_confused():
    recall = recall_against_noise(lambda x: 0.2 * x.sign(), SIGNS, [0.0])
    found = (recall.rate.item(), recall.nearest.item(), recall.confused.item())
    assert found == (0, 1, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_corruptions_and_decisions_are_the_same_in_both_precisions(dtype):
    examples = torch.randn(6, 8, dtype=torch.float64)
    wide = recall_against_noise(look_up(examples), examples, [1.0, 2.0])
    recall = recall_against_noise(look_up(examples.to(dtype)), examples.to(dtype), [1.0, 2.0])
    assert torch.equal(recall.per_example, wide.per_example)


def test_level_at_stops_where_recall_falls_first():
    levels = torch.tensor([0.0, 1, 2, 3])
    recall = recall_against_noise(identity, torch.zeros(1, 2), levels, eps=1.0)
    recall = replace(recall, rate=torch.tensor([1.0, 18 / 20, 0.4, 0.95], dtype=torch.float64))
    found = [recall.level_at(rate) for rate in (1.0, 0.9, 0.5, 0.4)]
    assert found == [0, 1, 1, 3]
    assert recall.level_at() == 1
    assert math.isnan(replace(recall, rate=recall.rate.flip(0) - 0.1).level_at(0.9))
    with pytest.raises(ValueError, match=r"rate must lie in \(0, 1\], got 50; 0\.5 asks"):
        recall.level_at(50)


def test_intervals_are_those_of_wilson():
    recall = recall_against_noise(torch.sign, SIGNS, [0.0, 2.0], draws=30)
    hits = round(recall.rate[1].item() * 60)
    expected = [list(wilson(60, 60)[1:]), list(wilson(hits, 60)[1:])]
    assert recall.interval().tolist() == expected
    assert recall.interval(0.5)[1, 0] > recall.interval()[1, 0]
    z = 1.959963984540054
    n = 60
    p = hits / 60
    for bound in wilson(hits, 60)[1:]:  # the ends solve (p - bound)^2 = z^2 bound (1 - bound) / n
        # Wilson (1927): the ends q solve (p - q)^2 = z^2 q (1 - q) / n
        expected = z**2 * bound * (1 - bound) / n
        assert (p - bound) ** 2 == pytest.approx(expected)
    expected = (0, 0, z**2 / (10 + z**2))
    assert wilson(0, 10) == pytest.approx(expected)


def test_recall_prints_as_a_table():
    lines = str(recall_against_noise(torch.sign, SIGNS, [0.0, 0.01], draws=50)).splitlines()
    assert lines[0] == "2 examples, 50 draws each, eps = 0.2, 200 steps"
    expected = [
        "level",
        "recall",
        "%",
        "95",
        "%",
        "interval",
        "nearest",
        "confused",
        "input",
        "nearest",
    ]
    assert lines[1].split() == expected
    assert lines[3].split() == ["0.01", "100.0", "[96.3,", "100.0]", "100.0", "0.0", "100.0"]
    assert len({len(line) for line in lines[1:]}) == 1


@pytest.mark.parametrize("levels", [[-0.1, 0.5], [], [0.5, 0.1], [0.1, 0.1], [math.nan], [math.inf]])
def test_levels_that_do_not_increase_from_zero_are_refused(levels):
    with pytest.raises(ValueError, match=r"levels must be finite numbers >= 0 in increasing order, got \["):
        recall_against_noise(identity, SIGNS, levels)
    with pytest.raises(ValueError, match=r"areas must be finite numbers >= 0 in increasing order, got \["):
        recall_against_mask(identity, SIGNS, levels)


def test_areas_beyond_one_are_refused():
    with pytest.raises(ValueError, match=r"areas are shares of the image in \[0, 1\], got 20; divide percentages"):
        recall_against_mask(identity, SIGNS, [10, 20])


@pytest.mark.parametrize("clip", [(1, 0), (0, 1), (-1, 0.5), (math.nan, 1)])
def test_a_clip_must_hold_the_examples(clip):
    with pytest.raises(
        ValueError, match=r"clip must be a range \(low, high\) that holds the examples, got \(.*-1 to 1;"
    ):
        recall_against_noise(identity, SIGNS, [0.0], clip=clip)


@pytest.mark.parametrize("fill", ["mean", math.nan, math.inf])
def test_fills_that_are_not_finite_are_refused(fill):
    with pytest.raises(ValueError, match=r"fill must be a finite number or 'noise', got"):
        recall_against_mask(identity, SIGNS, [0.0], fill=fill)


@pytest.mark.parametrize("measure", [recall_against_noise, recall_against_mask])
def test_arguments_that_make_no_sense_are_refused(measure):
    with pytest.raises(ValueError, match=r"draws must be a whole number >= 1, got 0"):
        measure(identity, SIGNS, [0.0], draws=0)
    with pytest.raises(ValueError, match=r"steps must be a whole number >= 0, got -1"):
        measure(identity, SIGNS, [0.0], steps=-1)
    with pytest.raises(ValueError, match=r"eps must be a finite number > 0, got 0"):
        measure(identity, SIGNS, [0.0], eps=0)
    with pytest.raises(NonFiniteError, match=r"examples holds NaN or infinity in 1 of 2 rows"):
        measure(identity, torch.tensor([[1.0], [math.nan]]), [0.0])
    with pytest.raises(NotASelfMapError, match=r"input \(2, 1\) became \(2, 3\)"):
        measure(nn.Linear(1, 3), SIGNS, [0.0])
    with pytest.raises(ValueError, match=r"module '0' \(Dropout\) is in training mode"):
        measure(nn.Sequential(nn.Dropout()), SIGNS, [0.0])


@pytest.mark.parametrize(("count", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_shares_of_nothing_are_refused(count, total):
    with pytest.raises(ValueError, match=rf"at least one trial, got {count} of {total}"):
        wilson(count, total)
    with pytest.raises(ValueError, match=r"confidence must lie between 0 and 1, got 95"):
        wilson(1, 2, 95)


def test_near_copies_count_as_one_example_unless_radii_are_given():
    # a map to the nearest image: a damaged near-copy comes back as the image that it is a copy of
    images = torch.randn(12, 8)
    examples = torch.cat([images, images[:1] + 1e-4 * torch.randn(1, 8)])

    f = look_up(images)
    found = recall_against_noise(f, examples, [0.05])
    for share in (found.rate, found.nearest, found.input_nearest):
        assert share.item() == 1
    assert found.confused.item() == 0
    eps = 0.1 * (examples[12] - examples[0]).norm().item()
    apart = recall_against_noise(f, examples, [0.05], eps=eps)
    assert apart.per_example[0].tolist() == [1.0] * 12 + [0.0]
    assert apart.confused.item() == pytest.approx(1 / 13)
    for given in (torch.tensor(eps, dtype=torch.float64), torch.full((13,), eps, dtype=torch.float64)):
        assert torch.equal(recall_against_noise(f, examples, [0.05], eps=given).per_example, apart.per_example)
    group = torch.tensor([*range(12), 0])
    for measure in (recall_against_noise, recall_against_mask):
        assert measure(f, examples, [0.05], eps=0.1, group=group).rate.item() == 1


def test_each_example_is_recalled_within_its_own_radius():
    examples = torch.tensor([[0.0], [10.0], [20.0]])
    eps = torch.tensor([0.5, 0.05, 0.5])
    found = recall_against_noise(lambda x: x, examples, [0.2], draws=500, eps=eps, steps=0)
    # P(|sigma g| < eps) = erf(eps / (sigma sqrt 2))
    expected = torch.erf(eps.double() / (0.2 * math.sqrt(2)))
    torch.testing.assert_close(found.per_example[0], expected, atol=0.05, rtol=0)
    assert "eps = 0.05 / 0.5 / 0.5" in str(found)
