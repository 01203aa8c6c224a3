"""The other ready-made networks against PyTorch: names, counts, forward pass, gradients, files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reference_joins import DenseNet, ResNeXt
from reference_networks import VGG, MobileNetV2, ResNet, WideResNet, load
from safetensors.torch import load_file
from test_resnet import batch, distance, gradients, ours
from training_steps import follow

import graft

torch.set_num_threads(1)

NETWORKS = [
    pytest.param(graft.mobilenet_v2, {}, MobileNetV2, {}, id="MobileNetV2"),
    pytest.param(graft.vgg, {"depth": 11}, VGG, {"depth": 11}, id="VGG-11"),
    pytest.param(
        graft.wide_resnet, {"depth": 16, "widen": 2}, WideResNet, {"depth": 16, "widen": 2},
        id="WRN-16-2",
    ),
    pytest.param(
        graft.resnext, {"depth": 11, "cardinality": 4, "base_width": 8}, ResNeXt,
        {"depth": 11, "cardinality": 4, "base_width": 8}, id="ResNeXt-11 4x8d",
    ),
    pytest.param(
        graft.densenet, {"depth": 22}, DenseNet, {"depth": 22}, id="DenseNet-BC-22-12",
    ),
    pytest.param(
        graft.densenet, {"depth": 16, "growth": 10, "bottleneck": False, "reduction": 1},
        DenseNet, {"depth": 16, "growth": 10, "bottleneck": False, "reduction": 1},
        id="DenseNet-16-10",
    ),
]


@pytest.mark.parametrize(
    "network, module, parameters",
    [
        # Published: 2.3 M, 14.7 M, 36.5 M (Zagoruyko and Komodakis 2016, table 5).
        (lambda: graft.mobilenet_v2(), MobileNetV2, 2_296_922),
        (lambda: graft.vgg(16), VGG, 14_728_266),
        (lambda: graft.wide_resnet(28, 10), WideResNet, 36_479_194),
        # 34.4 M (Xie et al. 2017, table 7); 0.8 M and 1.0 M (Huang et al. 2017, table 2).
        (lambda: graft.resnext(), ResNeXt, 34_426_698),
        (lambda: graft.densenet(), DenseNet, 769_162),
        (lambda: graft.densenet(40, bottleneck=False, reduction=1, base_filters=16),
         lambda: DenseNet(40, bottleneck=False, reduction=1, base=16), 1_019_722),
    ],
    ids=["MobileNetV2", "VGG-16", "WRN-28-10", "ResNeXt-29 8x64d", "DenseNet-BC-100-12",
         "DenseNet-40-12"],
)
def test_names_and_counts_are_those_of_pytorch(network, module, parameters) -> None:
    reference = module()
    state = network().state_dict()
    assert list(state) == list(reference.state_dict())
    for name, value in reference.state_dict().items():
        assert tuple(value.shape) == state[name].shape
    trained = {name for name, _ in reference.named_parameters()}
    assert sum(value.size for name, value in state.items() if name in trained) == parameters


@pytest.mark.parametrize("function, arguments, module, module_arguments", NETWORKS)
def test_passes_are_as_near_to_float64_as_pytorch(
    function, arguments, module, module_arguments
) -> None:
    """As in test_resnet.py: several seeds, since a rectifier now and then flips on either side."""
    own, theirs = [], []
    for seed in range(5):
        images, labels = batch(8, seed=seed)
        network = function(**arguments, seed=seed)
        exact, single = (module(**module_arguments) for _ in range(2))
        load(exact, network)
        load(single, network)
        exact_logits, exact_found = gradients(exact.double(), images, labels, torch.float64)
        # A bias before a batch norm has no gradient but rounding noise.
        noise = {name for name, value in exact_found.items() if value.abs().max() < 1e-12}

        def far(logits, found) -> tuple[float, float]:
            assert sorted(found) == sorted(exact_found)
            each = [
                distance(np.asarray(value), exact_found[name])
                for name, value in found.items() if name not in noise
            ]
            return float(np.median(each)), distance(np.asarray(logits.detach()), exact_logits)

        theirs.append(far(*gradients(single, images, labels, torch.float32)))
        logits, found = ours(network, images, labels)
        own.append(far(torch.from_numpy(logits), found))
        if seed == 0:
            statistics = network.state_dict()
            moved = exact.state_dict()
            for name in moved:
                if name.endswith("running_mean"):  # as a share of the deviation
                    deviation = moved[name.replace("mean", "var")].sqrt().max()
                    assert np.abs(statistics[name] - moved[name].numpy()).max() < 1e-4 * deviation
                elif name.endswith("running_var"):
                    assert distance(statistics[name], moved[name]) < 1e-4, name
    own, theirs = (np.sort(np.array(each), axis=0) for each in (own, theirs))
    assert (own[0] <= 2 * theirs[1]).all()
    assert (own[-1] <= np.maximum(2 * theirs[-1], [2e-2, 1e-5])).all()


@pytest.mark.parametrize(
    "function, arguments, module, module_arguments",
    [pytest.param(graft.resnet, {"depth": 20}, ResNet, {"depth": 20}, id="ResNet-20"), *NETWORKS])
def test_a_hundred_steps_each_from_pytorch_s_state(
    function, arguments, module, module_arguments
) -> None:
    """How far the tensors are from float64's after a step: in the middle of a step's tensors, no
    further than twice PyTorch's, but in steps in which a rectifier flips."""
    steps, count, shape = 100, 4, (3, 8, 8)
    if function is graft.vgg:  # it takes no smaller images
        count, shape = 2, (3, 32, 32)
    network = function(**arguments, input_shape=shape, seed=2)
    far, limit = (np.reshape(one, (steps, -1)) for one in follow(
        network, lambda: module(**module_arguments), steps,
        lambda step: batch(count, shape, seed=step), ours, distance))
    # A batch norm's shift has no gradient where another batch norm takes the mean away.
    live = limit.max(0) < 1
    assert live.mean() > 0.8
    own, theirs = (np.sort(np.median(one[:, live], axis=1)) for one in (far, limit))
    for place in (0, steps // 4, steps // 2, 3 * steps // 4):
        assert own[place] <= 2 * theirs[place]
    assert own[-1] <= max(2 * theirs[-1], 1e-2)
    assert far[:, live].min(0).max() < 1e-5  # every tensor, in its best step


@pytest.mark.parametrize("function, arguments, module, module_arguments", NETWORKS)
def test_files_are_exchanged_with_pytorch(
    tmp_path, function, arguments, module, module_arguments
) -> None:
    network = function(**arguments, seed=3)
    images, labels = batch(12)
    ours(network, images, labels)
    path = tmp_path / "network.safetensors"
    network.save(path)
    reference = module(**module_arguments)
    reference.load_state_dict(load_file(path), strict=True)
    reference.eval()
    with torch.no_grad():
        expected = reference(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(
        network.forward(images), expected, atol=1e-4 * np.abs(expected).max()
    )


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: graft.vgg(12), "11, 13, 16 and 19"),
        (lambda: graft.vgg(16, input_shape=(3, 16, 16)), "need 32 of each"),
        (lambda: graft.wide_resnet(27), "6n \\+ 4"),
        (lambda: graft.wide_resnet(28, 0), "widen"),
        (lambda: graft.mobilenet_v2(0), "classes"),
        (lambda: graft.resnet(21), "6n \\+ 2"),
        (lambda: graft.wide_resnet(10, 1, dropout=1), "dropout is 1"),
        (lambda: graft.resnext(28), "9n \\+ 2"),
        (lambda: graft.resnext(29, 0), "cardinality"),
        (lambda: graft.resnext(29, 8, 2000), "base_width"),
        (lambda: graft.densenet(41), "6n \\+ 4"),
        (lambda: graft.densenet(41, bottleneck=False), "3n \\+ 4"),
        (lambda: graft.densenet(growth=0), "growth"),
        (lambda: graft.densenet(reduction=0), "reduction"),
        (lambda: graft.imagenet("resnet19"), "resnet18"),
        (lambda: graft.imagenet("mobilenet_v2", dropout=1.5), "dropout"),
    ],
)
def test_what_cannot_be_made_is_refused(make, words) -> None:
    with pytest.raises(graft.InvalidArgumentError, match=words):
        make()
