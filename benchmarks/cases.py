"""What is measured: networks, how they are run, and the goal of each."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field, replace
from typing import Any

CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)
#: Of PyTorch's peak memory, at most so much.
MEMORY_GOAL = 0.7
INFERENCE_GOAL, GRAFTING_GOAL, BFLOAT16_GOAL = 1.5, 1.5, 1.2


@dataclass(frozen=True)
class Network:
    """Ours (a function of graft) and PyTorch's (a module of Tests/python or of torchvision)."""

    name: str
    function: str
    arguments: dict[str, Any]
    module: str
    module_arguments: dict[str, Any]
    #: Images a second in training, as a multiple of PyTorch's. 1: never behind.
    goal: float = 1.0
    batch: int = 128
    shape: tuple[int, int, int] = CIFAR
    classes: int = 10


def residual(depth: int, goal: float) -> Network:
    return Network(f"resnet{depth}", "resnet", {"depth": depth}, "ResNet", {"depth": depth}, goal)


def wide(depth: int, widen: int, batch: int) -> Network:
    arguments = {"depth": depth, "widen": widen}
    return Network(
        f"wrn{depth}-{widen}", "wide_resnet", arguments, "WideResNet", arguments, 1.2, batch)


def imagenet(model: str, batch: int) -> Network:
    return Network(
        f"imagenet-{model}", "imagenet", {"model": model}, f"torchvision.{model}", {},
        batch=batch, shape=IMAGENET, classes=1000)


NETWORKS = [
    residual(20, 1.5), residual(32, 1.5), residual(44, 1.0), residual(56, 1.5), residual(110, 1.0),
    Network("mobilenet_v2", "mobilenet_v2", {}, "MobileNetV2", {}, 2.5),
    Network("vgg16", "vgg", {"depth": 16}, "VGG", {"depth": 16}, 1.2),
    wide(16, 4, 64), wide(28, 10, 8),
    Network("resnext29-32x4d", "resnext", {"cardinality": 32, "base_width": 4}, "ResNeXt",
            {"cardinality": 32, "base_width": 4}, batch=32),
    Network("densenet-bc100-12", "densenet", {}, "DenseNet", {}, batch=32),
    imagenet("resnet18", 8), imagenet("resnet50", 4), imagenet("mobilenet_v2", 8),
]
BY_NAME = {network.name: network for network in NETWORKS}
#: Networks whose other ways of running are measured too.
GRAFTED = ["resnet20", "resnet56", "mobilenet_v2"]
HALF = ["resnet20", "mobilenet_v2"]
QUICK = ["resnet20", "mobilenet_v2"]


@dataclass(frozen=True)
class Case:
    """A network, run one way."""

    network: Network
    mode: str  #: "training", "inference", or "grafting": networks in one trainer
    dtype: str = "float32"
    threads: int = 2
    networks: int = 1
    goal: float = 1.0
    #: What grows, and where it is: ("batch", 32).
    growth: tuple[str, int] | None = None
    tags: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Like resnet20/train/float32, resnet20/k2/float32, resnet20/train/float32/batch8."""
        mode = {"training": "train", "grafting": f"k{self.networks}"}.get(self.mode, self.mode)
        plain = f"{self.network.name}/{mode}/{self.dtype}"
        if self.growth is None or self.growth[0] == "K":
            return plain
        return f"{plain}/{self.growth[0]}{self.growth[1]}"


def cases(threads: int, quick: bool = False, bfloat16: bool = False) -> list[Case]:
    """All of them, those that matter most first."""
    names = QUICK if quick else list(BY_NAME)
    found = []
    for network in (BY_NAME[name] for name in names):
        found += [
            Case(network, "training", threads=threads, goal=network.goal),
            Case(network, "inference", threads=threads, goal=INFERENCE_GOAL)]
    for name in ["resnet20"] if quick else GRAFTED:
        found.append(Case(
            BY_NAME[name], "grafting", threads=threads, networks=2, goal=GRAFTING_GOAL))
    if bfloat16:
        for name in HALF[:1] if quick else HALF:
            found.append(Case(BY_NAME[name], "training", "bfloat16", threads, goal=BFLOAT16_GOAL))
    return found if quick else found + growing(threads)


def growing(threads: int) -> list[Case]:
    """ResNet-20's training by batch, threads and K. (Its depth grows among the networks.)"""
    network = BY_NAME["resnet20"]
    case = Case(network, "training", threads=threads)
    result = [
        replace(case, network=replace(network, batch=size), growth=("batch", size))
        for size in (1, 8, 32, 256)]
    result += [
        replace(case, threads=count, growth=("threads", count)) for count in range(1, threads)]
    result += [
        replace(case, mode="grafting", networks=count, growth=("K", count),
                goal=GRAFTING_GOAL if count == 2 else 1.0)
        for count in (1, 3, 4)]
    return result


def chosen(every: list[Case], patterns: list[str]) -> list[Case]:
    """Those whose name, or beginning of a name, one of the patterns fits."""
    return [
        case for case in every
        if any(fnmatch.fnmatchcase(case.name, pattern + end)
               for pattern in patterns for end in ("", "/*"))]
