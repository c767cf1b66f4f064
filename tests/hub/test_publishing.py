"""Publishing: one commit, a tag, what was there before is never half replaced."""

import shutil
import threading

import pytest
import yaml
from hub_client import BOTH
from small_checkpoint import small_checkpoint

from memzoo.zoo.cards.model_card import is_ours
from memzoo.zoo.registry.registry_file import read_registry

NAME = "zoo/small-fc"
FILES = {
    ".gitattributes",
    "README.md",
    "config.json",
    "entry.yaml",
    "examples.safetensors",
    "history.json",
    "model.safetensors",
    "step-100.safetensors",
    "training.png",
    "trajectories.png",
}


def files(hub):
    return {entry["path"] for entry in hub.tree(NAME, hub.head(NAME))}


@BOTH
def test_one_commit_with_everything_a_tag_and_a_pin(hub, publication):
    assert files(hub) == FILES
    assert hub.count(NAME) == 2  # the first is the Hub's own, with .gitattributes alone
    assert hub.revision(NAME, "v1") == publication.commit
    pinned = read_registry(publication.registry)["small-fc"].hub
    assert (pinned.repository, pinned.commit, pinned.tag) == (NAME, publication.commit, "v1")
    for name in ("model.safetensors", "config.json", "examples.safetensors", "step-100.safetensors"):
        assert hub.read(NAME, name) == (publication.source / name).read_bytes()


def test_the_card_says_what_the_hub_and_its_reader_need(hub, publication):
    card = hub.read(NAME, "README.md").decode()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["library_name"] == "memzoo"
    assert metadata["license"] == "cc-by-sa-3.0"
    assert "license_name" not in metadata
    assert metadata["datasets"] == ["ylecun/mnist"]
    assert "arxiv:1810.10333" in metadata["tags"]
    (result,) = metadata["model-index"][0]["results"][0]["metrics"]
    assert (result["name"], result["type"]) == ("training loss", "mean_squared_error")
    assert result["value"] == read_registry(publication.registry)["small-fc"].facts[0].ours
    assert "this network reproduces 20 training images of MNIST" in card
    assert 'memzoo.load("hf-hub:zoo/small-fc")' in card
    assert 'memzoo.load("hf-hub:zoo/small-fc", step=100)' in card
    assert "(trajectories.png)" in card
    assert "(training.png)" in card


@BOTH
def test_a_second_time_makes_no_commit(hub, client, publication, small):
    log = len(hub.log)
    said = client.run(f"print(memzoo.publish('small-fc', {NAME!r}))", MEMZOO_REGISTRIES=str(small))
    assert "nothing changed" in said
    assert hub.head(NAME) == publication.commit
    assert not [path for method, path in hub.log[log:] if method in ("POST", "PUT") and "/commit/" in path]


@BOTH
def test_a_change_is_a_new_commit_and_the_next_tag_and_the_old_one_loads_on(hub, client, publication, small):
    small.write_text(small.read_text().replace("title: Small", "title: Smaller"))
    said = client.run(f"print(memzoo.publish('small-fc', {NAME!r}))", MEMZOO_REGISTRIES=str(small))
    assert "changed   README.md" in said
    assert "changed   entry.yaml" in said
    assert "same      model.safetensors" in said
    assert hub.count(NAME) == 3
    assert hub.revision(NAME, "v2") == hub.head(NAME) != publication.commit
    client.run("""
        assert memzoo.load("small-fc").entry.title == "Small"
        assert memzoo.load("small-fc@v2").entry.title == memzoo.load("small-fc@main").entry.title == "Smaller"
        assert memzoo.load("hf-hub:zoo/small-fc").entry.title == "Smaller"
        assert memzoo.load("hf-hub:zoo/small-fc@v1").entry.title == "Small"
    """)


