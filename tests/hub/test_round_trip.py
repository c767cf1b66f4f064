"""A checkpoint of every kind to the hub and back, by its id, on a machine that has nothing but the registry."""

import hashlib
import inspect
import json
import math
import re
import shutil

from hub_client import BOTH, installation

import memzoo

HOME = """
import memzoo.zoo.registry.registries
memzoo.zoo.registry.registries.home = lambda: Path({!r})
"""
PUBLISH = """
from shared_facts import install
install(Path({facts!r}))  # each fact is measured once in a run of the tests
from memzoo.cli import main
assert main(["publish", "--all", "--namespace", "zoo", "--record", {registry!r}]) == 0
"""


def digest(model):
    """Hash the weights and the images of a model."""
    tensors = [*model.state_dict().items(), ("examples", model.examples), ("probes", model.probes)]
    return hashlib.sha256(b"".join(name.encode() + value.numpy().tobytes() for name, value in tensors)).hexdigest()


LOAD = f"""
import hashlib, json
{inspect.getsource(digest)}
models = {{name: memzoo.load(name) for name in memzoo.list_models() if memzoo.zoo.is_available(name)}}
assert all(model.entry.hub.repository == "zoo/" + name for name, model in models.items())
print("DIGESTS", json.dumps({{name: digest(model) for name, model in models.items()}}))
"""


def one_of_each_kind(most):
    """Return the id of the smallest checkpoint of each kind: within a kind, the same files travel in the same way.

    Args:
        most: Bytes of the largest weights file; None: of any size.
    """
    smallest = {}
    for name in memzoo.list_models():
        entry = memzoo.info(name)
        recipe = entry.recipe
        made = (recipe.stored, recipe.closed_form, recipe.targets, bool(recipe.before))
        kind = (entry.architecture, entry.examples.dataset, bool(entry.steps), entry.training_set is None, *made)
        size = entry.files["model.safetensors"].bytes
        if (most is None or size <= most) and size < smallest.get(kind, (math.inf, ""))[0]:
            smallest[kind] = (size, name)
    chosen = {name for _, name in smallest.values()}
    return [name for name in memzoo.list_models() if name in chosen]


def install_checkpoints(folder, names):
    """Return the registry file of an installation that holds the files of these checkpoints alone."""
    registry = installation(folder, files=True)
    for checkpoint in (registry.parent / "checkpoints").iterdir():
        if checkpoint.name not in names:
            shutil.rmtree(checkpoint)
    assert {checkpoint.name for checkpoint in (registry.parent / "checkpoints").iterdir()} == set(names)
    return registry


def load_all(client, home, **variables):
    """Load all checkpoints in a fresh process, and return the digest of each."""
    return json.loads(client.run(home + LOAD, **variables).partition("DIGESTS ")[2])


def check_loading(client, hub, home, names, wanted):
    """Check that all checkpoints are loaded bit for bit, and again without asking the hub."""
    assert load_all(client, home) == wanted
    asked = len(hub.log)
    nobody = "http://127.0.0.1:9"  # where no server listens
    assert load_all(client, home, HF_HUB_OFFLINE="1", HF_ENDPOINT=nobody) == wanted
    client.run(home + f"for name in {[name for name in names if '-conv' in name]}: memzoo.load(name)")
    assert len(hub.log) == asked  # a commit that is cached asks for nothing


@BOTH
def test_a_checkpoint_of_every_kind_is_published_loaded_bit_for_bit_and_again_without_network(
    hub, client, tmp_path, request, facts_folder
):
    most = 1e5 if request.node.callspec.params["server"] == "lfs" else None  # by Xet with all kinds is enough
    names = one_of_each_kind(most)
    full = install_checkpoints(tmp_path / "full", names)
    bare = installation(tmp_path / "bare", files=False)
    assert len(names) > (5 if most else 15)
    here = HOME.format(str(full.parent))
    there = HOME.format(str(bare.parent))
    publish = here + PUBLISH.format(facts=str(facts_folder), registry=str(full))
    said = client.start(publish).finish(timeout=1200)  # alone, this test measures all facts
    assert len(re.findall(r" published to zoo/\S+, commit ", said)) == len(names)
    heads = {name: hub.head(f"zoo/{name}") for name in names}
    bare.write_text(full.read_text())
    client.empty()

    wanted = {name: digest(memzoo.load(name)) for name in names}
    check_loading(client, hub, there, names, wanted)

    said = client.start(publish).finish(timeout=1200)
    assert said.count("nothing changed") == len(names)
    assert {name: hub.head(f"zoo/{name}") for name in names} == heads
    assert {hub.count(f"zoo/{name}") for name in names} == {2}
