"""What each trick of a training step of model 2 brings, alone and together; writes JSON.

    .venv/bin/python benchmarks/allocator.py [--rounds 3]

Every setting runs in a process of its own, all settings in every round.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

STEP = """
import json, sys, time
settings = set(sys.argv[1].split(","))
if "kept memory" in settings:
    from pneumoscope.training.allocator import keep_freed_memory
    keep_freed_memory()
import torch
from torch import nn
from pneumoscope.models.cnn import build_cnn
from pneumoscope.training.optimiser import KerasAdam
model = build_cnn(3, 0)
if "pooling first" not in settings:
    for block in (model.head[0],):
        for i in range(1, len(block), 3):
            block[i], block[i + 1] = nn.ReLU(), nn.MaxPool2d(2)
if "channels last" in settings:
    model.to(memory_format=torch.channels_last)
films = torch.rand(64, 224, 224, 1 if "one channel" in settings else 3).permute(0, 3, 1, 2)
if "channels last" not in settings:
    films = films.contiguous()
label = torch.randint(0, 3, (64,))
optimiser = KerasAdam(model.parameters(), 1e-4, 1e-5)
seconds = []
for step in range(9):
    began = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in settings):
        loss = nn.functional.cross_entropy(model(films).float(), label)
    optimiser.zero_grad()
    loss.backward()
    optimiser.before_step(step)
    optimiser.step()
    seconds.append(time.perf_counter() - began)
print(json.dumps(64 / sorted(seconds[2:])[3]))
"""
TRICKS = ("channels last", "kept memory", "bf16", "pooling first", "one channel")


def main():
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("results/speed/allocator.json"))
    options = parser.parse_args()
    ladder = [TRICKS[:count] for count in range(len(TRICKS) + 1)]
    without = [tuple(t for t in TRICKS if t != left_out) for left_out in TRICKS]
    rates = {",".join(tricks): [] for tricks in (*ladder, *without)}
    for _ in range(options.rounds):
        for tricks, values in rates.items():
            done = subprocess.run([sys.executable, "-c", STEP, tricks], capture_output=True, text=True, check=True)
            values.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{tricks or 'nothing'}: {values[-1]:.0f} img/s", file=sys.stderr, flush=True)
    record = {
        "batch_size": 64,
        "images_per_second": {
            tricks or "nothing": {"median": statistics.median(values), "values": values}
            for tricks, values in rates.items()
        },
    }
    made = provenance("benchmarks/allocator.py")
    write_json(options.out, record | made)
    print(options.out)


if __name__ == "__main__":
    main()
