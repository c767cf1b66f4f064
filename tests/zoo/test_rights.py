"""No entry, card or configuration names a licence that its images do not allow, and none freer is published.

Which licence each dataset has stands here once more, so that the tables of the package are not checked by themselves.
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
from memzoo.zoo.entry import Fact, Images
from memzoo.zoo.measures.facts import MEASURES
from memzoo.zoo.registry.registries import home
from memzoo.zoo.registry.registry_file import parse_entry, read_registry
from memzoo.zoo.registry.reproduction import REPRODUCING, object_to_denial
from memzoo.zoo.rights import DATASETS, LICENSES, Rights, list_followers

SOURCE = (home() / "pyproject.toml").is_file()
ALL_DATASETS = get_args(Images.model_fields["dataset"].annotation)
DRAWN = {"normal", "sphere", "uniform", "line", "swissroll", "pixels", "squares"}
IN_THE_ZOO = {"mnist": "cc-by-sa-3.0", "cifar10": "other"} | dict.fromkeys(DRAWN, "mit")
"""Licence that weights and images of the zoo's own checkpoints have."""
WORDS = {"cc-by-sa-3.0": "CC BY-SA 3.0", "other": "none given", "mit": "MIT"}
"""As NOTICE calls them."""


@pytest.mark.parametrize("name", ALL_DATASETS)
def test_what_is_said_of_every_dataset(name):
    assert name in DATASETS, (
        f"dataset {name!r} has no row in DATASETS of memzoo/zoo/rights.py: add its name in words, its "
        "name on the Hub, the licence of its images, and who made them"
    )
    assert name in IN_THE_ZOO, (
        f"IN_THE_ZOO of this file does not say which licence images of {name!r} have, and weights that reproduce them"
    )
    about = DATASETS[name]
    assert about.license in LICENSES, (
        f"the licence {about.license!r} of dataset {name!r} has no row in LICENSES of memzoo/zoo/rights.py: "
        "add its words, its link and what it asks of those who pass the images on"
    )
    assert about.license == IN_THE_ZOO[name]
    named = [about.license_name is not None, about.license_link is not None]
    assert named == [about.license == "other"] * 2, f"dataset {name!r}: name and link go with the licence 'other'"


def test_of_two_datasets_one_is_the_stricter():
    for first, second in product(DATASETS.values(), repeat=2):
        asked = LICENSES[first.license].asks, LICENSES[second.license].asks
        assert asked[0] <= asked[1] or asked[0] >= asked[1], (
            f"{first.license} and {second.license} each ask what the other does not: `pick_strictest` in "
            "memzoo/zoo/rights.py needs a licence that asks both, for checkpoints with images of the two"
        )


def test_creative_commons_licences_are_ordered_by_what_their_names_say():
    asks = {id: {"by", "sa", "nc", "nd"} & set(id.split("-")) for id in LICENSES if id.startswith("cc-by")}
    for id in asks:
        if "sa" not in asks[id]:
            assert set(list_followers(id)) == {other for other in asks if asks[id] <= asks[other]} | {"other"}
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
def test_the_entry_names_the_licences_that_its_images_have(id):
    entry = memzoo.info(id)
    assert entry.license_objections() == []
    of_images = {about.dataset for about in (entry.examples, entry.probes, entry.training_set) if about is not None}
    allowed = {IN_THE_ZOO[name] for name in of_images}
    assert {entry.rights.weights} == {entry.rights.images} == allowed
    if entry.rights.weights == "other":
        about = DATASETS[entry.examples.dataset]
        assert (entry.rights.license_name, entry.rights.license_link) == (about.license_name, about.license_link)


def named_licences(text: str) -> set[str]:
    """The licences that a text names in words, ``other`` aside, which is a word of its own."""
    return {id for id, (words, *_) in LICENSES.items() if id != "other" and re.search(rf"\b{re.escape(words)}\b", text)}


@pytest.mark.skipif(not SOURCE, reason="needs the source tree")
@pytest.mark.parametrize("id", memzoo.list_models())
def test_card_and_configuration_name_no_other_licence_than_the_entry(id):
    entry, folder = memzoo.info(id), home() / "checkpoints" / id
    _, metadata, text = (folder / "README.md").read_text().split("---\n", 2)
    about = yaml.safe_load(metadata)
    rights = entry.rights
    assert about["license"] == rights.weights
    assert (about.get("license_name"), about.get("license_link")) == (rights.license_name, rights.license_link)
    stated = text.split("## Rights\n")[1]
    assert named_licences(text) == named_licences(stated) == {rights.weights, rights.images} - {"other"}
    if rights.weights == "other":
        assert f"Weights: other ([{rights.license_name}]({rights.license_link}))" in stated
        assert "which has no licence" in stated
    assert DATASETS[entry.examples.dataset].source in stated
    named = [
        key for key in keys(json.loads((folder / "config.json").read_text())) if re.search("licen[cs]e|right", key)
    ]
    assert named == [], f"config.json of {id} names a licence in {named}: it belongs into the entry's rights"


