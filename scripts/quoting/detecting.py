"""Blocks of docs/results/ about prediction: evidence, input guard, adaptation, exported networks, speed and robustness."""

from quoting.formatting import interval, order_of_magnitude, percent, percent_interval, table
from quoting.package import SHIPPED, range_text
from quoting.results import Blocks, read, source

# Images of `experiments/adaptation.py` that show no chest.
_NO_CHESTS = ("spine", "knee", "other bones", "teeth", "CT, MR and hands")


def evidence() -> str:
    """Deletion test of the evidence maps."""
    rows, notes = [], []
    for name in SHIPPED:
        record = read(f"detector/evidence-{name}.json")
        for group, deletion in record["deletion"].items():
            for by, words in (("blurred", "itself, blurred"), ("normal", "normal films")):
                found = deletion[by]
                cells = [percent_interval(found[key]) for key in ("fall_where_marked", "fall_where_the_mean_map_marks")]
                cells += [percent_interval(found["marked_falls_more_than_mean_map"])]
                cells += [percent_interval(found["fall_elsewhere"]) if "fall_elsewhere" in found else ""]
                cells += [percent(found["marked_falls_more"]) if "marked_falls_more" in found else ""]
                rows.append([f"`{name}`", f"{deletion['films']} {group}", words, *cells])
        random = record["sanity"]
        notes.append(
            f"`{name}`: rank correlation {random['mean']:.2f} (range {range_text(random['low'], random['high'], 2)}) with the maps of "
            f"{random['networks']} networks of the same form with random weights. {source(record)}"
        )
    header = ["detector", "films", "replaced by", "fall where marked, points", "where the mean map marks"]
    header += ["marked falls more than that, %", "elsewhere, same shape", "marked falls more than that, %"]
    return table(header, rows, " ".join(notes))


def zones() -> str:
    """Stability of the lung zones."""
    records = {name: read(f"detector/evidence-{name}.json") for name in SHIPPED}
    rows = []
    for name, record in records.items():
        for view, words in (("mirrored", "mirrored"), ("jpeg_40", "JPEG, quality 40")):
            found = record["zones"][view]
            placed = round(record["zones"]["placed"] * record["zones"]["films"])
            films = f"{found['films']} of {placed}"
            cells = [percent(found["agree"] * found["films"] / placed, 0)]
            cells += [percent(found[key], 0) for key in ("agree", "same_names")]
            rows.append([f"`{name}`", words, films, *cells, f"{found['largest_change_median']:.3f}"])
    header = ["detector", "altered", "placed in both", "zones agree, of all placed, %"]
    header += ["of those placed in both, %", "the same zones named, %"]
    header += ["largest change of a fraction, median"]
    return table(header, rows, " ".join(map(source, records.values())))


def input_guard() -> str:
    """Fraction of each kind of image that gets a decision, is outside, and is rejected."""
    records = [read(f"detector/guard-{name}.json") for name in SHIPPED]
    rows = []
    for group, kinds in records[0]["kinds"].items():
        for kind, counts in kinds.items():
            found = [record["kinds"][group][kind] for record in records]
            shown = [
                " / ".join(percent(each[name] / each["images"]) for name in ("answered", "outside", "rejected"))
                for each in found
            ]
            rows.append([group, kind, str(counts["images"]), *shown])
    header = ["", "kind", "images", *(f"`{name}`: decision / outside / rejected, %" for name in SHIPPED)]
    return table(header, rows, " ".join(map(source, records)))


def populations() -> str:
    """Decisions on images of other populations and subjects, and on those of the detectors' own population."""
    record = read("robustness/populations.json")
    rows = []
    for name, figures in record["detectors"]["default"]["sets"].items():
        found = [record["detectors"][detector]["sets"][name]["fractions"] for detector in SHIPPED]
        shown = [percent_interval(each[part]) for part in ("answered", "not_frontal_chest") for each in found]
        rows.append([name, str(figures["images"]), *shown])
    header = ["images", "n", *(f"decision by `{name}`, %" for name in SHIPPED)]
    header += [f"`not_frontal_chest` by `{name}`, %" for name in SHIPPED]
    return table(header, rows, f"Wilson's 95 % intervals over images. {source(record)}")