def test_a_dry_run_shows_the_difference_and_changes_nothing(hub, client, publication, small):
    small.write_text(small.read_text().replace("title: Small", "title: Smaller"))
    before = hub.head(NAME)
    log = len(hub.log)
    said = client.run(
        f"""
        from memzoo.cli import main
        assert main(["publish", "small-fc", {NAME!r}, "--dry-run"]) == 0
        assert main(["publish", "small-fc", "zoo/not-there", "--dry-run"]) == 0
        """,
        MEMZOO_REGISTRIES=str(small),
    )
    assert "-Small\n" in said
    assert "+Smaller\n" in said
    assert "new       model.safetensors" in said  # of the repository that is not there
    assert hub.head(NAME) == before
    assert "zoo/not-there" not in hub.private
    assert {method for method, _ in hub.log[log:]} <= {"GET", "HEAD"}


def test_a_card_edited_by_hand_is_kept_until_asked(hub, client, publication, small):
    edited = hub.read(NAME, "README.md").decode().replace("## Facts", "## My own words")
    assert not is_ours(edited)
    hub.write(NAME, {"README.md": edited.encode()})
    small.write_text(small.read_text().replace("title: Small", "title: Smaller"))
    said = client.run(f"print(memzoo.publish('small-fc', {NAME!r}))", MEMZOO_REGISTRIES=str(small))
    assert "README.md was edited by hand and is kept; --overwrite-card replaces it" in said
    assert hub.read(NAME, "README.md").decode() == edited
    assert b"Smaller" in hub.read(NAME, "entry.yaml")
    client.run(f"memzoo.publish('small-fc', {NAME!r}, overwrite_card=True)", MEMZOO_REGISTRIES=str(small))
    assert is_ours(hub.read(NAME, "README.md").decode())


def test_files_that_others_added_stay(hub, client, publication, small):
    hub.write(NAME, {"notes.txt": b"mine"})
    small.write_text(small.read_text().replace("title: Small", "title: Smaller"))
    said = client.run(f"print(memzoo.publish('small-fc', {NAME!r}))", MEMZOO_REGISTRIES=str(small))
    assert "not ours  notes.txt" in said
    assert hub.read(NAME, "notes.txt") == b"mine"


def test_a_fact_that_fails_is_not_published(hub, client, small):
    text = small.read_text()
    small.write_text(text.replace("measure: mean_squared_error,", "measure: mean_squared_error, most: 1.0e-09,"))
    assert small.read_text() != text
    client.run(
        """
        with pytest.raises(errors.PublishError, match="(?s)small-fc is not published, its facts do not hold.*FAIL"):
            memzoo.publish("small-fc", "zoo/refused")
        """,
        MEMZOO_REGISTRIES=str(small),
    )
    assert "zoo/refused" not in hub.private


def test_a_licence_freer_than_the_images_is_not_published(hub, client, small):
    text = small.read_text()
    small.write_text(text.replace("weights: cc-by-sa-3.0", "weights: apache-2.0"))
    assert small.read_text() != text
    client.run(
        """
        with pytest.raises(errors.PublishError, match="'apache-2.0', which is freer than 'cc-by-sa-3.0'"):
            memzoo.publish("small-fc", "zoo/refused")
        """,
        MEMZOO_REGISTRIES=str(small),
    )
    assert "zoo/refused" not in hub.private


def test_terms_of_one_s_own_are_on_the_card(hub, client, small):
    own = "weights: other, license_name: my-terms, license_link: 'https://example.org/terms'"
    text = small.read_text()
    free = text.replace("weights: cc-by-sa-3.0", own).replace("training_images: true", "training_images: false")
    small.write_text(free)  # the images of MNIST ask for their own licence only where the network gives them back
    assert own in free
    assert "training_images: false" in free
    client.run("memzoo.publish('small-fc', 'zoo/own-terms')", MEMZOO_REGISTRIES=str(small))
    card = hub.read("zoo/own-terms", "README.md").decode()
    metadata = yaml.safe_load(card.split("---")[1])
    said = {name: value for name, value in metadata.items() if name.startswith("license")}
    assert said == {"license": "other", "license_name": "my-terms", "license_link": "https://example.org/terms"}
    assert "Weights: other ([my-terms](https://example.org/terms))." in card
    assert "[CC BY-SA 3.0]" in card.split("## Rights")[1]
    hub.delete("zoo/own-terms")


