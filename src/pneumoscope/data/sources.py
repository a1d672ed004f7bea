"""Sources of images: whatever the layout of a data set, the list of its images, and access to their bytes and pixels.

Every layout of `layouts/` becomes a list of `SourceImage`; images are decoded on request only. Folders and tables may name two
classes of a site's own instead of normal and pneumonia: `Finding.PNEUMONIA` is then the positive one. For an audit there may be
any number of classes of any names (`data/any_classes.py`).
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumoscope.data.class_names import CLASS_WORDS, USUAL_WORDS, DataNames
from pneumoscope.data.filters import ImageFilters
from pneumoscope.data.image_files import PACKED_SUFFIXES
from pneumoscope.data.layouts import absent_advice, find_public_set
from pneumoscope.data.layouts.folders import LAYOUTS, FolderFiles, list_folders
from pneumoscope.data.layouts.medmnist import list_medmnist
from pneumoscope.data.layouts.public import FoundSet, list_public_set
from pneumoscope.data.layouts.table import Table, is_table, list_table
from pneumoscope.data.reading import read_header, read_image
from pneumoscope.data.source_images import Listing, SourceImage, Vocabulary
from pneumoscope.errors import DataError, listed
from pneumoscope.types import BINARY, DICOM_SUFFIXES, ClassScheme, Etiology, Finding, ImageHeader

__all__ = ["Content", "DataNames", "Source", "SourceImage", "open_source", "read_content", "subsample"]

# Files of a folder, or rows of a table.
Content = FolderFiles | Table


class Source:
    """Data set before it is indexed: the list of its images, and access to their bytes and pixels.

    Attributes:
        root: Folder, table or archive that the paths are relative to.
        layout: `folders`, `table`, `medmnist`, or the name of a public set.
        images: All images, sorted by path.
        scheme: Names of the negative and of the positive class, or of all classes.
        own_classes: Whether the classes are of any names, those of the data set.
    """

    def __init__(self, root: Path, listing: Listing, scheme: ClassScheme = BINARY, own_classes: bool = False) -> None:
        self.root = root
        self.own_classes = own_classes
        self.layout = listing.layout
        self.scheme = scheme
        self.images = sorted(listing.images, key=lambda image: image.path)
        self._listing = listing
        self._archive: dict[str, NDArray[np.uint8]] = {}

    @property
    def left_out(self) -> Mapping[str, int]:
        """Number of images that are left out, by class, folder or reason."""
        return self._listing.left_out

    @property
    def names_taken(self) -> str:
        """What other names of columns and classes were taken for, in words; empty where all have the usual names."""
        columns = [
            f"{column} from {listed([name])}" for column, name in self._listing.columns.items() if name != column
        ]
        counts = Counter((image.class_name, _usual_name(image, self.scheme)) for image in self.images)
        classes = [f"{listed([name])} is {usual} ({count:,})" for (name, usual), count in sorted(counts.items())]
        left_out = [f"{listed([name])} ({count:,})" for name, count in sorted(self.left_out.items())]
        plain = any(name not in ("", usual.lower(), *CLASS_WORDS) for name, usual in counts) or left_out
        if self.own_classes:
            own = Counter(image.class_name for image in self.images)
            classes, plain = [f"{listed([name])} ({own[name]:,})" for name in self.scheme.names], True
        before = "classes " if self.own_classes else ""
        parts = {"columns ": columns, before: classes if plain else [], "left out: ": left_out}
        named = [f"{title}{listed(found)}" for title, found in parts.items() if found]
        title = [f"read as {self._listing.title}"] if self._listing.title else []
        return "; ".join([*title, *named, *self._listing.remarks])

    def only(self, paths: Collection[str]) -> "Source":
        """Source of some of the images."""
        wanted = set(paths)
        return self._with(tuple(image for image in self.images if image.path in wanted))

    def filtered(self, filters: ImageFilters) -> "Source":
        """Source of the images that filters keep; the header of a DICOM object says what no table does.

        Raises:
            DataError: No image of a known age, view or sex, or none that is kept.
        """
        if not filters:
            return self
        outcomes = [filters.outcome(self._groups(image, filters)) for image in self.images]
        kept = tuple(image for image, outcome in zip(self.images, outcomes, strict=True) if not outcome)
        reasons = Counter(outcome for outcome in outcomes if outcome)
        found = listed([f"{name} ({count:,})" for name, count in sorted(reasons.items())])
        if not kept:
            unknown = [column for column in filters.columns if reasons[f"{column} unknown"] == len(self.images)]
            advice = f"leave --{unknown[0]} out" if unknown else "name others"
            raise DataError(f"expected images with {filters} in {self.root}, found {found}: {advice}")
        remark = f"{filters} keeps {len(kept):,} of {len(self.images):,} images" + (f": {found}" if found else "")
        return self._with(kept, remark)

    def _with(self, images: tuple[SourceImage, ...], *remarks: str) -> "Source":
        listing = replace(self._listing, images=images, remarks=(*self._listing.remarks, *remarks))
        return Source(self.root, listing, self.scheme, self.own_classes)

    def _groups(self, image: SourceImage, filters: ImageFilters) -> dict[str, str]:
        """Values of the columns that filters read, from the table or else from the header of a DICOM object."""
        groups = {column: image.groups.get(column, "") for column in filters.columns}
        if all(groups.values()) or PurePosixPath(image.path).suffix.lower() not in DICOM_SUFFIXES:
            return groups
        header = read_header(self.file_of(image.path))
        age = "" if header.age_years is None else str(header.age_years)
        said = {"age": age, "view": header.view, "sex": header.sex}
        return {column: value or said[column] for column, value in groups.items()}

    def file_of(self, path: str) -> Path:
        """Path of the file that contains an image."""
        if self.layout == "medmnist":
            return self.root
        return (self.root if self.root.is_dir() else self.root.parent) / path

    def bytes_of(self, path: str) -> bytes:
        """Bytes of an image's file; pixel bytes for an image in an archive."""
        return self._array_of(path).tobytes() if self.layout == "medmnist" else self.file_of(path).read_bytes()

    def read(self, path: str, content: bytes | None = None) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Read the grey levels of an image; see `read_image`."""
        return self.read_image(path, content)[0]

    def read_image(
        self, path: str, content: bytes | None = None
    ) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], ImageHeader | None]:
        """Read the grey levels of an image, (height, width) uint8 or uint16, and the header of a DICOM object.

        Args:
            path: Path of the image, as in `images`.
            content: Bytes of the file, if they have been read already.

        Raises:
            UnreadableImage: Damaged or unsupported image.
        """
        if self.layout == "medmnist":
            return _grey(self._array_of(path)), None
        return read_image(self.file_of(path), content)

    def _array_of(self, path: str) -> NDArray[np.uint8]:
        part, index = path.partition("#")[2].split("/")
        if part not in self._archive:
            with np.load(self.root, allow_pickle=False) as archive:
                self._archive[part] = archive[f"{part}_images"]
        image: NDArray[np.uint8] = self._archive[part][int(index)]
        return image


def _grey(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma of an array (height, width, 3); another one as it is."""
    return image if image.ndim == 2 else np.asarray(Image.fromarray(image).convert("L"))


