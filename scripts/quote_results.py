"""Writes what `results/` says into README and docs, between their markers, and the command-line reference.

.venv/bin/python scripts/quote_results.py [--check]

A marker is `<!-- NAME -->` ... `<!-- /NAME -->`; a test runs this with --check, so that no page says what no file says.
"""

import csv
import json
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from pneumoscope.bundle import SHIPPED, load_bundle
from pneumoscope.decision import pneumonia_probability
from pneumoscope.evaluation.calibration import error_by_chance
from pneumoscope.evaluation.intervals import interval_of
from pneumoscope.evaluation.predictions import load_predictions
from pneumoscope.evaluation.thresholds import best_operating_point
from pneumoscope.presentation.markdown import markdown_table
from pneumoscope.study.comparison import HEADER, table_row

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "README.md",
    "docs/study.md",
    "docs/speed.md",
    "docs/detector.md",
    "docs/model-card.md",
    "docs/data-card.md",
    "docs/detecting.md",
    "docs/serving.md",
    "docs/scaling.md",
)
CLI_PAGE = ROOT / "docs" / "cli.md"


def _read(name):
    return json.loads((ROOT / "results" / name).read_text(encoding="utf-8"))


def _made(record):
    return f"Commit {record['commit']}, {record['date'][:10]}, {record['machine']}."


def study():
    record = _read("study/comparison.json")
    data = record["data"]
    words = (
        f"{data['films']:,} films, split `{data['split_hash'][:12]}`; the answer in two classes, sensitivity, "
        f"specificity and AUC are means over the seeds. `{record['command']}`. {_made(record)}"
    )
    return markdown_table(HEADER, [table_row(model) for model in record["models"]]) + "\n\n" + words


def weights():
    model = next(m for m in _read("study/comparison.json")["models"] if m["name"] == "inception_v3")
    told = model["weights"]
    return f"Inception V3 started from `{told['file']}` (SHA-256 `{told['sha256'][:12]}…`; {told['description']})."


def seeds():
    header = ["model", "seed", "epochs", "validation accuracy", "test accuracy (95 % interval)"]
    rows = []
    for model in _read("study/comparison.json")["models"]:
        for run in model["runs"]:
            test = run["measures"]["accuracy"]
            interval = f"{100 * test['value']:.1f} ({100 * test['low']:.1f}-{100 * test['high']:.1f})"
            validation = f"{100 * run['final_validation_accuracy']:.1f}"
            rows.append([model["title"], str(run["seed"]), str(run["epochs"]), validation, interval])
    return markdown_table(header, rows)


def operating_point():
    """How much of the gap is the threshold: the two-class answer at 0.5 and at the best threshold there is."""
    rows = []
    for model in _read("study/comparison.json")["models"]:
        at_half, best = [], []
        for run in model["runs"]:
            folder = ROOT / "results/study/runs" / model["name"] / f"seed-{run['seed']}" / "evaluation/test"
            table = load_predictions(folder / "predictions.csv")
            score, sick = pneumonia_probability(table.probability), table.label > 0
            at_half.append(((score >= 0.5) == sick).mean())
            best.append(best_operating_point(score, sick).accuracy)
        rows.append([model["title"], _range(at_half), _range(best)])
    header = [
        "model",
        "two-class accuracy at 0.5, over seeds",
        "at the best threshold (fitted on the test films, for the sake of argument)",
    ]
    return markdown_table(header, rows)


def epochs_on_test():
    return _epochs_on_test("cnn_2_classes")


def epochs_on_test_stacked():
    return _epochs_on_test("stacked_cnn")


def _epochs_on_test(model):
    record = _read(f"experiments/epochs_on_test_{model}.json")
    rows = []
    for seed, looks in record["seeds"].items():
        for look in looks:
            test = look["test"]
            shares = [test["accuracy"], test["specificity"], look["binary_accuracy_at_the_best_test_threshold"]]
            accuracy, specificity, best = (f"{100 * share:.1f}" for share in shares)
            losses = [f"{look['val_loss']:.3f}", accuracy, specificity, f"{test['auc']:.3f}", best]
            rows.append([seed, str(look["epoch"]), *losses])
    header = [
        "seed",
        "epoch",
        "validation loss",
        "test accuracy",
        "specificity",
        "AUC",
        "two-class accuracy at the best threshold",
    ]
    return markdown_table(header, rows) + "\n\n" + f"`{record['command']}`. {_made(record)}"


def _range(values):
    return f"{100 * min(values):.1f}-{100 * max(values):.1f}"


