"""Blocks of docs/results/study.md: the repeated study."""

from quoting.formatting import percent, percent_interval, percent_range, table
from quoting.package import COMPARISON_HEADER, REPRODUCTION_HEADER, best_operating_point, comparison_row, reproductions
from quoting.results import Blocks, read, read_predictions, source, study_models


def comparison() -> str:
    """Closing table of the study, means over the seeds."""
    record = read("study/comparison.json")
    data = record["data"]
    note = (
        f"{data['films']:,} films, split `{data['split_hash'][:12]}`; the answer in two classes, sensitivity, "
        f"specificity and AUC are means over the seeds. {source(record)}"
    )
    return table(COMPARISON_HEADER, [comparison_row(model) for model in record["models"]], note)


def reproduced() -> str:
    """Whether the slides' figures were reproduced, a sentence per model."""
    return table(REPRODUCTION_HEADER, reproductions(read("study/comparison.json")))


def weights() -> str:
    """File from which Inception V3 started."""
    used = next(model for model in study_models() if model["name"] == "inception_v3")["weights"]
    return f"Inception V3 started from `{used['file']}` (SHA-256 `{used['sha256'][:12]}…`; {used['description']})."


def seeds() -> str:
    """Accuracy of every training."""
    rows = [
        [
            model["title"],
            str(run["seed"]),
            str(run["epochs"]),
            percent(run["final_validation_accuracy"]),
            percent_interval(run["measures"]["accuracy"]),
        ]
        for model in study_models()
        for run in model["runs"]
    ]
    return table(["model", "seed", "epochs", "validation accuracy", "test accuracy (95 % interval)"], rows)


def operating_point() -> str:
    """Two-class accuracy at 0.5 and at the best threshold: how much of the gap is the threshold."""
    rows = []
    for model in study_models():
        at_half, at_best = [], []
        for run in model["runs"]:
            found = read_predictions(f"study/runs/{model['name']}/seed-{run['seed']}/evaluation/test")
            best = best_operating_point(found.probability, found.positive)
            at_half.append(found.accuracy(0.5))
            at_best.append(found.accuracy(best.threshold))
        rows.append([model["title"], percent_range(at_half), percent_range(at_best)])
    header = [
        "model",
        "two-class accuracy at 0.5, over seeds",
        "at the best threshold (fitted on the test films, for the sake of argument)",
    ]
    return table(header, rows)


def epochs_on_test(model: str) -> str:
    """Test measures of one model after each of its epochs."""
    record = read(f"experiments/epochs_on_test_{model}.json")
    rows = [
        [
            seed,
            str(epoch["epoch"]),
            f"{epoch['val_loss']:.3f}",
            percent(epoch["test"]["accuracy"]),
            percent(epoch["test"]["specificity"]),
            f"{epoch['test']['auc']:.3f}",
            percent(epoch["binary_accuracy_at_the_best_test_threshold"]),
        ]
        for seed, epochs in record["seeds"].items()
        for epoch in epochs
    ]
    header = ["seed", "epoch", "validation loss", "test accuracy", "specificity", "AUC"]
    return table([*header, "two-class accuracy at the best threshold"], rows, source(record))


BLOCKS: Blocks = {
    "study": comparison,
    "reproduced": reproduced,
    "weights": weights,
    "seeds": seeds,
    "operating-point": operating_point,
    "epochs-on-test": lambda: epochs_on_test("cnn_2_classes"),
    "epochs-on-test-stacked": lambda: epochs_on_test("stacked_cnn"),
}
