"""`Grafter(align=...)`: networks trained apart are put in one order before they are grafted."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import graft
import graft.torch as gt
from torch_reference import arrays, assert_same

INPUTS = torch.randn(6, 1, 6, 6, generator=torch.Generator().manual_seed(3))


def network(seed: int, width: int = 8) -> nn.Sequential:
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Flatten(), nn.Linear(36 * width, 5))
    with torch.no_grad():
        for part in module:
            if isinstance(part, nn.BatchNorm2d):  # so that a channel left behind shows
                for tensor in (part.weight, part.running_var):
                    tensor.uniform_(0.5, 1.5)
                part.bias.normal_()
                part.running_mean.normal_()
    return module


def shuffled(module: nn.Module, seed: int) -> nn.Module:
    other = copy.deepcopy(module)
    groups = gt.permutation_groups(other, INPUTS)
    gt.permute(other, groups, groups.random(seed))
    return other


def outputs(module: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return copy.deepcopy(module).eval()(INPUTS)


def train(module: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 1) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(module(INPUTS), torch.arange(6) % 5).backward()
        optimizer.step()


def test_permuted_copies_are_found_and_graft_to_what_they_were() -> None:
    first = network(0)
    modules = [first, shuffled(first, 1), shuffled(first, 2)]
    expected, before = outputs(first), arrays(first)
    plain = copy.deepcopy(modules)
    gt.Grafter(plain).step()
    assert float((outputs(plain[1]) - expected).abs().max()) > 0.1  # what alignment is for
    report = gt.Grafter(modules, align=True, example_inputs=INPUTS[:1]).step()
    for module in modules:
        assert float((outputs(module) - expected).abs().max()) < 1e-4
    assert_same(modules, [before] * 3)
    assert sorted(report.alignment) == [1, 2]
    for one in report.alignment.values():
        assert one.channels == 16 and one.moved > 8
        assert one.similarity_before < 0.9
        assert one.similarity_after == pytest.approx(1, abs=1e-5)
    assert report.to_dict()["alignment"]["2"]["moved"] == report.alignment[2].moved
    assert report.table().count("cosine between the weights") == 2


def test_the_graft_is_that_of_networks_aligned_by_hand() -> None:
    modules = [network(seed) for seed in range(3)]
    by_hand = copy.deepcopy(modules)
    kept = [outputs(module) for module in modules]
    for module, expected in zip(by_hand[1:], kept[1:]):
        gt.align(module, by_hand[0], INPUTS)
        assert float((outputs(module) - expected).abs().max()) < 1e-4
    assert not torch.equal(by_hand[1][0].weight, modules[1][0].weight)
    gt.Grafter(by_hand).step()
    groups = gt.permutation_groups(modules[0], INPUTS)
    gt.Grafter(modules, align="first", groups=groups).step()
    assert_same(modules, [arrays(module) for module in by_hand])


OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "adam": lambda p: torch.optim.AdamW(p, lr=1e-2, amsgrad=True)}


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_training_goes_on_as_if_the_order_had_always_been_so(kind: str) -> None:
    """A step after the alignment is the alignment after a step."""
    modules = [network(0), network(1)]
    optimizers = [OPTIMISERS[kind](module.parameters()) for module in modules]
    for module, optimizer in zip(modules, optimizers):
        train(module, optimizer, 3)
    later = copy.deepcopy(modules[1])
    its = OPTIMISERS[kind](later.parameters())
    its.load_state_dict(copy.deepcopy(optimizers[1].state_dict()))
    grafter = gt.Grafter(
        modules, weighting=1.0, align=True, example_inputs=INPUTS, optimizers=optimizers)
    found = grafter.step().alignment[1]  # with weighting 1 every network keeps what it has
    assert found.moved > 0
    train(modules[1], optimizers[1])
    train(later, its)
    gt.permute(later, found.groups, list(found.permutations), its)
    for (name, ours), theirs in zip(modules[1].state_dict().items(), later.state_dict().values()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)
    for ours, theirs in zip(modules[1].parameters(), later.parameters()):
        for key, value in optimizers[1].state[ours].items():
            torch.testing.assert_close(
                value, its.state[theirs][key], rtol=1e-3, atol=1e-5, msg=key)


@pytest.mark.parametrize("source, align", [("ring", 2), ("mean", "first")])
def test_when_and_again_from_a_checkpoint(source: str, align: object) -> None:
    """The second half of a run that was cut is that of one that was not."""
    def run(modules: list[nn.Module], cut: bool) -> list[bool]:
        settings = dict(source=source, every=1, start=2, align=align, example_inputs=INPUTS)
        grafter, aligned = gt.Grafter(modules, **settings), []
        for epoch in range(5):
            if cut and epoch == 3:
                state = grafter.state_dict()
                grafter = gt.Grafter(modules, **settings)
                grafter.load_state_dict(state)
            for seed, module in enumerate(modules):
                with torch.no_grad():
                    generator = torch.Generator().manual_seed(10 * epoch + seed)
                    for tensor in module.parameters():
                        tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
            report = grafter.step()
            aligned.append(report is not None and report.alignment is not None)
        return aligned

    whole = [network(0), network(1)]
    halves = copy.deepcopy(whole)
    expected = [False, True, False, align == 2, False]
    assert run(whole, False) == run(halves, True) == expected
    assert_same(whole, [arrays(module) for module in halves])


def test_a_state_from_before_any_alignment_aligns_next() -> None:
    modules = [network(0), shuffled(network(0), 1)]
    grafter = gt.Grafter(modules, align=True, example_inputs=INPUTS)
    grafter.load_state_dict({"version": 1, "steps": 4, "grafts": 4})
    assert grafter.step().alignment is not None and grafter.step().alignment is None
    assert grafter.state_dict() == {"version": 1, "steps": 6, "grafts": 6, "alignments": 1}


@pytest.mark.parametrize("backend", ["library", "torch"])
def test_a_dry_run_tells_what_a_step_does_and_writes_nothing(backend: str) -> None:
    modules = [network(0), network(1)]
    optimizers = [OPTIMISERS["adam"](module.parameters()) for module in modules]
    for module, optimizer in zip(modules, optimizers):
        train(module, optimizer)
    before = [arrays(module) for module in modules]
    moments = copy.deepcopy([optimizer.state_dict()["state"] for optimizer in optimizers])
    gradients = [p.grad.clone() for module in modules for p in module.parameters()]
    versions = [p._version for module in modules for p in module.parameters()]
    grafter = gt.Grafter(
        modules, align=True, example_inputs=INPUTS, optimizers=optimizers, backend=backend,
        statistics=[INPUTS])
    told = grafter.dry_run()
    assert_same(modules, before)
    assert versions == [p._version for module in modules for p in module.parameters()]
    for optimizer, kept in zip(optimizers, moments):
        for state, old in zip(optimizer.state_dict()["state"].values(), kept.values()):
            assert all(torch.equal(state[key], old[key]) for key in old)
    assert all(torch.equal(p.grad, old) for p, old in zip(
        (p for module in modules for p in module.parameters()), gradients))
    assert grafter.state_dict()["alignments"] == 0
    done = grafter.step()
    assert told.to_dict() == done.to_dict()
    assert told.alignment[1].moved > 0


def test_statistics_are_those_of_the_data() -> None:
    """Against means and variances written out; equal batches, as `update_bn` weighs them."""
    modules = [network(0), network(1)]
    modules[1][4].eval()  # a norm that its owner keeps still
    batches = [(INPUTS[:3], "labels"), (INPUTS[3:], "labels")]
    random = torch.random.get_rng_state()
    gt.Grafter(modules, align=True, example_inputs=INPUTS, statistics=batches).step()
    assert torch.equal(torch.random.get_rng_state(), random)
    assert modules[1][3].training and not modules[1][4].training
    for module in modules:
        means, variances = np.zeros((2, 8)), np.zeros((2, 8))
        for x, _ in batches:
            values = x.double()
            for layer, (conv, norm) in enumerate(((module[0], module[1]), (module[3], module[4]))):
                bias = None if conv.bias is None else conv.bias.double()
                values = F.conv2d(values, conv.weight.double(), bias, padding=1).detach()
                flat = values.transpose(0, 1).reshape(8, -1).numpy()
                means[layer] += flat.mean(1) / 2
                variances[layer] += flat.var(1, ddof=1) / 2
                centred = values - torch.from_numpy(flat.mean(1))[:, None, None]
                scale = norm.weight.double() / torch.from_numpy(flat.var(1) + norm.eps).sqrt()
                values = (centred * scale.detach()[:, None, None]
                          + norm.bias.detach().double()[:, None, None]).relu()
        for layer, norm in enumerate((module[1], module[4])):
            np.testing.assert_allclose(norm.running_mean.numpy(), means[layer], atol=1e-5)
            np.testing.assert_allclose(norm.running_var.numpy(), variances[layer], rtol=1e-4)
            assert norm.momentum == 0.1 and int(norm.num_batches_tracked) == 2


def test_pruned_frozen_and_half_weights() -> None:
    """Zeros move with their channels; frozen layers move too, or outputs would change."""
    def make() -> list[nn.Module]:
        modules = [network(seed).bfloat16() for seed in range(2)]
        for seed, module in enumerate(modules):
            weight = module[3].weight
            mask = torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
            with torch.no_grad():
                weight.masked_fill_(mask, 0)
            module[0].weight.requires_grad_(False)
        return modules

    modules = make()
    example = INPUTS.bfloat16()
    expected = copy.deepcopy(modules)
    gt.align(expected[1], expected[0], example)
    gt.Grafter(modules, align=True, example_inputs=example, keep_zeros=True).step()
    assert not torch.equal(make()[1][0].weight, expected[1][0].weight)
    for module, other in zip(modules, expected):
        assert torch.equal(module[0].weight, other[0].weight)
        assert torch.equal(module[3].weight == 0, other[3].weight == 0)


def test_an_error_leaves_everything_as_it_was() -> None:
    modules = [network(0), network(1)]
    optimizers = [OPTIMISERS["adam"](module.parameters()) for module in modules]
    train(modules[1], optimizers[1])
    grafter = gt.Grafter(modules, align=True, example_inputs=INPUTS, optimizers=optimizers)
    modules[0][1].running_mean[0] = float("inf")  # the graft sees it, the matching does not
    before = [arrays(module) for module in modules]
    moment = optimizers[1].state[modules[1][3].weight]["exp_avg"]
    kept = moment.clone()
    for raised in (graft.NotFiniteError, graft.InvalidStateError):
        with pytest.raises(raised):
            grafter.step()
        assert_same(modules, before)
        assert torch.equal(moment, kept)
        assert grafter.state_dict() == {"version": 1, "steps": 0, "grafts": 0, "alignments": 0}
        modules[0][1].running_mean[0] = 0
        before = [arrays(module) for module in modules]
        optimizers[1].state[modules[1][3].weight]["rows"] = torch.zeros(3)


def test_statistics_that_fail_leave_those_of_the_graft() -> None:
    modules = [network(0), network(1)]
    expected = copy.deepcopy(modules)
    gt.Grafter(expected, align=True, example_inputs=INPUTS).step()
    batches = [INPUTS, torch.randn(2, 7, 6, 6)]
    grafter = gt.Grafter(modules, align=True, example_inputs=INPUTS, statistics=batches)
    with pytest.raises(RuntimeError):
        grafter.step()
    assert_same(modules, [arrays(module) for module in expected])
    assert grafter.steps == 1 and modules[0][1].momentum == 0.1 and modules[0].training


def test_arguments() -> None:
    pair = [network(0), network(1)]
    one = INPUTS[:1]

    def refused(match: str, error: type[Exception] = graft.InvalidArgumentError,
                models: list[nn.Module] | nn.Module = pair, **settings: object) -> None:
        with pytest.raises(error, match=match):
            gt.Grafter(models, **settings)

    refused("process_group|between processes", graft.UnsupportedError, pair[0], align=True,
            example_inputs=one, process_group=object())
    for bad in (0, -1, 1.5, "always"):
        refused(f"align is {bad!r}", align=bad, example_inputs=one)
    refused("example_inputs is None", align=True)
    refused("groups is 'list'", align=True, groups=[])
    refused("there has to be another", models=pair[:1], align=True, example_inputs=one)
    refused("takes nothing of another", align=True, example_inputs=one, source="internal")
    refused("statistics goes with align", statistics=[one])
    refused("groups goes with align", groups=gt.permutation_groups(pair[0], one))
    for bad, match in ((iter([one]), "once"), ([], "no batch"), (one, "'Tensor'"),
                       ([{"x": one}], "'dict'"), (3, "'int'")):
        refused(match, align=True, example_inputs=one, statistics=bad)
    refused("forward pass raises", align=True, example_inputs=torch.zeros(1, 4, 6, 6))
