"""Scores images on a Ray cluster of three nodes and kills its processes meanwhile: `cluster_script.py FOLDER COMMAND ...`.

FOLDER/kills.json then tells what was killed and how each run of the command ended. Only descendants of this process are killed.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
NODES, PARTITIONS = 3, 40
# What is killed once so large a fraction of the partitions is there.
KILLS = {
    0.1: "worker",
    0.2: "predictor",
    0.3: "node",
    0.45: "worker",
    0.55: "command",
    0.65: "predictor",
    0.8: "worker",
}


def main(folder, command):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 80 * 2**20})
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(NODES)]
    command = [*command, "--out", str(folder / "ray"), "--address", cluster.address]
    rng, killed, codes, due = random.Random(0), Counter(), [], sorted(KILLS)
    try:
        while not (folder / "ray" / "_summary.json").exists() and len(codes) < 5:
            run = subprocess.Popen(command)
            while run.poll() is None:
                time.sleep(0.1)
                if due and len(list((folder / "ray").glob("part-*"))) >= due[0] * PARTITIONS:
                    what = KILLS[due[0]]
                    if kill(what, rng, run, cluster, nodes):
                        killed[what] += 1
                        due.pop(0)
            codes.append(run.returncode)
    finally:
        cluster.shutdown()
    (folder / "kills.json").write_text(json.dumps({"kills": killed, "exit_codes": codes}))


def kill(what, rng, run, cluster, nodes):
    """Whether there was such a thing to kill."""
    if what == "command":
        run.kill()
        return True
    if what == "node":
        cluster.remove_node(nodes.pop(), allow_graceful=False)
        return True
    found = [pid for pid in descendants(os.getpid()) if "ray::MapWorker" in command_line(pid)]
    if what == "predictor":
        found = [child for worker in found for child in descendants(worker)]
    if found:
        os.kill(rng.choice(found), signal.SIGKILL)
    return bool(found)


def descendants(pid):
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            child, rest = stat.parent.name, stat.read_text().rpartition(")")[2]
        except OSError:
            continue
        children.setdefault(int(rest.split()[1]), []).append(int(child))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
