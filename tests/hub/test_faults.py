"""Whatever goes wrong on the way: another try that succeeds, or a clear error with nothing lost."""

import threading

import pytest
from hub_client import BOTH, publish
from small_checkpoint import small_checkpoint

from memzoo.zoo.registry.files import describe
from memzoo.zoo.registry.registry_file import read_registry, replace_entry

NAME = "zoo/small-fc"
WORKS = "memzoo.load('small-fc')"
UNPRIVILEGED = """
import ctypes, struct
header, nothing = struct.pack("<Ii", 0x20080522, 0), bytes(24)
assert ctypes.CDLL(None, use_errno=True).capset(header, nothing) == 0  # a root that asks the permissions, too
"""


def blob(client, name):
    """Find the real file behind a name in the cache."""
    (path,) = client.cache.glob(f"models--zoo--small-fc/snapshots/*/{name}")
    return path.resolve()


def damage(path, where=0.7):
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 1
    path.write_bytes(content)


# What lies in the cache -----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "examples.safetensors"])
def test_a_bit_that_flipped_in_the_cache_is_found_and_fetched_again(client, publication, name):
    client.run(WORKS)
    damage(blob(client, name))
    client.run(f"""
        with pytest.warns(UserWarning, match="{name} has SHA-256 .*the registry says.*It is fetched again"):
            memzoo.load("small-fc")
        memzoo.load("small-fc")  # mended
    """)
    expected = (publication.source / name).read_bytes()
    assert blob(client, name).read_bytes() == expected


def test_a_bit_that_flipped_without_network_is_an_error_that_says_so(client, publication):
    client.run(WORKS)
    damage(blob(client, "model.safetensors"))
    client.run(
        """
        with pytest.warns(UserWarning), pytest.raises(
            errors.CorruptCheckpointError, match="has SHA-256.*Fetching it again failed.*HF_HUB_OFFLINE forbids"
        ):
            memzoo.load("small-fc")
        """,
        HF_HUB_OFFLINE="1",
    )
    client.run("with pytest.warns(UserWarning): memzoo.load('small-fc')")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda old: old[:-200], "has .* bytes, the registry says .*: cut short"),
        (lambda old: b"<!DOCTYPE html><html>Sign in</html>", "is an HTML page, not weights"),
        (
            lambda old: b"\x80\x02}q\x00(X\x01\x00\x00\x00ae.",
            "is a pickle .* was not opened: a pickle can run any code",
        ),
        (lambda old: b"PK\x03\x04" + old[4:], "is a pickle .* was not opened: a pickle can run any code"),
        (lambda old: b"", "has 0 bytes, the registry says .*: cut short"),
    ],
)
def test_another_content_in_the_cache_is_named_and_fetched_again(client, publication, content, message):
    client.run(WORKS)
    path = blob(client, "model.safetensors")
    path.write_bytes(content(path.read_bytes()))
    client.run(f"with pytest.warns(UserWarning, match={message!r}): memzoo.load('small-fc')")
    client.run(WORKS)


# What lies on the hub -------------------------------------------------------------------------------------------------


def pin(hub, publication, files):
    """Write files to the hub by hand, and pin that commit as if it were the one that was published."""
    commit = hub.write(NAME, files)
    publication.registry.write_text(publication.registry.read_text().replace(publication.commit, commit))


