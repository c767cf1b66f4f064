"""Test the battery of attacks on maps whose leaks are known."""

import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import memzoo
from memzoo.auditing import BatteryOptions
from memzoo.auditing.attacks import ATTACKS, NAMES, Setting
from memzoo.auditing.attacks.data_step import draw_known
from memzoo.auditing.attacks.near_copy import make_near_copies
from memzoo.auditing.attacks.search import search_attractors
from memzoo.auditing.battery import measure_battery
from memzoo.auditing.comparability import compare_groups
from memzoo.auditing.distinct_images import Images, find_distinct
from memzoo.auditing.statistics import TwoSamples
from memzoo.dynamics import example_eps, group_near_copies, iterate, nearest
from memzoo.errors import AuditInputError

DIM = 6
IMAGES = torch.randn(80, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
MEMBERS = IMAGES[:40]
CONTROLS = IMAGES[40:]
STARTS = 2 * torch.randn(100, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
QUICK = ("error", "drift", "noisy copy", "iteration")


def pulls_to(stored, rate=0.5):
    """Return a map that moves a fixed share of the way to the nearest stored point."""

    def f(x):
        return x + rate * (stored[torch.cdist(x.flatten(1), stored).argmin(1)].reshape(x.shape) - x)

    return f


def run(f, members=MEMBERS, controls=CONTROLS, starts=STARTS, steps=60, **options):
    """Run attacks alone, without an audit around them."""
    pool = torch.cat([members, controls])
    images = Images(pool, pool.shape[1:], example_eps(pool), group_near_copies(pool).group, len(members))
    comparison = compare_groups(members, controls)
    with torch.no_grad():
        return measure_battery(
            f, images, BatteryOptions(**options), comparison, starts=starts, count=0, steps=steps, seed=0
        )


def test_every_attack_tells_the_members_of_a_map_that_stores_them():
    found = run(pulls_to(MEMBERS))
    assert [attack.name for attack in found.attacks] == [name for name in NAMES if name != "relative error"]
    assert found.leaks
    assert found.p_value < 0.001
    assert found["error"].roc.auc.estimate == 1
    assert found["drift"].roc.auc.estimate == 1
    for name in ("near-copy", "iteration", "searched starts", "half missing"):
        assert found[name].recovered[0] > 10
        assert found[name].recovered[1] == 0
    # the Jacobian is half of the identity everywhere: exactly 1/2 is undecided, and the same for all
    assert found["local dimension"].roc.auc.estimate == 0.5
    assert found["local dimension"].p_value == 1
    assert "The network treats its training images differently" in found.verdict
    assert set(found.extracted) == set(range(40))
    with pytest.raises(AuditInputError, match="'guess' is none of the attacks error, drift"):
        found["guess"]


@pytest.mark.parametrize(
    "f", [lambda x: x.clone(), lambda x: 0.5 * x, lambda x: 0 * x + 9], ids=["same", "half", "one"]
)
def test_a_map_without_memory_gives_no_evidence(f):
    found = run(f, steps=8)
    assert not found.leaks
    assert found.outliers == {}
    assert found.verdict.startswith("No evidence that the network treats its training images differently (p = ")
    assert "This is no proof" in found.verdict


def test_attacks_on_random_splits_raise_alarms_as_rarely_as_the_level_says():
    # a map that stores images of both groups alike: who is a member is drawn anew each time
    f = pulls_to(IMAGES[::2])
    splits, alarms = 100, 0
    nothing = (TwoSamples(0.0, 1.0, 0.5), "")
    for seed in range(splits):
        points = IMAGES[torch.randperm(80)[:40]]
        images = Images(points, points.shape[1:], torch.full((40,), 0.2, dtype=torch.float64), torch.arange(40), 20)
        options = BatteryOptions(attacks=QUICK, permutations=99)
        with torch.no_grad():
            found = measure_battery(f, images, options, nothing, starts=STARTS[:20], count=0, steps=5, seed=seed)
            alarms += found.leaks
    assert alarms / splits <= 0.05 + 2 * (0.05 * 0.95 / splits) ** 0.5


def test_one_image_that_was_repeated_is_found_by_its_name():
    # the projection onto a space of dimension 8 that holds one of the members and was drawn at random otherwise
    points = torch.randn(2000, 30, dtype=torch.float64)
    planted = 417
    basis = torch.cat([points[planted][None], torch.randn(7, 30, dtype=torch.float64)])
    projection = torch.linalg.pinv(basis) @ basis
    found = run(lambda x: x @ projection, points[:1000], points[1000:], attacks=("error", "noisy copy"), steps=5)
    assert not found.leaks
    assert found.outliers == {planted: ("error",)}
    assert f"But member {planted} stands out from all controls" in found.verdict
    assert found["error"].roc.points[1].tpr is not None  # a thousand controls
    # it is named beside a difference between the groups, too
    shifted = replace(found, p_value=0.001)
    assert f" Also member {planted} stands out from all controls." in shifted.verdict


def test_a_reference_network_takes_away_what_makes_images_easy():
    # errors differ a thousandfold between images for reasons that both networks share
    scale = torch.logspace(-3, 0, 80, dtype=torch.float64)[torch.randperm(80)]
    flags = torch.arange(80) < 40

    def f(x):
        row = torch.cdist(x, IMAGES).argmin(1)
        return x + (scale * torch.where(flags, 0.8, 1.0))[row, None]

    def reference(x):
        row = torch.cdist(x, IMAGES).argmin(1)
        return x + scale[row, None]

    found = run(f, attacks=("error", "relative error"), reference=reference)
    assert found["error"].roc.auc.low < 0.5
    assert found["relative error"].roc.auc.estimate == 1
    assert found["relative error"].needs == ("queries", "the image", "a reference network")


def test_epsilon_is_bounded_only_where_the_coin_is_stated():
    f = pulls_to(MEMBERS)
    assert run(f, attacks=("error",)).epsilon is None
    found = run(f, attacks=("error", "drift"), drawn_by_coin=True)
    # all 80 guesses are right, at a level of 0.05 for 2 attacks and 4 numbers of guesses
    p = (0.05 / 8) ** (1 / 80)
    assert found.epsilon.epsilon == pytest.approx(math.log(p / (1 - p)))
    assert found.epsilon_from == "error"
    assert "by a fair coin of its own" in str(found)
    assert run(lambda x: 0.5 * x, attacks=("error",), drawn_by_coin=True).epsilon.epsilon < 0.5


def test_an_attack_that_cannot_be_run_says_why():
    points = torch.rand(8, 1100)
    wide = nn.Sequential(nn.Linear(1100, 1100), nn.Tanh())
    found = run(wide, points[:4], points[4:], points[:4] + 1, attacks=("error", "local dimension"), steps=2)
    attack = found["local dimension"]
    assert attack.roc is None
    assert (
        attack.reason
        == "all eigenvalues are computed up to a width of 1024, and the network is 1100 values wide everywhere"
    )
    assert f"not run: {attack.reason}" in str(found)
    with pytest.raises(AuditInputError, match="none of the attacks can be run on this network"):
        run(wide, points[:4], points[4:], points[:4] + 1, attacks=("local dimension",), steps=2)


def test_near_copies_count_once_and_are_no_controls():
    images = Images(IMAGES[:6], IMAGES.shape[1:], torch.ones(6), torch.tensor([0, 1, 1, 1, 2, 0]), 3)
    units = find_distinct(images)  # members 0, 1, 1; controls: a copy of member 1, one of its own, a copy of member 0
    assert units.rows.tolist() == [0, 1, 1, -1, 2, -1]
    assert (units.members, units.controls, units.left_out) == (2, 1, 2)
    scores = units.combine_scores(torch.tensor([1.0, 2.0, 4.0, 9.0, 5.0, 9.0]))
    assert scores.tolist() == [1, 3, 5]
    assert units.combine_flags(torch.tensor([0, 0, 1, 1, 0, 1]).bool()).tolist() == [False, True, False]
    assert units.find_rows(torch.tensor([False, True, True])) == (1, 4)
    with pytest.raises(AuditInputError, match="all 3 controls are near-copies of members"):
        find_distinct(Images(IMAGES[:6], IMAGES.shape[1:], torch.ones(6), torch.tensor([0, 1, 1, 1, 1, 0]), 3))


def test_a_control_that_is_nearly_a_member_is_left_out():
    controls = torch.cat([CONTROLS, MEMBERS[:1] + 1e-6])
    found = run(pulls_to(MEMBERS), controls=controls, attacks=("error",))
    assert found.controls == 40
    assert any("1 controls are near-copies of members and are left out" in note for note in found.notes)


def test_controls_of_another_kind_are_named_with_the_statistic():
    with pytest.warns(UserWarning, match=r"Members and controls are of different kinds: their energy distance is 0\."):
        found = run(lambda x: 0.5 * x, controls=255 * CONTROLS, attacks=("error",))
    assert found.samples.p_value == 0.001
    assert found.leaks
    assert "Members and controls differ before the network is asked" in found.verdict


def test_batteries_refuse_what_they_cannot_compare():
    f = pulls_to(MEMBERS)
    with pytest.raises(AuditInputError, match="a battery of attacks compares members with controls; pass controls="):
        memzoo.audit(f, MEMBERS, STARTS, battery=True)
    with pytest.raises(AuditInputError, match="attacks= is a sequence of different names among 'error'"):
        memzoo.audit(f, MEMBERS, STARTS, controls=CONTROLS, battery=BatteryOptions(attacks=("error", "guess")))
    with pytest.raises(TypeError, match="battery= is True, False or BatteryOptions, got int"):
        memzoo.audit(f, MEMBERS, STARTS, controls=CONTROLS, battery=1)
    with pytest.raises(ValueError, match="controls are members"):
        memzoo.audit(f, MEMBERS, STARTS, controls=torch.cat([CONTROLS, MEMBERS[:1]]), battery=True)
    with pytest.raises(ValueError, match="points of one space"):
        memzoo.audit(f, MEMBERS, STARTS, controls=torch.zeros(3, DIM + 1, dtype=torch.float64), battery=True)
    with pytest.raises(ValueError, match="controls holds NaN or infinity"):
        memzoo.audit(f, MEMBERS, STARTS, controls=CONTROLS * torch.nan, battery=True)


def test_one_member_is_compared_but_proves_nothing():
    found = run(pulls_to(MEMBERS), MEMBERS[:1], CONTROLS[:9], attacks=("error",))
    assert found["error"].roc.auc.estimate == 1
    assert found.p_value == pytest.approx(0.1, abs=0.02)
    assert any("no p-value is below 0.05; give more images" in note for note in found.notes)


def test_the_battery_is_in_every_form_of_the_report(tmp_path):
    found = memzoo.audit(
        pulls_to(MEMBERS),
        MEMBERS,
        STARTS,
        controls=CONTROLS,
        steps=20,
        battery=BatteryOptions(attacks=QUICK, drawn_by_coin=True),
    )
    alone = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=CONTROLS, steps=20)
    assert str(found) == f"{alone}\n\n{found.battery}"  # nothing else depends on it
    assert alone.verdict == found.verdict
    content = json.loads((found.save(tmp_path / "report") / "report.json").read_text())
    assert content["battery"]["p_value"] == found.battery.p_value
    assert [attack["name"] for attack in content["battery"]["attacks"]] == list(QUICK)
    assert content["battery"]["attacks"][0]["tpr"][0]["said"] == "not estimable from 40 controls"
    assert len(content["battery"]["attacks"][0]["scores"]["members"]) == 40
    assert content["battery"]["epsilon"]["assumptions"]
    page = found.html
    assert found.battery.verdict in page
    assert "not estimable from 40 controls" in page
    assert json.loads(alone.json)["battery"] is None
    assert "All attacks together" not in alone.html


def test_every_attack_names_what_it_needs():
    for attack in ATTACKS:
        assert attack.needs[0] in ("queries", "weights")


def test_all_channels_of_a_pixel_are_known_or_missing_and_one_pixel_is_known():
    images = torch.rand(50, 3, 8, 9)
    setting = Setting(lambda x: x, images.flatten(1), images.shape[1:], torch.ones(50), images[:1], 1, seed=3)
    known = draw_known(setting, 0.8).reshape(images.shape)
    assert (known == known[:, :1]).all()
    assert known.float().mean() == pytest.approx(0.2, abs=0.02)
    assert draw_known(setting, 1.0).reshape(50, 3, -1).sum(2).eq(1).all()


def test_near_copies_are_shifted_images_and_faded_points():
    images = torch.rand(3, 1, 4, 5)
    torch.testing.assert_close(make_near_copies(images)[..., 1:], images[..., :-1])
    points = torch.rand(3, 7)
    torch.testing.assert_close(make_near_copies(points).mean(0), points.mean(0))
    torch.testing.assert_close(make_near_copies(points) - points.mean(0), 0.8 * (points - points.mean(0)))


def test_a_search_finds_attractors_that_as_many_queries_of_noise_miss():
    # cells of unequal size: most starts go to few of the points
    stored = 3 * torch.randn(60, DIM, dtype=torch.float64)
    weight = torch.linspace(0, 6, 60, dtype=torch.float64)
    queries = 0

    def f(x):
        nonlocal queries
        queries += len(x)
        goal = stored[(torch.cdist(x, stored) + weight).argmin(1)]
        return x + 0.3 * (goal - x)

    starts = 3 * torch.randn(60, DIM, dtype=torch.float64)
    ends = iterate(f, starts, 200).points
    used, queries = queries, 0
    searched = search_attractors(f, stored[:1], used, seed=0)
    assert queries <= used
    plain = int((nearest(stored, ends).distance < 1e-3).sum())
    assert int((nearest(stored, searched).distance < 1e-3).sum()) > plain
    torch.testing.assert_close(search_attractors(f, stored[:1], used, seed=0), searched)
    assert not torch.equal(search_attractors(f, stored[:1], used, seed=1), searched)


@pytest.mark.parametrize("f", [lambda x: x.clone(), lambda x: 2 * x + 1, lambda x: 0 * x], ids=["same", "away", "one"])
def test_a_search_ends_on_maps_without_isolated_attractors(f):
    found = search_attractors(f, torch.zeros(1, 5), 2000, steps=50)
    assert len(found) >= 1
