"""One process of two that train a DDP module in a plain loop: ``python watch_in_processes.py RANK FOLDER``."""

import json
import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from memzoo import Watch

RANK = int(sys.argv[1])
FOLDER = Path(sys.argv[2])
ROWS = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
STARTS = torch.rand(5, 4, generator=torch.Generator().manual_seed(1))
distributed.init_process_group("gloo", init_method=f"file://{FOLDER / 'meeting'}", rank=RANK, world_size=2)

torch.manual_seed(0)
model = DistributedDataParallel(nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4)))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
handed_over = []
options = {"every": 2, "steps": 20, "eps": 1.0}
sampled = Watch(model, starts=STARTS, on_measure=handed_over.append, **options)
given = Watch(model, ROWS, STARTS, **options)
alone = Watch(model, ROWS, STARTS, shared=False, **options) if RANK == 1 else None
own = ROWS[RANK::2]
for _ in range(6):
    loss = nn.functional.mse_loss(model(own), own)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    sampled.step(own, loss=loss)
    given.step(loss=loss)
    if alone is not None:
        alone.step()

state = [sampled.examples.sort(0).values.tolist(), sampled.leaks, sampled.memorized]
found = {
    "sampled": sampled.history,
    "given": given.history,
    "alone": None if alone is None else alone.history,
    "state": state,
    "handed_over": len(handed_over),
}
(FOLDER / f"{RANK}.json").write_text(json.dumps(found))
distributed.destroy_process_group()