def test_what_a_training_run_wrote_can_be_published_as_it_lies(hub, client, small, tmp_path):
    folder = tmp_path / "runs/small-fc"
    shutil.copytree(small.parent / "checkpoints/small-fc", folder)
    client.run(f"""
        with pytest.raises(errors.UnknownCheckpointError, match="has no entry, so that nobody could tell what it is"):
            memzoo.publish("local-dir:{folder}", "zoo/mine")
    """)
    shutil.copy(small, folder / "entry.yaml")
    client.run(f"""
        result = memzoo.publish("local-dir:{folder}", "zoo/mine", private=True)
        assert result.committed
        assert memzoo.verify("hf-hub:zoo/mine").verdict == "verified"
    """)
    assert hub.private["zoo/mine"]
    hub.delete("zoo/mine")


@BOTH
@pytest.mark.parametrize("where", ["/commit/", "/xet-write-token/|/objects/batch"])
def test_killed_while_publishing_the_old_revision_stays_and_another_try_succeeds(
    hub, client, publication, tmp_path, where
):
    other = small_checkpoint(tmp_path / "next", width=6)
    hub.faults.hold = {where: threading.Event()}
    running = client.start(f"memzoo.publish('small-fc', {NAME!r})", MEMZOO_REGISTRIES=str(other))
    assert hub.faults.held.wait(60)
    running.kill()
    hub.faults.clear()
    assert hub.head(NAME) == publication.commit
    client.run("memzoo.load('small-fc'), memzoo.load('hf-hub:zoo/small-fc')")
    client.run(f"assert memzoo.publish('small-fc', {NAME!r}).committed", MEMZOO_REGISTRIES=str(other))
    assert hub.count(NAME) == 3
    client.run("assert memzoo.load('hf-hub:zoo/small-fc').config.width == 6")


@BOTH
def test_killed_before_the_tag_another_try_only_tags(hub, client, small):
    if NAME in hub.private:
        hub.delete(NAME)
    hub.faults.hold = {"/tag/": threading.Event()}
    running = client.start(f"memzoo.publish('small-fc', {NAME!r})", MEMZOO_REGISTRIES=str(small))
    assert hub.faults.held.wait(60)
    running.kill()
    hub.faults.clear()
    said = client.run(f"print(memzoo.publish('small-fc', {NAME!r}))", MEMZOO_REGISTRIES=str(small))
    assert "nothing changed" in said
    assert hub.count(NAME) == 2
    assert hub.revision(NAME, "v1") == hub.head(NAME)


@BOTH
def test_a_busy_hub_is_asked_again(hub, client, publication, small):
    small.write_text(small.read_text().replace("title: Small", "title: Smaller"))
    hub.faults.status = {"/commit/": [503, 503], "/tag/": [503], "/preupload/": [502]}
    client.run(f"assert memzoo.publish('small-fc', {NAME!r}).tag == 'v2'", MEMZOO_REGISTRIES=str(small))
    assert hub.faults.status == {"/commit/": [], "/tag/": [], "/preupload/": []}
    assert hub.count(NAME) == 3


def test_an_answer_that_is_lost_is_no_failure(hub, client, publication, small):
    small.write_text(small.read_text().replace("title: Small", "title: Smaller"))
    hub.faults.lost = {"/commit/": 1, "/tag/": 1}
    client.run(f"assert memzoo.publish('small-fc', {NAME!r}).tag == 'v2'", MEMZOO_REGISTRIES=str(small))
    assert hub.faults.lost == {"/commit/": 0, "/tag/": 0}
    assert hub.count(NAME) == 3
    assert hub.revision(NAME, "v2") == hub.head(NAME)


