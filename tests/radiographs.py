"""Drawn frontal chest radiographs: normal, or with a bacterial or a viral pneumonia.

The constants are such that the shipped detectors accept the drawings and read them as what they show. That says nothing of accuracy.

A drawing is a sum of densities on a grid in which the chest frame is [-1, 1] in both directions, x to the right and y downwards:
body, abdomen, heart, bones and vessels add to it, lungs take away from it, a pneumonia fills the lungs again.
"""

from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
from scipy.ndimage import gaussian_filter

# Seeds whose drawings all shipped detectors accept and read with a wide margin.
_CLEAR = {"normal": (14, 19), "bacterial": (2, 3), "viral": (1, 6)}
_APEX, _SOFT = -0.86, 0.02


def radiograph(kind: str, seed: int, pixels: int = 256) -> np.ndarray:
    """Draw one radiograph, (pixels, pixels) uint8; seeds differ in position, vessels, opacities and noise."""
    rng = np.random.default_rng([list(_CLEAR).index(kind), seed])
    y, x = np.mgrid[-1 : 1 : pixels * 1j, -1 : 1 : pixels * 1j] * 1.2
    x, y = x + rng.uniform(-0.03, 0.03), y + rng.uniform(-0.03, 0.03)
    lateral = np.abs(x)
    outline = 0.95 + 0.6 * np.clip(-0.5 - y, 0, 1)
    body = _inside(outline - lateral)
    thickness = body * (0.35 + 0.65 * np.sqrt(np.clip(1 - (lateral / (outline + 0.06)) ** 2, 0, 1)))
    wall = 0.84 * np.sqrt(1 - (1 - np.clip((y - _APEX) / 1.61, 0, 1)) ** 2.5)
    diaphragm = 0.58 + 0.28 * np.clip((lateral - 0.38) / 0.4, -0.6, 2) ** 2 + np.where(x > 0, 0.03, 0)
    mediastinum = 0.18 + (np.where(x > 0, 0.38, 0.24) - 0.18) * np.exp(-(((y - 0.32) / 0.36) ** 2))
    thorax = _inside(wall - lateral) * _inside(diaphragm - y) * _inside(y - _APEX, 0.04)
    lung = thorax * _inside(lateral - mediastinum)

    density = 0.02 + 0.57 * thickness - 0.1 * thorax - 0.19 * lung
    density += 0.05 * _inside(mediastinum - lateral, 0.03) * _inside(y + 0.9, 0.1)
    density += 0.1 * thickness * _inside(y - diaphragm)
    density += _bones(x, y, wall, lung) * body
    density += 0.06 * _vessels(x, y, rng) * lung
    density += 0.04 * np.exp(-(((lateral - 0.3) / 0.1) ** 2 + (y / 0.2) ** 2))
    if kind != "normal":
        haze = {"bacterial": 0.16, "viral": 0.18}[kind]
        density += haze * lung * (1 + 0.35 * _noise(rng, x.shape, 9) + 0.2 * _noise(rng, x.shape, 3))
    if kind == "bacterial":
        at_x, at_y = rng.choice([-1, 1]) * rng.uniform(0.42, 0.5), rng.uniform(0.0, 0.3)
        density += 0.26 * lung * np.exp(-(((x - at_x) ** 2 + (y - at_y) ** 2) / 0.35**2))
    density += 0.031 * body * (_noise(rng, x.shape, 16) + 0.4 * _noise(rng, x.shape, 1.5))
    density = gaussian_filter(density, 0.5) + rng.normal(0, 0.009, x.shape)
    return np.rint(np.clip(1.1 * density, 0, 1) * 255).astype(np.uint8)


def write_radiographs(folder: Path) -> Path:
    """Write two radiographs of each kind as `normal-1.png` and so on."""
    for kind, seeds in _CLEAR.items():
        for number, seed in enumerate(seeds, start=1):
            Image.fromarray(radiograph(kind, seed)).save(folder / f"{kind}-{number}.png")
    return folder


def _inside(distance: np.ndarray, soft: float = _SOFT) -> np.ndarray:
    """1 where a signed distance is positive, 0 where it is negative, a soft edge between."""
    return 1 / (1 + np.exp(-np.clip(distance / soft, -40, 40)))


def _noise(rng: np.random.Generator, shape: tuple[int, ...], radius: float) -> np.ndarray:
    smooth = gaussian_filter(rng.standard_normal(shape), radius)
    return smooth / smooth.std()


def _bones(x: np.ndarray, y: np.ndarray, wall: np.ndarray, lung: np.ndarray) -> np.ndarray:
    """Spine, ribs and clavicles. Posterior ribs sink from the spine (`along` 0) to the chest wall (1), anterior ones rise."""
    lateral = np.abs(x)
    along = np.clip((lateral - 0.12) / np.maximum(wall - 0.12, 0.05), 0, 1.05)
    cage = _inside(wall + 0.03 - lateral, 0.01) * _inside(lateral - 0.13)
    level = y + 0.05 * np.sin(np.pi * along) - 0.29 * along**2.2
    posterior = _bands(level) * cage * _inside(level - _APEX, 0.03) * (0.45 + 0.55 * along)
    anterior = _bands(y + 0.35 * along) * lung * _inside(along - 0.35, 0.1)
    lining = np.exp(-(((lateral - wall) / 0.03) ** 2)) * _inside(y - _APEX, 0.03)
    spine = _inside(0.13 - lateral, 0.015) * (0.85 + 0.15 * np.cos(2 * np.pi * y / 0.16))
    trachea = _inside(0.06 - lateral) * _inside(-0.5 - y, 0.08)
    line = -0.84 - 0.16 * lateral + 0.05 * np.sin(6 * lateral)
    clavicles = _inside(0.04 - np.abs(y - line), 0.01) * _inside(lateral - 0.1) * _inside(0.85 - lateral)
    return 0.09 * posterior + 0.05 * anterior + 0.22 * lining + 0.08 * spine - 0.05 * trachea + 0.08 * clavicles


def _bands(level: np.ndarray, spacing: float = 0.2, half: float = 0.05) -> np.ndarray:
    """Bands with brighter borders, as the cortex of a rib shows."""
    distance = np.abs((level / spacing + 0.5) % 1 - 0.5) * spacing / half
    return _inside(1 - distance, 0.12) + 0.6 * np.exp(-(((distance - 0.9) / 0.2) ** 2))


def _vessels(x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Curved lines that fan out from each hilum and fade."""
    found = np.zeros_like(x)
    distance, angle = np.hypot(np.abs(x) - 0.22, y), np.arctan2(y, np.abs(x) - 0.17)
    for half in (-1, 1):
        for _ in range(16):
            start, bend, reach = rng.uniform(-1.4, 1.4), rng.normal(0, 0.6), rng.uniform(0.3, 0.7)
            width = 0.016 * (1 - 0.6 * np.clip(distance / reach, 0, 1))
            vessel = np.exp(-((np.abs(angle - start - bend * distance) * distance / width) ** 2))
            found = np.maximum(found, vessel * _inside(reach - distance, 0.08) * (half * x > 0))
    return found * np.exp(-1.5 * distance)


def write_dicom(path, film, **elements):
    """Writes grey levels of 8 bits as a DICOM object of 12 bits."""
    film = film.astype(np.uint16) * 16
    image = FileDataset("x", Dataset(), file_meta=FileMetaDataset(), preamble=bytes(128))
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, "1.2.3"
    image.Rows, image.Columns = film.shape
    image.SamplesPerPixel, image.PixelRepresentation, image.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelData = film.tobytes()
    for name, value in elements.items():
        setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)
