"""What a detector decides on altered chest images, on foreign images and on parts of chests; writes JSON.

    .venv/bin/python benchmarks/guard.py [--bundle default] [--foreign DIR ...]

Foreign images are the photographs, textures and slices that scikit-image, scikit-learn, matplotlib and pydicom bring, images
drawn here, and those of --foreign (a folder per kind). The guard was fitted on chest images alone, so that all of these are
kinds it never saw. The chest images are those that watched the training, as they are and as images of other rooms may be; the
changes are drawn otherwise than those of the fit.
"""

import argparse
import io
from importlib.resources import files
from pathlib import Path

import matplotlib
import numpy as np
import pydicom
import skimage
import sklearn
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFilter

from pneumoscope.config import SplitConfig
from pneumoscope.data.index import build_index
from pneumoscope.data.locate import locate
from pneumoscope.data.reading import read_grey
from pneumoscope.data.sources import open_source
from pneumoscope.data.split import draw_validation
from pneumoscope.errors import UnreadableImage
from pneumoscope.files import write_json
from pneumoscope.inference.detector import load_detector
from pneumoscope.provenance import provenance
from pneumoscope.types import IMAGE_SUFFIXES, Decision, Split


def grey(file):
    try:
        return read_grey(file)
    except UnreadableImage:
        return None


def pictures(folder):
    found = sorted(file for file in Path(folder).rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    return [image for image in map(grey, found) if image is not None and min(image.shape) >= 64]


def crops(images, rng, times):
    for image in images:
        for _ in range(times):
            split = int(min(image.shape) * rng.uniform(0.4, 0.9))
            if split >= 64:
                top, left = (int(rng.integers(0, size - split + 1)) for size in image.shape)
                yield image[top : top + split, left : left + split]


def drawn(rng, width=400, height=300):
    """A page of shapes and words, black on white or white on black."""
    image = Image.new("L", (width, height), int(rng.integers(0, 2) * 255))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(3, 30)):
        x, y = rng.integers(0, width - 20), rng.integers(0, height - 20)
        shade = int(rng.integers(0, 256))
        if rng.random() < 0.5:
            draw.text((x, y), "chest x-ray report " * 3, fill=shade)
        else:
            draw.rectangle([x, y, x + int(rng.integers(5, 200)), y + int(rng.integers(5, 100))], fill=shade)
    return np.asarray(image)


def drawn_lungs(rng):
    image = Image.new("L", (300, 280), int(rng.choice([0, 255])))
    draw = ImageDraw.Draw(image)
    shade = int(rng.integers(60, 200))
    draw.ellipse([50, 50, 130, 240], fill=shade, outline=128)
    draw.ellipse([170, 50, 250, 240], fill=shade, outline=128)
    draw.rectangle([140, 10, 160, 260], fill=255 - shade)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(int(rng.integers(0, 6)))))


def plot(rng):
    figure = Figure(figsize=(4, 3))
    axes = figure.add_subplot()
    axes.plot(rng.normal(size=(50, 3)).cumsum(axis=0))
    axes.set_title("survival")
    with io.BytesIO() as buffer:
        figure.savefig(buffer, format="png")
        return read_grey(Path("plot.png"), buffer.getvalue())


def smooth(rng):
    few = rng.integers(0, 256, (int(rng.integers(2, 14)),) * 2, dtype=np.uint8)
    return np.asarray(Image.fromarray(few).resize((224, 224), Image.Resampling.BICUBIC))


def noise(rng):
    return np.clip(rng.normal(rng.uniform(60, 190), rng.uniform(3, 90), (200, 300)), 0, 255).astype(np.uint8)


def foreign(images, rng, folders):
    photographs = [
        picture
        for package, place in ((skimage, "data"), (sklearn, "datasets/images"), (matplotlib, "mpl-data/sample_data"))
        for picture in pictures(files(package.__name__) / place)
    ]
    kinds = {
        "photographs and textures": photographs,
        "parts of these": list(crops(photographs, rng, 8)),
        "CT, MR and other DICOM": pictures(files(pydicom.__name__) / "data/test_files"),
        "pages of shapes and words": [drawn(rng) for _ in range(100)],
        "plots": [plot(rng) for _ in range(30)],
        "drawn lungs": [drawn_lungs(rng) for _ in range(50)],
        "noise": [noise(rng) for _ in range(100)],
        "smooth noise": [smooth(rng) for _ in range(100)],
        "one grey": [np.full((224, 224), level, np.uint8) for level in range(0, 256, 15)],
        "chests inverted": [255 - image for image in images],
        "chests on their side": [np.rot90(image, 1 + 2 * (i % 2)).copy() for i, image in enumerate(images)],
        "chests upside down": [np.rot90(image, 2).copy() for image in images],
    }
    for folder in folders:
        kinds |= {f"{part.name}, {folder.name}": pictures(part) for part in sorted(folder.iterdir()) if part.is_dir()}
    return kinds


def as_picture(image, change):
    return np.asarray(change(Image.fromarray(image)))


def toned(image, table):
    return np.clip(table(np.arange(256) / 255) * 255, 0, 255).astype(np.uint8)[image]


