"""One network a process: a graft around a ring of ranks, by torch.distributed.

A graft is five exchanges. (1) All tell what they are about to do, and (2) how much information
their layers carry; (3) every rank receives the whole of its source's network, and computes into
that memory what its own comes to; (4) all say that they are ready. Only then weights change, by
exchanging them with the computed ones; and (5) all confirm. A rank that finds one of these failing
- another rank is gone, stopped, has other settings or a NaN - raises, and its weights are those
from before: after (5) has failed it exchanges them back. So a rank either returns with its network
grafted or raises with it untouched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from .._errors import GraftError, InvalidArgumentError, UnsupportedError
from .._plan import Plan
from .._report import Report
from ._operator._blend import Row, Tally, mix
from ._operator._filter_level import FilterCoefficients
from ._operator._measure import Measure, flat_chunks
from ._operator._graft import FILTER, Settings, Task, alphas_of, check_finite, make_report, rows_of
from ._peers import PeerError
from ._operator._sources import shares


class Ring:
    """The processes of a group, one network each.

    Parameters
    ----------
    group
        A process group that this process belongs to.
    """

    def __init__(self, group: Any) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise InvalidArgumentError(
                "process_group: call torch.distributed.init_process_group first")
        rank = dist.get_rank(group)
        if rank < 0:
            raise InvalidArgumentError("process_group: this process is no member of the group")
        self._group = group
        self.rank = rank
        self._count = dist.get_world_size(group)
        self._backend = str(dist.get_backend(group))
        self._device = torch.device(
            "cuda", torch.cuda.current_device()) if self._backend == "nccl" else torch.device("cpu")

    def graft(
        self, tasks: Sequence[Task], network: list[Tensor], settings: Settings, steps: int,
        grafts: int, plan: Plan,
    ) -> Report:
        """Graft this process's network; every member calls this at the same time.

        Parameters
        ----------
        network
            Its tensors, in the order of the plan.
        steps, grafts
            How far this process has counted; all have to agree.
        """
        self._agree_on_task(tasks, network, settings, steps, grafts)
        layers = [task for task in tasks if task.entry.role == "layer"]
        before = self._gather_measures(
            layers, lambda: self._measure(tasks, layers, network, settings))
        alphas = alphas_of(before, settings, self._count, grafts)
        if self._count == 1:
            return make_report(layers, before, before, alphas, settings, 1, grafts)
        results: dict[int, Tensor] = {}

        def prepare() -> list[Measure]:
            results.update(self._receive(tasks, network, settings, grafts))
            means = self._compute(tasks, network, results, alphas, settings, grafts, plan)
            found = [
                settings.measure(results[task.entry.index], task.entry.filter_axis, True)
                for task in layers]
            if means is not None:  # of the filters' coefficients, which the others do not know
                found = [
                    replace(one, information=means[task.entry.index])
                    for one, task in zip(found, layers)]
            return found

        after = self._gather_measures(layers, prepare)
        if settings.weighting == FILTER:
            alphas = {index: [one.information for one in all_] for index, all_ in after.items()}
        _exchange(network, results)
        try:
            self._gather([1.0])
        except BaseException:
            _exchange(network, results)
            raise
        return make_report(layers, before, after, alphas, settings, self._count, grafts)

    # ---- what all know of each other -------------------------------------------------------------

    def _gather(self, numbers: Sequence[float]) -> list[list[float]]:
        """Every rank's numbers, as many from each."""
        mine = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        all_ranks = [torch.empty_like(mine) for _ in range(self._count)]
        with _peers():
            dist.all_gather(all_ranks, mine, group=self._group)
            return [one.tolist() for one in all_ranks]

    def _agree_on_task(
        self, tasks: Sequence[Task], network: Sequence[Tensor], settings: Settings, steps: int,
        grafts: int,
    ) -> None:
        what = "\n".join(
            [repr((settings.source, settings.weighting, settings.a, settings.c, settings.bins,
                   settings.threshold, settings.compatibility))]
            + [repr((task.entry.name, task.entry.role, task.feeder, task.entry.filter_axis,
                     task.entry.scale, task.entry.input_scale,
                     tuple(network[task.entry.index].shape), network[task.entry.index].dtype))
               for task in tasks])
        digest = hashlib.sha256(what.encode()).digest()
        fingerprint = [float(int.from_bytes(digest[i:i + 6], "big")) for i in (0, 6)]
        every = self._gather([*fingerprint, float(steps), float(grafts)])
        for rank, theirs in enumerate(every):
            if theirs[:2] != fingerprint:
                raise PeerError(
                    f"rank {rank} has another structure, plan or settings than rank {self.rank}")
            if theirs[2:] != [steps, grafts]:
                raise PeerError(
                    f"rank {rank} has counted {theirs[2]:.0f} steps and {theirs[3]:.0f} grafts, "
                    f"and rank {self.rank} {steps} and {grafts}: load the same checkpoint")

    def _measure(
        self, tasks: Sequence[Task], layers: Sequence[Task], network: Sequence[Tensor],
        settings: Settings,
    ) -> list[Measure]:
        check_finite(tasks, network, f"rank {self.rank}")
        return [
            settings.inform(network[task.entry.index], task.entry.filter_axis, True)
            for task in layers]

    def _gather_measures(
        self, layers: Sequence[Task], work: Callable[[], list[Measure]]
    ) -> dict[int, list[Measure]]:
        """Every rank's measures of every layer. A rank whose work fails tells the others, so that
        they fail too; a lost peer needs no telling: the exchange itself fails for all."""
        failure: Exception | None = None
        measures: list[Measure] = []
        try:
            measures = work()
        except PeerError:
            raise
        except Exception as error:
            failure = error
        numbers = [0.0 if failure else 1.0]
        for one in measures or [Measure(0, 0, 0, 0, 0)] * len(layers):
            numbers += [
                one.entropy, one.norms, float(one.filters), float(one.invalid), one.information]
        every = self._gather(numbers)
        if failure is not None:
            raise failure
        for rank, theirs in enumerate(every):
            if theirs[0] != 1:
                raise PeerError(f"rank {rank} failed; its own message says why")
        return {
            task.entry.index: [
                Measure(
                    theirs[at], theirs[at + 1], int(theirs[at + 2]), int(theirs[at + 3]),
                    theirs[at + 4])
                for theirs in every]
            for at, task in zip(range(1, len(numbers), 5), layers)}

    # ---- the weights -----------------------------------------------------------------------------

    def _receive(
        self, tasks: Sequence[Task], network: Sequence[Tensor], settings: Settings, grafts: int
    ) -> dict[int, Tensor]:
        """The whole of the source's network, while others receive this one."""
        sources = []
        for rank in range(self._count):
            given = shares(settings.source, rank, self._count, grafts)
            if len(given) != 1:
                raise UnsupportedError(
                    f"source is {settings.source!r}: between processes every network has one "
                    "source")
            sources.append(given[0][0])
        receivers = [rank for rank, source in enumerate(sources) if source == self.rank]
        staged = self._device.type == "cpu"
        received: dict[int, Tensor] = {}
        for task in tasks:
            own = network[task.entry.index]
            received[task.entry.index] = torch.empty_like(
                own, device="cpu" if staged else own.device, memory_format=torch.contiguous_format)
        if sources[self.rank] == self.rank:
            for index, buffer in received.items():
                buffer.copy_(network[index])
        with _peers():
            works = []
            for tag, task in enumerate(tasks):
                index = task.entry.index
                if sources[self.rank] != self.rank:
                    works.append(dist.P2POp(
                        dist.irecv, received[index], self._global(sources[self.rank]),
                        self._group, tag))
                own = network[index].contiguous()
                own = own.cpu() if staged else own
                for receiver in receivers:
                    if receiver != self.rank:
                        works.append(dist.P2POp(
                            dist.isend, own, self._global(receiver), self._group, tag))
            for work in self._start(works):
                work.wait()
        return {
            task.entry.index: received[task.entry.index].to(network[task.entry.index].device)
            for task in tasks}

    def _start(self, operations: list[dist.P2POp]) -> list[Any]:
        """Receivers first, so that nobody waits for a buffer. One batch where the backend wants
        it; tags where it has them."""
        if not operations:
            return []
        if self._backend == "nccl":
            return dist.batch_isend_irecv(operations)
        ordered = sorted(operations, key=lambda one: one.op is dist.isend)
        return [
            one.op(one.tensor, one.peer, group=self._group, tag=one.tag) for one in ordered]

    def _global(self, rank: int) -> int:
        return dist.get_global_rank(self._group, rank)

    def _compute(
        self, tasks: Sequence[Task], network: Sequence[Tensor], received: dict[int, Tensor],
        alphas: dict[int, list[float]], settings: Settings, grafts: int, plan: Plan,
    ) -> dict[int, float] | None:
        """What this rank's network comes to, in the memory of what it received; where each filter
        has a coefficient of its own, their mean for each layer."""
        me = self.rank
        source = shares(settings.source, me, self._count, grafts)[0][0]
        # The order of the networks decides the order of the sum.
        place = {rank: at for at, rank in enumerate(sorted({me, source}))}
        by_filter = None
        if settings.weighting == FILTER:
            other = [received.get(index, own) for index, own in enumerate(network)]
            by_filter = FilterCoefficients(
                plan, [network if rank == me else other for rank in place],
                [[(place[source], 1.0)]] * len(place))
        for task in tasks:
            index = task.entry.index
            tensors = [network[index] if rank == me else received[index] for rank in place]
            if by_filter is not None and by_filter.has(index) and source != me:
                row = by_filter.rows()[place[me]]
                by_filter.mix(task.entry, tensors, [row], [received[index]], Tally())
                continue
            rows = rows_of(task, alphas, settings, self._count, grafts, by_filter)
            mine = next((row for row in rows if row.receiver == me), None)
            if mine is None:
                received[index].copy_(network[index])
                continue
            row = Row(place[me], tuple((place[rank], weight) for rank, weight in mine.terms))
            mix(tensors, [row], [received[index]])
        if by_filter is None:
            return None
        return {
            task.entry.index: by_filter.mean(task.entry.index, place[me])
            for task in tasks if task.entry.role == "layer"}


def _exchange(network: Sequence[Tensor], results: dict[int, Tensor]) -> None:
    """Swap weights and results, with no memory beyond a piece."""
    for index, result in results.items():
        for own, new in flat_chunks(network[index], result):
            kept = own.clone()
            own.copy_(new)
            new.copy_(kept)


class _peers:
    """Turns what torch.distributed raises into `PeerError`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, (RuntimeError, ValueError)) and not isinstance(error, GraftError):
            first = (str(error).splitlines() or [""])[0]
            raise PeerError(
                f"another process of the group left, stopped or timed out; nothing has changed "
                f"here: {first}") from error