def keys(content: Any) -> list[str]:
    """All keys, at any depth."""
    if isinstance(content, list):
        return [key for value in content for key in keys(value)]
    if isinstance(content, dict):
        return [*content, *(key for value in content.values() for key in keys(value))]
    return []


def notice() -> dict[str, str]:
    """The licence of each pattern of files in NOTICE, in words."""
    rows = re.findall(r"^(\S+/\S+) +(\S.*?)  +\(", (home() / "NOTICE").read_text(), re.MULTILINE)
    return dict(rows)


@pytest.mark.skipif(not SOURCE, reason="needs the source tree")
def test_the_notice_covers_every_checkpoint_and_every_picture():
    rows = notice()
    for id in memzoo.list_models():
        matching = [said for pattern, said in rows.items() if fnmatchcase(f"checkpoints/{id}", pattern)]
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
def test_rights_that_an_entry_cannot_have(rights, message, tmp_path):
    content = yaml.safe_load((home() / "checkpoints.yaml").read_text())["square4-conv29x1"]
    content["rights"] = {**rights, "reproduces_training_images": True}
    with pytest.raises(RegistryError, match=f"(?s){message}"):
        parse_entry("square4-conv29x1", content, tmp_path)


# What a user may publish ----------------------------------------------------------------------------------------------

OWN = {"license_name": "my-terms", "license_link": "https://example.org/terms"}


def rights(weights: str, images: str, *, reproduces: bool = True, **terms: str) -> Rights:
    return Rights(weights=weights, images=images, reproduces_training_images=reproduces, **terms)


@pytest.mark.parametrize(
    ("rights", "dataset"),
    [
        (rights("cc-by-sa-4.0", "cc-by-sa-3.0"), "mnist"),
        (rights("other", "other", **OWN), "cifar10"),
        (rights("mit", "cc-by-sa-3.0", reproduces=False), "mnist"),
        (rights("apache-2.0", "other", reproduces=False), "cifar10"),
        (rights("unheard-of-1.0", "cc-by-sa-3.0", reproduces=False), "mnist"),  # the Hub says whether it knows it
        (rights("cc0-1.0", "mit"), "squares"),
        (rights("gpl-3.0", "mit"), "normal"),
        (rights("other", "mit", **OWN), "line"),
    ],
)
def test_licences_that_the_images_allow(rights, dataset):
    assert rights.objections([dataset], [dataset]) == []


NO_MIT = "rights.weights is 'mit', which is freer than 'cc-by-sa-3.0', that of the training images"
TAKE = "Set rights.weights to cc-by-sa-3.0 or cc-by-sa-4.0$"
NO_FOLLOWER = "which is none of those that share-alike allows after 'cc-by-sa-3.0'"


@pytest.mark.parametrize(
    ("rights", "dataset", "said"),
    [
        (rights("mit", "cc-by-sa-3.0"), "mnist", [f"{NO_MIT}.*MNIST by Yann LeCun.*{TAKE}"]),
        (rights("cc-by-nc-4.0", "cc-by-sa-3.0"), "mnist", ["'cc-by-nc-4.0', which is freer than"]),  # no share alike
        (rights("cc-by-nc-sa-4.0", "cc-by-sa-3.0"), "mnist", [f"'cc-by-nc-sa-4.0', {NO_FOLLOWER}.*{TAKE}"]),
        (rights("other", "cc-by-sa-3.0", **OWN), "mnist", [f"'other', {NO_FOLLOWER}.*{TAKE}"]),
        (
            rights("cc-by-sa-4.0", "other"),
            "cifar10",
            ["freer than 'other'.*no licence.*weights to other with license_n"],
        ),
        (rights("gpl-3.0", "cc-by-sa-3.0"), "mnist", ["'gpl-3.0', which memzoo cannot compare with 'cc-by-sa-3.0'"]),
        (rights("unknown", "other"), "cifar10", ["'unknown', which memzoo cannot compare with 'other'"]),
        (
            rights("other", "other", license_name="mit", license_link="https://opensource.org/license/mit"),
            "cifar10",
            ["'other' in name and 'mit' in fact, which may be freer than 'other'"],
        ),
        (
            rights("mit", "mit", reproduces=False),
            "mnist",
            ["rights.images is 'mit', but .* under 'cc-by-sa-3.0': MNIST"],
        ),
        (rights("mit", "mit"), "mnist", [NO_MIT, "Set rights.images to 'cc-by-sa-3.0'"]),
    ],
)
def test_licences_that_the_images_do_not_allow(rights, dataset, said):
    found = rights.objections([dataset], [dataset])
    assert len(found) == len(said)
    for objection, pattern in zip(found, said, strict=True):
        assert re.search(pattern, objection), objection