def cues():
    rows = [
        [c["split"], c["name"], _auc(c["strength"]), _short(c["normal_median"]), _short(c["pneumonia_median"])]
        for c in _read("study/data/audit.json")["file_cues"]
    ]
    return markdown_table(["split", "property", "AUC", "median normal", "median pneumonia"], rows)


def verdict():
    return "> " + _read("study/data/audit.json")["verdict"]


def _auc(value):
    return "–" if value is None else f"{value:.3f}"


def _short(value):
    return "–" if value is None else f"{value:.3g}"


def _spread(told, digits=1):
    return f"{told['median']:.{digits}f} ({told['min']:.{digits}f}-{told['max']:.{digits}f})"


def against_keras():
    record = _read("speed/against_keras.json")
    rows = []
    for name, told in record["models"].items():
        rate, seconds, memory = told["images_per_second"], told["seconds_with_setup"], told["peak_memory_mb"]
        rows.append(
            [
                name,
                _spread(rate["ours"], 0),
                _spread(rate["keras"], 0),
                _spread(told["ratio"]),
                f"{seconds['ours']['median']:.0f} / {seconds['keras']['median']:.0f}",
                f"{memory['ours']['median'] / 1024:.1f} / {memory['keras']['median'] / 1024:.1f}",
            ]
        )
    header = ["model", "ours, img/s", "tf.keras, img/s", "ratio", f"{told['epochs']} epochs, s", "peak memory, GB"]
    start = record["models"]["cnn_3_classes"]["startup_seconds"]
    words = (
        f"{record['training_films']:,} training films; median (range) of {record['rounds']} rounds, in turn; columns with / "
        f"are ours / tf.keras {record['versions']['keras']['tensorflow']}. The rates leave the first epoch out, the seconds "
        "hold everything, the features of the frozen bases included. Start-up to the first step of model 2: "
        f"{start['ours']['median']:.1f} / {start['keras']['median']:.1f} s. {_made(record)}"
    )
    return markdown_table(header, rows) + "\n\n" + words


def whole_study():
    record = _read("speed/whole_study.json")
    told = record["whole_study"]
    rows = [
        [
            name,
            str(told["epochs"][name]),
            f"{told['seconds_per_model']['ours'][name]['median']:.0f}",
            f"{told['seconds_per_model']['keras'][name]['median']:.0f}",
            f"{told['ratio_per_model'][name]['median']:.1f}",
        ]
        for name in told["ratio_per_model"]
    ]
    seconds = told["seconds"]
    rows.append(
        [
            "all four",
            "",
            f"{seconds['ours']['median']:.0f}",
            f"{seconds['keras']['median']:.0f}",
            f"{told['ratio']['median']:.1f}",
        ]
    )
    memory = told["peak_memory_mb"]
    words = (
        f"{record['training_films']:,} training films, as many epochs as early stopping took in `results/study`; "
        f"{len(seconds['ours']['values'])} round(s). Peak memory {memory['ours']['median'] / 1024:.1f} GB against "
        f"{memory['keras']['median'] / 1024:.1f} GB. {_made(record)}"
    )
    return markdown_table(["model", "epochs", "ours, s", "tf.keras, s", "ratio"], rows) + "\n\n" + words


def one_seed():
    record = _read("speed/study_one_seed.json")
    seconds = record["training_seconds"]
    rows = [[name, str(record["epochs"][name]), f"{seconds[name]:.0f}"] for name in seconds]
    rows.append(["everything", "", f"{record['wall_seconds']:.0f}"])
    words = f"`{record['command']}`: {record['what']}. {_made(record)}"
    return markdown_table(["model", "epochs", "seconds"], rows) + "\n\n" + words


def ablation():
    record = _read("detector/ablation.json")
    header = [
        "recipe",
        "networks",
        "within AUC",
        "plain AUC",
        "odd AUC",
        "odd spec.",
        "shifted AUC",
        "shifted spec.",
        "both AUC",
        "both spec.",
        "sens.",
        "3 classes",
        "viral AUC",
    ]
    names = [
        "within_auc",
        "plain_auc",
        "odd_auc",
        "odd_specificity",
        "shifted_auc",
        "shifted_specificity",
        "odd_shifted_auc",
        "odd_shifted_specificity",
        "sensitivity",
        "three_class",
        "viral_auc",
    ]
    rows = []
    for recipe, told in record["recipes"].items():
        values = {name: [fold[name] for fold in told["folds"]] for name in names}
        shown = [_mean_and_range(v, 3 if n.endswith("auc") else 1) for n, v in values.items()]
        rows.append([f"`{recipe}`", str(len(told["folds"])), *shown])
    made = max((told["made"] for told in record["recipes"].values()), key=lambda made: made["date"])
    rows.sort(key=lambda row: row[2])
    words = (
        "Mean (range) over networks: three style folds, one to three seeds each; from the worst within styles to the best. "
        f"`experiments/ablate.py RECIPE --seeds N`. The newest: {_made(made)}"
    )
    return markdown_table(header, rows) + "\n\n" + words


