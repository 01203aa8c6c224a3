"""Random erasing, mixup and CutMix: every pixel by NumPy, and the distributions of their papers and
of torchvision, drawn here once more with NumPy's own random numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

import graft
from test_batches import below, words

ERASING = 5
PLAIN = graft.Augmentation(0, False)


def numbered(count: int, height: int = 8, width: int = 6, channels: int = 3) -> graft.Dataset:
    """Random images, shown normalised, whose labels are their own numbers."""
    images = np.random.default_rng(4).integers(1, 256, (count, channels, height, width))
    data = graft.Dataset.from_arrays(images.astype(np.uint8), np.arange(count))
    return data.normalise(0.3, 0.7)


def uniform(stream) -> float:
    return ((next(stream) << 32 | next(stream)) >> 11) * 2.0**-53


def p_value(ours, theirs) -> float:
    return stats.ks_2samp(ours, theirs).pvalue


# ---- random erasing ------------------------------------------------------------------------------


def rectangle(height, width, area, ratio, draw, whole):
    """torchvision.transforms.RandomErasing.get_params: (top, left, height, width), or None."""
    for _ in range(10):
        size = height * width * (area[0] + (area[1] - area[0]) * draw())
        low, high = math.log(ratio[0]), math.log(ratio[1])
        shape = math.exp(low + (high - low) * draw())
        h, w = round(math.sqrt(size * shape)), round(math.sqrt(size / shape))
        if h < height and w < width:
            return whole(height - h + 1), whole(width - w + 1), h, w
    return None


@pytest.mark.parametrize("crop, flip", [(0, False), (2, True)])
@pytest.mark.parametrize("area, ratio, size", [
    ((0.02, 0.33), (0.3, 3.3), (8, 6)), ((0.5, 1.0), (0.1, 10.0), (5, 9)),
    ((0.0, 0.1), (1.0, 1.0), (4, 4)), ((0.02, 0.33), (0.3, 3.3), (1, 1)),
])
def test_erased_rectangles_that_must_never_change(crop, flip, area, ratio, size):
    """Philox and torchvision's distribution written down once more, pixel by pixel."""
    data, seed, epoch = numbered(60, *size), 9, 3
    erasing = graft.Augmentation(crop, flip, 0.6, area, ratio)
    whole = data.augmented_batch(graft.Augmentation(crop, flip), seed, epoch, 0, 60)
    found = data.augmented_batch(erasing, seed, epoch, 0, 60)
    erased = 0
    for image, plain, label in zip(found.images, whole.images, found.labels):
        stream = words(seed, ERASING, epoch, int(label))
        expected = plain.copy()
        if uniform(stream) < 0.6:
            box = rectangle(
                *size, area, ratio, lambda: uniform(stream), lambda limit: below(stream, limit))
            if box:
                top, left, h, w = box
                expected[:, top : top + h, left : left + w] = 0
                erased += h * w > 0
        assert np.array_equal(image, expected)
    assert erased > 10 or size == (1, 1)
    assert np.array_equal(found.others, found.labels) and (found.shares == 1).all()


@pytest.mark.parametrize("area, ratio", [((0.02, 0.33), (0.3, 3.3)), ((0.2, 0.9), (0.5, 4.0))])
def test_erasing_s_distribution_is_torchvision_s(area, ratio):
    count, size = 4000, (24, 20)
    ones = graft.Dataset.from_arrays(np.ones((count, *size), np.float32), np.arange(count))
    erasing = graft.Augmentation(0, False, 0.25, area, ratio)
    images = ones.augmented_batch(erasing, 1, 1, 0, count).images
    rows = (images[:, 0] == 0).any(2)
    columns = (images[:, 0] == 0).any(1)
    hit = rows.any(1)
    ours = np.stack([
        rows[hit].argmax(1), columns[hit].argmax(1), rows[hit].sum(1), columns[hit].sum(1)])
    assert (ours[2] * ours[3] == (images[hit, 0] == 0).sum((1, 2))).all()  # they are rectangles
    rng = np.random.default_rng(0)
    theirs = [rectangle(*size, area, ratio, rng.random, rng.integers) for _ in range(20000)]
    drawn = np.array([box for box in theirs if box]).T
    share = 0.25 * len(drawn[0]) / 20000
    assert abs(hit.mean() - share) < 4 * math.sqrt(share * (1 - share) / count)
    for mine, other in zip(ours, drawn):
        assert p_value(mine, other) > 0.01
    assert p_value(ours[2] / ours[3], drawn[2] / drawn[3]) > 0.01
    assert p_value(ours[2] * ours[3], drawn[2] * drawn[3]) > 0.01