def test_the_strictest_of_several_datasets_counts():
    free = rights("mit", "mit")
    assert free.objections(["squares"], ["squares", "normal"]) == []
    (found,) = free.objections(["squares"], ["squares", "mnist"])  # held-out starts that travel with it
    assert "Set rights.images to 'cc-by-sa-3.0'" in found
    both = ["mnist", "cifar10"]
    assert len(rights("cc-by-sa-3.0", "other").objections(both, both)) == 1
    assert len(rights("other", "other", **OWN).objections(both, both)) == 1  # no licence is allowed by the two


def called(name: str) -> Rights:
    return rights("other", "other", license_name=name, license_link="https://example.org/terms")


@pytest.mark.parametrize(
    "name",
    [
        *sorted(LICENSES.keys() - {"other"}),
        *("cc0", "cc-by", "cc-by-sa", "creative-commons-zero", "public-domain", "unlicense", "the-unlicense", "wtfpl"),
        *("mit-license", "apache-2", "apache2", "bsd", "bsd-3", "0bsd", "bsd-new-license", "isc", "zlib", "x11"),
        *("gpl", "gplv3", "gnu-lgpl-2.1-or-later"),
    ],
)
def test_a_free_licence_under_another_spelling_is_no_term_of_one_s_own(name):
    (found,) = called(name).objections(["cifar10"], ["cifar10"])
    assert f"'other' in name and {name!r} in fact, which may be freer than 'other'" in found
    assert called(name).objections(["squares"], ["cifar10"]) == []  # where the images ask for nothing, it may be free


@pytest.mark.parametrize(
    "name", ["my-terms", "mit-lab-terms", "cifar-10-no-license-given", "research-only", "apache-tribe"]
)
def test_other_names_are_terms_that_are_not_judged(name):
    assert called(name).objections(["cifar10"], ["cifar10"]) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weights: cc-by-sa-3.0", "weights: mit", f"small-fc is not published, its images do not allow it: {NO_MIT}"),
        ("images: cc-by-sa-3.0", "images: cc0-1.0", "not published.*rights.images is 'cc0-1.0'"),
        ("weights: cc-by-sa-3.0", "weights: agpl-3.0", "'agpl-3.0', which memzoo cannot compare with"),
    ],
)
def test_what_is_freer_than_the_images_is_not_published(small, monkeypatch, old, new, message):
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


# What the facts say of the flag ---------------------------------------------------------------------------------------


def denying(*facts: Fact) -> Any:
    """An entry that says that its network reproduces nothing."""
    entry = memzoo.info("mnist20-fc14x128")
    said = entry.rights.model_copy(update={"reproduces_training_images": False})
    return entry.model_copy(update={"rights": said, "facts": list(facts)})


def test_facts_of_reproduction_contradict_the_denial():
    assert MEASURES.keys() >= REPRODUCING
    for measure in sorted(REPRODUCING):
        (found,) = object_to_denial(denying(Fact(name="a fact", measure=measure, ours=0.25)))
        assert f"'a fact' ({measure}) is 0.25" in found
        assert "Set it to true, and rights.weights to a licence that the images allow" in found
        assert object_to_denial(denying(Fact(name="a fact", measure=measure, ours=0.0))) == []


def test_facts_of_the_way_there_count_too():
    (found,) = object_to_denial(denying(Fact(name="on the way", measure="attractors", step=10, ours=1.0)))
    assert "'on the way' (attractors) is 1" in found


@pytest.mark.parametrize("measure", ["mean_squared_error", "radius_max", "probe_distance", "limits", "members_within"])
def test_other_facts_do_not(measure):
    assert object_to_denial(denying(Fact(name="a fact", measure=measure, ours=0.5))) == []


def test_an_entry_that_admits_it_is_right():
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