def test_somebody_else_s_commit_in_between_is_not_overwritten(hub, client, publication, small):
    small.write_text(small.read_text().replace("title: Small", "title: Smaller"))
    client.run(
        f"""
        from memzoo.zoo.publishing import publication
        heads = [publication.client.find_head({NAME!r})]
        publication.client.find_head = lambda repository: heads[0]
        import huggingface_hub
        huggingface_hub.HfApi().create_commit(
            {NAME!r}, [huggingface_hub.CommitOperationAdd("mine.txt", b"x")], commit_message="mine"
        )
        with pytest.raises(errors.PublishError, match="changed since it was looked at.*run it again"):
            memzoo.publish("small-fc", {NAME!r})
        """,
        MEMZOO_REGISTRIES=str(small),
    )
    assert hub.read(NAME, "mine.txt") == b"x"
    assert b"Smaller" not in hub.read(NAME, "entry.yaml")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "the Hub refuses .401, no token was given.*Set HF_TOKEN"),
        ("hf_wrong", "the Hub refuses .401, the token was refused.*Set HF_TOKEN"),
        ("hf_other", "the Hub refuses .403, the token was refused.*Set HF_TOKEN"),
    ],
)
def test_without_the_right_nothing_is_published(hub, client, small, token, message):
    client.run(
        f"""
        with pytest.raises(errors.HubAccessError, match={message!r}):
            memzoo.publish("small-fc", "zoo/forbidden")
        """,
        MEMZOO_REGISTRIES=str(small),
        HF_TOKEN=token,
    )
    assert "zoo/forbidden" not in hub.private


def test_registry_and_hub_are_compared(hub, client, publication):
    client.run("""
        from memzoo.cli import main
        assert memzoo.zoo.compare_with_hub("small-fc") == ()
        assert main(["verify", "small-fc", "--hub"]) == 0
        (one,) = memzoo.zoo.compare_with_hub("cifar10-d1")
        assert one.kind == "unpublished"
    """)
    hub.write(NAME, {"strange.txt": b"x", "config.json": b"{}"})
    entry = read_registry(publication.registry)["small-fc"]
    text = publication.registry.read_text().replace(publication.commit, hub.head(NAME))
    publication.registry.write_text(text)
    hub.create("zoo/not-in-a-registry", False)
    said = client.run("""
        from memzoo.cli import main
        kinds = [(d.kind, d.what.split()[0]) for d in memzoo.zoo.compare_with_hub("small-fc")]
        assert kinds == [("changed", "config.json"), ("extra", "strange.txt")], kinds
        assert main(["verify", "--all", "--hub"]) == 1
    """)
    assert "extra       zoo/not-in-a-registry is in no registry" in said
    assert entry.files["config.json"].bytes > 2
    hub.commit(NAME, "main", "gone", {}, ["model.safetensors"], None)
    client.run("""
        from memzoo.cli import main
        assert [d.kind for d in memzoo.zoo.compare_with_hub("small-fc")] == ["changed", "extra", "moved"]
    """)
    registry = publication.registry
    registry.write_text(registry.read_text().replace(hub.revision(NAME, "main~1"), hub.head(NAME)))
    client.run("""
        kinds = {d.kind: d.what for d in memzoo.zoo.compare_with_hub("small-fc")}
        assert kinds["missing"].startswith("model.safetensors of zoo/small-fc@")
    """)
    hub.delete("zoo/not-in-a-registry")
    hub.delete(NAME)
    client.run("""
        (one,) = memzoo.zoo.compare_with_hub("small-fc")
        assert one.kind == "missing" and "no such repository" in one.what, one
    """)


