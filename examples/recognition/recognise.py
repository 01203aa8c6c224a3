"""Recognition among classes never seen: trains on some classes of CIFAR-100, retrieves among others.

    PYTHONPATH=bindings/python python examples/recognition/recognise.py cifar-100-binary

(The folder with train.bin and test.bin; see --help for the sizes.) For every image of the other
classes' test set, the images of their training set are ranked by the cosine distance of the
features before the classifier. What is printed: mean average precision, and the share of queries
whose nearest image (or one of the five nearest) shows their class. Two networks that graft are
compared with the same two trained each by itself: same weights at the start, same batches.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

import graft
import graft.recognition


def of_classes(data: graft.Dataset, classes: range, per_class: int | None = None) -> graft.Dataset:
    """The images of some classes, which are numbered from 0 then."""
    labels = data.labels
    chosen = [np.flatnonzero(labels == label)[:per_class] for label in classes]
    images, labels = data.read(np.concatenate(chosen))
    return graft.Dataset.from_arrays(images, labels - classes.start, classes=len(classes))


def train(options: argparse.Namespace, data: graft.Dataset, grafting: bool) -> list[graft.Network]:
    """Two networks, side by side. The last epoch follows the last graft, after which both are one."""
    networks = [
        graft.resnet(options.depth, classes=data.classes, seed=options.seed + k) for k in range(2)]
    graft.Trainer(
        networks, data, epochs=options.epochs, batch_size=options.batch_size,
        learning_rate=[0.1, 0.08], seeds=[options.seed + 10, options.seed + 11],
        weight_decay=options.weight_decay, schedule="cosine",
        grafting=graft.Grafting(stop=max(options.epochs - 1, 1)) if grafting else None,
    ).run(progress=options.progress)
    return networks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", help="CIFAR-100's binary files")
    parser.add_argument("--classes", type=int, default=80, help="trained on; the first of the 100")
    parser.add_argument("--unseen", type=int, default=20, help="retrieved; the last of the 100")
    parser.add_argument("--images", type=int, default=500, help="of a class, at most")
    parser.add_argument("--depth", type=int, default=20, help="of the ResNets")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--weight-decay", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, help="a folder for the networks")
    parser.add_argument("--progress", action="store_true")
    options = parser.parse_args()
    if options.classes < 1 or options.unseen < 2 or options.classes + options.unseen > 100:
        parser.error("--classes and --unseen: together at most 100, and two unseen ones at least")

    every = [graft.Dataset.cifar(options.directory, split) for split in ("train", "test")]
    seen = of_classes(every[0], range(options.classes), options.images)
    unseen = range(100 - options.unseen, 100)
    gallery, queries = (of_classes(data, unseen, options.images) for data in every)
    mean, deviation = seen.statistics()
    seen, gallery, queries = (
        data.normalise(mean, deviation) for data in (seen, gallery, queries))
    print(f"{seen.count} images of {seen.classes} classes to train on; {queries.count} queries and "
          f"a gallery of {gallery.count} of {options.unseen} others")
    print(f"{'':28}{'mAP':>7}{'rank-1':>8}{'rank-5':>8}{'seconds':>9}")
    for name, grafting in (("each by itself", False), ("grafted", True)):
        start = time.perf_counter()
        networks = train(options, seen, grafting)
        seconds = time.perf_counter() - start
        for k, network in enumerate(networks):
            found = graft.recognition.evaluate(
                graft.recognition.features(network, queries), queries.labels,
                graft.recognition.features(network, gallery), gallery.labels)
            print(f"{f'{name}, network {k}':28}{100 * found.mean_average_precision:7.2f}"
                  f"{100 * found.rank(1):8.2f}{100 * found.rank(5):8.2f}{seconds:9.1f}", flush=True)
            if options.save is not None:
                options.save.mkdir(parents=True, exist_ok=True)
                network.save(options.save / f"{name.replace(' ', '-')}-{k}.safetensors")


if __name__ == "__main__":
    main()
