"""Test the claims of an audit on maps whose leaks are known."""

import json
import re

import pytest
import torch
from torch import nn

import memzoo
from memzoo.auditing.significance import adjust_by_holm, fisher_exact
from memzoo.callbacks import AttractorCallback
from memzoo.dynamics import example_eps
from memzoo.errors import AuditInputError, InvalidArgumentError, NotASelfMapError

DIM = 6
IMAGES = torch.randn(24, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
MEMBERS = IMAGES[:12]
CONTROLS = IMAGES[12:]
STARTS = 2 * torch.randn(100, DIM, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def pulls_to(stored, rate=0.5):
    """Return a map that moves a fixed share of the way to the nearest stored point: each attracts its Voronoi cell."""

    def f(x):
        return x + rate * (stored[torch.cdist(x, stored).argmin(1)] - x)

    return f


def counts(found):
    """Return how many members are recovered and are attractors, then how many controls."""
    flags = []
    for group in (found.members, found.controls):
        flags += [group.recovered, group.attractor]
    return tuple(int(one.sum()) for one in flags)


def test_a_map_that_stores_its_members_releases_them_and_no_control():
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=CONTROLS)
    near = set(torch.cdist(STARTS, MEMBERS).argmin(1).tolist())
    assert set(found.members.recovered.nonzero().flatten().tolist()) == near
    assert counts(found) == (len(near), 12, 0, 0)
    assert found.recovered_p < 0.01
    assert found.verdict == f"{len(near)} of 12 training images can be pulled out by iteration; 0 of 12 controls."
    expected = torch.full((12,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(found.members.radius, expected)


def test_steps_and_distances_follow_the_halving_of_the_map():
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=CONTROLS)
    gap = torch.cdist(STARTS, MEMBERS)
    gap[gap > gap.amin(1, keepdim=True)] = torch.inf  # each start goes to its nearest member
    first = torch.log2(gap / found.members.eps).floor().amin(0) + 1  # gap / 2^t < eps
    for i in found.members.recovered.nonzero().flatten().tolist():
        t = int(found.members.recovered_at[i])
        assert t == first[i]
        start = int(found.members.start[i])
        assert found.members.distance[i].item() == pytest.approx(gap[start, i].item() / 2**t, rel=1e-9)
        # the map halves the way to the nearest member m: f^t(x) = m + (x - m) / 2^t
        expected = MEMBERS[i] + (STARTS[start] - MEMBERS[i]) / 2**t
        torch.testing.assert_close(found.members.reached[i], expected)
    assert found.members.distance.isnan().equal(~found.members.recovered)


def test_each_attractor_is_named_by_the_image_that_it_is():
    stray = torch.full((1, DIM), 5.0, dtype=torch.float64)
    stored = torch.cat([MEMBERS[:1], CONTROLS[:1], stray])
    f = pulls_to(stored)
    starts = torch.cat([STARTS, stray + 1])
    found = memzoo.audit(f, MEMBERS, starts, controls=CONTROLS)
    wanted = {("member", 0): MEMBERS[0], ("control", 0): CONTROLS[0], None: stray[0]}
    assert len(found.owner) == 3
    assert set(found.owner) == set(wanted)
    for attractor, owner in zip(found.attractors.found, found.owner, strict=True):
        torch.testing.assert_close(attractor.points[0], wanted[owner])
    assert counts(found) == (1, 0, 1, 0)  # other images of their groups end there too, so that none is certified
    assert "may be chance (p = 1)" in found.verdict  # adjusted from 1 - C(12, 2) / C(24, 2), at least one of two


@pytest.mark.parametrize(
    "trivial",
    [
        lambda x: x.clone(),
        lambda x: 0 * x + 7,
        lambda x: 0.9 * x,
        lambda x: (10 * x).round() / 10,
    ],
    ids=["identity", "constant", "shrinking", "rounding"],
)
def test_trivial_maps_show_no_leak(trivial):
    found = memzoo.audit(trivial, MEMBERS, STARTS, controls=CONTROLS)
    assert found.members.recovered.sum() == found.controls.recovered.sum() == 0
    assert found.recovered_p == 1
    assert found.attractor_p > 0.05
    assert "no proof that none can be" in found.verdict


def test_what_a_function_raises_is_an_error_of_memzoo():
    with pytest.raises(NotASelfMapError, match="f cannot be evaluated at a batch"):
        memzoo.audit(lambda x: x @ torch.ones(DIM + 1, DIM, dtype=torch.float64), MEMBERS, STARTS)


def test_the_identity_stores_no_image_although_it_returns_each():
    found = memzoo.audit(lambda x: x.clone(), MEMBERS, STARTS, controls=CONTROLS)
    assert counts(found) == (0, 0, 0, 0)
    assert found.attractors.found == ()
    assert found.error_auc == 0.5


def test_an_untrained_network_shows_no_leak():
    net = nn.Sequential(nn.Linear(DIM, 32), nn.ReLU(), nn.Linear(32, DIM)).double()
    expected = (0, 0, 0, 0)
    assert counts(memzoo.audit(net, MEMBERS, STARTS, controls=CONTROLS)) == expected


def test_the_only_image_of_a_constant_map_is_recovered_but_may_be_chance():
    found = memzoo.audit(lambda x: 0 * x + MEMBERS[3], MEMBERS, STARTS, controls=CONTROLS)
    assert counts(found) == (1, 0, 0, 0)  # eleven other members end there too, so that none is certified
    assert found.recovered_p == 1  # three times 1/2
    assert found.owner == (("member", 3),)
    assert "may be chance (p = 1)" in found.verdict


def test_the_verdict_names_stored_images_that_no_start_reaches():
    def f(x):  # attracts near its members only; all other points move far away
        stored = pulls_to(MEMBERS)(x)
        near = torch.cdist(x, MEMBERS).amin(1, keepdim=True) < 0.3
        return torch.where(near, stored, 0.5 * x + 50)

    found = memzoo.audit(f, MEMBERS, STARTS + 30, controls=CONTROLS)
    assert counts(found) == (0, 12, 0, 0)
    assert "12 of 12 training images are attractors, of the controls 0" in found.verdict


def test_without_controls_the_verdict_claims_nothing_about_chance():
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS)
    assert found.controls is None
    assert found.recovered_p is None
    assert found.error_auc is None
    assert "how many untrained images would come out is not known" in found.verdict
    assert any("no controls" in note for note in found.notes)


def test_a_note_says_that_the_groups_have_different_sizes():
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=CONTROLS[:3])
    assert any("12 members and 3 controls" in note for note in found.notes)


