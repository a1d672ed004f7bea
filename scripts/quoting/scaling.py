"""Blocks of docs/results/scaling.md and robustness.md that were measured on one machine: Ray, killed clusters, distributed training, parts."""

from quoting.cluster_plan import plan, simulation
from quoting.formatting import order_of_magnitude, percent, table
from quoting.results import Blocks, Record, provenance, read, source


def ray_beside_batch() -> str:
    """Rate of Ray beside the batch command, and the memory of the driver."""
    record = read("speed/scaling.json")
    measured = record["measured"]
    share = {name: measured[f"{name}, share of predict"] for name in ("local engine", "Ray", "Ray, start left out")}
    percents = {name: percent(spread["median"], 0) for name, spread in share.items()}
    memory = {name.split(" at ")[1]: mb["median"] for name, mb in measured.items() if name.startswith("driver")}
    rows = [
        [
            f"`predict --out`, {record['films']:,} films of 224 pixels, two cores",
            f"{measured['predict, films a second']['median']:.0f}/s",
        ],
        ["`scale score --engine local`", f"{percents['local engine']} % of that"],
        ["`scale score` on Ray, the cluster's start and end included", f"{percents['Ray']} % of that"],
        ["the same, start left out", f"{percents['Ray, start left out']} % of that"],
        ["memory of the command at " + ", ".join(memory), " / ".join(f"{mb:.0f} MB" for mb in memory.values())],
    ]
    return table(["", ""], rows, f"Medians of {len(share['Ray']['values'])} rounds, in turn. {source(record)}")


def killed_cluster() -> str:
    """Kills on a cluster of one machine, and whether its results were complete all the same."""
    record = read("robustness/cluster.json")
    kills = ", ".join(f"{count} x {process}" for process, count in record["kills"].items())
    counts = "every film exactly once" if record["exactly_once"] else "NOT every film exactly once"
    same = "the bytes of the undisturbed local engine" if record["same_bytes"] else "NOT the bytes of the local engine"
    return (
        f"{record['films']:,} films, {record['partitions']} partitions, a Ray cluster of {record['nodes']} nodes and a "
        f"head on one machine, {kills} killed with SIGKILL while it worked: {counts}, {same}, in "
        f"{record['seconds']:.0f} s (undisturbed, on the local engine, {record['local_seconds']:.0f} s). {source(record)}"
    )


_TRAINING_NOTE = (
    "on films of the data set, the two processes with one thread each, as the one that they are held against. In double "
    "precision both do the same; in fp32 and bf16 a gradient is rounded for each part of a batch, which one process does "
    "that accumulates two parts, too, and what is left against a whole batch is no more than what another number of "
    "threads changes."
)


def distributed_training() -> str:
    """Losses and speed of two processes beside one."""
    record = read("speed/team.json")
    rows = [_training_row(name, measured) for name, measured in record["measured"].items()]
    header = ["", "two processes against one", "against one that accumulates two", "one thread against two"]
    header += [
        "films/s: 1 thread / 2 threads / 2 processes",
        "speed-up over one core",
        "over one process on both cores",
    ]
    explanation = f"Largest difference of the loss over {record['steps']} steps {_TRAINING_NOTE}"
    return table(header, rows, f"{explanation} `{record['command']}`, two cores. {provenance(record)}")


def _training_row(name: str, measured: Record) -> list[str]:
    rates = measured["films a second"]
    runs = ("one process, one thread", "one process, two threads", "two processes")
    return [
        name,
        order_of_magnitude(measured["two processes against one"]),
        order_of_magnitude(measured.get("two processes against one that accumulates two")),
        order_of_magnitude(measured["one thread against two"]),
        " / ".join(f"{rates[run]:.0f}" for run in runs),
        f"{measured['two processes against one with one thread']:.2f}",
        f"{measured['two processes against one with two threads']:.2f}",
    ]


def parts() -> str:
    """Milliseconds of a core for each part of a prediction."""
    record = read("speed/parts.json")
    formats: dict[str, Record] = record["measured"]
    names = ("read", "decode", "find the chest", "network and guard", "write", "everything")
    rows = [[name, *(f"{each['milliseconds'][name]['median']:.2f}" for each in formats.values())] for name in names]
    rows.append(["bytes of results", *(f"{each['result_bytes']:.0f}" for each in formats.values())])
    return table(["milliseconds a film, one core", *formats], rows, source(record))


BLOCKS: Blocks = {
    "scaling": ray_beside_batch,
    "cluster": killed_cluster,
    "team": distributed_training,
    "plan": plan,
    "parts": parts,
    "simulation": simulation,
}
