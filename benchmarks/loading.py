"""Time what loading a checkpoint costs beyond building its network, and what importing memzoo adds to Lightning.

Prints a table and writes ``benchmarks/loading.json``. Medians over 20 runs; needs no network.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import memzoo
from memzoo.zoo.loading.building import build

RUNS = 20
IMPORTS = 7


def time_loading() -> dict[str, tuple[float, float, float]]:
    """Measure the milliseconds to load, to build, and the median difference of pairs of both, by id."""
    found = {}
    for id in memzoo.list_models():
        entry = memzoo.info(id)
        training = entry.recipe.training.model_dump()
        pairs = []
        for _ in range(RUNS + 1):
            start = time.perf_counter()
            build(entry.architecture, entry.config, training)
            middle = time.perf_counter()
            memzoo.load(id)
            end = time.perf_counter()
            pairs.append((1e3 * (end - middle), 1e3 * (middle - start)))
        del pairs[0]  # the first run fills caches
        load, built = (statistics.median(side) for side in zip(*pairs, strict=True))
        beyond = statistics.median(a - b for a, b in pairs)
        found[id] = (load, built, beyond)
        print(f"{id:<28} load {load:7.1f} ms   build {built:7.1f} ms   beyond {beyond:6.1f} ms", flush=True)
    return found


def time_importing() -> dict[str, float]:
    """Measure the milliseconds of ``import lightning``, and what ``import memzoo`` adds in the same process."""
    # a process imports a module only once, so that each measurement needs a new one
    code = (
        "import time; a = time.perf_counter(); import lightning; b = time.perf_counter(); import memzoo; "
        "print(1e3 * (b - a), 1e3 * (time.perf_counter() - b))"
    )
    runs = []
    for _ in range(IMPORTS):
        command = [sys.executable, "-W", "ignore", "-c", code]
        printed = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append([float(word) for word in printed.stdout.split()])
    lightning, added = (statistics.median(side) for side in zip(*runs, strict=True))
    print(f"import lightning {lightning:.0f} ms; import memzoo adds {added:.1f} ms")
    return {"lightning": lightning, "memzoo": added}


if __name__ == "__main__":
    results = {"import_ms": time_importing(), "load_build_beyond_ms": time_loading()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