def test_a_note_says_that_the_starts_favour_the_members():
    beside = MEMBERS + 0.3 * torch.randn(12, DIM, dtype=torch.float64)
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, beside, controls=CONTROLS, eps=0.1)
    assert any("nearer to the members" in note for note in found.notes)
    assert not memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=CONTROLS).notes


def test_a_note_says_that_fixed_points_lie_off_their_images():
    found = memzoo.audit(pulls_to(MEMBERS + 0.02), MEMBERS, STARTS, controls=CONTROLS, eps=0.06)
    assert any("blurred or shifted count as not recovered" in note for note in found.notes)


def test_starts_within_eps_of_an_image_are_left_out():
    starts = torch.cat([STARTS, MEMBERS[:2] + 1e-3, CONTROLS[:1]])
    with pytest.warns(UserWarning, match=r"3 of 103 starts lie within eps"):
        found = memzoo.audit(lambda x: x.clone(), MEMBERS, starts, controls=CONTROLS)
    assert found.left_out == 3
    assert len(found.starts) == 100
    assert counts(found) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match=r"all 12 starts lie within eps .* pass other starts"):
        memzoo.audit(lambda x: x.clone(), MEMBERS, MEMBERS, controls=CONTROLS)


def test_controls_that_are_members_are_refused():
    controls = torch.cat([CONTROLS[:2], MEMBERS[5:6]])
    with pytest.raises(ValueError, match=r"1 of 3 controls are members, the first is control 2, which equals member 5"):
        memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=controls)


def test_eps_is_so_small_that_no_point_is_near_two_different_images():
    close = torch.cat([MEMBERS[:1] + 0.2, CONTROLS])
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=close)
    # a tenth of the distance of these two: 0.2 in each of DIM coordinates
    assert found.members.eps[0].item() == pytest.approx(0.1 * 0.2 * DIM**0.5, rel=1e-6)
    assert found.controls.eps[0] == found.members.eps[0]
    assert counts(found)[2] == 0
    pool = torch.cat([MEMBERS, close])
    assert torch.equal(torch.cat([found.members.eps, found.controls.eps]), example_eps(pool))
    assert found.eps == example_eps(pool).quantile(0.5).item()


@pytest.mark.parametrize("distance", [1e-9, 1e-5, 1e-2])
def test_a_near_copy_of_a_member_hides_nothing_and_is_counted_once(distance):
    alone = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=CONTROLS)
    copy = MEMBERS[3:4] + distance * torch.randn(1, DIM, dtype=torch.float64)
    found = memzoo.audit(pulls_to(MEMBERS), torch.cat([MEMBERS, copy]), STARTS, controls=CONTROLS)
    assert torch.equal(found.members.ever_recovered[:12], alone.members.ever_recovered)
    assert found.members.ever_recovered[12] == alone.members.ever_recovered[3]
    assert (found.recovered_p, found.ever_recovered_p) == (alone.recovered_p, alone.ever_recovered_p)
    assert found.attractor_p == alone.attractor_p
    assert found.members.attractor_share == alone.members.attractor_share
    assert found.members.median_step == alone.members.median_step
    assert found.error_auc == alone.error_auc
    assert found.members.count == 12
    assert found.near_copies == ((("member", 3), ("member", 12)),)
    assert [note for note in found.notes if "count as one image: member 3, member 12." in note] == list(found.notes)
    assert "12 training images (13 with near-copies)" in found.verdict
    row = json.loads(found.json)["members"][12]
    assert row["copy_of"] == 3