def open_source(
    root: Path,
    positive: str = BINARY.positive,
    negative: str = "",
    names: DataNames | None = None,
    own_classes: Mapping[str, str] | None = None,
    content: Content | None = None,
) -> Source:
    """List the images of a folder, table or archive.

    Args:
        root: Folder, table or archive.
        positive: Name of the positive class.
        negative: Name of the negative class, where `positive` is a site's own; the only other one that there is where empty.
        names: Names of classes and columns, and filters; plain names are known where None.
        own_classes: Words for classes, lower case, to the names of the data set's own classes, the negative one first; images of
            others are left out. The two classes where None.
        content: Content of a folder or table that was read already.

    Raises:
        DataError: Missing file or folder, an unknown layout, classes of other names, or no image that the filters keep.
    """
    if not root.exists():
        raise DataError(absent_advice(root, "named by --data"))
    names = names or DataNames()
    public = None if names.columns else find_public_set(root)
    if public is None and content is None:
        content = read_content(root, names)
    scheme, known = BINARY, USUAL_WORDS
    if positive.lower() != BINARY.positive:
        scheme = ClassScheme((negative or _other_class(root, positive, names, public, content), positive))
        known = {
            scheme.negative.lower(): (Finding.NORMAL, Etiology.NONE),
            positive.lower(): (Finding.PNEUMONIA, Etiology.UNKNOWN),
        }
    elif public is not None:
        known = known if names.classes else public.layout.words
    if own_classes:
        scheme = ClassScheme(tuple(dict.fromkeys(own_classes.values())))
        vocabulary = Vocabulary(
            {word: _own_meaning(name == scheme.negative) for word, name in own_classes.items()}, own=True
        )
        listing = _list_images(root, public, vocabulary, names, scheme, content)
        images = tuple(replace(image, class_name=own_classes[image.class_name]) for image in listing.images)
        listing = replace(listing, images=images)
    else:
        listing = _list_images(root, public, Vocabulary(names.words(known)), names, scheme, content)
    return Source(root, listing, scheme, bool(own_classes)).filtered(names.filters)


