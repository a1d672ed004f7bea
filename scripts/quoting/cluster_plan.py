"""Blocks of docs/results/scaling.md about clusters that were not at hand: a plan by calculation, and a simulation."""

from quoting.formatting import duration, percent, table
from quoting.results import Record, read, source

# Nodes, and cores of each.
_CLUSTERS = {"a laptop": (1, 2), "a server": (1, 32), "ten servers": (10, 32), "a thousand cores": (32, 32)}
# About what a core of a general-purpose machine in a cloud costs on demand.
_DOLLARS_PER_CORE_HOUR = 0.04


def plan() -> str:
    """Time and cost of archives of all sizes, from what one core does here."""
    rates = small, large = _images_per_core_second()
    start_s = read("experiments/cluster_simulation.json")["measured"]["start"]
    rows = []
    for images in (10**4, 10**5, 10**6, 10**7, 10**8, 10**9):
        times = [
            " / ".join(duration(start_s + images / (rate * nodes * cores)) for rate in rates)
            for nodes, cores in _CLUSTERS.values()
        ]
        cost = " / ".join(f"{_DOLLARS_PER_CORE_HOUR * images / rate / 3600:,.2f}" for rate in rates)
        rows.append([f"{images:,}", *times, cost])
    note = (
        f"Time on so many nodes x cores, films of 224 pixels / originals, from {small:.0f} and {large:.0f} films a second "
        f"and core (`results/speed/`), a start of {start_s:.0f} s, nothing failing; the cost at "
        f"${_DOLLARS_PER_CORE_HOUR} a core-hour, an assumption, storage and requests not counted. Cores of a cloud are "
        "often half of what is measured here: measure one, and multiply."
    )
    header = ["films", *(f"{name} ({nodes} x {cores})" for name, (nodes, cores) in _CLUSTERS.items()), "$"]
    return table(header, rows, note)


def _images_per_core_second() -> tuple[float, float]:
    """Rate of each of two cores at work together on Ray: images of 224 pixels, images of their own size."""
    scaling = read("speed/scaling.json")["measured"]
    batch = read("speed/predicting.json")["measured"]
    share = scaling["Ray, start left out, share of predict"]["median"]
    originals = batch["default, predict --out, 1,000 films of their own size, 2 processes"]["median"]
    return scaling["Ray, start left out, films a second"]["median"] / 2, share * originals / 2


def simulation() -> str:
    """Simulated runs of a thousand workers."""
    record = read("experiments/cluster_simulation.json")
    scenarios = table(
        ["", "films a partition", "time", "of the ideal", "workers that failed", "work lost"],
        [_scenario_row(name, scenario) for name, scenario in record["scenarios"].items()],
    )
    efficiency = _efficiency_table(record["efficiency_by_films_and_partition"])
    return f"{scenarios}\n\nShare of the ideal, by films a partition:\n\n{efficiency}\n\n{_simulation_note(record)}"


def _scenario_row(name: str, scenario: Record) -> list[str]:
    lost = scenario["lost_worker_seconds"] / (scenario["workers"] * scenario["seconds"])
    return [
        name,
        f"{scenario['setting']['partition_films']:,}",
        f"{scenario['seconds'] / 60:.0f} min",
        f"{percent(scenario['efficiency'], 0)} %",
        f"{scenario['failures']:,.0f}",
        f"{percent(lost, 2)} %",
    ]


def _efficiency_table(efficiency: dict[str, dict[str, float]]) -> str:
    """Efficiency by images (rows) and images of a partition (columns)."""
    columns = sorted({int(size) for values in efficiency.values() for size in values})
    rows = [
        [
            f"{int(images):,}",
            *(f"{percent(values[str(size)], 0)} %" if str(size) in values else "" for size in columns),
        ]
        for images, values in efficiency.items()
    ]
    return table(["films, with a failure a node and day", *(f"{size:,}" for size in columns)], rows)


def _simulation_note(record: Record) -> str:
    setting = next(iter(record["scenarios"].values()))["setting"]
    measured, check = record["measured"], record["check"]
    return (
        f"{setting['nodes'] * setting['workers_per_node']:,} workers on {setting['nodes']} nodes, {setting['films']:,} "
        f"films; medians of {record['seeds']} seeds. Measured: {1000 * measured['film']:.1f} ms a film, a partition's "
        f"time varying by {percent(measured['spread'], 0)} %, {measured['start']:.1f} s to start, "
        f"{1000 * measured['handing_out']:.1f} ms to hand out a partition. Assumed: a dead node is noticed after "
        f"{setting['noticed']:.0f} s and replaced after {setting['replaced']:.0f} s; a worker dies every ten days. Held "
        f"against the machine it was calibrated on: {check['films']:,} films on its two cores, simulated "
        f"{check['simulated_seconds']:.0f} s, measured {check['measured_seconds']:.0f} s. {source(record)}"
    )
