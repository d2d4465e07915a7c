"""A model of views that takes no time, and the files that it fills."""

from pathlib import Path

import numpy as np

from jaxgrow.data.views import Partition
from jaxgrow.multiview.generated_set import GeneratedSet, generate
from jaxgrow.multiview.generator import ViewGenerator
from jaxgrow.multiview.sampling import SamplerConfig
from tests.support import small_views


NOISY = SamplerConfig(name="euler_maruyama", num_steps=2)
CONDITIONING = np.array([0, 3, 1, 2, 1, 0, 3])


class Painter(ViewGenerator):
    """Paints missing views with noise from the seed, the object and the sample."""

    def __init__(self):
        self.view_names = small_views.NAMES

    def generate_views(self, images, missing, *, sampler, num_samples, seed, ids, **_):
        found = np.repeat(images[:, None], num_samples, axis=1)
        for row, number in enumerate(ids.tolist()):
            for k in range(num_samples):
                rng = np.random.default_rng((seed, number, k, sampler.num_steps))
                noise = rng.integers(0, 256, images.shape[1:], np.uint8)
                found[row, k, missing[row]] = noise[missing[row]]
        return found


class Idle(Painter):
    """Checks views, and must not be asked to paint any."""

    def generate_views(self, images, missing, **_):
        assert len(images) == 0
        return images[:, None]


def partition() -> Partition:
    return Partition(small_views.objects(len(CONDITIONING)), CONDITIONING)


def make(
    folder: Path, view_generator: ViewGenerator, part: Partition, **more
) -> GeneratedSet:
    """Generates two samples of every object, three objects at a time."""
    options = {"model": "m", "sampler": NOISY, "num_samples": 2, "chunk_size": 3}
    return generate(folder, view_generator, part, **(options | more))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
