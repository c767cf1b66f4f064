"""No entry, card or configuration names a licence that its images do not allow, and none is published under one.

The licence of each dataset is written here a second time, so that the tables of the package do not check themselves.
"""

import json
import re
from fnmatch import fnmatchcase
from itertools import product
from typing import Any, get_args

import pytest
import yaml

import memzoo
from memzoo.errors import PublishError, RegistryError
from memzoo.zoo.cards.model_card import render_card
from memzoo.zoo.entry import Entry, Fact, Images
from memzoo.zoo.measures.facts import MEASURES
from memzoo.zoo.registry.registries import home
from memzoo.zoo.registry.registry_file import parse_entry, read_registry
from memzoo.zoo.registry.reproduction import REPRODUCING, object_to_denial
from memzoo.zoo.rights import DATASETS, LICENSES, Rights, list_followers

SOURCE = (home() / "pyproject.toml").is_file()
ALL_DATASETS = get_args(Images.model_fields["dataset"].annotation)
DRAWN = {"normal", "sphere", "uniform", "line", "swissroll", "pixels", "squares"}
IN_THE_ZOO = {"mnist": "cc-by-sa-3.0", "cifar10": "other"} | dict.fromkeys(DRAWN, "mit")
"""Licence of weights and images in the zoo's own checkpoints."""
WORDS = {"cc-by-sa-3.0": "CC BY-SA 3.0", "other": "none given", "mit": "MIT"}
"""The words of NOTICE for these licences."""


@pytest.mark.parametrize("name", ALL_DATASETS)
def test_each_dataset_has_a_row_with_a_licence(name):
    assert name in DATASETS, (
        f"dataset {name!r} has no row in DATASETS of memzoo/zoo/rights.py: add its name in words, its "
        "name on the Hub, the licence of its images, and who made them"
    )
    assert name in IN_THE_ZOO, (
        f"IN_THE_ZOO of this file does not say which licence images of {name!r} have, and weights that reproduce them"
    )
    dataset = DATASETS[name]
    assert dataset.license in LICENSES, (
        f"the licence {dataset.license!r} of dataset {name!r} has no row in LICENSES of memzoo/zoo/rights.py: "
        "add its words, its link and what it asks of those who pass the images on"
    )
    assert dataset.license == IN_THE_ZOO[name]
    given = [dataset.license_name is not None, dataset.license_link is not None]
    assert given == [dataset.license == "other"] * 2, f"dataset {name!r}: name and link go with the licence 'other'"


def test_of_two_datasets_one_is_the_stricter():
    for first, second in product(DATASETS.values(), repeat=2):
        first_asks = LICENSES[first.license].asks
        second_asks = LICENSES[second.license].asks
        assert first_asks <= second_asks or first_asks >= second_asks, (
            f"{first.license} and {second.license} each ask what the other does not: `pick_strictest` in "
            "memzoo/zoo/rights.py needs a licence that asks both, for checkpoints with images of the two"
        )


def test_creative_commons_licences_are_ordered_by_the_elements_in_their_names():
    elements = {id: {"by", "sa", "nc", "nd"} & set(id.split("-")) for id in LICENSES if id.startswith("cc-by")}
    for id, asked in elements.items():
        if "sa" not in asked:
            stricter = {other for other in elements if asked <= elements[other]}
            assert set(list_followers(id)) == stricter | {"other"}


def test_every_licence_may_follow_one_that_asks_nothing_and_only_own_terms_follow_own_terms():
    assert list_followers("mit") == list_followers("cc0-1.0") == list(LICENSES)
    assert list_followers("other") == ["other"]


def test_share_alike_allows_the_same_elements_in_this_version_or_a_later_one():
    parts = {id: id.rsplit("-", 1) for id in LICENSES if "-sa-" in id}
    assert len(parts) == 4
    for id, (elements, version) in parts.items():
        later = {other for other, (same, number) in parts.items() if same == elements and number >= version}
        assert set(list_followers(id)) == later


# The zoo --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", memzoo.list_models())
def test_the_entry_names_the_licences_of_its_images(id):
    entry = memzoo.info(id)
    assert entry.license_objections() == []
    datasets = {images.dataset for images in (entry.examples, entry.probes, entry.training_set) if images is not None}
    allowed = {IN_THE_ZOO[name] for name in datasets}
    assert {entry.rights.weights} == {entry.rights.images} == allowed
    if entry.rights.weights == "other":
        dataset = DATASETS[entry.examples.dataset]
        assert entry.rights.license_name == dataset.license_name
        assert entry.rights.license_link == dataset.license_link


def find_licences(text: str) -> set[str]:
    """Find the licences that a text names in words; ``other`` is left out, since it is an ordinary word."""
    return {id for id, (words, *_) in LICENSES.items() if id != "other" and re.search(rf"\b{re.escape(words)}\b", text)}


