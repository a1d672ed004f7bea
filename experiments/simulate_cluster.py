"""A thousand workers that nobody has at hand: scoring simulated, with failures and stragglers, calibrated on this machine; writes JSON.

    .venv/bin/python experiments/simulate_cluster.py [--out results/experiments/cluster_simulation.json]

Measured first, here: how long one core takes for a partition and how much that varies (the local engine with one process), how
long a worker takes to start and how many partitions a second Ray Data hands out (with workers that do nothing). The rest are
assumptions, and named so in the JSON: how often nodes fail, how soon that is noticed, how soon there is another, how many are
slow. The simulated cluster works as the real one does: a free worker is handed a partition, one at a time by the driver; a dead
worker's partition is handed out again; nothing else is lost. Then the same simulation of the machine that was measured is held
against the measurement.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import own_network

PROGRAM = str(Path(sys.executable).with_name("pneumoscope"))
HOUR = 3600.0


@dataclass(frozen=True)
class Setting:
    """A cluster and its work; seconds unless said otherwise."""

    nodes: int = 32
    workers_per_node: int = 32
    images: int = 1_000_000_000
    partition_images: int = 10_000
    # Measured.
    image: float = 0.01
    spread: float = 0.0  # of a partition's time, standard deviation of its logarithm
    start: float = 5.0
    handing_out: float = 0.0  # by the driver, one partition after the other
    # Assumed.
    node_fails_every_hours: float = float("inf")
    worker_fails_every_hours: float = float("inf")
    noticed: float = 30.0
    replaced: float = 300.0
    slow_nodes: float = 0.0  # share
    slowness: float = 4.0
    copies: bool = False  # an idle worker does again what is under way; whoever is first counts

    @property
    def workers(self):
        return self.nodes * self.workers_per_node

    @property
    def partitions(self):
        return -(-self.images // self.partition_images)


def simulated(setting, seed=0):
    """Seconds until everything is in place, and what was lost on the way."""
    import simpy

    env, rng = simpy.Environment(), random.Random(seed)
    driver = simpy.Resource(env)
    queue = list(range(setting.partitions))[::-1]
    under_way, done = {}, set()
    told = {"failures": 0, "lost_worker_seconds": 0.0, "half_done_at": 0.0, "last_handed_out_at": 0.0}
    finished, more = env.event(), [env.event()]

    def wake():
        event, more[0] = more[0], env.event()
        event.succeed()

    def give_back(partition):
        yield env.timeout(setting.noticed)
        if partition not in done:
            queue.append(partition)
            wake()

    def next_partition():
        if queue:
            return queue.pop()
        if setting.copies:
            alone = [each for each, copies in under_way.items() if copies == 1 and each not in done]
            return rng.choice(alone) if alone else None
        return None

    def worker(slowness):
        down = setting.start
        while True:
            began = partition = None
            try:
                yield env.timeout(down)
                down = 0.0
                partition = next_partition()
                if partition is None:
                    yield more[0]
                    continue
                under_way[partition] = under_way.get(partition, 0) + 1
                began = env.now
                with driver.request() as turn:
                    yield turn
                    yield env.timeout(setting.handing_out)
                told["last_handed_out_at"] = env.now
                usual = setting.partition_images * setting.image * slowness
                yield env.timeout(usual * rng.lognormvariate(-(setting.spread**2) / 2, setting.spread))
                done.add(partition)
                under_way.pop(partition, None)
                if len(done) == setting.partitions // 2:
                    told["half_done_at"] = env.now
                if len(done) == setting.partitions and not finished.triggered:
                    finished.succeed()
            except simpy.Interrupt as failure:
                told["failures"] += 1
                if began is not None and partition not in done:
                    told["lost_worker_seconds"] += env.now - began
                    under_way[partition] = under_way.get(partition, 1) - 1
                    env.process(give_back(partition))
                down = failure.cause + setting.start

    def fails(victims, hours, pause):
        while True:
            yield env.timeout(rng.expovariate(1 / (hours * HOUR)))
            for victim in victims:
                if victim.is_alive:
                    victim.interrupt(pause)

    slow = set(rng.sample(range(setting.nodes), round(setting.slow_nodes * setting.nodes)))
    for node in range(setting.nodes):
        slowness = setting.slowness if node in slow else 1.0
        team = [env.process(worker(slowness)) for _ in range(setting.workers_per_node)]
        if setting.node_fails_every_hours < float("inf"):
            env.process(fails(team, setting.node_fails_every_hours, setting.replaced))
        for each in team:
            if setting.worker_fails_every_hours < float("inf"):
                env.process(fails([each], setting.worker_fails_every_hours, 0.0))
    env.run(until=finished)
    able = setting.nodes - len(slow) + len(slow) / setting.slowness
    ideal = setting.images * setting.image / (able * setting.workers_per_node)
    return told | {"seconds": env.now, "ideal_seconds": ideal, "efficiency": ideal / env.now}


def measured(folder, images):
    """What one core takes for a partition, what a start takes, how many partitions a second are handed out."""
    out, listed = folder / "one", folder / "films.csv"
    listed.write_text("path\n" + "\n".join(images[i % len(images)] for i in range(10_000)) + "\n")
    command = [PROGRAM, "scale", "score", str(listed), "--out", str(out), "--engine", "local", "--workers", "1"]
    subprocess.run([*command, "--partition-films", "250"], check=True, capture_output=True)
    times = sorted(file.stat().st_mtime for file in out.glob("part-*"))
    seconds = [later - earlier for earlier, later in pairwise(times)]
    told = {
        "film": statistics.median(seconds) / 250,
        "spread": statistics.stdev(seconds) / statistics.mean(seconds),
    }
    code = "import sys; sys.path.insert(0, 'experiments'); import simulate_cluster as s; s.hand_out_nothing()"
    run = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return told | json.loads(run.stdout.splitlines()[-1])


def hand_out_nothing(count=3000):
    """Prints how long Ray Data takes until the first of many empty pieces is back, and for each of the others."""
    from pneumoscope.cluster import ray_connection

    class Nothing:
        def __call__(self, batch):
            return batch

    with ray_connection(None, 100 * 2**20):
        import ray.data

        began = time.perf_counter()
        pieces = ray.data.from_items([{"partition": k} for k in range(count)], override_num_blocks=count)
        answers = pieces.map_batches(Nothing, batch_size=1, compute=ray.data.ActorPoolStrategy(size=2))
        rows = iter(answers.iter_rows())
        next(rows)
        first = time.perf_counter() - began
        left = sum(1 for _ in rows)
        each = (time.perf_counter() - began - first) / left
    print(json.dumps({"start": first, "handing_out": each}))


def scenarios(known):
    usual = replace(Setting(), **known)
    hard = {"node_fails_every_hours": 24.0, "worker_fails_every_hours": 240.0}
    return {
        "nothing fails": usual,
        "a node a day fails": replace(usual, **hard),
        "every node fails once an hour": replace(usual, **hard | {"node_fails_every_hours": 1.0}),
        "one node of 32 four times slower": replace(usual, slow_nodes=1 / 32, **hard),
        "the same, 100,000 films a partition": replace(usual, slow_nodes=1 / 32, partition_images=100_000, **hard),
        "the same, and copies at the end": replace(
            usual, slow_nodes=1 / 32, partition_images=100_000, copies=True, **hard
        ),
        "1,000 films a partition": replace(usual, partition_images=1000, **hard),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("results/experiments/cluster_simulation.json"))
    parser.add_argument("--figure", type=Path, default=Path("docs/figures/scaling-partitions.png"))
    options = parser.parse_args()
    own_network.enter()
    from pneumoscope.data.locate import locate
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance

    images = sorted(map(str, (locate(None).root / "train").rglob("*.jpeg")))
    with tempfile.TemporaryDirectory() as folder:
        known = measured(Path(folder), images)
    print(known)
    found = {}
    for name, setting in scenarios(known).items():
        runs = [simulated(setting, seed) for seed in range(options.seeds)]
        found[name] = {
            "setting": {key: None if value == float("inf") else value for key, value in asdict(setting).items()},
            "workers": setting.workers,
            **{key: statistics.median(run[key] for run in runs) for key in runs[0]},
            "slowest": max(run["seconds"] for run in runs),
        }
        print(name, {key: round(found[name][key], 3) for key in ("seconds", "efficiency", "failures")})
    sizes = {}
    for images_in_all in (10_000_000, 100_000_000, 1_000_000_000):
        for size in (300, 1000, 3000, 10_000, 30_000, 100_000, 300_000):
            if images_in_all / size > 1e6:
                continue
            tried = replace(
                Setting(**known),
                images=images_in_all,
                partition_images=size,
                node_fails_every_hours=24.0,
                worker_fails_every_hours=240.0,
            )
            values = [simulated(tried, seed)["efficiency"] for seed in range(options.seeds)]
            sizes.setdefault(str(images_in_all), {})[str(size)] = statistics.median(values)
        print(images_in_all, sizes[str(images_in_all)])
    real = json.loads(Path("results/speed/scaling.json").read_text())
    small = Setting(1, 2, real["films"], 1000, **known)
    check = {
        "films": real["films"],
        "simulated_seconds": simulated(small)["seconds"],
        "measured_seconds": real["films"] / real["measured"]["Ray, films a second"]["median"],
    }
    print(check)
    record = {
        "measured": known,
        "seeds": options.seeds,
        "scenarios": found,
        "efficiency_by_films_and_partition": sizes,
        "check": check,
    }
    write_json(options.out, record | provenance("experiments/simulate_cluster.py"))
    draw(sizes, options.figure)


def draw(sizes, file):
    """Share of the ideal over the size of a partition, a line for each size of archive."""
    from pneumoscope.reporting.style import NEUTRAL, drawing, png_of, save_png

    colours = ("#0072B2", "#E69F00", "#D55E00")
    with drawing(7.5, 3.8) as figure:
        axes = figure.subplots()
        axes.set_title("A thousand workers: how large a partition should be")
        for (images, values), colour in zip(sizes.items(), colours, strict=True):
            places, shares = [int(size) for size in values], [100 * share for share in values.values()]
            axes.plot(places, shares, "o-", color=colour, linewidth=2, markersize=5)
            million = int(images) // 10**6
            axes.annotate(
                f"{million:,} million films" if million < 1000 else f"{million // 1000:,} billion films",
                (30_000, values["30000"] * 100),
                xytext=(7, 5),
                textcoords="offset points",
                ha="left",
                color=colour,
                fontweight="bold",
            )
        axes.set_xscale("log")
        axes.set_xticks([10**power for power in (2, 3, 4, 5)], ["100", "1,000", "10,000", "100,000"])
        axes.set_xlabel("films a partition")
        axes.set_ylabel("of the ideal, %")
        axes.set_ylim(0, 116)
        axes.set_yticks(range(0, 101, 20))
        axes.grid(axis="y", color="#DDDDDD", linewidth=0.8)
        axes.text(0.01, 0.96, "the driver is busy", transform=axes.transAxes, color=NEUTRAL, fontsize=9)
        axes.text(
            0.99, 0.96, "the end waits for the last", transform=axes.transAxes, color=NEUTRAL, fontsize=9, ha="right"
        )
        save_png(png_of(figure), file)


if __name__ == "__main__":
    main()
