"""A sampler's ratio is the ratio, for any batch, number of processes and size of dataset."""

from types import SimpleNamespace

import numpy as np
import pytest

from distill.models import sampler as module
from distill.models.sampler import Epochs, RatioSampler, first_counts, repeats


def of_sizes(*sizes, tall=0.0, **more):
    """A dataset in which a share of the images of each part is tall."""
    return SimpleNamespace(sizes=[*sizes], tall=[np.arange(n) % 10 < 10 * tall for n in sizes], **more)


def drawn(sizes, batch, iterations, ratio, seed=0, rank=0, world=1, skip=0, monkeypatch=None, tall=0.0):
    if monkeypatch:
        monkeypatch.setattr(module, "get_dist_info", lambda: (rank, world))
    sampler = RatioSampler(of_sizes(*sizes, tall=tall), batch, iterations, seed, ratio, None)
    sampler.skip(skip)
    return list(sampler)


@pytest.fixture(params=[0, 0.3])
def tall(request):
    return request.param


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("ratio", [[6, 4], [1, 0.3], [1, 99]])
def test_expected_ratio_is_met_for_every_batch_size(batch, ratio):
    share = ratio[0] / sum(ratio)
    counts = first_counts(200_000 // batch, batch, share, seed=3)
    # Each count is the expectation rounded down or up, so its standard deviation is at most 1/2.
    assert abs(counts.mean() - batch * share) < 5 * 0.5 / np.sqrt(len(counts))
    assert set(np.unique(counts)) <= {int(np.floor(batch * share)), int(np.floor(batch * share)) + 1}


def test_every_slot_of_a_minibatch_sees_the_ratio():
    draws = np.array([index < 10 for index, _ in drawn([10, 50], 2, 5000, [6, 4])]).reshape(-1, 2)
    assert np.allclose(draws.mean(0), 0.6, atol=0.03)


def test_each_dataset_is_used_up_before_an_image_comes_again():
    minibatches = np.array([index for index, _ in drawn([7, 30], 5, 400, [6, 4])]).reshape(-1, 5)
    used = np.zeros(37, int)
    for minibatch in minibatches:
        np.add.at(used, minibatch, 1)
        for part in (used[:7], used[7:]):
            assert part.max() - part.min() <= 1


def test_a_longer_training_begins_with_the_same_draws(tall):
    whole = drawn([9, 20], 4, 100, [6, 4], tall=tall)
    assert drawn([9, 20], 4, 37, [6, 4], tall=tall) == whole[: 37 * 4]


def test_resuming_goes_on_exactly_where_it_was(tall):
    whole = drawn([9, 20], 4, 100, [6, 4], tall=tall)
    assert drawn([9, 20], 4, 100, [6, 4], skip=37 * 4, tall=tall) == whole[37 * 4 :]


def test_processes_share_the_minibatches_of_one(monkeypatch, tall):
    single = np.array([index for index, _ in drawn([9, 20], 4, 50, [6, 4], tall=tall)]).reshape(-1, 4)
    shared = {"world": 2, "monkeypatch": monkeypatch, "tall": tall}
    halves = [np.array([i for i, _ in drawn([9, 20], 4, 50, [6, 4], rank=r, **shared)]) for r in (0, 1)]
    assert (np.concatenate([half.reshape(-1, 2) for half in halves], axis=1) == single).all()


def test_shapes_are_kept_apart_and_nothing_else_changes():
    """Few minibatches are of both shapes; the images of a window are those drawn where all are of one
    shape, with as many of each dataset in each minibatch."""
    plain, kept = (
        np.array([index for index, _ in drawn([90, 200], 8, 160, [6, 4], tall=tall)]).reshape(-1, 16, 8)
        for tall in (0, 0.3)
    )
    assert (np.sort(plain.reshape(10, -1)) == np.sort(kept.reshape(10, -1))).all()
    assert ((plain < 90).sum(2) == (kept < 90).sum(2)).all()
    assert (plain != kept).any()
    tall = np.concatenate(of_sizes(90, 200, tall=0.3).tall)
    both = lambda windows: (tall[windows].any(2) & ~tall[windows].all(2)).sum(1)  # noqa: E731
    assert both(kept).mean() < 3  # of 16
    assert both(plain).mean() > 13
    first = tall[kept].all(2).argmax(1)  # where the tall ones are in a window is drawn too
    assert len(set(first)) > 3


def test_few_images_of_a_shape_do_not_fill_a_minibatch_alone():
    """Of 10 images one is tall: it would be in a minibatch four times."""
    minibatches = np.array([index for index, _ in drawn([10], 4, 500, None, tall=0.1)]).reshape(-1, 4)
    assert max(np.bincount(minibatch).max() for minibatch in minibatches) == 2  # where an epoch ends


def test_no_process_sees_more_of_a_dataset_whose_images_are_tall(monkeypatch):
    wide, tall = np.arange(1000) % 10 < 3, np.arange(1000) % 10 < 7
    dataset = SimpleNamespace(sizes=[1000, 1000], tall=[wide, tall])
    for rank in range(4):
        monkeypatch.setattr(module, "get_dist_info", lambda rank=rank: (rank, 4))
        sampler = RatioSampler(dataset, 16, 2000, 0, [6, 4], None)
        assert np.mean([index < 1000 for index, _ in sampler]) == pytest.approx(0.6, abs=0.02)


def test_processes_get_images_of_one_shape(monkeypatch):
    """Of a minibatch of both shapes two processes of four at most have both."""
    ranks = np.array([
        [i for i, _ in drawn([100], 16, 64, None, rank=r, world=4, monkeypatch=monkeypatch, tall=0.5)]
        for r in range(4)
    ]).reshape(4, 64, 4)  # fmt: skip
    tall = np.concatenate(of_sizes(100, tall=0.5).tall)[ranks]
    mixed = tall.any(2) & ~tall.all(2)
    assert mixed.sum(0).max() == 2
    assert 0 < mixed.any(0).sum() <= 4  # of four windows, each with one dataset, one minibatch each


@pytest.mark.parametrize("sizes", [[9, 20], [9]])
def test_what_is_drawn_is_counted(sizes):
    sampler = RatioSampler(of_sizes(*sizes, tall=0.3), 4, 50, 0, [6, 4], None)
    first = np.array([index < 9 for index, _ in sampler])
    for iterations in (0, 1, 17, 50):
        seen = first[: 4 * iterations]
        assert sampler.drawn(iterations) == (seen.sum(), (~seen).sum())


def test_keys_differ_between_draws_and_repeat_between_runs():
    keys = [key for _, key in drawn([5], 2, 50, None)]
    assert len(set(keys)) == 100
    assert keys == [key for _, key in drawn([5], 2, 50, None)]
    assert keys != [key for _, key in drawn([5], 2, 50, None, seed=1)]


def test_epochs_are_permutations_that_differ():
    epochs = Epochs(np.ones(50, np.int64), seed=0, stream=1)
    first, second = [epochs[i] for i in range(50)], [epochs[i] for i in range(50, 100)]
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second


def test_images_of_rare_categories_come_more_often_each_epoch():
    """By hand: b is in 1 of 8 images, so with balance 1/2 that asks for √4 times; c in 4 of 8, for once."""
    labels = [{"a", "b"}, *[{"a", "c"}] * 4, {"a"}, {"a"}, set()]
    assert repeats(labels, 0.5).tolist() == [2, 1, 1, 1, 1, 1, 1, 1]
    assert repeats(labels, 0.6).tolist() == [3, 2, 2, 2, 2, 1, 1, 1]  # √4.8, √1.2, rounded up
    dataset = of_sizes(8, 3, labels=[labels, [{"a"}] * 3])
    sampler = RatioSampler(dataset, 4, 90, 0, [1, 1], 0.5)
    counts = np.bincount([index for index, _ in sampler], minlength=11)
    assert counts[:8].tolist() == [40, *[20] * 7]  # 180 of 360 draws: 20 epochs of 9
    assert counts[8:].tolist() == [60] * 3
    sampler.skip(31 * 4)
    assert list(sampler) == list(RatioSampler(dataset, 4, 90, 0, [1, 1], 0.5))[31 * 4 :]


def test_batch_must_be_a_multiple_of_the_processes(monkeypatch):
    with pytest.raises(ValueError, match="batch 3"):
        drawn([5], 3, 1, None, world=2, monkeypatch=monkeypatch)