def marked(image, rng):
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    split = image.shape[0]
    draw.text((0.04 * split, 0.04 * split), "R  10:34", fill=255, font_size=split // 12)
    draw.text((0.5 * split, 0.92 * split), "PORTABLE SUPINE 62 KV", fill=230, font_size=split // 20)
    return np.asarray(picture)


def tubed(image, rng):
    """Three smooth curves as of a gastric tube, a catheter and a lead, and two electrodes."""
    picture = Image.fromarray(image).resize((4 * image.shape[1], 4 * image.shape[0]), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    height, width = picture.height, picture.width
    t = np.linspace(0, 1, 60)[:, None]
    for _ in range(3):
        a, b, c, d = rng.uniform((0.2, 0), (0.8, 1), (4, 2)) * (width, height)
        curve = (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
        draw.line([tuple(p) for p in curve], fill=int(rng.integers(190, 250)), width=int(rng.integers(4, 12)))
    for _ in range(2):
        x, y = rng.uniform(0.2, 0.8, 2) * (width, height)
        draw.circle((x, y), 16, fill=240)
    return np.asarray(picture.resize(image.shape[::-1], Image.Resampling.BOX))


def recompressed(image, quality):
    with io.BytesIO() as buffer:
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        return read_grey(Path("film.jpeg"), buffer.getvalue())


def chests(images, rng):
    changes = {
        "as they are": lambda image: image,
        "mirrored": lambda image: image[:, ::-1].copy(),
        "turned by 10 degrees": lambda image: as_picture(
            image, lambda p: p.rotate(rng.choice([-10, 10]), Image.Resampling.BICUBIC)
        ),
        "dark": lambda image: toned(image, lambda level: 0.5 * level),
        "dark by gamma 2": lambda image: toned(image, lambda level: level**2),
        "bright": lambda image: toned(image, lambda level: 0.5 + 0.5 * level),
        "bright by gamma 0.5": lambda image: toned(image, lambda level: level**0.5),
        "low contrast": lambda image: toned(image, lambda level: 0.3 + 0.4 * level),
        "64 pixels": lambda image: as_picture(image, lambda p: p.resize((64, 64), Image.Resampling.BILINEAR)),
        "JPEG quality 10": lambda image: recompressed(image, 10),
        "blurred": lambda image: as_picture(image, lambda p: p.filter(ImageFilter.GaussianBlur(1.5))),
        "noisy": lambda image: np.clip(image + rng.normal(0, 10, image.shape), 0, 255).astype(np.uint8),
        "black margins": lambda image: np.pad(image, ((20, 10), (30, 25))),
        "marks": lambda image: marked(image, rng),
        "tubes and electrodes": lambda image: tubed(image, rng),
        "half as wide": lambda image: as_picture(image, lambda p: p.resize((150, 224), Image.Resampling.BILINEAR)),
    }
    return {name: [change(image) for image in images] for name, change in changes.items()}


def parts_of_chests(images):
    return {
        "left half": [image[:, :112].copy() for image in images],
        "upper half": [image[:112].copy() for image in images],
        "lower half": [image[112:].copy() for image in images],
        "four in one": [
            np.block([[a, b], [c, d]])
            for a, b, c, d in zip(images[::4], images[1::4], images[2::4], images[3::4], strict=False)
        ],
    }


def decided(detector, kinds):
    found = {}
    for name, images in kinds.items():
        predictions = list(detector.predict_many(images))
        answered = [p.decision in (Decision.NORMAL, Decision.PNEUMONIA) for p in predictions]
        reasons = [reason.value for p in predictions for reason in p.reasons]
        found[name] = {
            "images": len(predictions),
            "answered": sum(answered),
            "outside": sum(p.decision is Decision.REFER and not p.validated for p in predictions),
            "rejected": sum(p.decision is Decision.REJECTED for p in predictions),
            "reasons": {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        }
        print(f"{name:<32}", found[name], flush=True)
    return found


def fraction(kinds, name):
    return sum(kind[name] for kind in kinds.values()) / sum(kind["images"] for kind in kinds.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--foreign", type=Path, nargs="*", default=[])
    parser.add_argument("--images", type=int, default=10_000, help="validation images, at most")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    detector = load_detector(options.bundle)
    source = open_source(locate(None).root)
    index = build_index(source)
    watched = draw_validation(index, SplitConfig().seed).positions(Split.VALIDATION)
    images = [source.read(index.rows[i].path) for i in watched[: options.images]]
    rng = np.random.default_rng(2026)
    found = {
        "chest films": decided(detector, chests(images, rng)),
        "foreign images": decided(detector, foreign(images[:200], rng, options.foreign)),
        "parts of chest films": decided(detector, parts_of_chests(images[:200])),
    }
    rates = {
        "foreign_answered": fraction(found["foreign images"], "answered"),
        "chests_rejected": fraction(found["chest films"], "rejected"),
    }
    print(rates)
    name = detector.bundle.manifest.name
    made = provenance("benchmarks/guard.py")
    record = {"detector": name, "bundle": detector.bundle.sha256, "rates": rates, "kinds": found} | made
    write_json(options.out or Path(f"results/detector/guard-{name}.json"), record)


if __name__ == "__main__":
    main()
