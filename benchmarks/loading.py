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
from memzoo.zoo.loading.loader import build

RUNS, IMPORTS = 20, 7


def loading() -> dict[str, tuple[float, float, float]]:
    """Milliseconds to load, to build, and the median difference of pairs, by id."""
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
            pairs.append((1e3 * (time.perf_counter() - middle), 1e3 * (middle - start)))
        load, built = (statistics.median(side) for side in zip(*pairs[1:], strict=True))
        found[id] = (load, built, statistics.median(a - b for a, b in pairs[1:]))
        print(f"{id:<28} load {load:7.1f} ms   build {built:7.1f} ms   beyond {found[id][2]:6.1f} ms", flush=True)
    return found


def importing() -> dict[str, float]:
    """Milliseconds of ``import lightning`` alone, and what ``import memzoo`` adds in the same process."""
    code = (
        "import time; a = time.perf_counter(); import lightning; b = time.perf_counter(); import memzoo; "
        "print(1e3 * (b - a), 1e3 * (time.perf_counter() - b))"
    )
    runs = []
    for _ in range(IMPORTS):
        printed = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
        )
        runs.append([float(word) for word in printed.stdout.split()])
    lightning, added = (statistics.median(side) for side in zip(*runs, strict=True))
    print(f"import lightning {lightning:.0f} ms; import memzoo adds {added:.1f} ms")
    return {"lightning": lightning, "memzoo": added}


if __name__ == "__main__":
    results = {"import_ms": importing(), "load_build_beyond_ms": loading()}
    Path(__file__).with_suffix(".json").write_text(json.dumps(results, indent=2) + "\n")
