"""Operations and bytes of a training step against the machine's measured rates of matrix product and copy; writes JSON.

    .venv/bin/python benchmarks/roofline.py

Operations are those of the convolutions and dense layers: forward, gradient of the weights, gradient of the input (which
the first layer does not need). Bytes are the least that must move: every map written once and read by the next layer,
and the same again backwards; pooling reads four times what it writes. The roof of a step is the larger of the two times.
"""

import argparse
import statistics
import time
from pathlib import Path

from pneumoscope.training.allocator import keep_freed_memory

keep_freed_memory()

import torch  # noqa: E402
from torch import nn  # noqa: E402

from pneumoscope.files import write_json  # noqa: E402
from pneumoscope.models.cnn import build_cnn  # noqa: E402
from pneumoscope.provenance import provenance  # noqa: E402
from pneumoscope.training.batches import as_network_input  # noqa: E402
from pneumoscope.training.optimiser import KerasAdam  # noqa: E402
from pneumoscope.training.precision import dtype_of, resolve_precision  # noqa: E402

BATCH = 64


def seconds_of(work, rounds=15):
    work()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return seconds


def machine_rates(dtype):
    split = 3072
    a, b = torch.randn(split, split).to(dtype), torch.randn(split, split).to(dtype)
    block = torch.zeros(256 << 20, dtype=torch.uint8)
    target = torch.empty_like(block)
    return {
        # The best of many: a roof is what the machine can do when nothing else asks for it.
        "operations_per_second": 2 * split**3 / min(seconds_of(lambda: a @ b)),
        # A copy reads and writes every byte.
        "bytes_per_second": 2 * block.numel() / min(seconds_of(lambda: target.copy_(block))),
    }


def step_of(model, dtype):
    optimiser = KerasAdam(model.parameters(), 1e-4, 1e-5)
    images = as_network_input(torch.randint(0, 256, (BATCH, 224, 224), dtype=torch.uint8).numpy())
    label = torch.randint(0, 3, (BATCH,))
    done = 0

    def step():
        nonlocal done
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            loss = nn.functional.cross_entropy(model(images).float(), label)
        optimiser.zero_grad()
        loss.backward()
        optimiser.before_step(done)
        optimiser.step()
        done += 1

    return step


def count(model, width):
    """Operations and bytes of one training step of a batch, layer by layer."""
    operations = moved = 0
    maps = torch.zeros(1, 1, 224, 224)
    first = True
    for layer in [*model.head[0], *model.head[1:]]:
        out = layer(maps)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            products = out.numel() * layer.weight[0].numel()
            if first:
                products //= 3  # three equal channels are convolved as one
            operations += 2 * products * (2 if first else 3)
            first = False
        moved += 2 * (maps.numel() + out.numel())  # forwards and backwards
        maps = out
    return operations * BATCH, moved * width * BATCH


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/speed/roofline.json"))
    options = parser.parse_args()
    dtype = dtype_of(resolve_precision("auto"))
    rates = machine_rates(dtype)
    model = build_cnn(3, 0).to(memory_format=torch.channels_last)
    operations, moved = count(model, dtype.itemsize)
    bounds = {
        "arithmetic_seconds": operations / rates["operations_per_second"],
        "memory_seconds": moved / rates["bytes_per_second"],
    }
    seconds = statistics.median(seconds_of(step_of(model, dtype)))
    record = {
        "model": "cnn, 3 classes",
        "batch_size": BATCH,
        "dtype": str(dtype),
        "machine_rates": rates,
        "operations_per_step": operations,
        "bytes_per_step": moved,
        **bounds,
        "step_seconds": seconds,
        "images_per_second": BATCH / seconds,
        "share_of_the_roof": max(bounds.values()) / seconds,
    }
    made = provenance("benchmarks/roofline.py")
    write_json(options.out, record | made)
    print(options.out)


if __name__ == "__main__":
    main()