@BOTH
@pytest.mark.parametrize("kind", ["flipped", "truncated", "html"])
def test_another_content_on_the_hub_is_refused_after_a_second_try(hub, client, publication, kind):
    weights = (publication.source / "model.safetensors").read_bytes()
    flipped = bytearray(weights)
    flipped[-7] ^= 4
    content = {"flipped": bytes(flipped), "truncated": weights[:-100], "html": b"<html>moved</html>"}[kind]
    pin(hub, publication, {"model.safetensors": content})
    client.run("""
        with pytest.warns(UserWarning, match="fetched again"), pytest.raises(
            errors.CorruptCheckpointError, match="came the same: what lies there is not what was publi.*verify"
        ):
            memzoo.load("small-fc")
    """)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("tensors.pop('net.1.bias')", r"missing \['net.1.bias'\], unexpected nothing"),
        ("tensors['extra'] = torch.zeros(2)", r"missing nothing, unexpected \['extra'\]"),
        ("config['config']['activation'] = 'gelu'", "registry FullyConnected .*restore whichever was edited"),
    ],
)
def test_another_network_on_the_hub_is_refused_even_with_matching_hashes(hub, client, publication, change, message):
    import json

    import torch  # noqa: F401 - for the change
    from safetensors.torch import load_file, save_file

    tensors = load_file(publication.source / "model.safetensors")
    config = json.loads((publication.source / "config.json").read_text())
    exec(change)
    save_file(tensors, publication.source / "model.safetensors")
    (publication.source / "config.json").write_text(json.dumps(config))
    names = ("model.safetensors", "config.json")
    files = {name: (publication.source / name).read_bytes() for name in names}
    pin(hub, publication, files)
    entry = read_registry(publication.registry)["small-fc"]
    hashes = {**entry.files, **{name: describe(publication.source / name) for name in names}}
    replace_entry(entry.model_copy(update={"files": hashes}), publication.registry)
    client.run(f"""
        with pytest.raises(errors.CorruptCheckpointError, match={message!r}):
            memzoo.load("small-fc")
    """)


def test_a_changed_activation_with_everything_else_adjusted_fails_the_fingerprint(hub, client, publication):
    import json

    config = json.loads((publication.source / "config.json").read_text())
    config["config"]["activation"] = "gelu"
    content = json.dumps(config).encode()
    pin(hub, publication, {"config.json": content})
    (publication.source / "config.json").write_bytes(content)
    entry = read_registry(publication.registry)["small-fc"]
    update = {
        "files": {**entry.files, "config.json": describe(publication.source / "config.json")},
        "config": config["config"],
    }
    replace_entry(entry.model_copy(update=update), publication.registry)
    client.run("""
        with pytest.raises(errors.FingerprintError, match="weights fit, but the network computes another function"):
            memzoo.load("small-fc")
    """)


def test_a_file_that_is_not_there(hub, client, publication):
    commit = hub.commit(NAME, "main", "gone", {}, ["model.safetensors"], None)
    publication.registry.write_text(publication.registry.read_text().replace(publication.commit, commit))
    client.run("""
        with pytest.raises(errors.CheckpointMissingError, match="model.safetensors of zoo/small.*no such file in it"):
            memzoo.load("small-fc")
    """)


def test_a_commit_that_is_not_there(client, publication):
    text = publication.registry.read_text().replace(publication.commit, "f" * 40)
    publication.registry.write_text(text)
    client.run("""
        with pytest.raises(errors.CheckpointMissingError, match="@ffffffff: the Hub has no such revision.*verify"):
            memzoo.load("small-fc")
        with pytest.raises(errors.CheckpointMissingError, match="@v7: the Hub has no such revision"):
            memzoo.load("small-fc@v7")
    """)


def test_a_deleted_repository_and_what_was_cached_stays(hub, client, publication):
    client.run(WORKS)
    hub.delete(NAME)
    client.run(WORKS)
    client.empty()
    client.run("""
        with pytest.raises(errors.CheckpointMissingError, match="the Hub has no such repository, or it is private"):
            memzoo.load("small-fc")
        with pytest.raises(errors.CheckpointMissingError, match="the Hub has no such repository, or it is private"):
            memzoo.load("hf-hub:zoo/small-fc")
    """)


@BOTH
def test_a_private_repository(hub, client, publication):
    hub.private[NAME] = True
    for token, message in (
        ("", "the Hub refuses .401, no token was given.*Set HF_TOKEN"),
        ("hf_wrong", "the Hub refuses .401, the token was refused.*Set HF_TOKEN"),
    ):
        client.run(
            f"with pytest.raises(errors.HubAccessError, match={message!r}): memzoo.load('small-fc')", HF_TOKEN=token
        )
    client.run(
        "with pytest.raises(errors.CheckpointMissingError, match='or it is private'): memzoo.load('small-fc')",
        HF_TOKEN="hf_other",
    )
    client.run(WORKS)  # with the right one