def adaptation() -> str:
    """Bundles adapted to other hospitals: cross-validated, and decisions on the other half of the patients and elsewhere."""
    record = read("robustness/adaptation.json")
    rows = []
    for bundle, sets in record["bundles"].items():
        for name, found in sets.items():
            views = ", ".join(f"{view} {each['auc']:.2f}" for view, each in found["views"].items())
            half = found["half"]
            elsewhere = [each["answered"]["value"] for other, each in half["foreign"].items() if other in _NO_CHESTS]
            rows.append(
                [
                    f"`{bundle}`",
                    name,
                    f"{found['films']} of {found['patients']}",
                    interval(found["parent"]["auc"]),
                    interval(found["cross_validated"]["auc"]) + (f"; {views}" if views else ""),
                    f"{found['acquisition']['auc']:.2f} / {found['acquisition']['auc_within']:.2f}",
                    f"{half['others']['auc']:.2f}",
                    percent(half["others"]["answered"]["value"]),
                    f"{percent(half['others']['sensitivity'])} / {percent(half['others']['specificity'])}",
                    percent(max(elsewhere)),
                ]
            )
    made = [
        each["made"] for sets in record["bundles"].values() for found in sets.values() for each in found["shuffled"]
    ]
    seconds = [found["seconds"]["all"] for sets in record["bundles"].values() for found in sets.values()]
    peak = record["peak_mb"]
    header = ["bundle", "data", "images of patients", "AUC before", "AUC adapted, cross-validated"]
    header += [
        "acquisition alone / adapted within its fifths",
        "AUC, other half",
        "decision, %",
        "sensitivity / specificity, %",
    ]
    header += ["other parts, CT, MR with a decision, at most %"]
    note = (
        f"Labels shuffled {len(made)} times: {sum(made)} bundles made. {range_text(min(seconds), max(seconds), 0)} s each, "
        f"{peak['this']:.0f} MB and {peak['largest_worker']:.0f} MB a worker. {source(record)}"
    )
    return table(header, rows, note)


def fine_tuning() -> str:
    """All weights fine-tuned on images of other hospitals, beside the linear head of the same bundle."""
    record, linear = read("robustness/fine_tuning.json"), read("robustness/adaptation.json")
    rows = []
    for name, found in record["sets"].items():
        head = linear["bundles"][record["bundle"]][name]
        figures = found["cross_validated"]
        rows.append(
            [
                name,
                interval(head["cross_validated"]["auc"]),
                interval(figures["auc"]),
                f"{percent(figures['sensitivity']['value'])} / {percent(figures['specificity']['value'])}",
                f"{head['acquisition']['auc_within']:.2f} / {found['acquisition']['auc_within']:.2f}",
                f"{found['seconds'] / 60:.0f}",
            ]
        )
    header = ["data", "AUC, linear head", "AUC, fine-tuned", "sensitivity / specificity, fine-tuned, %"]
    header += ["AUC among images of like acquisition, linear / fine-tuned", "minutes"]
    note = (
        f"`{record['bundle']}`, nested cross-validation by patient; {record['peak_mb'] / 1000:.1f} GB. {source(record)}"
    )
    return table(header, rows, note)


def suggestion() -> str:
    """AUC with labels bought by suggestion and by chance."""
    record = read("robustness/suggestion.json")
    sets = [(bundle, name, found) for bundle, each in record["bundles"].items() for name, found in each.items()]
    rows = [
        [
            f"`{bundle}`",
            name,
            by,
            *(
                f"{auc:.3f}" + (f" ({error:.3f})" if by == "suggested" else "")
                for auc, error in zip(found[by], errors, strict=True)
            ),
        ]
        for bundle, name, found in sets
        for errors in [found["standard_error_of_gain"]]
        for by in ("random", "suggested")
    ]
    header = ["bundle", "data", "images chosen", *(f"{labels} labels" for labels in sets[0][2]["labels"])]
    note = f"AUC on held-out patients, means of {record['repeats']} repeats; in brackets the standard error of the gain. {source(record)}"
    return table(header, rows, note)


def corruptions() -> str:
    """Wrong and refused answers on altered test images, at the mildest and at the strongest strengths."""
    record = read("robustness/corruptions-test.json")
    rows = []
    for name, strengths in record["detectors"]["default"].items():
        row = [name if name in record["medmnist_c"] else f"{name} *"]
        for detector in SHIPPED:
            figures = list(record["detectors"][detector][name].values())
            wrong = [100 * each["wrong"]["value"] for each in figures]
            refused = [100 * each["refused"]["value"] for each in figures]
            row += [", ".join(f"{value:.0f}" for value in values) for values in (wrong, refused)]
        rows.append([row[0], ", ".join(strengths), *row[1:]])
    header = ["alteration", "strengths", *(f"`{n}` {what}, %" for n in SHIPPED for what in ("wrong", "refused"))]
    note = f"{record['images']} images of the {record['split']} split; * not in MedMNIST-C. {source(record)}"
    return table(header, rows, note)