def test_another_model_is_not_replaced(hub, client, publication, small):
    hub.create("zoo/foreign", False)
    hub.write("zoo/foreign", {"model.safetensors": b"theirs", "config.json": b"{}"})
    small.write_text(small.read_text().replace("small-fc:", "other-fc:").replace("aliases: [small]", "aliases: []"))
    (small.parent / "checkpoints/small-fc").rename(small.parent / "checkpoints/other-fc")
    client.run(
        f"""
        with pytest.raises(errors.PublishError, match="holds a model that memzoo did not put there, which 'other-fc'"):
            memzoo.publish("other-fc", "zoo/foreign")
        with pytest.raises(errors.PublishError, match="holds the checkpoint 'small-fc', which 'other-fc' does not"):
            memzoo.publish("other-fc", {NAME!r})
        """,
        MEMZOO_REGISTRIES=str(small),
    )
    assert hub.read("zoo/foreign", "model.safetensors") == b"theirs"
    hub.delete("zoo/foreign")


def make_pipe(path, secret):
    import os

    os.mkfifo(path)


@pytest.mark.parametrize(
    "name", ["training.png", "trajectories.png", "model.safetensors", "config.json", "history.json"]
)
@pytest.mark.parametrize(
    "target", ["../private_key", "/etc/hostname", "own.bytes"], ids=["relative", "absolute", "inside"]
)
def test_a_link_is_refused_by_name(hub, client, small, name, target):
    folder = small.parent / "checkpoints/small-fc"
    (small.parent / "checkpoints/private_key").write_text("this stays on the machine")
    (folder / name).rename(folder / "own.bytes")
    (folder / name).symlink_to(target)
    check_refusal(hub, client, small, f"{name} is a symbolic link to .*{target}")


@pytest.mark.parametrize("name", ["training.png", "trajectories.png"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_pipe, "is a folder, a device, a pipe or a socket"),
        (lambda path, secret: path.mkdir(), "is a folder, a device, a pipe or a socket"),
        (lambda path, secret: path.write_text(secret), "is no PNG picture"),
    ],
    ids=["pipe", "folder", "text"],
)
def test_what_is_no_picture_is_refused_by_name(hub, client, small, name, make, message):
    path = small.parent / "checkpoints/small-fc" / name
    path.unlink()
    make(path, "this stays on the machine")
    check_refusal(hub, client, small, f"{name} {message}")


def check_refusal(hub, client, small, message):
    """Publish a checkpoint, and see that nothing is sent."""
    before = len(hub.log)
    client.run(
        f"""
        for dry_run in (True, False):
            with pytest.raises(errors.PublishError, match={message!r}):
                memzoo.publish("small-fc", "zoo/refused", dry_run=dry_run)
        """,
        MEMZOO_REGISTRIES=str(small),
    )
    assert not [path for method, path in hub.log[before:] if method == "POST"]


def test_a_file_that_changes_while_the_facts_are_recomputed_is_not_sent(hub, client, small):
    folder = small.parent / "checkpoints/small-fc"
    client.run(
        f"""
        from memzoo.zoo.publishing import publication
        folder = Path({str(folder)!r})
        before = (folder / "history.json").read_bytes()
        def verify(name):
            (folder / "history.json").write_bytes(b"this stays on the machine")
            return type("Verification", (), dict(ok=True))
        publication.verify = verify
        memzoo.publish("small-fc", "zoo/changing")
        """,
        MEMZOO_REGISTRIES=str(small),
    )
    assert hub.read("zoo/changing", "history.json") != b"this stays on the machine"


def test_what_will_be_sent_is_told_first(hub, client, small):
    client.run(
        """
        told = []
        class Stop(Exception): pass
        def announce(plan):
            told.extend(change.name for change in plan.changes)
            raise Stop
        with pytest.raises(Stop):
            memzoo.publish("small-fc", "zoo/told-first", announce=announce)
        assert "model.safetensors" in told
        """,
        MEMZOO_REGISTRIES=str(small),
    )
    assert "zoo/told-first" not in hub.private
