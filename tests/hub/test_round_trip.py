"""A checkpoint of every kind to the hub and back, by its id, on a machine that has nothing but the registry."""

import hashlib
import json
import math
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
LOAD = """
import hashlib, json
def digest(model):
    tensors = [*model.state_dict().items(), ("examples", model.examples), ("probes", model.probes)]
    parts = [name.encode() + value.numpy().tobytes() for name, value in tensors]
    return hashlib.sha256(b"".join(parts)).hexdigest()
models = {name: memzoo.load(name) for name in memzoo.list_models() if memzoo.zoo.is_available(name)}
assert all(model.entry.hub.repository == "zoo/" + name for name, model in models.items())
print("DIGESTS", json.dumps({name: digest(model) for name, model in models.items()}))
"""


def digest(model):
    tensors = [*model.state_dict().items(), ("examples", model.examples), ("probes", model.probes)]
    return hashlib.sha256(b"".join(name.encode() + value.numpy().tobytes() for name, value in tensors)).hexdigest()


def one_of_each_kind(most):
    """Return the id of the smallest checkpoint of each kind: within a kind, the same files travel in the same way.

    Args:
        most: Bytes of the largest weights file; None: of any size.
    """
    smallest = {}
    for name in memzoo.list_models():
        entry = memzoo.info(name)
        recipe = entry.recipe
        made = recipe.stored, recipe.closed_form, recipe.targets, bool(recipe.before)
        kind = entry.architecture, entry.examples.dataset, bool(entry.steps), entry.training_set is None, *made
        size = entry.files["model.safetensors"].bytes
        if (most is None or size <= most) and size < smallest.get(kind, (math.inf, ""))[0]:
            smallest[kind] = size, name
    chosen = {name for _, name in smallest.values()}
    return [name for name in memzoo.list_models() if name in chosen]


@BOTH
def test_a_checkpoint_of_every_kind_is_published_loaded_bit_for_bit_and_again_without_network(
    hub, client, tmp_path, request, facts_folder
):
    full = installation(tmp_path / "full", files=True)
    bare = installation(tmp_path / "bare", files=False)
    most = 1e5 if request.node.callspec.params["server"] == "lfs" else None  # by Xet with all kinds is enough
    kept = one_of_each_kind(most)
    for folder in (full.parent / "checkpoints").iterdir():
        if folder.name not in kept:
            shutil.rmtree(folder)
    names = [name for name in memzoo.list_models() if (full.parent / "checkpoints" / name).is_dir()]
    assert names == kept
    assert len(names) > (5 if most else 15)
    here, there = HOME.format(str(full.parent)), HOME.format(str(bare.parent))
    publish = here + PUBLISH.format(facts=str(facts_folder), registry=str(full))
    said = client.start(publish).finish(timeout=1200)  # alone, this test measures all facts
    assert said.count("published to zoo/") == len(names)
    heads = {name: hub.head(f"zoo/{name}") for name in names}
    bare.write_text(full.read_text())
    client.empty()

    wanted = {name: digest(memzoo.load(name)) for name in names}
    loaded = client.run(there + LOAD)
    assert json.loads(loaded.partition("DIGESTS ")[2]) == wanted
    asked = len(hub.log)
    loaded = client.run(there + LOAD, HF_HUB_OFFLINE="1", HF_ENDPOINT="http://127.0.0.1:9")  # nobody listens there
    assert json.loads(loaded.partition("DIGESTS ")[2]) == wanted
    client.run(there + f"for name in {[name for name in names if '-conv' in name]}: memzoo.load(name)")
    assert len(hub.log) == asked  # a commit that is cached asks for nothing

    said = client.start(publish).finish(timeout=1200)
    assert said.count("nothing changed") == len(names)
    assert {name: hub.head(f"zoo/{name}") for name in names} == heads
    assert {hub.count(f"zoo/{name}") for name in names} == {2}
