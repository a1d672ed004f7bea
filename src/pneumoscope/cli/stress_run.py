"""Run of `pneumoscope stress`: radiographs that are read, and models that are tested on them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoscope.cli.options import show_names_taken
from pneumoscope.types import Split

if TYPE_CHECKING:
    from pneumoscope.cli.progress import Display
    from pneumoscope.data.locate import Location
    from pneumoscope.data.sources import DataNames, Source
    from pneumoscope.stress import Radiographs, StressTest
    from pneumoscope.stress.stressed_model import StressedModel


@dataclass(frozen=True)
class ReadRadiographs:
    """Radiographs that were read, with the split that they are of, whether they are phantoms, and the path that the user named."""

    radiographs: "Radiographs"
    split: Split | None
    synthetic: bool
    path: Path | None


@dataclass(frozen=True)
class RadiographReader:
    """Reading of radiographs with the options of the command."""

    names: "DataNames"
    side: int
    skip_unreadable: bool
    shown: "Display"

    def tested(self, data: Path | None, split: Split | None, limit: int | None) -> ReadRadiographs:
        """Radiographs that the models are shown: of the given split, else of the test split where there is one, else all."""
        return self._read(data, split, Split.TEST, limit)

    def validation(self, path: Path, tested: ReadRadiographs) -> ReadRadiographs:
        """Radiographs on which a threshold is chosen; test images choose nothing.

        Raises:
            ConfigError: Some are among those that are tested.
        """
        from pneumoscope.errors import ConfigError

        found = self._read(path, None, Split.TRAIN, None)
        if shared := len(set(found.radiographs.file_sha256) & set(tested.radiographs.file_sha256)):
            raise ConfigError(
                f"expected other radiographs to choose the threshold on, found {shared} of those that are tested: name others by --validation"
            )
        return found

    def _read(self, path: Path | None, split: Split | None, usual: Split, limit: int | None) -> ReadRadiographs:
        from pneumoscope.data.locate import locate
        from pneumoscope.data.sources import subsample
        from pneumoscope.stress import read_radiographs

        location = replace(locate(path, self.shown.report), names=self.names)
        source = _open(location)
        show_names_taken(source)
        chosen = split or (usual if any(image.split is usual for image in source.images) else None)
        of_split = [image.path for image in source.images if chosen in (None, image.split)]
        if limit is not None and of_split:
            source = subsample(source.only(of_split), limit)
        progress = self.shown.report("radiographs read")
        radiographs = read_radiographs(source, chosen, self.side, progress, self.skip_unreadable)
        return ReadRadiographs(radiographs, chosen, location.synthetic, path)


@dataclass(frozen=True)
class TestedModel:
    """Test of a model, with its configuration but for the seed, its folder and its record."""

    test: "StressTest"
    recipe: str
    folder: Path
    record: dict[str, Any]


@dataclass(frozen=True)
class StressRun:
    """Tests of models on the same radiographs, with the options of the command."""

    tested: ReadRadiographs
    chosen_on: ReadRadiographs | None
    threshold: float | None
    corrupted: int
    hours: float
    shown: "Display"
    facts: dict[str, Any]
    why: str
    ledger: Path | None

    def test(
        self, opening: Callable[[str], AbstractContextManager["StressedModel"]], name: str, folder: Path, alone: bool
    ) -> TestedModel:
        """Test a model and write its report; a look at test images goes to the ledger."""
        from pneumoscope.stress import stress_test, write_report

        with opening(name) as model:
            model.check_unseen(self.tested.radiographs.file_sha256)
            test = stress_test(
                model.predict,
                self.tested.radiographs,
                model=model.name,
                identity=model.identity,
                threshold=self._threshold(model),
                threshold_from=""
                if self.chosen_on is None
                else f"{len(self.chosen_on.radiographs):,} radiographs of {self.chosen_on.path}",
                corrupted=self.corrupted,
                folder=folder / "predictions",
                hours=self.hours,
                progress=self.shown.report("images shown to the model" if alone else f"images shown to {name}"),
            )
            recipe, remark = model.recipe or str(folder), model.remark()
        if remark:
            self.shown.print_line(remark)
        facts = self.facts | ({"rejected": remark} if remark else {})
        record = write_report(test, folder, facts, self.tested.synthetic)
        if self.tested.split is Split.TEST and not self.tested.synthetic:
            _record_look(test, self.why, self.ledger, self.facts["commit"])
        return TestedModel(test, recipe, folder, record)

    def _threshold(self, model: "StressedModel") -> float:
        from pneumoscope.evaluation.thresholds import best_operating_point
        from pneumoscope.stress.running import predict_checked

        if self.chosen_on is None:
            return model.threshold if self.threshold is None else self.threshold
        shown = self.chosen_on.radiographs
        return best_operating_point(predict_checked(model.predict, shown.images), shown.positive).threshold


def _open(location: "Location") -> "Source":
    """Open a data set of two classes; where these have other names than the class map or the usual ones, say which it has.

    Raises:
        DataError: Other classes, or no data set.
    """
    from pneumoscope.errors import DataError, listed

    wanted = location.names.classes if location.names else {}
    try:
        source = location.open()
    except DataError as error:
        if wanted or not (found := _class_names(location)):
            raise
        raise DataError(
            f"expected images of normal and pneumonia in {location.root}, found the classes {listed(found)}: say which is which by "
            "--class-map 'NAME=normal,NAME=pneumonia'"
        ) from error
    if wanted and len({image.finding for image in source.images}) < 2 and (found := _class_names(location)):
        given = ",".join(f"{name}={meaning}" for name, meaning in wanted.items())
        raise DataError(
            f"expected images of normal and pneumonia by --class-map '{given}' in {location.root}, found the classes {listed(found)}: "
            "correct the class map"
        )
    return source


def _class_names(location: "Location") -> list[str]:
    """Names of the classes of a data set, the negative one first where it is known; empty where there are not two or more."""
    from pneumoscope.errors import DataError

    try:
        names = replace(location.names, classes={}) if location.names else None
        return list(replace(location, names=names).open_any_classes().scheme.names)
    except DataError:
        return []


def _record_look(test: "StressTest", why: str, ledger: Path | None, commit: Any) -> None:
    """Write a line into the ledger of looks at test images, where one is kept."""
    from pneumoscope.assessment.ledger import append_to_ledger, ledger_in_use

    if book := ledger_in_use(ledger):
        plain = test.measures.plain
        append_to_ledger(
            book,
            commit=commit,
            model=test.model,
            radiographs=len(test.radiographs),
            why=why,
            result={"accuracy": round(plain.accuracy.value, 4), "auc": round(plain.auc.value, 4)},
        )