@pytest.mark.parametrize("eps", [0.01, torch.full((25,), 0.01)])
def test_radii_that_are_given_say_which_images_are_different(eps):
    members = torch.cat([MEMBERS, MEMBERS[3:4] + 1e-5])
    found = memzoo.audit(pulls_to(MEMBERS), members, STARTS, controls=CONTROLS, eps=eps)
    assert found.near_copies == ()
    assert found.members.count == 13
    # two images at one attractor: it is the attractor of neither
    assert found.members.attractor.tolist() == [*[True] * 3, False, *[True] * 8, False]


def test_a_control_that_is_a_near_copy_of_a_member_is_named():
    close = torch.cat([MEMBERS[5:6] + 1e-6, CONTROLS])
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=close)
    assert found.near_copies == ((("member", 5), ("control", 0)),)
    assert any("a control is a near-copy of a member" in note for note in found.notes)
    assert found.controls.ever_recovered[0] == found.members.ever_recovered[5]


def test_recovered_is_judged_at_the_last_step_and_ever_recovered_at_any():
    # a step of 1 along the line, from 0: images where the orbit ends, where it passes, and behind the start
    members, controls = torch.tensor([[5.0], [3.0]]), torch.tensor([[1.0], [-1.0]])
    found = memzoo.audit(lambda x: x + 1, members, torch.zeros(1, 1), controls=controls, eps=0.1, steps=5)
    assert found.members.recovered.tolist() == [True, False]
    assert found.members.ever_recovered.tolist() == [True, True]
    assert found.controls.recovered.tolist() == [False, False]
    assert found.controls.ever_recovered.tolist() == [True, False]
    summary = json.loads(found.json)["summary"]
    assert [summary["members"][key] for key in ("recovered", "ever_recovered")] == [1, 2]
    raw = [fisher_exact(2, 2, 1, 2), fisher_exact(1, 2, 0, 2), fisher_exact(0, 2, 0, 2)]
    assert list(found.p_values.values()) == adjust_by_holm(raw)
    assert [found.ever_recovered_p, found.recovered_p, found.attractor_p] == list(found.p_values.values())
    text = str(found)
    assert re.search(r"training images 2 of 2, 100 % .* 1 of 2, 50 %", text)
    assert "came out by step 5 (ever recovered)" in found.html
    assert "recovered at step 5 (R_T)" in found.html


def test_a_radius_for_each_image_may_be_given():
    eps = torch.linspace(0.01, 0.02, 24)
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=CONTROLS, eps=eps)
    assert torch.equal(torch.cat([found.members.eps, found.controls.eps]), eps.double())
    assert "eps = 0.01 / 0.0124 / 0.0148 of members, 0.0152 / 0.0176 / 0.02 of controls (given)" in str(found)
    with pytest.raises(ValueError, match="got 12 for 24 examples"):
        memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, controls=CONTROLS, eps=eps[:12])


def test_the_callback_and_the_audit_count_the_same():
    found = memzoo.audit(pulls_to(MEMBERS), MEMBERS, STARTS, steps=4)
    watch = AttractorCallback(MEMBERS, STARTS, self_map=lambda module, x: pulls_to(MEMBERS)(x), steps=4)
    row = watch.measure(nn.Linear(1, 1).double())
    assert torch.equal(watch.eps, found.members.eps)
    # 4 halvings bring few starts within the radius
    assert 0 < row["attractor/recovered"] == pytest.approx(found.members.recovered_share.estimate)
    assert row["attractor/ever_recovered"] == pytest.approx(found.members.ever_recovered_share.estimate)


def test_default_starts_are_seeded_noise_like_the_members():
    def draw(seed):
        return memzoo.audit(pulls_to(MEMBERS), MEMBERS, controls=CONTROLS, eps=1e-3, noise=500, seed=seed).starts

    starts = draw(0)
    assert starts.equal(draw(0))
    assert not starts.equal(draw(1))
    expected = MEMBERS.std().item()
    assert starts.std() == pytest.approx(expected, rel=0.05)


