"""The trainer against a loop of one's own in PyTorch: batches, lessons, steps, schedules, grafts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_networks import ResNet, load

import graft

torch.set_num_threads(1)  # beside ours: two runtimes on the same cores slow each other down
SHAPE, CLASSES, BATCH = (3, 10, 12), 5, 24


def dataset(count: int, seed: int = 0) -> graft.Dataset:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)
    data = graft.Dataset.from_arrays(images, rng.integers(0, CLASSES, count), CLASSES)
    return data.normalise(*data.statistics())


def make(count: int, base: int = 8) -> list[graft.Network]:
    return [
        graft.resnet(8, classes=CLASSES, input_shape=SHAPE, base_filters=base, seed=20 + k)
        for k in range(count)
    ]


def module_of(network: graft.Network, base: int = 8) -> ResNet:
    module = ResNet(8, CLASSES, SHAPE[0], base)
    load(module, network)
    return module.double()


def entropy(values: np.ndarray) -> float:
    counts, _ = np.histogram(values.astype(np.float64), bins=10)
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum())


def graft_in_numpy(states: list[dict[str, np.ndarray]], a: float, c: float) -> list[dict]:
    """The paper's graft: every conv by its entropy, the rest after the conv before it."""
    result = []
    for k, own in enumerate(states):
        other = states[k - 1]
        alpha, blended = 0.5, {}
        for name, value in own.items():
            if value.ndim == 4:
                alpha = a / math.pi * math.atan(c * (entropy(value) - entropy(other[name]))) + 0.5
            if np.issubdtype(value.dtype, np.floating):
                blended[name] = alpha * value + (1 - alpha) * other[name]
        result.append(blended)
    return result


def stop_after_an_epoch(progress) -> None:
    if progress.phase == "epoch":
        raise KeyError


