import numpy as np
import pytest

from pneumoscope.adaptation.site import FILE_PROPERTIES, SiteImages
from pneumoscope.inference.population import Descriptions
from pneumoscope.types import ImageHeader, ImageStatistics


@pytest.fixture
def site_images():
    """Maker of a site's images with features that tell the label to some degree, two images to a patient."""

    def make(count=120, signal=1.0, bytes_tell=False, seed=0):
        rng = np.random.default_rng(seed)
        label = np.repeat(np.arange(count // 2) % 2, 2)
        features = rng.normal(size=(count, 12)).astype(np.float32)
        features[:, 0] += signal * label
        probability = 1 / (1 + np.exp(-rng.normal(size=count)))
        properties = rng.normal(10, 1, (count, len(FILE_PROPERTIES)))
        properties[:, 0] = 512
        properties[:, 4] = np.nan
        if bytes_tell:
            properties[:, 3] += 2 * label
        layout = rng.normal(size=(count, 256))
        exposure = rng.uniform(0.2, 0.6, (count, 3))
        return SiteImages(
            label.astype(np.int64),
            False,
            tuple(f"{i}.png" for i in range(count)),
            tuple(f"{i:064x}" for i in range(count)),
            tuple(f"p{i // 2}" for i in range(count)),
            True,
            tuple(ImageHeader(age_years=3 + i // 4 % 4, view=("AP", "PA")[i // 4 % 2]) for i in range(count)),
            np.stack([1 - probability, probability], axis=1),
            features,
            Descriptions(features, layout, exposure),
            Descriptions(
                features + 0.1 * rng.normal(size=features.shape), layout + 0.1 * rng.normal(size=layout.shape), exposure
            ),
            np.arange(count),
            (ImageStatistics(0.5, 0.5, 0.2, 0.9, 1.0),) * count,
            properties,
            rng.normal(size=(count, 33)),
            (),
        )

    return make