@pytest.mark.skipif(not SOURCE, reason="needs the source tree")
@pytest.mark.parametrize("id", memzoo.list_models())
def test_card_and_configuration_name_no_other_licence_than_the_entry(id):
    entry = memzoo.info(id)
    folder = home() / "checkpoints" / id
    _, front_matter, text = (folder / "README.md").read_text().split("---\n", 2)
    metadata = yaml.safe_load(front_matter)
    rights = entry.rights
    assert metadata["license"] == rights.weights
    assert metadata.get("license_name") == rights.license_name
    assert metadata.get("license_link") == rights.license_link
    section = text.split("## Rights\n")[1]
    assert find_licences(text) == find_licences(section) == {rights.weights, rights.images} - {"other"}
    if rights.weights == "other":
        assert f"Weights: other ([{rights.license_name}]({rights.license_link}))" in section
        assert "which has no licence" in section
    assert DATASETS[entry.examples.dataset].source in section
    config = json.loads((folder / "config.json").read_text())
    wrong = [key for key in list_keys(config) if re.search("licen[cs]e|right", key)]
    assert wrong == [], f"config.json of {id} names a licence in {wrong}: it belongs into the entry's rights"


def list_keys(content: Any) -> list[str]:
    """List all keys, at any depth."""
    if isinstance(content, list):
        return [key for value in content for key in list_keys(value)]
    if isinstance(content, dict):
        return [*content, *(key for value in content.values() for key in list_keys(value))]
    return []


def read_notice() -> dict[str, str]:
    """Return the licence of each pattern of files in NOTICE, in words."""
    rows = re.findall(r"^(\S+/\S+) +(\S.*?)  +\(", (home() / "NOTICE").read_text(), re.MULTILINE)
    return dict(rows)


@pytest.mark.skipif(not SOURCE, reason="needs the source tree")
def test_the_notice_covers_every_checkpoint_and_every_picture():
    rows = read_notice()
    for id in memzoo.list_models():
        matching = [licence for pattern, licence in rows.items() if fnmatchcase(f"checkpoints/{id}", pattern)]
        expected = WORDS[memzoo.info(id).rights.weights]
        assert matching == [expected], f"NOTICE needs one row for checkpoints/{id}, with {expected!r}, has {matching}"
    pictures = [f"docs/_static/{path.name}" for path in (home() / "docs/_static").glob("*.png")]
    assert pictures
    for path in [*pictures, "memzoo/data/mnist20.safetensors"]:
        assert path in rows, f"NOTICE does not say under which licence {path} is"


def test_a_network_that_reproduces_nothing_is_not_said_to():
    entry = memzoo.info("mnist20-fc14x128")
    forgets = entry.rights.model_copy(update={"weights": "mit", "reproduces_training_images": False})
    text = render_card(entry.model_copy(update={"rights": forgets}))
    assert "reproduces-training-data" not in text
    assert "this network reproduces" not in text
    assert "**20 training images of MNIST travel with this network**" in text
    assert "Weights: [MIT]" in text
    assert "and in the pictures: [CC BY-SA 3.0]" in text


# Entries --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rights", "message"),
    [
        ({"images": "mit"}, "rights: .*no licence for weights, and there is no default: weights that memorize give"),
        ({"weights": "mit"}, "no licence for images, and there is no default.* Name a licence as the Hub does"),
        ({"weights": "MIT", "images": "mit"}, "'MIT' is no identifier of the Hub, which are in lower case: 'mit'"),
        ({"weights": "my own", "images": "mit"}, r"rights\.weights: String should match pattern"),
        ({"weights": "other", "images": "mit"}, "weights under 'other' need license_name and license_link"),
        (
            {"weights": "other", "images": "mit", "license_name": "mine"},
            "weights under 'other' need license_name and license_link",
        ),
        (
            {"weights": "mit", "images": "mit", "license_name": "mine", "license_link": "https://a.org"},
            "license_name and license_link are for weights under 'other', got 'mit'",
        ),
        (
            {"weights": "other", "images": "mit", "license_name": "mine", "license_link": "LICENSE"},
            r"rights\.license_link: String should match pattern",
        ),
        ({"weights": "mit", "images": "mit", "data": "free"}, r"rights\.data: Extra inputs are not permitted"),
    ],
)
def test_rights_that_contradict_themselves_are_refused(rights, message, tmp_path):
    content = yaml.safe_load((home() / "checkpoints.yaml").read_text())["square4-conv29x1"]
    content["rights"] = {**rights, "reproduces_training_images": True}
    with pytest.raises(RegistryError, match=f"(?s){message}"):
        parse_entry("square4-conv29x1", content, tmp_path)


