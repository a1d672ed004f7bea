"""A Ray cluster of several nodes scores an archive while its workers, their judges, a node and the command are killed; writes JSON.

    .venv/bin/python experiments/cluster_under_fire.py [--images 20000] [--nodes 3]

The images are those of the data set, again and again under names of their own, among them some that cannot be read. In the end
every image must be in the results exactly once, and the files must hold the same bytes as those of the local engine, which
nothing disturbs. Everything runs in a network namespace of its own: Ray listens on every interface.
"""

import argparse
import filecmp
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import own_network

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/scale"))
from cluster_script import command_line, descendants

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
PROGRAM = str(Path(sys.executable).with_name("pneumoscope"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--partition-films", type=int, default=250)
    parser.add_argument("--source", type=Path, help="folder of the films; the data set where none is named")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--out", type=Path, default=Path("results/robustness/cluster.json"))
    options = parser.parse_args()
    own_network.enter()
    from pneumoscope.data.locate import locate
    from pneumoscope.files import write_json
    from pneumoscope.provenance import provenance

    source = options.source or locate(None).root / "train"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = write_archive(folder, sorted(source.rglob("*.jpeg")), options.images)
        command = [PROGRAM, "scale", "score", str(folder / "films.csv"), "--bundle", options.bundle]
        command += ["--partition-films", str(options.partition_images)]
        began = time.perf_counter()
        subprocess.run([*command, "--out", str(folder / "local"), "--engine", "local"], check=False)
        told = {"films": len(listed), "local_seconds": time.perf_counter() - began}
        told |= under_fire(command, folder / "ray", options.nodes, -(-len(listed) // options.partition_images))
        told |= compared(folder / "local", folder / "ray", listed)
    write_json(options.out, told | provenance("experiments/cluster_under_fire.py"))
    print(options.out, {name: value for name, value in told.items() if name != "kills"}, told["kills"])
    return 0 if told["exactly_once"] and told["same_bytes"] else 1


def write_archive(folder, images, count):
    """A table of so many images, the given ones over and over under names of their own, every 997th unreadable."""
    (folder / "films").mkdir()
    names = []
    for place in range(count):
        file = folder / "films" / f"{place:07d}.jpeg"
        if place % 997 == 996:
            file.write_bytes(b"\xff\xd8 and no more")
        else:
            file.symlink_to(images[place % len(images)])
        names.append(str(file))
    (folder / "films.csv").write_text("path\n" + "\n".join(names) + "\n")
    return names


def under_fire(command, out, nodes, partitions):
    """Runs the command on a cluster, and kills: a worker, a judge, a node, the command itself, each several times but the node."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    members = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(nodes)]
    command = [*command, "--out", str(out), "--address", cluster.address]
    rng, kills, codes = random.Random(0), Counter(), []
    # What is killed when so large a share of the partitions is there.
    shares = {0.1: "worker", 0.2: "judge", 0.3: "node", 0.45: "worker", 0.55: "command", 0.65: "judge", 0.8: "worker"}
    due = sorted(shares)
    began = time.perf_counter()
    try:
        while not (out / "_summary.json").exists():
            run = subprocess.Popen(command)
            while run.poll() is None:
                time.sleep(0.1)
                if due and there(out) >= due[0] * partitions and (kill(shares[due[0]], rng, run, cluster, members)):
                    kills[shares[due.pop(0)]] += 1
            codes.append(run.returncode)
            if len(codes) > 5:
                break
        seconds = time.perf_counter() - began
    finally:
        cluster.shutdown()
    return {"nodes": nodes, "partitions": partitions, "seconds": seconds, "exit_codes": codes, "kills": dict(kills)}


def there(out):
    return sum(1 for _ in out.glob("part-*")) if out.exists() else 0


def kill(what, rng, run, cluster, members):
    """Whether there was such a thing to kill."""
    if what == "command":
        run.kill()
        return True
    if what == "node":
        cluster.remove_node(members.pop(), allow_graceful=False)
        return True
    found = [pid for pid in descendants(os.getpid()) if "ray::MapWorker" in command_line(pid)]
    if what == "judge":
        found = [child for worker in found for child in descendants(worker)]
    if found:
        os.kill(rng.choice(found), signal.SIGKILL)
    return bool(found)


def compared(local, ray, listed):
    from pyarrow import dataset

    names = sorted(file.name for file in local.glob("part-*"))
    found = Counter(dataset.dataset(ray, format="parquet").to_table(["file"]).column(0).to_pylist())
    same = names == sorted(file.name for file in ray.glob("part-*"))
    same = same and not any(filecmp.cmpfiles(local, ray, [*names, "_summary.json"], shallow=False)[1:])
    return {
        "exactly_once": found == Counter(listed),
        "same_bytes": bool(same),
        "rows": sum(found.values()),
        "leftovers": sorted(file.name for file in ray.iterdir() if "partial" in file.name),
    }


if __name__ == "__main__":
    sys.exit(main())
