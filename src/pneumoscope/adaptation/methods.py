"""Methods of adaptation, simplest first: what each fits to a site's images, and the logits that it predicts.

calibrate   the parent's own logits; only calibration and operating points are fitted
linear      a linear head on the features of the parent's network, for a path of penalties
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pneumoscope.adaptation.linear_head import LinearHead, fit_linear_heads
from pneumoscope.adaptation.site import SiteImages
from pneumoscope.decision import logits_of
from pneumoscope.evaluation.metrics import Floats, Ints
from pneumoscope.evaluation.policy_fitting import balancing_weights
from pneumoscope.types import BINARY, THREE_CLASS, ClassScheme

# Penalties of linear heads, the simplest first.
PENALTIES = (3000.0, 1000.0, 300.0, 100.0, 30.0, 10.0)


@dataclass(frozen=True)
class FittedNetwork:
    """Parts of a new bundle that a method fits to all images of a site.

    Attributes:
        model: Bytes of the ONNX file; None for that of the parent.
        head: Arrays of a linear head; None for the network's own.
        config: Configuration of the network as plain data; None for that of the parent.
    """

    model: bytes | None = None
    head: dict[str, NDArray[np.float32]] | None = None
    config: dict[str, Any] | None = None


@dataclass(frozen=True)
class Method(ABC):
    """Method of adaptation.

    Attributes:
        scheme: Classes of its logits.
        etiologies: Whether labels distinguish all of these classes; else any label above 0 is the positive class.
        name: Name of the method.
        is_fast: Whether it is fitted within a second, hundreds of times.
    """

    scheme: ClassScheme
    etiologies: bool
    name: ClassVar[str]
    is_fast: ClassVar[bool] = True

    @property
    @abstractmethod
    def candidates(self) -> tuple[str, ...]:
        """Descriptions of the candidates that `logits` gives, simplest first."""

    @abstractmethod
    def logits(self, images: SiteImages, train: Ints, test: Ints) -> list[Floats]:
        """Logits for some images of a site by each candidate, fitted to others.

        Args:
            images: Images of the site.
            train: (k,) int, positions of the images to fit to.
            test: (m,) int, positions of the images to predict.

        Returns:
            For each candidate, (m, classes) logits.
        """

    @abstractmethod
    def only(self, number: int) -> "Method":
        """Method with one of its candidates alone."""

    @abstractmethod
    def fitted(self, images: SiteImages) -> FittedNetwork:
        """Parts of a bundle, fitted to all images of a site by the first candidate."""

    def labels(self, images: SiteImages) -> Ints:
        """(n,) int labels in the order of the logits."""
        several = self.etiologies and len(self.scheme) > len(BINARY)
        return images.label if several else images.positive.astype(np.int64)


@dataclass(frozen=True)
class Calibrate(Method):
    """The parent's own logits."""

    name: ClassVar[str] = "calibrate"

    @property
    def candidates(self) -> tuple[str, ...]:
        """One candidate."""
        return ("the parent, calibrated",)

    def only(self, number: int) -> "Calibrate":
        """The method itself."""
        return self

    def fitted(self, images: SiteImages) -> FittedNetwork:
        """Nothing new."""
        return FittedNetwork()

    def logits(self, images: SiteImages, train: Ints, test: Ints) -> list[Floats]:
        """Logits of the parent's probabilities; nothing is fitted."""
        return [logits_of(images.parent_probability[test])]


@dataclass(frozen=True)
class LinearHeads(Method):
    """Linear heads on the features of the parent's network.

    Attributes:
        penalties: Penalties, the largest first.
    """

    name: ClassVar[str] = "linear"
    penalties: tuple[float, ...] = field(default=PENALTIES)

    @property
    def candidates(self) -> tuple[str, ...]:
        """A candidate for each penalty."""
        return tuple(f"linear head, penalty {penalty:g}" for penalty in self.penalties)

    def only(self, number: int) -> "LinearHeads":
        """Linear head with one penalty."""
        return replace(self, penalties=self.penalties[number : number + 1])

    def fitted(self, images: SiteImages) -> FittedNetwork:
        """Linear head with the first penalty."""
        return FittedNetwork(head=self.fit(images, np.arange(len(images)))[0].arrays())

    def logits(self, images: SiteImages, train: Ints, test: Ints) -> list[Floats]:
        """Logits of a linear head for each penalty."""
        return [head(images.features[test]) for head in self.fit(images, train)]

    def fit(self, images: SiteImages, train: Ints) -> list[LinearHead]:
        """Linear head for each penalty."""
        label = self.labels(images)[train]
        weight = balancing_weights(label > 0)
        features = images.features[train]
        heads = fit_linear_heads(features, label, len(self.scheme), self.penalties, weight)
        return [head.centred(features, weight) for head in heads]


def usable_methods(parent: ClassScheme, site: ClassScheme, etiologies: bool, wanted: str | None) -> list[Method]:
    """Methods for a site's classes, simplest first.

    Args:
        parent: Classes of the parent bundle.
        site: Names of the site's two classes.
        etiologies: Whether the site's labels distinguish bacterial and viral.
        wanted: Name of the one method that the user wants; None for all.

    Returns:
        The methods; none where the wanted one is `calibrate`, and the site's classes are not those of the parent.
    """
    same = (parent.negative, parent.positive) == (site.negative, site.positive)
    three = etiologies and parent == THREE_CLASS
    head = THREE_CLASS if three else site
    found: Sequence[Method] = [
        *([Calibrate(parent, three or len(parent) == 2)] if same else []),
        LinearHeads(head, True),
    ]
    return [method for method in found if wanted in (None, method.name)]