_SHOWN = {
    "binary_accuracy": "normal or pneumonia: accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "auc": "AUC",
    "ece": "expected calibration error",
    "brier": "Brier score",
    "accuracy": "three classes: accuracy",
    "recall_bacterial": "recall, bacterial",
    "recall_viral": "recall, viral",
    "auc_viral_vs_bacterial": "viral against bacterial: AUC",
}


def _detector_reports():
    """Of the detectors that have one."""
    folders = {name: ROOT / "results/detector" / name / "report.json" for name in SHIPPED}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in folders.items() if file.exists()}


def _with_interval(estimate, scale=100, digits=1):
    value, low, high = (f"{scale * estimate[part]:.{digits}f}" for part in ("value", "low", "high"))
    return f"{value} ({low}-{high})"


def detector_bundles():
    """What the shipped bundles say of themselves."""
    rows = []
    for name in SHIPPED:
        path = ROOT / "src/pneumoscope/bundles" / f"{name}.zip"
        manifest = load_bundle(path).manifest
        made = manifest.training
        minutes = f"{made['training_seconds'] / 60:.0f}"
        size = f"{path.stat().st_size / 1e6:.1f}"
        rows.append([f"`{name}`", manifest.architecture, size, minutes, made["date"][:10], made["commit"]])
    return markdown_table(["detector", "network", "MB", "minutes of training on 2 cores", "made", "commit"], rows)


def detector_test():
    reports = _detector_reports()
    rows = []
    for measure, words in _SHOWN.items():
        as_number = measure.startswith(("auc", "ece", "brier"))
        cells = [_with_interval(r["measures"][measure], *((1, 3) if as_number else (100, 1))) for r in reports.values()]
        rows.append([words, *cells])
    rows.insert(
        4, ["AUC, DeLong's interval", *(_with_interval(r["decisions"]["auc_delong"], 1, 3) for r in reports.values())]
    )
    by_chance = [interval_of(float(drawn.mean()), drawn) for drawn in map(_errors_by_chance, reports)]
    words = "calibration error that chance alone shows, were every probability right"
    rows.insert(6, [words, *(_with_interval(asdict(found), 1, 3) for found in by_chance)])
    one = next(iter(reports.values()))
    words = (
        f"{one['films']} films of {one['patients']} children, at the balanced operating point; 95 % intervals by bootstrap over "
        f"children. `pneumoscope evaluate --bundle NAME --split test`. {_made(one['provenance'])}"
    )
    return markdown_table(["", *(f"`{name}`" for name in reports)], rows) + "\n\n" + words


def _errors_by_chance(name):
    table = load_predictions(ROOT / "results/detector" / name / "predictions.csv")
    return error_by_chance(pneumonia_probability(table.probability))


def detector_points():
    rows = []
    for name, report in _detector_reports().items():
        for point, told in report["decisions"]["operating_points"].items():
            cells = [_with_interval(estimate) for estimate in told["measured"].values()]
            rows.append([f"`{name}`", point, f"{told['threshold']:.3f}", *cells])
    header = [
        "detector",
        "point",
        "threshold",
        "sensitivity",
        "specificity",
        "accuracy",
        "referred",
        "accuracy of the others",
    ]
    return markdown_table(header, rows)


def detector_styles():
    rows = []
    for name, report in _detector_reports().items():
        for entry in report["decisions"]["styles"]:
            shares = ["-" if entry[k] is None else f"{100 * entry[k]:.1f}" for k in ("specificity", "sensitivity")]
            auc = "-" if entry["auc"] is None else f"{entry['auc']:.3f}"
            rows.append([f"`{name}`", *(str(entry[k]) for k in ("style", "normal", "pneumonia")), *shares, auc])
    return markdown_table(["detector", "style", "normal", "pneumonia", "specificity", "sensitivity", "AUC"], rows)


def detector_sets():
    rows = []
    for name, report in _detector_reports().items():
        for promised, found in report["decisions"]["conformal"].items():
            cells = [f"{100 * share:.1f}" for share in found["coverage"].values()]
            rows.append([f"`{name}`", f"{100 * float(promised):.0f}", *cells, f"{found['mean_size']:.2f}"])
    return markdown_table(["detector", "promised", "normal", "bacterial", "viral", "classes per set"], rows)