# The way between ------------------------------------------------------------------------------------------------------


@BOTH
def test_a_busy_hub_is_asked_again(hub, client, publication):
    hub.faults.status = {"/resolve/.*model": [503, 503], "/resolve/.*config": [503, 503]}
    client.run(WORKS)
    assert hub.faults.status == {"/resolve/.*model": [], "/resolve/.*config": []}


def test_an_entry_that_cannot_be_had_just_now_does_not_turn_the_checks_off(hub, client, publication):
    hub.faults.status = {"/resolve/.*entry.yaml": [503] * 100}
    client.run(
        """
        import time
        time.sleep = lambda seconds: None
        with pytest.raises(errors.HubUnreachableError, match="entry.yaml of zoo/small-fc@.*answers 503"):
            memzoo.load("hf-hub:zoo/small-fc@main")
    """,
        MEMZOO_REGISTRIES="",
    )
    hub.faults.clear()
    client.run("assert memzoo.load('hf-hub:zoo/small-fc@main').entry.id == 'small-fc'", MEMZOO_REGISTRIES="")
    commit = hub.commit(NAME, "main", "without an entry", {}, ["entry.yaml"], None)
    for offline in ("", "1"):  # that there is none is remembered
        client.run(
            f"assert memzoo.load('hf-hub:zoo/small-fc@{commit}').entry is None",
            MEMZOO_REGISTRIES="",
            HF_HUB_OFFLINE=offline,
        )


def test_what_the_caller_is_handling_is_not_taken_for_the_reason(client, publication):
    client.run(
        """
        import time
        time.sleep = lambda seconds: None
        try:
            raise OSError(28, "no space left", "/x")
        except OSError:
            with pytest.raises(errors.HubUnreachableError, match="cannot be reached"):
                memzoo.load("small-fc")
        """,
        HF_ENDPOINT="http://127.0.0.1:9",
    )


def test_a_hub_that_stays_down_is_an_error_and_later_it_works(hub, client, publication):
    hub.faults.status = {"/resolve/": [503] * 100}
    client.run("""
        import time
        time.sleep = lambda seconds: None  # the client waits for half a minute
        with pytest.raises(errors.HubUnreachableError, match="answers 503.*try again.*what was fetched before stays"):
            memzoo.load("small-fc")
    """)
    hub.faults.clear()
    client.run(WORKS)


def test_no_network(client, publication):
    nobody = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    client.run(
        """
        import time
        time.sleep = lambda seconds: None
        for name in ("small-fc", "small-fc@v1", "hf-hub:zoo/small-fc"):
            with pytest.raises(errors.HubUnreachableError, match="127.0.0.1:9. cannot be reached.*Check the conn"):
                memzoo.load(name)
        """,
        **nobody,
    )
    client.run(
        """
        with pytest.raises(errors.HubUnreachableError, match="not in the cache.*HF_HUB_OFFLINE.*memzoo download --all"):
            memzoo.load("small-fc")
        """,
        HF_HUB_OFFLINE="1",
    )
    everything = "for name in ('small-fc', 'small-fc@v1', 'small', 'hf-hub:zoo/small-fc'): memzoo.load(name)"
    client.run(everything)
    client.run(everything, HF_HUB_OFFLINE="1")
    client.run("import time; time.sleep = lambda seconds: None\n" + everything, **nobody)


@BOTH
def test_a_download_that_is_cut_above_ten_mebibytes_goes_on(hub, client, tmp_path):
    publication = publish(hub, client, small_checkpoint(tmp_path / "own", width=2000))
    assert (publication.source / "model.safetensors").stat().st_size > 11 * 2**20
    # the client writes its file in pieces of ten mebibytes: the first cut comes behind one
    hub.faults.cut = [10 * 2**20 + 5000, 2**19]
    client.run(WORKS)
    if not hub.xet:  # the storage of the other is a folder, there is nothing to cut
        assert hub.faults.cut == []


