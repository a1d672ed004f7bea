"""Blocks of docs/results/speed.md: training and data set, beside tf.keras and beside the machine's limits."""

from quoting.formatting import median_range, percent, table
from quoting.results import Blocks, Record, provenance, read


def _pair(splits: Record, digits: int, divisor: float = 1) -> str:
    """Medians of ours / tf.keras."""
    return " / ".join(f"{splits[split]['median'] / divisor:.{digits}f}" for split in ("ours", "keras"))


def against_keras() -> str:
    """Rate, time and memory of each model's training in both frameworks."""
    record = read("speed/against_keras.json")
    models: dict[str, Record] = record["models"]
    rows = [
        [
            name,
            median_range(model["images_per_second"]["ours"], 0),
            median_range(model["images_per_second"]["keras"], 0),
            median_range(model["ratio"]),
            _pair(model["seconds_with_setup"], 0),
            _pair(model["peak_memory_mb"], 1, 1024),
        ]
        for name, model in models.items()
    ]
    epochs = list(models.values())[-1]["epochs"]
    note = (
        f"{record['training_films']:,} training films; median (range) of {record['rounds']} rounds, in turn; columns with / "
        f"are ours / tf.keras {record['versions']['keras']['tensorflow']}. The rates leave the first epoch out, the seconds "
        "hold everything, the features of the frozen bases included. Start-up to the first step of model 2: "
        f"{_pair(models['cnn_3_classes']['startup_seconds'], 1)} s. {provenance(record)}"
    )
    header = ["model", "ours, img/s", "tf.keras, img/s", "ratio", f"{epochs} epochs, s", "peak memory, GB"]
    return table(header, rows, note)


def whole_study() -> str:
    """Seconds of the whole study in both frameworks."""
    record = read("speed/whole_study.json")
    study = record["whole_study"]
    seconds, per_model = study["seconds"], study["seconds_per_model"]
    rows = [
        [
            name,
            str(study["epochs"][name]),
            f"{per_model['ours'][name]['median']:.0f}",
            f"{per_model['keras'][name]['median']:.0f}",
            f"{ratio['median']:.1f}",
        ]
        for name, ratio in study["ratio_per_model"].items()
    ]
    in_all = [f"{seconds[split]['median']:.0f}" for split in ("ours", "keras")]
    rows.append(["all four", "", *in_all, f"{study['ratio']['median']:.1f}"])
    ours, keras = (f"{study['peak_memory_mb'][split]['median'] / 1024:.1f} GB" for split in ("ours", "keras"))
    note = (
        f"{record['training_films']:,} training films, as many epochs as early stopping took in `results/study`; "
        f"{len(seconds['ours']['values'])} round(s). Peak memory {ours} against {keras}. {provenance(record)}"
    )
    return table(["model", "epochs", "ours, s", "tf.keras, s", "ratio"], rows, note)


def one_seed() -> str:
    """Seconds of the study with one seed."""
    record = read("speed/study_one_seed.json")
    rows = [
        [name, str(record["epochs"][name]), f"{seconds:.0f}"] for name, seconds in record["training_seconds"].items()
    ]
    rows.append(["everything", "", f"{record['wall_seconds']:.0f}"])
    note = f"`{record['command']}`: {record['what']}. {provenance(record)}"
    return table(["model", "epochs", "seconds"], rows, note)


def allocator() -> str:
    """Rate of a training step with and without each setting of memory."""
    record = read("speed/allocator.json")
    rows = [[name.replace(",", ", "), f"{rate['median']:.0f}"] for name, rate in record["images_per_second"].items()]
    return table(["a training step of model 2 with", "img/s"], rows, provenance(record))


def roofline() -> str:
    """Time of a training step beside the least that arithmetic and memory allow."""
    record = read("speed/roofline.json")
    rates = record["machine_rates"]
    rows = [
        ["matrix product", f"{rates['operations_per_second'] / 1e9:.0f} GFLOP/s"],
        ["copy", f"{rates['bytes_per_second'] / 1e9:.1f} GB/s"],
        ["operations of a step", f"{record['operations_per_step'] / 1e9:.0f} GFLOP"],
        ["bytes of a step", f"{record['bytes_per_step'] / 1e9:.1f} GB"],
        ["least time by arithmetic", f"{1000 * record['arithmetic_seconds']:.0f} ms"],
        ["least time by memory", f"{1000 * record['memory_seconds']:.0f} ms"],
        ["measured", f"{1000 * record['step_seconds']:.0f} ms ({record['images_per_second']:.0f} img/s)"],
        ["share of the roof", f"{percent(record['share_of_the_roof'], 0)} %"],
    ]
    note = f"{record['model']}, batch {record['batch_size']}, {record['dtype']}. {provenance(record)}"
    return table(["", ""], rows, note)


def data_pipeline() -> str:
    """Seconds of each stage from the files to the cache."""
    record = read("speed/data_pipeline.json")
    rows = [[stage, f"{seconds['median']:.1f}"] for stage, seconds in record["seconds"].items()]
    memory_gb = record["peak_memory_mb"] / 1024
    note = f"{record['films']:,} films; peak memory {memory_gb:.1f} GB. {provenance(record)}"
    return table(["stage", "seconds"], rows, note)


BLOCKS: Blocks = {
    "against-keras": against_keras,
    "whole-study": whole_study,
    "one-seed": one_seed,
    "tricks": allocator,
    "roofline": roofline,
    "pipeline": data_pipeline,
}