def exported() -> str:
    """Networks of the study as bundles: agreement with PyTorch, and what their input guards pass."""
    record = read("robustness/exported.json")
    rows = [
        [
            f"`{name}`",
            f"{network['megabytes']:.1f}",
            order_of_magnitude(network["largest_difference_of_onnx"]),
            f"{network['foreign_passed']} of {network['foreign']}",
            f"{network['watched_rejected']} of {network['watched']}",
        ]
        for name, network in record["networks"].items()
    ]
    header = ["network", "MB", "largest difference of a probability", "foreign images that pass"]
    return table([*header, "chest films rejected"], rows, source(record))


def predicting() -> str:
    """Time of predictions from shell, Python and in batches."""
    record = read("speed/predicting.json")
    rows = [
        [name, f"{measured['median']:.{measured['digits']}f} {measured['unit']}"]
        for name, measured in record["measured"].items()
    ]
    return table(["", ""], rows, source(record))


def engines() -> str:
    """Rate and changed decisions of each inference engine and number format."""
    record = read("speed/engines-default.json")
    rows = []
    for engine, answers in record["answers"].items():
        runs = (f"{engine}, {threads} threads, batches of {batch}" for threads, batch in ((1, 1), (2, 1), (2, 8)))
        rates = [f"{record['speed'][run]['films_per_second']:.0f}" for run in runs]
        changed = f"{answers['changed_decisions']} of {record['films']}"
        rows.append(
            [engine, *rates, changed, f"{answers['largest_change_of_probability']:.3f}", f"{answers['auc']:.4f}"]
        )
    refused = "".join(f" {name} could not be compiled: {why}." for name, why in record["refused"].items())
    header = ["engine", "films/s, 1 thread", "2 threads", "2 threads, batches of 8", "decisions changed"]
    return table([*header, "largest change of a probability", "AUC, validation"], rows, source(record) + refused)


def robustness() -> str:
    """Fuzzing of the readers, and batches that were killed and resumed."""
    fuzz, kills = read("robustness/fuzz.json"), read("robustness/kill_and_resume.json")
    adapted = read("robustness/kill_adapt.json")
    same = all(found["same"] and not found["left"] for found in kills["formats"].values())
    return (
        f"{fuzz['inputs']:,} mutated images, DICOM objects, bundles and tables: {len(fuzz['failures'])} tracebacks, "
        f"crashes, hangs or messages of several lines; the slowest took {fuzz['slowest_seconds']:.2f} s, the largest "
        f"process {fuzz['largest_megabytes']:.0f} MB. {source(fuzz)}\n\n{kills['kills']} kills at random moments of "
        f"batches of {kills['films']:,} files, resumed each time: the results of all three formats were "
        f"{'the same, byte for byte, as' if same else 'NOT those of'} the undisturbed ones. {source(kills)}\n\n"
        f"{adapted['kills']} kills at random moments of `adapt`, resumed each time: {adapted['whole']} bundles were made meanwhile, each whole "
        f"and the same as the undisturbed one, and no part of one was left. {source(adapted)}"
    )


def frame() -> str:
    """Figures where a part of the radiograph is hidden."""
    record = read("robustness/frame-validation.json")
    rows = []
    for view in record["detectors"][SHIPPED[0]]:
        found = [record["detectors"][name][view] for name in SHIPPED]
        cells = [
            f"{interval(each['auc'])}; {percent(each['sensitivity']['value'])} / {percent(each['specificity']['value'])}"
            for each in found
        ]
        rows.append([view, *cells])
    header = ["validation films", *(f"`{name}`: AUC; sensitivity / specificity, %" for name in SHIPPED)]
    return table(header, rows, f"{record['films']} films. {source(record)}")


BLOCKS: Blocks = {
    "frame": frame,
    "evidence": evidence,
    "zones": zones,
    "corruptions": corruptions,
    "guard": input_guard,
    "populations": populations,
    "adaptation": adaptation,
    "fine-tuning": fine_tuning,
    "suggestion": suggestion,
    "exported": exported,
    "predicting": predicting,
    "engines": engines,
    "robustness": robustness,
}
