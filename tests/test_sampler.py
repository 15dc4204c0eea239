"""A sampler's ratio is the ratio, for any batch, number of processes and size of dataset."""

from types import SimpleNamespace

import numpy as np
import pytest

from distill.models import sampler as module
from distill.models.sampler import Epochs, RatioSampler, first_counts, repeats


def drawn(sizes, batch, iterations, ratio, seed=0, rank=0, world=1, skip=0, monkeypatch=None):
    if monkeypatch:
        monkeypatch.setattr(module, "get_dist_info", lambda: (rank, world))
    sampler = RatioSampler(SimpleNamespace(sizes=sizes), batch, iterations, seed, ratio, None)
    sampler.skip(skip)
    return list(sampler)


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


def test_resuming_goes_on_exactly_where_it_was():
    whole = drawn([9, 20], 4, 100, [6, 4])
    assert drawn([9, 20], 4, 100, [6, 4], skip=37 * 4) == whole[37 * 4 :]


def test_processes_share_the_minibatches_of_one(monkeypatch):
    single = np.array([index for index, _ in drawn([9, 20], 4, 50, [6, 4])]).reshape(-1, 4)
    halves = [
        np.array([i for i, _ in drawn([9, 20], 4, 50, [6, 4], rank=r, world=2, monkeypatch=monkeypatch)])
        for r in (0, 1)
    ]
    assert (np.concatenate([half.reshape(-1, 2) for half in halves], axis=1) == single).all()


@pytest.mark.parametrize("sizes", [[9, 20], [9]])
def test_what_is_drawn_is_counted(sizes):
    sampler = RatioSampler(SimpleNamespace(sizes=sizes), 4, 50, 0, [6, 4], None)
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
    dataset = SimpleNamespace(sizes=[8, 3], labels=[labels, [{"a"}] * 3])
    sampler = RatioSampler(dataset, 4, 90, 0, [1, 1], 0.5)
    counts = np.bincount([index for index, _ in sampler], minlength=11)
    assert counts[:8].tolist() == [40, *[20] * 7]  # 180 of 360 draws: 20 epochs of 9
    assert counts[8:].tolist() == [60] * 3
    sampler.skip(31 * 4)
    assert list(sampler) == list(RatioSampler(dataset, 4, 90, 0, [1, 1], 0.5))[31 * 4 :]


def test_batch_must_be_a_multiple_of_the_processes(monkeypatch):
    with pytest.raises(ValueError, match="batch 3"):
        drawn([5], 3, 1, None, world=2, monkeypatch=monkeypatch)
