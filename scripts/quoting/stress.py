"""Blocks on the stress test: planted shortcuts, validations ranked against the test, and what each step of the recipe brought."""

from collections import defaultdict

from pneumoscope.study.experiments import EXPERIMENTS
from quoting.formatting import difference, interval, mean, table
from quoting.results import Blocks, read, source

_PLANTED = {
    "storage": ("JPEG quality, 92 against 25", "storage"),
    "corners": ("letter in a corner, L or R", "corners"),
    "geometry": ("aspect ratio, 1 against 1.2 to 1.3", "geometry"),
    "lungs": ("streaks in the lungs", "lungs"),
}
# Recipes of the ablation that differ from the one above them in one thing.
_STEPS = {
    "plain": "small movements and tones alone",
    "letters": "and letters burnt in on both classes",
    "file": "and stretch, resolution and compression drawn at random",
    "chest": "and every chest in the same frame",
    "chest-odd": "and minority normals five times an epoch",
    "lungs-128": "the lung fields alone, film and mirror image, smaller trunk, 14 epochs",
}
# Recipes that are ranked, beside the study's; from `letters` to `chest-odd` each adds to the one before it.
_RANKED = {
    "plain": "small network: small movements and tones",
    "letters": "small network: movements, tones, letters on both classes",
    "file": "small network: movements, tones, letters, random stretch, resolution and compression",
    "chest": "small network: movements to compression, every chest in one frame",
    "chest-odd": "small network: movements to compression, one frame, minority normals five times an epoch",
    "lungs": "small network: the lung fields alone, as `nano`",
    "naive": "EfficientNet-lite0 of ImageNet, fine-tuned without augmentation",
    "bundle nano": "bundle `nano`",
    "bundle default": "bundle `default`",
    "bundle best": "bundle `best`, which holds the network of `default`",
    "random": "untrained network",
}


def planted() -> str:
    """Networks trained on phantoms whose classes differ in one thing, and how often the verdict named it."""
    record = read("robustness/planted_shortcuts.json")
    rows = []
    for name, (words, read_as) in _PLANTED.items():
        found = record["verdicts"][name]
        named = sum(each["reads"] == read_as for each in found)
        cost = mean([each["reliance"][name] for each in found])
        others = max((other for each in found for what, other in each["reliance"].items() if what != name), default=0.0)
        rows.append([words, f"{named} of {len(found)}", cost, f"{others:.2f}"])
    header = ["planted", "named by the verdict", "what its exchange costs", "most that another costs"]
    note = (
        f"Balanced accuracy, mean (range) over {record['seeds']} seeds; each network was trained on {record['trained_on']} phantoms and "
        f"tested on {record['tested_on']} others. {source(record)}"
    )
    return table(header, rows, note)


def ranking() -> str:
    """Networks by their AUC on the test images, with the usual validation and the stress score."""
    record = read("robustness/ranking.json")
    rows = [
        [
            _ranked(n["recipe"]),
            f"{n['test']:.3f}",
            f"{n['usual']:.3f}",
            f"{n['stress']:.3f}",
            ", ".join([n["reads"], *n["also"]]),
        ]
        for n in sorted(record["networks"], key=lambda n: -n["test"])
    ]
    found = {name: interval(each, 2) for name, each in record["correlations"].items()}
    note = (
        f"Rank correlation with the test: usual validation {found['usual']}, stress score {found['stress']}, difference {found['difference']}; "
        f"95 % intervals by a bootstrap over recipes, the random network left out. {record['validation_images']} held-out and "
        f"{record['test_images']} test images. {source(record)}"
    )
    return table(["network", "AUC on the test", "usual validation", "stress score", "reads"], rows, note)


def ranking_in_short() -> str:
    """How either validation ranks networks, in one sentence."""
    record = read("robustness/ranking.json")
    usual, stress = (interval(record["correlations"][name], 2) for name in ("usual", "stress"))
    count = sum(network["recipe"] != "random" for network in record["networks"])
    return (
        f"Over {count} networks, from the study's and an ImageNet network fine-tuned without augmentation to the shipped ones, the rank correlation with the AUC on the official test is {usual} for the\n"
        f"usual validation on held-out images of other patients, and {stress} for the score of the stress test on the same images (95 % intervals)."
    )


def _ranked(recipe: str) -> str:
    """Recipe in words: the study's title, by which library, or what sets it apart."""
    name, comma, library = recipe.partition(", ")
    titles = {each.name: f"study: {each.title}" for each in EXPERIMENTS} | _RANKED
    return f"{titles.get(name, name)}{comma}{library}"


def steps() -> str:
    """What each step of the recipe brought, on the validations and on the test."""
    ablation, networks = read("detector/ablation.json")["recipes"], read("detector/agreement.json")["networks"]
    test = defaultdict(list)
    for network in networks:
        test[network["recipe"]].append(network["test"]["auc"])
    rows = [
        [words, str(len(test[name])), *(mean([fold[key] for fold in ablation[name]["folds"]]) for key in ("plain_auc", "within_auc")), mean(test[name])]
        for name, words in _STEPS.items()
    ]  # fmt: skip
    return table(["training", "networks", "AUC, held-out films", "AUC within clusters", "AUC, test films"], rows)


def duration() -> str:
    """Time of a whole stress test of shipped bundles."""
    record = read("speed/stress.json")
    rows = [
        [f"`{name}`", f"{found['radiographs']:,}", f"{found['images_shown']:,}", f"{found['seconds'] / 60:.1f}"]
        for name, found in record["bundles"].items()
    ]
    note = f"{record['cores']} cores. {source(record)}"
    return table(["bundle", "radiographs", "images shown to it", "minutes"], rows, note)


def next_hospital() -> str:
    """AUC of networks of one hospital and of both, at a hospital that they never saw and at their own."""
    record = read("robustness/many_hospitals.json")
    rows = []
    for unseen, seen in zip(record["next_site"], record["seen"], strict=True):
        site = unseen["site"]
        own, both = (
            next(each for each in record["own_sites"] if each["site"] == site and (each["network"] == "all") == of_both)
            for of_both in (False, True)
        )
        rows.append(
            [
                f"{site}: {unseen['images']:,} images of {unseen['patients']:,} patients",
                interval(unseen["measures"]["auc"]),
                f"{own['images']:,} of {own['patients']:,}",
                *(interval(each["measures"]["auc"]) for each in (own, both)),
                difference(seen["gain"]),
            ]
        )
    header = [
        "hospital",
        "AUC there of a network of the other hospital, all images",
        "held-out images and patients",
        "AUC on them: network of this hospital",
        "network of both",
        "gain by having seen it",
    ]
    note = f"95 % intervals over patients; gain: network of both less that of the other hospital, on the held-out images, DeLong's paired test. {source(record | record['provenance'])}"
    return table(header, rows, note)


BLOCKS: Blocks = {
    "planted-shortcuts": planted,
    "ranking": ranking,
    "ranking-in-short": ranking_in_short,
    "shortcut-steps": steps,
    "next-hospital": next_hospital,
    "stress-duration": duration,
}
