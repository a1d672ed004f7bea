"""Scoring of partitions, the same for every engine: images are predicted, results are written whole or not at all.

A result file is a table with one row per image; the metadata of its schema holds plan, settings and counts, so that a
partition can be counted and checked without reading its rows.
"""

import io
import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import pyarrow as arrow
from pyarrow import parquet

from pneumoscope.errors import DataError
from pneumoscope.inference.batch import Summary, predict_files
from pneumoscope.inference.journal import as_table
from pneumoscope.inference.pool import WorkerPool
from pneumoscope.inference.prediction import Prediction
from pneumoscope.scale.images import AddressedImage, ImageReader
from pneumoscope.scale.plan import Plan
from pneumoscope.types import ClassScheme

# Key in the metadata of a result file's schema.
_METADATA = b"pneumoscope"


@dataclass(frozen=True)
class PartitionResult:
    """Counts of a scored partition.

    Attributes:
        partition: Number of the partition; -1 for several together.
        decisions: Decision to number of images.
        reasons: Reason to number of images.
    """

    partition: int
    decisions: dict[str, int]
    reasons: dict[str, int]

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(self.decisions.values())


def score_partitions(plan: Plan, numbers: Iterable[int], pool: WorkerPool) -> Iterator[PartitionResult]:
    """Scores partitions, one after the other, and writes the results of each as soon as it is complete.

    Images of the next partition are predicted while the results of one are written. A partition always has the same
    bytes, so that one scored twice, as by a worker that was taken for dead, has one result file.

    Args:
        plan: Plan of the partitions.
        numbers: Numbers of the partitions.
        pool: Worker processes.

    Yields:
        Counts of each scored partition.

    Raises:
        StorageError: An address cannot be reached; results that are written stay.
        DataError: The plan's file is missing.
    """
    sizes: deque[tuple[int, int]] = deque()
    waiting: deque[Prediction] = deque()
    with ImageReader() as reader:
        for predictions in predict_files(_read_images(plan, numbers, reader, sizes), pool, plan.terms.request):
            waiting.extend(predictions)
            # The size of a partition is known once all its images are read, and these are read ahead of the predictions.
            while sizes and len(waiting) >= sizes[0][1]:
                number, count = sizes.popleft()
                yield _write_result(plan, number, [waiting.popleft() for _ in range(count)])
        # Archives without images at the end, which no prediction follows.
        yield from (_write_result(plan, number, []) for number, _ in sizes)


def _read_images(
    plan: Plan, numbers: Iterable[int], reader: ImageReader, sizes: deque[tuple[int, int]]
) -> Iterator[AddressedImage]:
    """Images of partitions; number and size of each partition are appended to `sizes` behind its last image."""
    for number in numbers:
        count = 0
        for image in reader.images(plan.addresses(number)):
            count += 1
            yield image
        sizes.append((number, count))


def _write_result(plan: Plan, number: int, predictions: list[Prediction]) -> PartitionResult:
    summary = Summary()
    for prediction in predictions:
        summary.add(prediction)
    # Counts sorted by name, not by first occurrence, so that a partition always has the same bytes.
    result = PartitionResult(number, *(dict(sorted(each.items())) for each in (summary.decisions, summary.reasons)))
    metadata = {"plan": plan.hash, "manifest": plan.manifest_hash, **asdict(plan.terms), **asdict(result)}
    versions = arrow.array([plan.terms.code_version] * len(predictions), arrow.string())
    table = as_table(predictions, ClassScheme(plan.terms.classes)).append_column("code_version", versions)
    buffer = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({_METADATA: json.dumps(metadata)}), buffer, compression="zstd")
    plan.part(number).write(buffer.getvalue())
    return result


def read_result(plan: Plan, number: int) -> PartitionResult:
    """Reads the counts of a partition from the metadata of its result file.

    Raises:
        DataError: The file is damaged, or of another plan.
        StorageError: The file cannot be read.
    """
    path = plan.part(number)
    try:
        file = parquet.ParquetFile(io.BytesIO(path.read()))
        metadata = json.loads(file.schema_arrow.metadata[_METADATA])
        result = PartitionResult(metadata["partition"], metadata["decisions"], metadata["reasons"])
        rows = file.metadata.num_rows
    except (arrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"expected results in {path.address}, found {error}: delete it and run the same command again"
        ) from error
    if (metadata["plan"], result.partition, result.images) != (plan.hash, number, rows):
        raise DataError(
            f"expected {rows} results of partition {number} in {path.address}, found {result.images} of "
            f"{result.partition}: delete it and run the same command again"
        )
    return result


def sum_results(results: Iterable[PartitionResult]) -> PartitionResult:
    """Sums the counts of partitions, as one partition numbered -1."""
    decisions: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for result in results:
        decisions.update(result.decisions)
        reasons.update(result.reasons)
    return PartitionResult(-1, dict(sorted(decisions.items())), dict(sorted(reasons.items())))
