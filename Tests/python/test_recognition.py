"""Recognition's measures against scikit-learn, torchmetrics and the definitions, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.metrics.pairwise import cosine_distances as sklearn_distances
from torchmetrics.functional.retrieval import retrieval_average_precision

import graft
import graft.recognition as recognition

RNG = np.random.default_rng(5)


def clusters(count: int, classes: int = 7, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features that lie around their class's place, not too near."""
    centres = np.random.default_rng(1).standard_normal((classes, width))
    labels = RNG.integers(0, classes, count)
    return (centres[labels] + 1.5 * RNG.standard_normal((count, width))).astype(np.float32), labels


def first_match(distances: np.ndarray, matches: np.ndarray) -> int:
    """Its rank by counting: what is nearer, or as near and no match, comes before."""
    if not matches.any():
        return 0
    nearest = distances[matches].min()
    return 1 + int(np.count_nonzero(distances[~matches] <= nearest))


def expected(
    distances: np.ndarray, labels: np.ndarray, others: np.ndarray, passed: np.ndarray
) -> tuple[list[float], list[int]]:
    averages, ranks = [], []
    for row, label, out in zip(distances, labels, passed):
        matches = (others == label)[~out]
        averages.append(
            average_precision_score(matches, -row[~out]) if matches.any() else float("nan"))
        ranks.append(first_match(row[~out], matches))
    return averages, ranks


def holds(result: recognition.Recognition, averages: list[float], ranks: list[int]) -> None:
    np.testing.assert_allclose(result.average_precision, averages, atol=1e-12)
    np.testing.assert_array_equal(result.first_match, ranks)
    found = [rank for rank in ranks if rank]
    assert result.queries == len(found)
    assert result.mean_average_precision == pytest.approx(np.nanmean(averages), abs=1e-12)
    for k in (1, 2, 5):
        assert result.rank(k) == sum(rank <= k for rank in found) / len(found)
    assert result.cmc(5).tolist() == [result.rank(k) for k in range(1, 6)]


def test_queries_against_a_gallery() -> None:
    (queries, labels), (gallery, others) = clusters(60), clusters(200)
    labels[3] = 99  # nobody like it
    result = recognition.evaluate(queries, labels, gallery, others)
    distances = sklearn_distances(queries.astype(float), gallery.astype(float))
    # Its distances are float64; ours, like the features, float32: no two lie that near here.
    holds(result, *expected(distances, labels, others, np.zeros(distances.shape, bool)))
    assert 0.2 < result.mean_average_precision < 0.9
    words = str(result)
    assert words.startswith(f"mAP {100 * result.mean_average_precision:.1f} %, rank-1 ")
    assert words.endswith("of 59 queries (1 without a match left out)")


def test_without_a_gallery_each_meets_the_others() -> None:
    queries, labels = clusters(80)
    result = recognition.evaluate(queries, labels)
    distances = sklearn_distances(queries.astype(float))
    holds(result, *expected(distances, labels, labels, np.eye(80, dtype=bool)))


def test_the_querys_own_camera_is_passed_over() -> None:
    (queries, labels), (gallery, others) = clusters(50, 4), clusters(90, 4)
    cameras, theirs = RNG.integers(0, 3, 50), RNG.integers(0, 3, 90)
    result = recognition.evaluate(
        queries, labels, gallery, others, query_cameras=cameras, gallery_cameras=theirs)
    passed = (labels[:, None] == others) & (cameras[:, None] == theirs)
    distances = sklearn_distances(queries.astype(float), gallery.astype(float))
    holds(result, *expected(distances, labels, others, passed))
    alone = recognition.evaluate(queries, labels, query_cameras=cameras)
    passed = (labels[:, None] == labels) & (cameras[:, None] == cameras) | np.eye(50, dtype=bool)
    holds(alone, *expected(sklearn_distances(queries.astype(float)), labels, labels, passed))


def test_equal_distances_in_any_order_of_the_gallery() -> None:
    """Few different distances: almost everything is a tie."""
    labels, others = RNG.integers(0, 3, 40), RNG.integers(0, 3, 60)
    distances = RNG.integers(0, 5, (40, 60)).astype(np.float64)
    passed = RNG.random((40, 60)) < 0.2
    result = recognition.evaluate_distances(distances, labels, others, passed)
    holds(result, *expected(distances, labels, others, passed))
    order = RNG.permutation(60)
    again = recognition.evaluate_distances(
        distances[:, order], labels, others[order], passed[:, order])
    np.testing.assert_array_equal(again.first_match, result.first_match)
    np.testing.assert_allclose(again.average_precision, result.average_precision, atol=1e-12)


