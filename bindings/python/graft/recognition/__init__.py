"""Recognition: how well a network's features find images of the same class again.

Query images are compared with a gallery by the cosine distance of their features, and a good
network ranks the gallery's images of the query's class first. The classes need not be those that
the network was trained on.

    >>> import graft.recognition
    >>> queries = graft.recognition.features(network, query_data)
    >>> gallery = graft.recognition.features(network, gallery_data)
    >>> print(graft.recognition.evaluate(
    ...     queries, query_data.labels, gallery, gallery_data.labels))
    mAP 41.3 %, rank-1 62.0 %, rank-5 80.5 %, rank-10 86.1 % of 2000 queries
"""

from ._evaluate import Recognition, cosine_distances, evaluate, evaluate_distances
from ._features import features

__all__ = ["Recognition", "cosine_distances", "evaluate", "evaluate_distances", "features"]
