"""Which images are in which minibatch: two datasets are mixed in a ratio that holds in expectation.

Everything is a pure function of (seed, iteration, rank), so that training resumes at any iteration without
replaying data, and any number of processes draws the same global minibatches.

Images of a batch are padded to one size, and wide ones with tall ones to a square. So, as in Detectron, they
are kept apart as far as may be: the draws of a window of iterations are dealt to its minibatches by shape,
and those of a minibatch to its processes. How many of each dataset a minibatch has stays as it is.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

WINDOW = 16  # iterations


def _rng(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def first_counts(iterations: int, batch: int, share: float, seed: int) -> np.ndarray:
    """How many of a minibatch's images come from the first dataset, for each iteration.

    Returns (iterations,) int64. Each is batch · share rounded down or up at random, so that its expectation
    is batch · share exactly, for batches of 1 and 2 too; the seed decides, not the history.
    """
    u = _rng(seed, 0).random(iterations)
    return np.floor(batch * share + u).astype(np.int64)


def repeats(labels: Sequence[Collection[int]], balance: float) -> np.ndarray:
    """(images,) int64: how often each image is there, so that rare categories are seen more often.

    The repeat factor sampling of LVIS (Gupta et al., CVPR 2019, section 5): a category in a share f of the
    images asks for √(balance / f) times as many, an image is there as often as its rarest category asks for,
    rounded up, and at least once.

    labels: the categories in each image.
    balance: the share of images below which a category is rare.
    """
    counts = Counter(label for found in labels for label in set(found))
    factors = [
        max((math.sqrt(balance * len(labels) / counts[c]) for c in found), default=1) for found in labels
    ]
    return np.ceil(np.maximum(factors, 1)).astype(np.int64)


class Epochs:
    """An endless sequence of indices: one random permutation after another of all images, each as often as
    `times` (images,) says."""

    def __init__(self, times: np.ndarray, seed: int, stream: int) -> None:
        self.indices = np.repeat(np.arange(len(times)), times)
        self.seed, self.stream = seed, stream
        self.epoch, self.order = -1, np.empty(0, np.int64)

    def __getitem__(self, position: int) -> int:
        epoch, offset = divmod(position, len(self.indices))
        if epoch != self.epoch:
            order = _rng(self.seed, self.stream, epoch).permutation(len(self.indices))
            self.epoch, self.order = epoch, self.indices[order]
        return int(self.order[offset])


@DATA_SAMPLERS.register_module()
class RatioSampler(Sampler):
    """Indices into a concatenation of one or two datasets, mixed in a ratio that holds in expectation.

    Yields (index, key): key is a tuple of ints that seeds the random transforms of that draw.

    dataset: anything with `sizes` and `tall` (and `labels`, for `balance`), such as MixedDataset.
    batch: images per iteration over all processes, divisible by their number.
    iterations: length of the training.
    seed: of the draws.
    ratio: a positive weight for each dataset; in Data Distillation 6 : 4. None: there is one dataset.
    balance: see `repeats`, of each dataset by itself; None: every image is there once.
    """

    def __init__(
        self,
        dataset,
        batch: int,
        iterations: int,
        seed: int,
        ratio: list[float] | None,
        balance: float | None,
    ):
        self.rank, self.world = get_dist_info()
        if batch % self.world:
            raise ValueError(f"batch {batch} is not a multiple of {self.world} processes")
        self.sizes, self.tall = dataset.sizes, np.concatenate(dataset.tall)
        if len(self.sizes) == 1:
            self.share = 1.0
        elif ratio:
            self.share = ratio[0] / sum(ratio)
        else:
            raise ValueError(f"{len(self.sizes)} datasets need a ratio")
        self.batch, self.iterations, self.seed = batch, iterations, seed
        self.skipped = 0
        if balance is None:
            self.times = [np.ones(size, np.int64) for size in self.sizes]
        else:
            self.times = [repeats(labels, balance) for labels in dataset.labels]
        windows = math.ceil(iterations / WINDOW)  # whole ones: a longer training begins with the same draws
        self.counts = first_counts(windows * WINDOW, batch, self.share, seed)
        if len(self.sizes) == 1:
            self.counts[:] = batch
        # Of a shape with fewer images than a minibatch has, the same ones would be there several times.
        most = [math.ceil(batch * share) for share in (self.share, 1 - self.share)]
        self.apart = [
            all(times[kind].sum() >= n * times[kind].max(initial=1) for kind in (tall, ~tall))
            for tall, times, n in zip(dataset.tall, self.times, most, strict=False)
        ]

    def drawn(self, iterations: int) -> tuple[int, int]:
        """How many images of each dataset the first `iterations` draw, over all processes."""
        first = int(self.counts[:iterations].sum())
        return first, iterations * self.batch - first

    def skip(self, samples: int) -> None:
        """Starts after the first `samples` indices of this process (mmengine's contract for resuming)."""
        self.skipped += samples

    def minibatches(self, window: int, epochs: list[Epochs]) -> list[np.ndarray]:
        """(batch,) indices of each global minibatch of a window, slot by slot.

        epochs: the order of the images of each dataset.
        """
        first = window * WINDOW
        counts = self.counts[first : first + WINDOW]
        shares = [counts, self.batch - counts][: len(epochs)]
        where = zip(epochs, self.drawn(first), (0, self.sizes[0]), shares, strict=False)
        taken = [
            offset + np.array([epoch[start + i] for i in range(share.sum())], np.int64)
            for epoch, start, offset, share in where
        ]
        order = np.arange(WINDOW)
        if any(self.apart):
            order = _rng(self.seed, 4, window).permutation(WINDOW)
            taken = [self.by_shape(i) if apart else i for i, apart in zip(taken, self.apart, strict=True)]
        ends = [share[order].cumsum()[:-1] for share in shares]
        dealt = [np.concatenate(parts) for parts in zip(*map(np.split, taken, ends), strict=True)]
        return [self.placed(dealt[at], first + i) for i, at in enumerate(order.argsort())]

    def placed(self, indices: np.ndarray, iteration: int) -> np.ndarray:
        """A minibatch slot by slot: images of like shape next to each other, which begin anywhere, so that no
        process has more of a shape, or of a dataset, than others."""
        random = _rng(self.seed, 3, iteration)
        indices = indices[random.permutation(self.batch)]
        return np.roll(self.by_shape(indices), random.integers(self.batch)) if any(self.apart) else indices

    def by_shape(self, indices: np.ndarray) -> np.ndarray:
        """Wide images first, else in the same order."""
        return indices[np.argsort(self.tall[indices], kind="stable")]

    def __iter__(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        per_process = self.batch // self.world
        start = self.skipped // per_process
        epochs = [Epochs(times, self.seed, stream) for stream, times in enumerate(self.times, 1)]
        for window in range(start // WINDOW, math.ceil(self.iterations / WINDOW)):
            for iteration, indices in enumerate(self.minibatches(window, epochs), window * WINDOW):
                if start <= iteration < self.iterations:
                    for slot in range(self.rank * per_process, (self.rank + 1) * per_process):
                        yield int(indices[slot]), (self.seed, iteration, slot)

    def __len__(self) -> int:
        return self.iterations * (self.batch // self.world)