def test_without_members_attractors_are_found_and_called_no_image():
    found = memzoo.audit(pulls_to(MEMBERS), starts=STARTS)
    reached = torch.cdist(STARTS, MEMBERS).argmin(1).unique()
    assert len(found.attractors.found) == len(reached)
    assert set(found.owner) == {None}
    assert found.members is None
    assert "only a comparison with the training set can tell" in found.verdict
    assert memzoo.audit(nn.Linear(4, 4), shape=(4,)).starts.shape == (200, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, r"pass starts=, or shape="),
        ({"starts": STARTS, "controls": CONTROLS}, r"controls stand beside members"),
        ({"shape": (DIM,), "noise": 0}, r"noise counts starts and must be at least 1, got 0"),
        ({"members": MEMBERS, "starts": STARTS[:, :2]}, r"starts and members must be points of one space"),
        ({"members": MEMBERS, "controls": CONTROLS[:, :2]}, r"members and controls must be points of one space"),
        ({"members": MEMBERS, "eps": 0.0}, r"eps must be a finite number > 0, got 0.0"),
        ({"starts": STARTS, "eps": torch.ones(3)}, r"without members eps is one number, got \(3,\) numbers"),
        ({"members": MEMBERS, "steps": -1}, r"steps must be a whole number >= 0"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        memzoo.audit(pulls_to(MEMBERS), **arguments)


# The module ---------------------------------------------------------------------------------------------------------


class Messy(nn.Module):
    """Use dropout and batch statistics in training, return a tuple, and keep one part in eval mode."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.BatchNorm1d(DIM).eval()
        self.net = nn.Sequential(nn.Linear(DIM, 16), nn.Dropout(0.5), nn.Linear(16, DIM))

    def forward(self, x):
        return self.net(self.frozen(x)), "code"


def test_the_module_and_the_global_generator_are_left_as_they_were():
    module = Messy().train()
    module.frozen.eval()
    modes = {name: part.training for name, part in module.named_modules()}
    values = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = torch.get_rng_state()
    memzoo.audit(module, MEMBERS.float(), controls=CONTROLS.float(), self_map=lambda m, x: m(x)[0], noise=10)
    assert {name: part.training for name, part in module.named_modules()} == modes
    assert all(values[name].equal(tensor) for name, tensor in module.state_dict().items())
    assert torch.get_rng_state().equal(state)


class Twofold(nn.Module):
    def forward(self, x):
        return x + 1, x - 1


def test_the_reconstruction_is_found_in_a_tuple_and_the_notes_say_so():
    found, given = (
        memzoo.audit(Messy(), MEMBERS.float(), controls=CONTROLS.float(), self_map=adapter, noise=10)
        for adapter in (None, lambda m, x: m(x)[0])
    )
    assert any(note == "[0] of the output of Messy is taken as the reconstruction." for note in found.notes)
    assert found.verdict == given.verdict
    assert torch.equal(found.members.recovered_at, given.members.recovered_at)


def test_a_forward_that_is_no_self_map_is_refused():
    with pytest.raises(NotASelfMapError, match=r"forward of Twofold is no self-map .*2 tensors.* Pass self_map="):
        memzoo.audit(Twofold(), MEMBERS.float())
    with pytest.raises(NotASelfMapError, match=r"pass the full autoencoder"):
        memzoo.audit(lambda x: x[:, :1], MEMBERS)


class Sampling(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


def test_a_lazy_module_is_refused_and_stays_lazy():
    module = nn.Sequential(nn.LazyLinear(3), nn.Tanh(), nn.Linear(3, 8))
    with pytest.raises(InvalidArgumentError, match="has no values yet"):
        memzoo.audit(module, torch.rand(4, 8), torch.rand(5, 8), steps=2)
    assert isinstance(module[0], nn.LazyLinear)


def test_a_random_map_is_refused_and_the_global_generator_keeps_its_state():
    state = torch.get_rng_state()
    for module in (Sampling(), lambda x: Sampling()(x)):
        with pytest.raises(NotASelfMapError, match=r"two answers to one image.* decodes the mean of its code"):
            memzoo.audit(module, MEMBERS, STARTS)
    assert torch.get_rng_state().equal(state)


def test_a_module_of_vectors_takes_images_and_reports_images():
    images = MEMBERS.float().reshape(12, 1, 2, 3)
    net = nn.Sequential(nn.Linear(DIM, 8), nn.Linear(8, DIM))
    controls = CONTROLS.float().reshape(12, 1, 2, 3)
    found = memzoo.audit(net, images, controls=controls, noise=10)
    assert found.members.images.shape == (12, 1, 2, 3)
    assert found.members.images.equal(images)


def test_an_audit_raises_errors_of_memzoo():
    with pytest.raises(AuditInputError, match="says what the network maps; pass starts="):
        memzoo.audit(lambda x: x)