@pytest.mark.parametrize("teaching", ["given", "predecessor", "others"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_an_epoch_of_three_networks(teaching, nesterov) -> None:
    """Two steps, a graft; the third network's learning rate is another, one teacher is given."""
    train = dataset(2 * BATCH)
    networks = make(3)
    teacher = graft.resnet(8, classes=CLASSES, input_shape=SHAPE, base_filters=4, seed=99)
    rates, seeds = [0.05, 0.05, 0.02], [7, 8, 9]
    modules = [module_of(network) for network in networks]
    given = module_of(teacher, 4).eval()

    trainer = graft.Trainer(
        networks, train, epochs=2, batch_size=BATCH, learning_rate=rates, seeds=seeds,
        momentum=0.8, weight_decay=1e-3, nesterov=nesterov, schedule="constant", crop_padding=2,
        teachers=[teacher], teaching=teaching, grafting=graft.Grafting(a=0.4, c=50.0),
        distillation=graft.Distillation(
            temperature=3.0, label_weight=0.7, distillation_weight=0.4
        ),
    )
    with pytest.raises(KeyError):  # one epoch of the two
        trainer.run(stop_after_an_epoch)

    optimisers = [
        torch.optim.SGD(
            module.parameters(), lr=rate, momentum=0.8, weight_decay=1e-3, nesterov=nesterov
        )
        for module, rate in zip(modules, rates)
    ]
    losses = np.zeros(3)
    for step in range(2):
        batches, lessons = [], []
        for k, seed in enumerate(seeds):
            images, labels = train.batch(seed, 1, step, BATCH, crop_padding=2, flip=True)
            batches.append((torch.from_numpy(images).double(), torch.from_numpy(labels)))
            teachers = [given]
            teachers += {"given": [], "predecessor": [modules[k - 1]],
                         "others": [m for j, m in enumerate(modules) if j != k]}[teaching]
            with torch.no_grad():
                for module in teachers:
                    module.eval()
                lessons.append(
                    torch.stack([F.softmax(m(batches[k][0]) / 3.0, 1) for m in teachers]).mean(0)
                )
        for k, (images, labels) in enumerate(batches):
            modules[k].train()
            optimisers[k].zero_grad()
            logits = modules[k](images)
            distilled = F.kl_div(
                F.log_softmax(logits / 3.0, 1), lessons[k], reduction="batchmean"
            )
            loss = 0.7 * F.cross_entropy(logits, labels) + 0.4 * 9.0 * distilled
            loss.backward()
            optimisers[k].step()
            losses[k] += loss.item() / 2

    for k in range(3):
        record = next(r for r in trainer.history if r.network == k)
        assert record.train_loss == pytest.approx(losses[k], rel=1e-5)
        assert record.grafted and math.isnan(record.test_accuracy)
    states = [
        {name: value.numpy() for name, value in module.state_dict().items()} for module in modules
    ]
    for network, expected in zip(networks, graft_in_numpy(states, 0.4, 50.0)):
        found = network.state_dict()
        for name, value in expected.items():
            scale = max(np.abs(value).max(), 1e-3)
            # alpha's slope in the entropies, and theirs in the weights, make this coarser than a step.
            assert np.abs(found[name] - value).max() <= 2e-3 * scale, name
    report = trainer.graft_report(1)
    assert len(report) == sum(value.ndim == 4 for value in networks[0].state_dict().values())


def test_evaluation_is_pytorch_s() -> None:
    test = dataset(130, seed=5)
    network = make(1)[0]
    images, labels = test.read(np.arange(130))
    network.forward(images, training=True)
    module = module_of(network).eval()
    with torch.no_grad():
        logits = module(torch.from_numpy(images).double())
    loss = F.cross_entropy(logits, torch.from_numpy(labels)).item()
    accuracy = (logits.argmax(1).numpy() == labels).mean()
    for batch_size in (1, 64, 500):
        found = graft.evaluate(network, test, batch_size)
        assert found.loss == pytest.approx(loss, rel=1e-5)
        assert found.accuracy == pytest.approx(accuracy)


def test_learning_rates_follow_their_schedule() -> None:
    def rates(schedule: str, epochs: int = 12, **options) -> list[float]:
        trainer = graft.Trainer(
            make(1), dataset(BATCH), epochs=epochs, batch_size=BATCH, learning_rate=0.2,
            schedule=schedule, **options,
        )
        trainer.run()
        return [record.learning_rate for record in trainer.history]

    def torchs(kind, epochs: int = 12, **options) -> list[float]:
        parameter = torch.nn.Parameter(torch.zeros(1))
        optimiser = torch.optim.SGD([parameter], lr=0.2)
        scheduler = kind(optimiser, **options)
        found = []
        for _ in range(epochs):
            found.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step()
        return found

    torch_rates = torch.optim.lr_scheduler
    assert rates("constant") == pytest.approx([0.2] * 12)
    assert rates("cosine") == pytest.approx(torchs(torch_rates.CosineAnnealingLR, T_max=12))
    assert rates("step", step_epochs=5, step_factor=0.3) == pytest.approx(
        torchs(torch_rates.StepLR, step_size=5, gamma=0.3)
    )
    # Warm-up over three epochs of one step each, then the schedule as it stands.
    warm = rates("step", step_epochs=5, step_factor=0.5, warmup_epochs=3)
    assert warm == pytest.approx([0.2 / 3, 0.4 / 3, 0.2, 0.2, 0.2, *[0.1] * 5, *[0.05] * 2])


def test_grafts_come_when_they_are_due() -> None:
    trainer = graft.Trainer(
        make(2), dataset(BATCH), epochs=9, batch_size=BATCH, learning_rate=0.01,
        grafting=graft.Grafting(start=2, every=3, stop=7),
    )
    trainer.run()
    assert [r.epoch for r in trainer.history if r.network == 0 and r.grafted] == [2, 5]
    with pytest.raises(graft.InvalidArgumentError, match="epoch is 3"):
        trainer.graft_report(3)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_is_measured_is_named(moment) -> None:
    """After a graft of two both are the same network; before it they are not."""
    trainer = graft.Trainer(
        make(2), dataset(2 * BATCH), dataset(200, seed=3), epochs=1, batch_size=BATCH,
        learning_rate=0.05, seeds=[1, 2], grafting=graft.Grafting(), evaluate=moment,
    )
    trainer.run()
    first, second = trainer.history
    assert first.evaluated == second.evaluated == moment
    assert (first.test_loss == second.test_loss) == (moment == "after")
    for name, value in trainer.networks[0].state_dict().items():
        other = trainer.networks[1].state_dict()[name]
        assert value.tobytes() == other.tobytes(), name


def test_a_loss_that_is_not_finite_says_where() -> None:
    networks = make(2)
    trainer = graft.Trainer(
        networks, dataset(3 * BATCH), epochs=3, batch_size=BATCH, learning_rate=0.1
    )
    networks[1].state_dict()["layer2.0.bn1.weight"][3] = np.nan
    with pytest.raises(graft.NotFiniteError, match="network 1, epoch 1, batch 1"):
        trainer.run()


def bytes_of(network: graft.Network) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in network.state_dict().items()}


def test_after_a_loss_that_is_not_finite_the_run_is_where_the_step_began(tmp_path) -> None:
    """The network is as it was before the step, half a step is not saved, and once what was wrong
    is mended the run comes to the bits of one to which it never happened."""
    def runs() -> graft.Trainer:
        return graft.Trainer(
            make(2), dataset(3 * BATCH), epochs=2, batch_size=BATCH, learning_rate=0.1,
            grafting=graft.Grafting())

    def stop(progress) -> bool:
        return progress.step < 2

    undisturbed, trainer = runs(), runs()
    undisturbed.run()
    with pytest.raises(graft.CancelledError):
        trainer.run(stop)
    weight = trainer.networks[1].state_dict()["layer2.0.bn1.weight"]
    sound, weight[3] = weight[3], np.nan
    before = bytes_of(trainer.networks[1])
    for _ in range(2):
        with pytest.raises(graft.NotFiniteError, match="network 1, epoch 1, batch 3"):
            trainer.run()
        assert bytes_of(trainer.networks[1]) == before
    with pytest.raises(graft.InvalidStateError, match="a step has failed"):
        trainer.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    weight[3] = sound
    trainer.run()
    for mine, other in zip(trainer.networks, undisturbed.networks):
        assert bytes_of(mine) == bytes_of(other)


def test_networks_and_data_that_do_not_fit_are_refused() -> None:
    train = dataset(BATCH)
    with pytest.raises(graft.ShapeMismatchError, match="3 x 10 x 12"):
        graft.Trainer([graft.resnet(8, classes=CLASSES, input_shape=(3, 10, 10))], train, epochs=1)
    with pytest.raises(graft.ShapeMismatchError, match="5 classes"):
        graft.Trainer([graft.resnet(8, classes=4, input_shape=SHAPE)], train, epochs=1)
    pair = [*make(1), graft.resnet(14, classes=CLASSES, input_shape=SHAPE, base_filters=8)]
    with pytest.raises(graft.ShapeMismatchError, match="structure"):
        graft.Trainer(pair, train, epochs=1, grafting=graft.Grafting())
    network = make(1)[0]
    with pytest.raises(graft.InvalidArgumentError, match="already"):
        graft.Trainer([network, network], train, epochs=1)
    with pytest.raises(graft.InvalidArgumentError, match="teacher"):
        graft.Trainer([network], train, epochs=1, teachers=[network])
    with pytest.raises(graft.InvalidStateError, match="two"):
        graft.Trainer([network], train, epochs=1, teaching="others").run()
