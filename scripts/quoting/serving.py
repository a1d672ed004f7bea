"""Blocks of docs/results/service.md: the service under load, and fuzzed."""

from quoting.formatting import percent, table
from quoting.results import Blocks, Record, provenance, read, source


def service() -> str:
    """Capacity, overload and memory of the service; what fuzzing found."""
    record = read("speed/serving.json")
    note = f"`{record['command']}`, two cores, the callers on the same. {provenance(record)}"
    return table(["", ""], _load_rows(record), f"{note}\n\n{_fuzzing(read('robustness/fuzz_service.json'))}")


def _load_rows(record: Record) -> list[list[str]]:
    overload, memory = record["overload"], record["memory_megabytes"]
    others = sum(count for status, count in overload["statuses"].items() if status not in ("200", "503"))
    return [
        ["capacity, films of 224 pixels", f"{record['capacity_per_second']['median']:.0f}/s"],
        [
            "`predict --out` in the same run, its start left out",
            f"{record['command_per_second']['median']:.0f}/s; the service reaches "
            f"{percent(record['ratio']['median'], 0)} %",
        ],
        [
            f"asked 1.5 times that for {overload['seconds']:.0f} s",
            f"{overload['answered_per_second']:.0f}/s answered, the rest told to come back (503)",
        ],
        ["time of those accepted then", _latency(overload["milliseconds"])],
        ["time at capacity", _latency(record["calm_milliseconds"])],
        ["wrong answers; statuses other than 200 and 503", f"{record['wrong_answers']}; {others}"],
        [
            f"memory of all processes over {memory['requests']:,} requests",
            f"{memory['before']:.0f} -> {memory['after']:.0f} MB",
        ],
        ["first paint of the page", f"{record['first_paint_milliseconds']['median']:.0f} ms"],
    ]


def _latency(milliseconds: dict[str, float]) -> str:
    return f"{milliseconds['p50']:.0f} ms (median), {milliseconds['p99']:.0f} ms (99 of 100)"


def _fuzzing(record: Record) -> str:
    statuses = ", ".join(f"{count:,} {status}" for status, count in record["statuses"].items())
    memory = record["memory_megabytes"]
    return (
        f"{record['bodies']:,} fuzzed requests, {record['slow_callers']} callers sending a byte a second meanwhile: "
        f"{statuses}; every hundredth time a film was asked about in between, and answered otherwise than before "
        f"{record['films_answered_otherwise_meanwhile']} times; memory {memory['before']:.0f} -> "
        f"{memory['after']:.0f} MB. {source(record)}"
    )


def workbench() -> str:
    """A worklist of hundreds of films in a browser, beside the service's own rate."""
    record = read("speed/workbench.json")
    median = record["median"]
    rows = [
        ["all films predicted and sorted, on the page", f"{median['page_films_per_second']:.0f} films/s"],
        [
            "the same files from a program, one by one over four connections",
            f"{median['service_films_per_second_one_by_one']:.0f} films/s; the page reaches "
            f"{percent(median['share_of_one_by_one'], 0)} %",
        ],
        [
            "from a program, as many together as the page sends",
            f"{median['service_films_per_second']:.0f} films/s; the page reaches {percent(median['share_of_service'], 0)} %",
        ],
        ["time of the page's main thread", f"{1000 * median['main_thread_seconds'] / record['films']:.1f} ms a film"],
        [
            "longest task of the page; of an empty page on which the files are chosen",
            f"{median['longest_task_ms']:.0f} ms; {median['longest_task_of_choosing_ms']:.0f} ms",
        ],
        ["tasks over 50 ms in all", f"{median['tasks_over_50_ms']:.0f}"],
        [
            f"from a key to the next film, {record['keys']} times",
            f"{median['key_ms_median']:.0f} ms (median), {median['key_ms_most']:.0f} ms (longest)",
        ],
    ]
    head = ["", f"{record['films']} films of 224 pixels, median of {len(record['rounds'])} rounds"]
    note = f"Browser, program and service share two cores. {source(record)}"
    return table(head, rows, note)


def node() -> str:
    """The DICOM node beside a real PACS on the same cores, and half an hour of everything together."""
    record, soak = read("speed/pacs.json"), read("robustness/pacs_soak.json")
    of_round = record["rounds"]
    rows = [
        [
            "from a sender through the node back to the PACS, report and picture of each",
            f"{record['images_per_second']:.1f} images/s",
        ],
        [
            f"acknowledged, from {record['senders']} associations at once",
            f"{min(each['acknowledged_per_second'] for each in of_round):.0f} images/s",
        ],
        [
            "one film, from the start of the sending program until the PACS has both",
            f"{record['turnaround_seconds_median']:.2f} s (median), {max(each['turnaround_seconds_longest'] for each in of_round):.1f} s (longest)",
        ],
        ["reports that say another thing than the detector", f"{sum(each['wrong_reports'] for each in of_round)}"],
        ["memory of all processes of the node", f"{max(each['node_mb'] for each in of_round):.0f} MB"],
    ]
    together = (
        f"{soak['minutes']:.0f} minutes of node, service and batch together on these cores, with noise at the node's port and a PACS that "
        f"went away {soak['pacs_away']} times: {soak['images']:,} images, {soak['lost_or_doubled']} lost or answered twice; "
        f"{soak['service_requests']:,} requests to the service, {soak['service_failures']} failed; {soak['batches']} batches; memory of "
        f"the node {soak['node_mb_first']:.0f} -> {soak['node_mb_last']:.0f} MB, {soak['node_mb_most']:.0f} MB at most. {source(soak)}"
    )
    head = ["", f"{record['films']} films at their original size, median of {len(of_round)} rounds"]
    note = f"Senders, node and PACS (Orthanc) share two cores. {source(record)}"
    return f"{table(head, rows, note)}\n\n{together}"


BLOCKS: Blocks = {"node": node, "serving": service, "workbench": workbench}
