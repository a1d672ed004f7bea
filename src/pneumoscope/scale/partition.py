"""One partition: its images are judged and its results put in their place, whole or not at all. The same for every engine."""

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
from pneumoscope.scale.images import ImageReader, Named
from pneumoscope.scale.plan import Plan
from pneumoscope.types import Prediction

# Of the results' schema, where `counted` finds what the partition came to.
_TOLD = b"pneumoscope"


@dataclass(frozen=True)
class Done:
    """What a partition came to.

    Attributes:
        partition: Its number.
        decisions: Decision to number of images.
        reasons: Reason to number of images.
    """

    partition: int
    decisions: dict[str, int]
    reasons: dict[str, int]

    @property
    def images(self) -> int:
        """All of them."""
        return sum(self.decisions.values())


def score_partitions(plan: Plan, numbers: Iterable[int], pool: WorkerPool) -> Iterator[Done]:
    """Judges partitions, one after the other, and puts the results of each in place as soon as it is whole.

    Images of the next partition are judged while the results of one are written. The same partition always gives the same
    bytes, so that one done twice, by a worker that was taken for dead, is there once.

    Args:
        plan: That they are part of.
        numbers: Of the partitions.
        pool: Judges.

    Yields:
        What is done.

    Raises:
        StorageError: An address cannot be reached; what is in place stays.
        DataError: The plan's file is gone.
    """
    images: deque[tuple[int, int]] = deque()
    waiting: deque[Prediction] = deque()
    with ImageReader() as reader:
        for predictions in predict_files(_counted(plan, numbers, reader, images), pool, plan.terms.request):
            waiting.extend(predictions)
            # `images` tells of a partition once all its images are handed out, so of the first ones before they are judged.
            while images and len(waiting) >= images[0][1]:
                number, count = images.popleft()
                yield _commit(plan, number, [waiting.popleft() for _ in range(count)])
        # Archives without an image, of which no prediction tells.
        yield from (_commit(plan, number, []) for number, _ in images)


def _counted(
    plan: Plan, numbers: Iterable[int], reader: ImageReader, images: deque[tuple[int, int]]
) -> Iterator[Named]:
    for number in numbers:
        count = 0
        for image in reader.images(plan.addresses(number)):
            count += 1
            yield image
        images.append((number, count))


def _commit(plan: Plan, number: int, predictions: list[Prediction]) -> Done:
    summary = Summary()
    for prediction in predictions:
        summary.add(prediction)
    # Counters in the order of their names, whatever the order in which they were met: the bytes are to be the same.
    done = Done(number, *(dict(sorted(each.items())) for each in (summary.decisions, summary.reasons)))
    told = {"plan": plan.hash, "manifest": plan.manifest_hash, **asdict(plan.terms), **asdict(done)}
    versions = arrow.array([plan.terms.code_version] * len(predictions), arrow.string())
    table = (
        as_table(predictions).append_column("code_version", versions).replace_schema_metadata({_TOLD: json.dumps(told)})
    )
    buffer = io.BytesIO()
    parquet.write_table(table, buffer, compression="zstd")
    plan.part(number).write(buffer.getvalue())
    return done


def counted(plan: Plan, number: int) -> Done:
    """What a partition came to whose results are in place, as they say themselves.

    Raises:
        DataError: They are damaged, or of another plan.
        StorageError: They cannot be read.
    """
    place = plan.part(number)
    try:
        held = parquet.ParquetFile(io.BytesIO(place.read()))
        told = json.loads(held.schema_arrow.metadata[_TOLD])
        done = Done(told["partition"], told["decisions"], told["reasons"])
        rows = held.metadata.num_rows
    except (arrow.ArrowException, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"expected results in {place.address}, found {error}: delete it and run the same command again"
        ) from error
    if (told["plan"], done.partition, done.images) != (plan.hash, number, rows):
        raise DataError(
            f"expected {rows} results of partition {number} in {place.address}, found {done.images} of {done.partition}: "
            "delete it and run the same command again"
        )
    return done


def total(parts: Iterable[Done]) -> Done:
    """Partitions together, as one numbered -1."""
    decisions: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for part in parts:
        decisions.update(part.decisions)
        reasons.update(part.reasons)
    return Done(-1, dict(sorted(decisions.items())), dict(sorted(reasons.items())))
