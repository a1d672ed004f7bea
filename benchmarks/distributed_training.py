"""One network trained by one process and by two that share every batch: the same losses, and how fast; writes JSON.

    .venv/bin/python benchmarks/distributed_training.py [--steps 50]

Each training takes 50 steps on images of the data set with the settings of the study or the detector. Losses are compared step
by step: with one process of as many threads; with one that accumulates two parts, and so rounds where two processes round; in
double precision, which leaves only the question whether both do the same. Beside it what another number of threads changes. The
two processes have one thread each; one process has one thread, or two. What opens ports runs in a network of its own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))
import own_network

# Name, configuration, changes to its training, and to the side of its images (0 for its own).
TRAININGS = {
    "cnn fp32": ("cnn_3_classes", {"precision": "fp32"}),
    "cnn fp32, 2 accumulated": ("cnn_3_classes", {"precision": "fp32", "accumulate": 2}),
    "cnn bf16": ("cnn_3_classes", {"precision": "bf16"}),
    "cnn bf16, 2 accumulated": ("cnn_3_classes", {"precision": "bf16", "accumulate": 2}),
    "nano fp32": ("nano", {"precision": "fp32"}),
    "nano fp64": ("nano", {"precision": "fp32"}),
}
ACCUMULATED = ", 2 accumulated"
# Processes and threads of each.
CREWS = {"one process, one thread": (1, 1), "one process, two threads": (1, 2), "two processes": (2, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--only", nargs="*", default=list(TRAININGS))
    parser.add_argument("--out", type=Path, default=Path("results/speed/team.json"))
    parser.add_argument("--crew", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.crew:
        return as_crew(options.crew[0], options.crew[1], options.only, options.steps, options.told)
    own_network.enter()
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        # Both processes of a team write into the same one.
        os.environ["PNEUMOSCOPE_TEAM_FOLDER"] = folder
        for crew, (processes, threads) in CREWS.items():
            told = Path(folder) / f"{crew}.json"
            command = [sys.executable, __file__, "--crew", str(processes), str(threads), "--steps", str(options.steps)]
            names = [name for name in options.only if ACCUMULATED not in name or (processes, threads) == (1, 1)]
            subprocess.run([*command, "--told", str(told), "--only", *names], check=True)
            found[crew] = json.loads(told.read_text())
    whole = [name for name in options.only if ACCUMULATED not in name]
    measured = {name: compared({crew: found[crew][name] for crew in CREWS}) for name in whole}
    for name in whole:
        if (parts := found["one process, one thread"].get(name + ACCUMULATED)) is not None:
            between = apart(found["two processes"][name]["losses"], parts["losses"])
            measured[name]["two processes against one that accumulates two"] = between
    write_json(
        options.out, {"steps": options.steps, "measured": measured} | provenance("benchmarks/distributed_training.py")
    )
    print(json.dumps(measured, indent=1))
    return 0


def compared(crews):
    one, threads, two = (crews[name] for name in CREWS)
    return {
        "two processes against one": apart(two["losses"], one["losses"]),
        "one thread against two": apart(one["losses"], threads["losses"]),
        "films a second": {crew: told["rate"] for crew, told in crews.items()},
        "two processes against one with one thread": two["rate"] / one["rate"],
        "two processes against one with two threads": two["rate"] / threads["rate"],
    }


def apart(losses, others):
    return max(abs(one - other) for one, other in zip(losses, others, strict=True))


def as_crew(processes, threads, names, steps, told):
    """One of the processes of a crew; the first writes the losses and the rate of every training."""
    from pneumoscope.training.allocator import keep_freed_memory

    keep_freed_memory()
    import torch

    from pneumoscope.training import distributed

    torch.set_num_threads(threads)
    distributed.launch(processes)
    torch.set_num_threads(threads)
    found = {}
    for name in names:
        began = time.perf_counter()
        found[name] = trained(name, steps)
        if distributed.is_first_rank():
            print(processes, threads, name, f"{time.perf_counter() - began:.0f} s", flush=True)
    if distributed.is_first_rank():
        told.write_text(json.dumps(found))
    return 0


def trained(name, steps):
    import torch

    from pneumoscope import paths
    from pneumoscope.configs import shipped_config
    from pneumoscope.data.dataset import load_dataset
    from pneumoscope.data.labelled import LabelledImages, labelled_images
    from pneumoscope.data.locate import locate
    from pneumoscope.training import distributed, precision
    from pneumoscope.training.callbacks import SilentObserver
    from pneumoscope.training.loop import train
    from pneumoscope.training.networks import InitialWeights, build_network, find_pretrained
    from pneumoscope.training.run_folder import RunFolder
    from pneumoscope.types import Split

    class Timed(SilentObserver):
        def __init__(self):
            self.losses, self.times = [], []

        def advance(self, parts, loss=None):
            if loss is not None:
                self.losses.append(loss)
                self.times.append((time.perf_counter(), parts))

    said, changes = TRAININGS[name]
    config = shipped_config(said)
    config = config.with_training(epochs=1, odd_repeats=1, **changes)
    config = replace(config, split=replace(config.split, by="patient"))
    if "nano fp64" in name:  # smaller, or it would take an hour
        config = replace(config, model=replace(config.model, input_side=64))
    dataset = distributed.first_rank_then_others(
        lambda: load_dataset(locate(None).root, config.preprocessing, config.split, paths.images_directory())
    )
    every = labelled_images(dataset, Split.TRAIN, config.model.classes)
    chosen = slice(0, None, len(every) // (steps * config.training.batch_size) or 1)
    count = steps * config.training.batch_size
    images = LabelledImages(every.images, every.positions[chosen][:count], every.labels[chosen][:count])
    few = LabelledImages(every.images, every.positions[:8], every.labels[:8])
    usual = precision._FABRIC_NAMES["fp32"], torch.Tensor.float
    if "fp64" in name:  # for this question alone: no configuration trains so
        precision._FABRIC_NAMES["fp32"], torch.Tensor.float = "64-true", torch.Tensor.double
    try:
        observer = Timed()
        shared = Path(os.environ["PNEUMOSCOPE_TEAM_FOLDER"]) if distributed.world_size() > 1 else None
        with tempfile.TemporaryDirectory() as own:
            run = RunFolder((shared or Path(own)) / name.replace(" ", "-"))
            distributed.on_first_rank(lambda: run.start(config, {}, False))
            model = build_network(config, InitialWeights(pretrained=find_pretrained(config.model.architecture, None)))
            train(model, images, few, config, run, run.path / "features", observer)
    finally:
        precision._FABRIC_NAMES["fp32"], torch.Tensor.float = usual
    # The first steps allocate what the others find.
    seconds = [later[0] - earlier[0] for earlier, later in zip(observer.times, observer.times[1:], strict=False)][3:]
    rate = statistics.median(config.training.batch_size / each for each in seconds)
    return {"losses": observer.losses, "rate": rate}


if __name__ == "__main__":
    sys.exit(main())