def _own_meaning(negative: bool) -> tuple[Finding, Etiology]:
    """Meaning of a class of any name: the negative one, or one of the others."""
    return (Finding.NORMAL, Etiology.NONE) if negative else (Finding.PNEUMONIA, Etiology.UNKNOWN)


def read_content(root: Path, names: DataNames) -> Content | None:
    """Read the files of a folder, or the rows of a table; None for another file.

    Raises:
        DataError: A table that cannot be read, or without the columns path and class.
    """
    if root.suffix != ".npz" and is_table(root):
        return Table.of(root, names)
    return FolderFiles.of(root) if root.is_dir() else None


def _list_images(
    root: Path,
    public: FoundSet | None,
    known: Vocabulary,
    names: DataNames,
    scheme: ClassScheme,
    content: Content | None,
) -> Listing:
    if public is not None:
        return list_public_set(public, known, names)
    if isinstance(content, Table):
        return list_table(content, known, names)
    if content is not None:
        return list_folders(root, content, known, scheme, names)
    if root.suffix == ".npz":
        return list_medmnist(root, known, bool(names.classes))
    advice = "unpack it, and name the folder" if root.suffix.lower() in PACKED_SUFFIXES else "name one of these"
    raise DataError(f"expected {LAYOUTS}, found the file {root}: {advice} with --data")


def subsample(source: Source, limit: int) -> Source:
    """Source with every k-th image of each class and split, in the order of the paths."""
    fraction = min(1.0, limit / len(source.images))
    kept = []
    groups: dict[tuple[str, ...], list[SourceImage]] = {}
    for image in source.images:
        groups.setdefault((image.split, image.finding, image.etiology), []).append(image)
    for images in groups.values():
        count = max(1, round(fraction * len(images)))
        kept += [images[i * len(images) // count] for i in range(count)]
    return source.only([image.path for image in kept])


def _other_class(root: Path, positive: str, names: DataNames, public: FoundSet | None, content: Content | None) -> str:
    """Name of the one class beside the positive one, of folders beside its folder or of a table.

    Raises:
        DataError: No image of the positive class, or another number of other classes than one.
    """
    if names.classes:
        found = set(names.classes.values())
    elif public is not None:
        return public.layout.negative
    elif isinstance(content, Table):
        found = set(content.classes)
    else:
        paths = [file.parts[:-1] for file in content.images] if content else []
        # The other class has its folders where the positive one has them.
        depths = {depth for folders in paths for depth, name in enumerate(folders) if name.lower() == positive.lower()}
        found = {folders[depth] for folders in paths for depth in depths if depth < len(folders)}
        found = found or {folders[-1] for folders in paths if folders}
    others = sorted(name for name in found if name.lower() != positive.lower())
    if len(others) == len(found) or len({name.lower() for name in others}) != 1:
        raise DataError(
            f"expected images of {positive} and of one other class in {root}, found {listed(sorted(found)) or 'no class'}: "
            "check the name, and leave the two classes alone there"
        )
    return others[0]


def _usual_name(image: SourceImage, scheme: ClassScheme) -> str:
    """Class of an image by the names of pneumoscope, or of the site."""
    if scheme.is_own or image.finding is Finding.NORMAL or image.etiology is Etiology.UNKNOWN:
        return scheme.positive if image.finding is Finding.PNEUMONIA else scheme.negative
    return image.etiology.value
