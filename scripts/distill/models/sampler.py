"""Which images are in which minibatch: two datasets are mixed in a ratio that holds in expectation.

Everything is a pure function of (seed, iteration, rank), so that training resumes at any iteration without
replaying data, and any number of processes draws the same global minibatches.
"""

from collections.abc import Iterator

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def first_counts(iterations: int, batch: int, share: float, seed: int) -> np.ndarray:
    """How many of a minibatch's images come from the first dataset, for each iteration.

    Returns (iterations,) int64. Each is batch · share rounded down or up at random, so that its expectation
    is batch · share exactly, for batches of 1 and 2 too; the seed decides, not the history.
    """
    u = _rng(seed, 0).random(iterations)
    return np.floor(batch * share + u).astype(np.int64)


class Epochs:
    """An endless sequence of indices: one random permutation of range(size) after another."""

    def __init__(self, size: int, seed: int, stream: int) -> None:
        self.size, self.seed, self.stream = size, seed, stream
        self.epoch, self.order = -1, np.empty(0, np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, self.size)
        if epoch != self.epoch:
            self.epoch, self.order = epoch, _rng(self.seed, self.stream, epoch).permutation(self.size)
        return int(self.order[offset])


@DATA_SAMPLERS.register_module()
class RatioSampler(Sampler):
    """Indices into a concatenation of one or two datasets, mixed in a ratio that holds in expectation.

    Yields (index, key): key is a tuple of ints that seeds the random transforms of that draw.

    dataset: anything with `sizes`, such as MixedDataset.
    batch: images per iteration over all processes, divisible by their number.
    iterations: length of the training.
    seed: of the draws.
    ratio: a positive weight for each dataset; in Data Distillation 6 : 4. None: there is one dataset.
    """

    def __init__(self, dataset, batch: int, iterations: int, seed: int, ratio: list[float] | None = None):
        self.rank, self.world = get_dist_info()
        if batch % self.world:
            raise ValueError(f"batch {batch} is not a multiple of {self.world} processes")
        self.sizes = dataset.sizes
        if len(self.sizes) == 1:
            self.share = 1.0
        elif ratio:
            self.share = ratio[0] / sum(ratio)
        else:
            raise ValueError(f"{len(self.sizes)} datasets need a ratio")
        self.batch, self.iterations, self.seed = batch, iterations, seed
        self.skipped = 0
        self.counts = first_counts(iterations, batch, self.share, seed)
        if len(self.sizes) == 1:
            self.counts[:] = batch

    def drawn(self, iterations: int) -> tuple[int, int]:
        """How many images of each dataset the first `iterations` draw, over all processes."""
        first = int(self.counts[:iterations].sum())
        return first, iterations * self.batch - first

    def skip(self, samples: int) -> None:
        """Starts after the first `samples` indices of this process (mmengine's contract for resuming)."""
        self.skipped += samples

    def minibatch(self, iteration: int, first: int, second: int, epochs: list[Epochs]) -> list[int]:
        """Indices of one global minibatch.

        first, second: how many images of each dataset were drawn before it.
        epochs: the order of the images of each dataset.
        """
        count = int(self.counts[iteration])
        indices = [epochs[0][first + i] for i in range(count)]
        indices += [self.sizes[0] + epochs[1][second + i] for i in range(self.batch - count)]
        return [indices[i] for i in _rng(self.seed, 3, iteration).permutation(self.batch)]

    def __iter__(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        per_process = self.batch // self.world
        start = self.skipped // per_process
        drawn = np.concatenate([[0], np.cumsum(self.counts)])
        epochs = [Epochs(size, self.seed, stream) for stream, size in enumerate(self.sizes, 1)]
        for iteration in range(start, self.iterations):
            first = int(drawn[iteration])
            indices = self.minibatch(iteration, first, iteration * self.batch - first, epochs)
            for slot in range(self.rank * per_process, (self.rank + 1) * per_process):
                yield indices[slot], (self.seed, iteration, slot)

    def __len__(self) -> int:
        return self.iterations * (self.batch // self.world)