def test_crops_and_erased_parts_do_not_depend_on_the_batch_or_on_each_other():
    data = numbered(40)
    whole = graft.Augmentation(2, True, 0.5)
    one = data.augmented_batch(whole, 1, 2, 0, 40).images
    parts = [data.augmented_batch(whole, 1, 2, number, 7).images for number in range(6)]
    assert np.array_equal(one, np.concatenate(parts))
    alone = data.augmented_batch(graft.Augmentation(2, False, 0.5), 1, 2, 0, 40).images
    assert np.array_equal((one == 0).all(1), (alone == 0).all(1))
    assert not np.array_equal(one, data.augmented_batch(whole, 1, 3, 0, 40).images)
    assert not np.array_equal(one, data.augmented_batch(whole, 2, 2, 0, 40).images)


# ---- mixing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 30])
def test_mixup_is_the_share_of_two_neighbours(size):
    """Of the images as crop, mirror and eraser have left them, in float64, rounded once."""
    data = numbered(30)
    before = data.augmented_batch(graft.Augmentation(1, True, 0.5), 5, 2, 1, size)
    mixed = data.augmented_batch(graft.Augmentation(1, True, 0.5, mixup=0.8), 5, 2, 1, size)
    assert np.array_equal(mixed.labels, before.labels)
    assert np.array_equal(mixed.others, np.roll(before.labels, -1))
    share = mixed.shares[:, None, None, None]
    expected = share * before.images.astype(np.float64) + (1 - share) * np.roll(
        before.images, -1, axis=0).astype(np.float64)
    assert np.array_equal(mixed.images, expected.astype(np.float32))
    assert len(set(mixed.shares)) == len(mixed.labels)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.7, 1.0, 2.0, 30.0, 1e6])
def test_mixup_s_shares_are_of_the_beta_distribution(alpha):
    data = numbered(5000, 1, 1, 1)
    shares = np.concatenate([
        data.augmented_batch(graft.Augmentation(0, False, mixup=alpha), 3, epoch, 0, 5000).shares
        for epoch in (1, 2)])
    assert ((shares >= 0) & (shares <= 1)).all()
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize("alpha", [1e-3, 1e-12, 5e-324])
def test_a_beta_distribution_of_two_points(alpha):
    data = numbered(4000, 1, 1, 1)
    shares = data.augmented_batch(graft.Augmentation(0, False, mixup=alpha), 3, 1, 0, 4000).shares
    assert ((shares >= 0) & (shares <= 1)).all()
    ends = (np.abs(shares - 0.5) > 0.499).mean()
    assert ends > 0.98 and abs((shares > 0.5).mean() - 0.5) < 0.03


def test_cutmix_lays_a_rectangle_of_the_neighbour_over_an_image():
    data, size = numbered(200, 9, 7), 9 * 7
    before = data.augmented_batch(graft.Augmentation(2, True, 0.3), 5, 2, 0, 200)
    mixed = data.augmented_batch(graft.Augmentation(2, True, 0.3, cutmix=1.0), 5, 2, 0, 200)
    others = np.roll(before.images, -1, axis=0)
    assert np.array_equal(mixed.others, np.roll(before.labels, -1))
    partly = 0
    for image, own, other, share in zip(mixed.images, before.images, others, mixed.shares):
        pixels = round((1 - share) * size)
        assert share == pytest.approx(1 - pixels / size, abs=1e-15)
        taken = (image != own).any(0)  # but for pixels that are black in both
        rows, columns = np.flatnonzero(taken.any(1)), np.flatnonzero(taken.any(0))
        if len(rows):
            box = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert np.array_equal(image[box], other[box])
            assert image[box][0].size <= pixels
            partly += image[box][0].size == pixels < size
        else:
            assert pixels == 0 or np.array_equal(image, own)
    assert partly > 100