def detector_answered():
    reports = _detector_reports()
    rows = []
    for entries in zip(*(report["decisions"]["answered"] for report in reports.values()), strict=True):
        rows.append([f"{100 * entries[0]['answered']:.0f}", *(f"{100 * entry['accuracy']:.1f}" for entry in entries)])
    return markdown_table(["answered", *(f"`{name}`" for name in reports)], rows)


def detector_beside():
    """Published work, the study's four and the shipped detectors on the same test films, the least accurate first."""
    with (ROOT / "docs/published.csv").open(encoding="utf-8", newline="") as stream:
        published = list(csv.DictReader(stream))
    cells = ["accuracy", "sensitivity", "specificity", "auc", "three_classes", "note"]
    rows = [[f"[{work['work']}]({work['source']})", *(work[cell] for cell in cells)] for work in published]
    for model in _read("study/comparison.json")["models"]:
        told = model["over_seeds"]
        binary = "binary_accuracy" if "binary_accuracy" in told else "accuracy"
        shares = [f"{100 * told[n]['mean']:.1f}" for n in (binary, "sensitivity", "specificity")]
        three = f"{100 * told['accuracy']['mean']:.1f}" if "recall_viral" in model["runs"][0]["measures"] else ""
        seeds = f"the study's, repeated; mean of {len(model['runs'])} seeds"
        rows.append([model["title"], *shares, f"{told['auc']['mean']:.3f}", three, seeds])
    for name, report in _detector_reports().items():
        told = report["measures"]
        shares = [_with_interval(told[n]) for n in ("binary_accuracy", "sensitivity", "specificity")]
        auc, three = _with_interval(told["auc"], 1, 3), _with_interval(told["accuracy"])
        rows.append([f"**`{name}`**", *shares, auc, three, "ships with pneumoscope"])
    rows.sort(key=lambda row: float(row[1].split()[0]))
    return markdown_table(["", "accuracy, %", "sensitivity", "specificity", "AUC", "three classes, %", ""], rows)


def agreement():
    """Rank correlation of each figure of the validation with the AUC on the test films."""
    record = _read("detector/agreement.json")
    names = {
        "plain_auc": "held-out films as they are",
        "odd_auc": "normals of odd styles",
        "shifted_auc": "normals stored like pneumonias",
        "odd_shifted_auc": "normals of odd styles, stored like pneumonias",
        "within_auc": "within styles",
    }
    found = record["correlations"]
    rows = [[words, *(f"{found[name][of]:.2f}" for of in ("networks", "recipes"))] for name, words in names.items()]
    recipes = len({network["recipe"] for network in record["networks"]})
    words = f"{len(record['networks'])} networks of {recipes} recipes; `{record['command']}`. {_made(record)}"
    header = ["AUC of the validation", "rank correlation with the test, networks", "means of recipes"]
    return markdown_table(header, rows) + "\n\n" + words