def test_a_server_without_xet_says_what_to_do(hub, client, small):
    before = hub.xet
    hub.xet = False
    try:
        client.run(
            """
            import time
            time.sleep = lambda seconds: None
            with pytest.raises(errors.HubUnreachableError, match="A server without Xet needs HF_HUB_DISABLE_XET=1"):
                memzoo.publish("small-fc", "zoo/no-xet")
            """,
            MEMZOO_REGISTRIES=str(small),
            HF_HUB_DISABLE_XET="",
        )
        client.run(
            "memzoo.publish('small-fc', 'zoo/no-xet'); memzoo.load('hf-hub:zoo/no-xet')",
            MEMZOO_REGISTRIES=str(small),
            HF_HUB_DISABLE_XET="1",
        )
    finally:
        hub.xet = before
        if "zoo/no-xet" in hub.private:
            hub.delete("zoo/no-xet")


@BOTH
def test_a_full_disk(client, publication):
    client.run("""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))
        with pytest.raises(errors.StorageError, match="could not be stored, the disk or a quota is full.*HF_HOME"):
            memzoo.load("small-fc")
    """)
    assert not list(client.cache.glob("**/*.incomplete"))
    client.run(WORKS)


@BOTH
def test_a_read_only_cache(client, publication):
    client.run(WORKS)
    folders = [client.cache.parent, *(path for path in client.cache.parent.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        client.run(UNPRIVILEGED + WORKS, MEMZOO_DIR=str(client.cache / "not-writable"))
        client.run(
            UNPRIVILEGED
            + """
with pytest.raises(errors.StorageError, match="step-100.* not in the cache, and the cache cannot be written.*HF_HOME"):
    memzoo.load("small-fc", step=100)
"""
        )
        damage(blob(client, "model.safetensors"))
        client.run(
            UNPRIVILEGED
            + """
with pytest.warns(UserWarning), pytest.raises(errors.CorruptCheckpointError, match="read-only: its owner must"):
    memzoo.load("small-fc")
"""
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)


@BOTH
def test_killed_while_downloading(hub, client, publication):
    hub.faults.hold = {"/_lfs/|/xet-read-token/": threading.Event()}
    running = client.start(WORKS)
    assert hub.faults.held.wait(60)
    running.kill()
    hub.faults.clear()
    client.run(WORKS)
    expected = (publication.source / "model.safetensors").read_bytes()
    assert blob(client, "model.safetensors").read_bytes() == expected


def test_killed_in_the_middle_of_a_body(hub, client, tmp_path):
    publication = publish(hub, client, small_checkpoint(tmp_path / "own", width=2000))
    client.variables["HF_HUB_DISABLE_XET"] = "1"
    hub.faults.stall = (10 * 2**20 + 5000, threading.Event())
    running = client.start(WORKS)
    assert hub.faults.held.wait(60)
    running.kill()
    hub.faults.clear()
    assert list(client.cache.glob("**/*.incomplete"))  # half of it has arrived
    client.run(WORKS)
    expected = (publication.source / "model.safetensors").read_bytes()
    assert blob(client, "model.safetensors").read_bytes() == expected


@BOTH
def test_eight_processes_at_once(hub, client, publication):
    for damaged in (False, True):  # nothing cached, then a damaged file
        before = len(hub.log)
        running = [client.start("warnings.simplefilter('ignore'); memzoo.load('small-fc')") for _ in range(8)]
        for process in running:
            process.finish()
        fetched = [path.partition("?")[0] for method, path in hub.log[before:] if method == "GET" and "/_lfs/" in path]
        assert damaged or len(fetched) == len({*fetched}), "a file was fetched twice"
        expected = (publication.source / "model.safetensors").read_bytes()
        assert blob(client, "model.safetensors").read_bytes() == expected
        damage(blob(client, "model.safetensors"))