# What a user may publish ----------------------------------------------------------------------------------------------

OWN = {"license_name": "my-terms", "license_link": "https://example.org/terms"}


def make_rights(weights: str, images: str, *, reproduces: bool = True, **terms: str) -> Rights:
    return Rights(weights=weights, images=images, reproduces_training_images=reproduces, **terms)


@pytest.mark.parametrize(
    ("rights", "dataset"),
    [
        (make_rights("cc-by-sa-4.0", "cc-by-sa-3.0"), "mnist"),
        (make_rights("other", "other", **OWN), "cifar10"),
        (make_rights("mit", "cc-by-sa-3.0", reproduces=False), "mnist"),
        (make_rights("apache-2.0", "other", reproduces=False), "cifar10"),
        (make_rights("unheard-of-1.0", "cc-by-sa-3.0", reproduces=False), "mnist"),  # the Hub says whether it knows it
        (make_rights("cc0-1.0", "mit"), "squares"),
        (make_rights("gpl-3.0", "mit"), "normal"),
        (make_rights("other", "mit", **OWN), "line"),
    ],
)
def test_a_licence_that_the_images_allow_is_accepted(rights, dataset):
    assert rights.objections([dataset], [dataset]) == []


NO_MIT = "rights.weights is 'mit', which is freer than 'cc-by-sa-3.0', that of the training images"
TAKE = "Set rights.weights to cc-by-sa-3.0 or cc-by-sa-4.0$"
NO_FOLLOWER = "which is none of those that share-alike allows after 'cc-by-sa-3.0'"


@pytest.mark.parametrize(
    ("rights", "dataset", "patterns"),
    [
        (make_rights("mit", "cc-by-sa-3.0"), "mnist", [f"{NO_MIT}.*MNIST by Yann LeCun.*{TAKE}"]),
        (
            make_rights("cc-by-nc-4.0", "cc-by-sa-3.0"),
            "mnist",
            ["'cc-by-nc-4.0', which is freer than"],
        ),  # no share alike
        (make_rights("cc-by-nc-sa-4.0", "cc-by-sa-3.0"), "mnist", [f"'cc-by-nc-sa-4.0', {NO_FOLLOWER}.*{TAKE}"]),
        (make_rights("other", "cc-by-sa-3.0", **OWN), "mnist", [f"'other', {NO_FOLLOWER}.*{TAKE}"]),
        (
            make_rights("cc-by-sa-4.0", "other"),
            "cifar10",
            ["freer than 'other'.*no licence.*weights to other with license_n"],
        ),
        (
            make_rights("gpl-3.0", "cc-by-sa-3.0"),
            "mnist",
            ["'gpl-3.0', which memzoo cannot compare with 'cc-by-sa-3.0'"],
        ),
        (make_rights("unknown", "other"), "cifar10", ["'unknown', which memzoo cannot compare with 'other'"]),
        (
            make_rights("other", "other", license_name="mit", license_link="https://opensource.org/license/mit"),
            "cifar10",
            ["'other' in name and 'mit' in fact, which may be freer than 'other'"],
        ),
        (
            make_rights("mit", "mit", reproduces=False),
            "mnist",
            ["rights.images is 'mit', but .* under 'cc-by-sa-3.0': MNIST"],
        ),
        (make_rights("mit", "mit"), "mnist", [NO_MIT, "Set rights.images to 'cc-by-sa-3.0'"]),
    ],
)
def test_a_licence_that_the_images_do_not_allow_is_objected_to(rights, dataset, patterns):
    objections = rights.objections([dataset], [dataset])
    assert len(objections) == len(patterns)
    for objection, pattern in zip(objections, patterns, strict=True):
        assert re.search(pattern, objection), objection


def test_the_strictest_of_several_datasets_counts_for_the_images():
    free = make_rights("mit", "mit")
    assert free.objections(["squares"], ["squares", "normal"]) == []
    (objection,) = free.objections(trained=["squares"], travelling=["squares", "mnist"])
    assert "Set rights.images to 'cc-by-sa-3.0'" in objection


def test_no_licence_is_allowed_by_images_of_mnist_and_cifar_together():
    both = ["mnist", "cifar10"]
    assert len(make_rights("cc-by-sa-3.0", "other").objections(both, both)) == 1
    assert len(make_rights("other", "other", **OWN).objections(both, both)) == 1


def make_rights_under(name: str) -> Rights:
    """Make rights with own terms of this name."""
    return make_rights("other", "other", license_name=name, license_link="https://example.org/terms")