def detector_seeds():
    """How much the test results move with the seed of the training."""
    rows, words = [], []
    for file in sorted((ROOT / "results/detector").glob("seeds-*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        for seed, told in record["seeds"].items():
            rows.append([f"`{record['detector']}`", seed, *_seed_cells({n: (v, None) for n, v in told.items()})])
        spread = {n: (told["mean"], told["standard_deviation"]) for n, told in record["over_seeds"].items()}
        rows.append([f"`{record['detector']}`", "**mean ± standard deviation**", *_seed_cells(spread)])
        words.append(f"`{record['command']}`. {_made(record)}")
    header = ["detector", "seed", "accuracy", "sensitivity", "specificity", "AUC", "three classes", "recall, viral"]
    return markdown_table(header, rows) + "\n\n" + " ".join(words)


def _seed_cells(told):
    for name in ("binary_accuracy", "sensitivity", "specificity", "auc", "accuracy", "recall_viral"):
        scale, digits = (1, 3) if name == "auc" else (100, 1)
        value, spread = told[name]
        yield f"{scale * value:.{digits}f}" + ("" if spread is None else f" ± {scale * spread:.{digits}f}")


def guard():
    """What the input guard rejects."""
    records = {name: _read(f"detector/guard-{name}.json") for name in SHIPPED}
    rows = []
    for group, kinds in records[SHIPPED[0]]["kinds"].items():
        for kind, told in kinds.items():
            shares = [
                f"{100 * r['kinds'][group][kind]['rejected'] / r['kinds'][group][kind]['images']:.1f}"
                for r in records.values()
            ]
            rows.append([group, kind, str(told["images"]), *shares])
    made = " ".join(f"`{r['command']}`. {_made(r)}" for r in records.values())
    header = ["", "kind", "images", *(f"rejected by `{name}`, %" for name in SHIPPED)]
    return markdown_table(header, rows) + "\n\n" + made


def evidence():
    """Deletion test of the maps."""
    rows, words = [], []
    for name in SHIPPED:
        record = _read(f"detector/evidence-{name}.json")
        for kind, told in record["deletion"].items():
            falls = [_with_interval(told[f"fall_{where}"]) for where in ("where_marked", "elsewhere")]
            shares = [f"{100 * told[s]:.0f}" for s in ("marked_falls_more", "marked_falls_more_than_mean_map")]
            usual = _with_interval(told["fall_where_the_mean_map_marks"])
            rows.append([f"`{name}`", kind, str(told["films"]), *falls, shares[0], usual, shares[1]])
        words.append(
            f"`{name}`: rank correlation {record['sanity']['all_weights_random']:.2f} with the map of a network of the same form "
            f"with random weights. `{record['command']}`. {_made(record)}"
        )
    header = [
        "detector",
        "films",
        "",
        "fall where marked, points",
        "elsewhere, same shape",
        "marked falls more, % of films",
        "where the mean map marks",
        "marked falls more than that, %",
    ]
    return markdown_table(header, rows) + "\n\n" + " ".join(words)


def robustness():
    """Fuzzing, and kills."""
    fuzz, kills = _read("robustness/fuzz.json"), _read("robustness/kill_and_resume.json")
    same = all(told["same"] and not told["left"] for told in kills["formats"].values())
    return (
        f"{fuzz['inputs']:,} mutated images, DICOM objects, bundles and tables: {len(fuzz['failures'])} tracebacks, crashes, hangs or "
        f"messages of several lines; the slowest took {fuzz['slowest_seconds']:.2f} s, the largest process "
        f"{fuzz['largest_megabytes']:.0f} MB. `{fuzz['command']}`. {_made(fuzz)}\n\n{kills['kills']} kills at random moments of "
        f"batches of {kills['films']:,} files, resumed each time: the results of all three formats were "
        f"{'the same, byte for byte, as' if same else 'NOT those of'} the undisturbed ones. `{kills['command']}`. {_made(kills)}"
    )


def engines():
    """Runtimes and number formats."""
    record = _read("speed/engines-default.json")
    rows = []
    for engine, told in record["answers"].items():
        speed = [
            f"{record['speed'][f'{engine}, {threads} threads, batches of {batch}']['films_per_second']:.0f}"
            for threads, batch in ((1, 1), (2, 1), (2, 8))
        ]
        changed = [f"{told['changed_decisions']} of {record['films']}", f"{told['largest_change_of_probability']:.3f}"]
        rows.append([engine, *speed, *changed, f"{told['auc']:.4f}"])
    refused = "".join(f" {name} could not be compiled: {why}." for name, why in record["refused"].items())
    header = [
        "engine",
        "films/s, 1 thread",
        "2 threads",
        "2 threads, batches of 8",
        "decisions changed",
        "largest change of a probability",
        "AUC, validation",
    ]
    return markdown_table(header, rows) + f"\n\n`{record['command']}`. {_made(record)}{refused}"


def predicting():
    """From shell, Python and in batches."""
    record = _read("speed/predicting.json")
    rows = [[name, f"{told['median']:.{told['digits']}f} {told['unit']}"] for name, told in record["measured"].items()]
    return markdown_table(["", ""], rows) + f"\n\n`{record['command']}`. {_made(record)}"


def exported():
    """The study's networks as bundles."""
    record = _read("robustness/exported.json")
    rows = [
        [
            f"`{name}`",
            f"{told['megabytes']:.1f}",
            f"{told['largest_difference_of_onnx']:.0e}",
            f"{told['foreign_passed']} of {told['foreign']}",
            f"{told['watched_rejected']} of {told['watched']}",
        ]
        for name, told in record["networks"].items()
    ]
    header = [
        "network",
        "MB",
        "largest difference of a probability",
        "foreign images that pass",
        "chest films rejected",
    ]
    return markdown_table(header, rows) + f"\n\n`{record['command']}`. {_made(record)}"


def scaling():
    """Ray beside the batch command, and the driver's memory."""
    record = _read("speed/scaling.json")
    told = record["measured"]
    rate = {name: told[f"{name}, films a second"]["median"] for name in ("predict", "Ray", "Ray, start left out")}
    share = {name: told[f"{name}, share of predict"] for name in ("local engine", "Ray", "Ray, start left out")}
    memory = [(name.split(" at ")[1], each["median"]) for name, each in told.items() if name.startswith("driver")]
    rows = [
        [f"`predict --out`, {record['films']:,} films of 224 pixels, two cores", f"{rate['predict']:.0f}/s"],
        ["`scale score --engine local`", f"{100 * share['local engine']['median']:.0f} % of that"],
        ["`scale score` on Ray, the cluster's start and end included", f"{100 * share['Ray']['median']:.0f} % of that"],
        ["the same, start left out", f"{100 * share['Ray, start left out']['median']:.0f} % of that"],
        [
            "memory of the command at " + ", ".join(rows for rows, _ in memory),
            " / ".join(f"{mb:.0f} MB" for _, mb in memory),
        ],
    ]
    words = f"Medians of {len(share['Ray']['values'])} rounds, in turn. `{record['command']}`. {_made(record)}"
    return markdown_table(["", ""], rows) + "\n\n" + words


def cluster():
    """What was killed, and what came out all the same."""
    record = _read("robustness/cluster.json")
    kills = ", ".join(f"{count} x {what}" for what, count in record["kills"].items())
    counts = "every film exactly once" if record["exactly_once"] else "NOT every film exactly once"
    same = "the bytes of the undisturbed local engine" if record["same_bytes"] else "NOT the bytes of the local engine"
    return (
        f"{record['films']:,} films, {record['partitions']} partitions, a Ray cluster of {record['nodes']} nodes and a head on one "
        f"machine, {kills} killed with SIGKILL while it worked: {counts}, {same}, in {record['seconds']:.0f} s (undisturbed, on "
        f"the local engine, {record['local_seconds']:.0f} s). `{record['command']}`. {_made(record)}"
    )


def team():
    """Two processes beside one: losses and speed."""
    record = _read("speed/team.json")
    one, two = "one process, one thread", "one process, two threads"
    rows = [
        [
            name,
            _tiny(told["two processes against one"]),
            _tiny(told.get("two processes against one that accumulates two")),
            _tiny(told["one thread against two"]),
            " / ".join(f"{told['films a second'][crew]:.0f}" for crew in (one, two, "two processes")),
            f"{told['two processes against one with one thread']:.2f}",
            f"{told['two processes against one with two threads']:.2f}",
        ]
        for name, told in record["measured"].items()
    ]
    header = ["", "two processes against one", "against one that accumulates two", "one thread against two"]
    header += [
        "films/s: 1 thread / 2 threads / 2 processes",
        "speed-up over one core",
        "over one process on both cores",
    ]
    words = (
        f"Largest difference of the loss over {record['steps']} steps on films of the data set, the two processes with one thread each, "
        "as the one that they are held against. In double precision both do the same; in fp32 and bf16 a gradient is rounded for each "
        "part of a batch, which one process does that accumulates two parts, too, and what is left against a whole batch is no more than "
        f"what another number of threads changes. `{record['command']}`, two cores. {_made(record)}"
    )
    return markdown_table(header, rows) + "\n\n" + words


def _tiny(value):
    return "" if value is None else "0" if value == 0 else f"{value:.0e}"


def parts():
    """What a film costs a core, part by part."""
    record = _read("speed/parts.json")
    names = ("read", "decode", "find the chest", "network and guard", "write", "everything")
    told = record["measured"]
    rows = [[name, *(f"{each['milliseconds'][name]['median']:.2f}" for each in told.values())] for name in names]
    rows.append(["bytes of results", *(f"{each['result_bytes']:.0f}" for each in told.values())])
    table = markdown_table(["milliseconds a film, one core", *told], rows)
    return f"{table}\n\n`{record['command']}`. {_made(record)}"


# Named clusters: nodes, cores of each.
_SHAPES = {"a laptop": (1, 2), "a server": (1, 32), "ten servers": (10, 32), "a thousand cores": (32, 32)}
# In dollars: about what a core of a general-purpose machine in a cloud costs on demand.
_CORE_HOUR = 0.04


def plan():
    """Time and cost for archives of all sizes, from what one core does here."""
    told = _read("speed/scaling.json")["measured"]
    start = _read("experiments/cluster_simulation.json")["measured"]["start"]
    # What each of two cores at work together does, with Ray's share of it.
    share = told["Ray, start left out, share of predict"]["median"]
    small = told["Ray, start left out, films a second"]["median"] / 2
    batch = _read("speed/predicting.json")["measured"]
    large = share * batch["default, predict --out, 1,000 films of their own size, 2 processes"]["median"] / 2
    rows = []
    for films in (10**4, 10**5, 10**6, 10**7, 10**8, 10**9):
        cells = [
            " / ".join(_duration(start + films / (rate * nodes * cores)) for rate in (small, large))
            for nodes, cores in _SHAPES.values()
        ]
        hours = [films / rate / 3600 for rate in (small, large)]
        rows.append([f"{films:,}", *cells, " / ".join(f"{_CORE_HOUR * each:,.2f}" for each in hours)])
    header = ["films", *(f"{name} ({nodes} x {cores})" for name, (nodes, cores) in _SHAPES.items()), "$"]
    words = (
        f"Time on so many nodes x cores, films of 224 pixels / originals, from {small:.0f} and {large:.0f} films a second and core "
        f"(`results/speed/`), a start of {start:.0f} s, nothing failing; the cost at ${_CORE_HOUR} a core-hour, an assumption, storage and "
        "requests not counted. Cores of a cloud are often half of what is measured here: measure one, and multiply."
    )
    return markdown_table(header, rows) + "\n\n" + words


def _duration(seconds):
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:,.0f} d"


def simulation():
    """A thousand workers, simulated."""
    record = _read("experiments/cluster_simulation.json")
    known, check = record["measured"], record["check"]
    rows = [
        [
            name,
            f"{told['setting']['partition_films']:,}",
            f"{told['seconds'] / 60:.0f} min",
            f"{100 * told['efficiency']:.0f} %",
            f"{told['failures']:,.0f}",
            f"{100 * told['lost_worker_seconds'] / (told['workers'] * told['seconds']):.2f} %",
        ]
        for name, told in record["scenarios"].items()
    ]
    table = markdown_table(["", "films a partition", "time", "of the ideal", "workers that failed", "work lost"], rows)
    sizes = record["efficiency_by_films_and_partition"]
    columns = sorted({int(size) for values in sizes.values() for size in values})
    second = markdown_table(
        ["films, with a failure a node and day", *(f"{size:,}" for size in columns)],
        [
            [
                f"{int(films):,}",
                *(f"{100 * values[str(size)]:.0f} %" if str(size) in values else "" for size in columns),
            ]
            for films, values in sizes.items()
        ],
    )
    setting = next(iter(record["scenarios"].values()))["setting"]
    words = (
        f"{setting['nodes'] * setting['workers_per_node']:,} workers on {setting['nodes']} nodes, {setting['films']:,} films; medians of "
        f"{record['seeds']} seeds. Measured: {1000 * known['film']:.1f} ms a film, a partition's time varying by "
        f"{100 * known['spread']:.0f} %, {known['start']:.1f} s to start, {1000 * known['handing_out']:.1f} ms to hand out a partition. Assumed: "
        f"a dead node is noticed after {setting['noticed']:.0f} s and replaced after {setting['replaced']:.0f} s; a worker dies every ten days. "
        f"Held against the machine it was calibrated on: {check['films']:,} films on its two cores, simulated {check['simulated_seconds']:.0f} "
        f"s, measured {check['measured_seconds']:.0f} s. `{record['command']}`. {_made(record)}"
    )
    return f"{table}\n\nShare of the ideal, by films a partition:\n\n{second}\n\n{words}"


def serving():
    """The service under load, and fuzzed."""
    record, fuzz = _read("speed/serving.json"), _read("robustness/fuzz_service.json")
    overload, memory = record["overload"], record["memory_megabytes"]
    others = {status: count for status, count in overload["statuses"].items() if status not in ("200", "503")}
    rows = [
        ["capacity, films of 224 pixels", f"{record['capacity_per_second']['median']:.0f}/s"],
        [
            "`predict --out` in the same run, its start left out",
            f"{record['command_per_second']['median']:.0f}/s; the service reaches {100 * record['ratio']['median']:.0f} %",
        ],
        [
            f"asked 1.5 times that for {overload['seconds']:.0f} s",
            f"{overload['answered_per_second']:.0f}/s answered, the rest told to come back (503)",
        ],
        ["time of those accepted then", _milliseconds(overload["milliseconds"])],
        ["time at capacity", _milliseconds(record["calm_milliseconds"])],
        ["wrong answers; statuses other than 200 and 503", f"{record['wrong_answers']}; {sum(others.values())}"],
        [
            f"memory of all processes over {memory['requests']:,} requests",
            f"{memory['before']:.0f} -> {memory['after']:.0f} MB",
        ],
        ["first paint of the page", f"{record['first_paint_milliseconds']['median']:.0f} ms"],
    ]
    statuses = ", ".join(f"{count:,} {status}" for status, count in fuzz["statuses"].items())
    words = (
        f"`{record['command']}`, two cores, the callers on the same. {_made(record)}\n\n{fuzz['bodies']:,} fuzzed requests, "
        f"{fuzz['slow_callers']} callers sending a byte a second meanwhile: {statuses}; every hundredth time a film was asked "
        f"about in between, and answered otherwise than before {fuzz['films_answered_otherwise_meanwhile']} times; memory "
        f"{fuzz['memory_megabytes']['before']:.0f} -> {fuzz['memory_megabytes']['after']:.0f} MB. `{fuzz['command']}`. {_made(fuzz)}"
    )
    return markdown_table(["", ""], rows) + "\n\n" + words


def _milliseconds(told):
    return f"{told['p50']:.0f} ms (median), {told['p99']:.0f} ms (99 of 100)"


def _mean_and_range(values, digits):
    scale = 1 if digits == 3 else 100
    mean, low, high = (f"{scale * v:.{digits}f}" for v in (sum(values) / len(values), min(values), max(values)))
    return f"{mean} ({low}-{high})"


def pipeline():
    record = _read("speed/data_pipeline.json")
    rows = [[name, f"{told['median']:.1f}"] for name, told in record["seconds"].items()]
    words = f"{record['films']:,} films; peak memory {record['peak_memory_mb'] / 1024:.1f} GB. {_made(record)}"
    return markdown_table(["stage", "seconds"], rows) + "\n\n" + words


def tricks():
    record = _read("speed/allocator.json")
    rows = [[name.replace(",", ", "), f"{told['median']:.0f}"] for name, told in record["images_per_second"].items()]
    return markdown_table(["a training step of model 2 with", "img/s"], rows) + "\n\n" + _made(record)


def roofline():
    record = _read("speed/roofline.json")
    rates = record["machine_rates"]
    rows = [
        ["matrix product", f"{rates['operations_per_second'] / 1e9:.0f} GFLOP/s"],
        ["copy", f"{rates['bytes_per_second'] / 1e9:.1f} GB/s"],
        ["operations of a step", f"{record['operations_per_step'] / 1e9:.0f} GFLOP"],
        ["bytes of a step", f"{record['bytes_per_step'] / 1e9:.1f} GB"],
        ["least time by arithmetic", f"{1000 * record['arithmetic_seconds']:.0f} ms"],
        ["least time by memory", f"{1000 * record['memory_seconds']:.0f} ms"],
        ["measured", f"{1000 * record['step_seconds']:.0f} ms ({record['images_per_second']:.0f} img/s)"],
        ["share of the roof", f"{100 * record['share_of_the_roof']:.0f} %"],
    ]
    words = f"{record['model']}, batch {record['batch_size']}, {record['dtype']}. {_made(record)}"
    return markdown_table(["", ""], rows) + "\n\n" + words


def cli_reference():
    command = [sys.executable, "-m", "typer", "pneumoscope.cli", "utils", "docs", "--name", "pneumoscope"]
    done = subprocess.run([*command, "--title", "Command line"], capture_output=True, text=True, check=True)
    return done.stdout.replace("&#x27;", "'").replace("&gt;", ">")


QUOTES = {
    quote.__name__.replace("_", "-"): quote
    for quote in (
        study,
        weights,
        seeds,
        operating_point,
        epochs_on_test,
        epochs_on_test_stacked,
        cues,
        verdict,
        against_keras,
        whole_study,
        one_seed,
        ablation,
        detector_bundles,
        detector_test,
        detector_points,
        detector_styles,
        detector_sets,
        detector_answered,
        detector_beside,
        detector_seeds,
        agreement,
        guard,
        evidence,
        robustness,
        engines,
        predicting,
        exported,
        serving,
        scaling,
        cluster,
        team,
        plan,
        parts,
        simulation,
        pipeline,
        tricks,
        roofline,
    )
}


def rendered(text):
    """The page with every block between markers written anew."""
    for name, quote in QUOTES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if pattern.search(text):
            block = quote()
            text = pattern.sub(lambda match, block=block: f"{match[1]}{block}\n{match[2]}", text)
    return text


def main() -> None:
    pages = {ROOT / page: rendered((ROOT / page).read_text(encoding="utf-8")) for page in PAGES}
    pages[CLI_PAGE] = cli_reference()
    stale = [page for page, text in pages.items() if not page.exists() or page.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        if stale:
            names = ", ".join(str(page.relative_to(ROOT)) for page in stale)
            sys.exit(f"error: expected pages that quote results/, found others: {names}: run scripts/quote_results.py")
        return
    for page in stale:
        page.write_text(pages[page], encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
