"""Model of a stress test: one function, images of 8 bits in, probabilities of the positive class out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pneumoscope.errors import RunError
from pneumoscope.stress.running import Predict

# Probability from which on an image counts as positive where the model says nothing of it.
USUAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class StressedModel:
    """Model of a stress test.

    Attributes:
        name: Name for reports.
        identity: Hash of the model, as far as it has one.
        predict: Function of (n, side, side) uint8 images to (n,) probabilities of the positive class.
        threshold: Probability from which on the model calls an image positive.
        count_seen: Function of SHA-256 of files to the number of those that the model is known to be trained on.
        remark: Function that gives what a reader of the figures must know of the predictions made so far; nothing where empty.
        recipe: Hash of the configuration without its seed; empty where it is no run.
    """

    name: str
    identity: str
    predict: Predict
    threshold: float = USUAL_THRESHOLD
    count_seen: Callable[[Sequence[str]], int] = lambda sha256: 0
    remark: Callable[[], str] = lambda: ""
    recipe: str = ""

    def check_unseen(self, sha256: Sequence[str]) -> None:
        """Check that the model was not trained on the images, as far as it says what it was trained on.

        Raises:
            RunError: It was trained on some.
        """
        if count := self.count_seen(sha256):
            raise RunError(
                f"expected radiographs that {self.name} was not trained on, found {count} that it was: test it on others (--split, --data)"
            )