@pytest.mark.parametrize(
    "name",
    [
        *sorted(LICENSES.keys() - {"other"}),
        *("cc0", "cc-by", "cc-by-sa", "creative-commons-zero", "public-domain", "unlicense", "the-unlicense", "wtfpl"),
        *("mit-license", "apache-2", "apache2", "bsd", "bsd-3", "0bsd", "bsd-new-license", "isc", "zlib", "x11"),
        *("gpl", "gplv3", "gnu-lgpl-2.1-or-later"),
    ],
)
def test_a_free_licence_in_another_spelling_is_not_accepted_as_own_terms(name):
    rights = make_rights_under(name)
    (objection,) = rights.objections(["cifar10"], ["cifar10"])
    assert f"'other' in name and {name!r} in fact, which may be freer than 'other'" in objection
    # The licence may be free where the training images ask for nothing.
    assert rights.objections(trained=["squares"], travelling=["cifar10"]) == []


@pytest.mark.parametrize(
    "name", ["my-terms", "mit-lab-terms", "cifar-10-no-license-given", "research-only", "apache-tribe"]
)
def test_own_terms_of_any_other_name_are_accepted(name):
    assert make_rights_under(name).objections(["cifar10"], ["cifar10"]) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights: cc-by-sa-3.0", "weights: mit", f"small-fc is not published, its images do not allow it: {NO_MIT}"),
        ("images: cc-by-sa-3.0", "images: cc0-1.0", "not published.*rights.images is 'cc0-1.0'"),
        ("weights: cc-by-sa-3.0", "weights: agpl-3.0", "'agpl-3.0', which memzoo cannot compare with"),
    ],
)
def test_weights_under_a_freer_licence_than_their_images_are_not_published(small, monkeypatch, old, new, message):
    text = small.read_text()
    assert text.count(old) == 1
    small.write_text(text.replace(old, new))
    memzoo.register(small)
    monkeypatch.setattr(
        "memzoo.zoo.publishing.publication.verify", lambda name: pytest.fail("refused only after a long measurement")
    )
    with pytest.raises(PublishError, match=f"(?s){message}"):
        memzoo.publish("small-fc", "someone/small-fc")
    with pytest.raises(PublishError, match=f"(?s){message}"):
        memzoo.publish("small-fc", "someone/small-fc", dry_run=True)
    assert read_registry(small)["small-fc"].hub is None


# Whether the facts contradict the flag --------------------------------------------------------------------------------


def make_denial(*facts: Fact) -> Entry:
    """Make an entry which says that its network reproduces nothing, with these facts."""
    entry = memzoo.info("mnist20-fc14x128")
    rights = entry.rights.model_copy(update={"reproduces_training_images": False})
    return entry.model_copy(update={"rights": rights, "facts": list(facts)})


def test_each_measure_of_reproduction_exists():
    assert MEASURES.keys() >= REPRODUCING


@pytest.mark.parametrize("measure", sorted(REPRODUCING))
def test_a_fact_of_reproduction_contradicts_the_denial(measure):
    entry = make_denial(Fact(name="a fact", measure=measure, ours=0.25))
    (objection,) = object_to_denial(entry)
    assert f"'a fact' ({measure}) is 0.25" in objection
    assert "Set it to true, and rights.weights to a licence that the images allow" in objection
    assert object_to_denial(make_denial(Fact(name="a fact", measure=measure, ours=0.0))) == []


def test_facts_of_weights_that_were_kept_during_training_count_too():
    entry = make_denial(Fact(name="early", measure="attractors", step=10, ours=1.0))
    (objection,) = object_to_denial(entry)
    assert "'early' (attractors) is 1" in objection


@pytest.mark.parametrize("measure", ["mean_squared_error", "radius_max", "probe_distance", "limits", "members_within"])
def test_other_facts_do_not_contradict_the_denial(measure):
    assert object_to_denial(make_denial(Fact(name="a fact", measure=measure, ours=0.5))) == []


def test_an_entry_that_admits_reproduction_is_accepted():
    assert object_to_denial(memzoo.info("mnist20-fc14x128")) == []


def test_a_denial_against_the_facts_is_not_published(small, monkeypatch):
    content = yaml.safe_load(small.read_text())
    (entry,) = content.values()
    entry["rights"] |= {"weights": "mit", "reproduces_training_images": False}
    entry["facts"].append({"name": "attractors", "measure": "attractors", "args": {"eps": 0.5}, "ours": 3.0})
    small.write_text(yaml.safe_dump(content))
    memzoo.register(small)
    monkeypatch.setattr(
        "memzoo.zoo.publishing.publication.verify", lambda name: pytest.fail("refused only after a measurement")
    )
    with pytest.raises(PublishError, match=r"(?s)is not published.*is false, but .*'attractors' \(attractors\) is 3"):
        memzoo.publish("small-fc", "someone/small-fc", dry_run=True)