def cut(height, width, alpha, rng):
    """CutMix's rand_bbox, as its authors published it: (top, left, bottom, right)."""
    ratio = math.sqrt(1 - rng.beta(alpha, alpha))
    h, w = int(height * ratio), int(width * ratio)
    y, x = rng.integers(height), rng.integers(width)
    return (np.clip(y - h // 2, 0, height), np.clip(x - w // 2, 0, width),
            np.clip(y + h // 2, 0, height), np.clip(x + w // 2, 0, width))


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_cutmix_s_distribution_is_its_authors(alpha):
    count, size = 6000, (30, 22)
    # Each image is its number: what is not its own is the neighbour's.
    images = np.broadcast_to(np.arange(1.0, count + 1)[:, None, None], (count, *size))
    data = graft.Dataset.from_arrays(images.astype(np.float32), np.arange(count))
    mixed = data.augmented_batch(graft.Augmentation(0, False, cutmix=alpha), 2, 1, 0, count)
    taken = mixed.images[:, 0] != mixed.labels[:, None, None] + 1
    area = taken.sum((1, 2))
    assert np.allclose(mixed.shares, 1 - area / (size[0] * size[1]), atol=1e-15)
    hit = area > 0
    rows, columns = taken[hit].any(2), taken[hit].any(1)
    ours = [rows.argmax(1), columns.argmax(1), size[0] - rows[:, ::-1].argmax(1),
            size[1] - columns[:, ::-1].argmax(1)]
    rng = np.random.default_rng(1)
    drawn = np.array([cut(*size, alpha, rng) for _ in range(20000)]).T
    areas = (drawn[2] - drawn[0]) * (drawn[3] - drawn[1])
    assert p_value(area, areas) > 0.01
    for mine, other in zip(ours, drawn[:, areas > 0]):
        assert p_value(mine, other) > 0.01


def test_one_or_the_other_and_some_not_at_all():
    count = 4000
    ramp = np.broadcast_to(np.arange(1.0, count + 1)[:, None, None], (count, 8, 8))
    data = graft.Dataset.from_arrays(ramp.astype(np.float32), np.arange(count))
    both = graft.Augmentation(0, False, mixup=1.0, cutmix=1.0, mixing=0.8)
    mixed = data.augmented_batch(both, 2, 1, 0, count)
    own, other = mixed.labels[:, None, None] + 1, mixed.others[:, None, None] + 1
    pixels = mixed.images[:, 0]
    still = (pixels == own).all((1, 2))
    cuts = ((pixels == own) | (pixels == other)).all((1, 2)) & ~still
    blends = ~still & ~cuts
    assert (pixels[blends] == pixels[blends, :1, :1]).all()
    assert (mixed.shares[still] == 1).all()
    for share, group in ((0.4, blends), (0.4, cuts | (still & (mixed.shares == 1)))):
        assert abs(group.mean() - (share if group is blends else 0.6)) < 0.04
    # The same shares, whoever else is mixed.
    mixup = graft.Augmentation(0, False, mixup=1.0, mixing=0.8)
    alone = data.augmented_batch(mixup, 2, 1, 0, count)
    assert np.array_equal(alone.shares[blends], mixed.shares[blends])
    assert abs((alone.shares == 1).mean() - 0.2) < 0.03


@pytest.mark.parametrize("augmentation", [
    PLAIN, graft.Augmentation(1, True), graft.Augmentation(0, False, mixup=1.0, mixing=0.0)])
def test_without_mixing_labels_are_their_own(augmentation):
    data = numbered(20)
    mixed = data.augmented_batch(augmentation, 1, 1, 0, 20)
    assert np.array_equal(mixed.others, mixed.labels) and (mixed.shares == 1).all()
    images, labels = data.batch(1, 1, 0, 20, augmentation.crop_padding, augmentation.flip)
    assert np.array_equal(images, mixed.images) and np.array_equal(labels, mixed.labels)


def test_wrong_arguments():
    data = numbered(5)
    for wrong, text in (
        ({"erasing": -0.1}, "erasing is"), ({"erasing": 1.1}, "0 to 1"),
        ({"erasing": math.nan}, "erasing is"), ({"mixing": 2.0}, "mixing is"),
        ({"erasing_area": (0.5, 0.2)}, "erasing_area_low"),
        ({"erasing_area": (0.5, 1.2)}, "erasing_area_high is"),
        ({"erasing_area": (-0.1, 0.2)}, "erasing_area_high is"),
        ({"erasing_area": (math.nan, 0.2)}, "erasing_area"), ({"erasing_area": 0.2}, "low, high"),
        ({"erasing_ratio": (0.0, 1.0)}, "erasing_ratio_low is"),
        ({"erasing_ratio": (1.0, math.inf)}, "erasing_ratio_low is"),
        ({"erasing_ratio": (2.0, 1.0)}, "erasing_ratio_low"), ({"mixup": -1.0}, "mixup is"),
        ({"mixup": math.nan}, "mixup is"), ({"cutmix": 1e7}, "0 to 1000000"),
        ({"cutmix": math.inf}, "cutmix is"), ({"crop_padding": 5000}, "crop_padding is 5000"),
        ({"mixup": "much"}, "mixup is 'much'"),
    ):
        with pytest.raises(graft.InvalidArgumentError, match=text):
            data.augmented_batch(graft.Augmentation(**wrong), 1, 1, 0, 5)
    with pytest.raises(graft.InvalidArgumentError, match="augmentation is 'int'"):
        data.augmented_batch(4, 1, 1, 0, 5)