def test_torchmetrics_finds_the_same_mean() -> None:
    (queries, labels), (gallery, others) = clusters(30), clusters(100)
    result = recognition.evaluate(torch.from_numpy(queries), labels.tolist(), gallery, others)
    distances = torch.from_numpy(recognition.cosine_distances(queries, gallery))
    theirs = [
        float(retrieval_average_precision(2 - row, torch.from_numpy(others == label)))
        for row, label in zip(distances, labels)]
    assert result.mean_average_precision == pytest.approx(np.mean(theirs), abs=1e-6)


def test_pieces_do_not_show(monkeypatch) -> None:
    (queries, labels), (gallery, others) = clusters(60), clusters(200)
    whole = recognition.evaluate(queries, labels, gallery, others)
    alone = recognition.evaluate(queries, labels)
    monkeypatch.setattr("graft.recognition._evaluate._PIECE", 1000)
    for one, other in ((whole, recognition.evaluate(queries, labels, gallery, others)),
                       (alone, recognition.evaluate(queries, labels))):
        np.testing.assert_array_equal(one.first_match, other.first_match)
        np.testing.assert_array_equal(one.average_precision, other.average_precision)


def test_distances_are_scikit_learns() -> None:
    queries, gallery = RNG.standard_normal((9, 5)), RNG.standard_normal((11, 5))
    gallery[2] = 0
    queries[1] *= 1e200
    queries[2] *= 1e-200
    ours = recognition.cosine_distances(queries, gallery)
    queries[1] /= 1e200
    queries[2] /= 1e-200
    np.testing.assert_allclose(ours, sklearn_distances(queries, gallery), atol=1e-12)
    single = recognition.cosine_distances(queries.astype(np.float32), gallery.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, ours, atol=1e-6)


def test_features_of_data_sets_and_arrays() -> None:
    network = graft.resnet(8, input_shape=(3, 12, 12), seed=1)
    images = RNG.integers(0, 256, (23, 3, 12, 12)).astype(np.uint8)
    labels = RNG.integers(0, 4, 23)
    data = graft.Dataset.from_arrays(images, labels).normalise([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])
    np.testing.assert_array_equal(data.labels, labels)
    shown = data.read()[0]
    expected = network.features(shown)
    found = recognition.features(network, data, batch_size=5)
    assert found.shape == (23, 64)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(recognition.features(network, shown, batch_size=5), found)
    early = recognition.features(network, data, value=network.find("conv1"), batch_size=23)
    np.testing.assert_array_equal(
        early, network.features(shown, network.find("conv1")).reshape(23, -1))


FEATURES, LABELS = np.eye(4, 3, dtype=np.float32), np.arange(4)


@pytest.mark.parametrize("call, kind, words", [
    (lambda: recognition.evaluate(FEATURES[0], LABELS), graft.InvalidArgumentError, "query has"),
    (lambda: recognition.evaluate(FEATURES, LABELS[:3]), graft.ShapeMismatchError,
     "query_labels has shape"),
    (lambda: recognition.evaluate(FEATURES, LABELS, FEATURES[:, :2], LABELS),
     graft.ShapeMismatchError, "query has 3 features an image, and gallery 2"),
    (lambda: recognition.evaluate(FEATURES, LABELS, FEATURES), graft.InvalidArgumentError,
     "gallery_labels is missing"),
    (lambda: recognition.evaluate(FEATURES, LABELS, gallery_labels=LABELS),
     graft.InvalidArgumentError, "gallery is None"),
    (lambda: recognition.evaluate(FEATURES, LABELS), graft.InvalidArgumentError, "no query has"),
    (lambda: recognition.evaluate(FEATURES, LABELS, FEATURES, LABELS, query_cameras=LABELS),
     graft.InvalidArgumentError, "give both or none"),
    (lambda: recognition.evaluate(FEATURES * np.nan, LABELS), graft.NotFiniteError, "query holds"),
    (lambda: recognition.evaluate_distances(FEATURES, LABELS, LABELS), graft.ShapeMismatchError,
     "gallery_labels has shape"),
    (lambda: recognition.evaluate_distances(FEATURES, LABELS, LABELS[:3], LABELS),
     graft.ShapeMismatchError, "passed_over is int64"),
    (lambda: recognition.evaluate_distances(FEATURES + np.inf, LABELS, LABELS[:3]),
     graft.NotFiniteError, "distances hold"),
    (lambda: recognition.Recognition(np.ones(1), np.ones(1, np.int64)).rank(0),
     graft.InvalidArgumentError, "k is 0"),
    (lambda: recognition.features(graft.resnet(8), FEATURES), graft.InvalidArgumentError,
     "images have shape"),
    (lambda: recognition.features(None, FEATURES), graft.InvalidArgumentError, "network is"),
    (lambda: recognition.features(graft.resnet(8), FEATURES, batch_size=0),
     graft.InvalidArgumentError, "batch_size is 0"),
])
def test_wrong_arguments_are_named(call, kind, words) -> None:
    with pytest.raises(kind, match=words):
        call()
