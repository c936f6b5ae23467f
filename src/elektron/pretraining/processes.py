"""Several processes train what one does.

Each takes its part of the rows of every step, and has a copy of the networks or, where they are divided
(`sharding.py`), a part of them. What the step then needs of all rows is summed: how many tokens each
loss is divided by, before the backward pass, and the gradients, after it, so that every process makes
the same update. Rows, masks and samples belong to the global row, not to the process that has it, and
so stay the same however many there are.

`torchrun` starts the processes and says by environment variables who they are; gloo joins them on
CPUs, NCCL on GPUs. torch's own wrapper for this, DistributedDataParallel, wants one backward pass
through all parameters; here two losses have their turns, and gradients are summed in one piece where
the optimizer takes them.

A start of all processes keeps what it says in the store through which they find one another under a name
of its own. torchrun has one store for all restarts, and torch 2.13 reads there the addresses of processes
that are gone: one that was quicker than the others connected to the dead, or waited for them.
"""

from __future__ import annotations

import logging
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from elektron.errors import ElektronError, SaidError
from elektron.models.shards import divided
from elektron.pretraining.batches import GlobalBatch

log = logging.getLogger(__name__)

# As long as NCCL waits by default; gloo's half an hour is long where a host is gone without a word.
TIMEOUT = timedelta(minutes=10)
SECONDS_BETWEEN_LOOKS = 0.05
# Gradients are summed in pieces of so many numbers: few messages, and little memory besides.
NUMBERS_IN_A_MESSAGE = 16 * 2**20


class Processes:
    """Those that train together, and which of them this is."""

    def __init__(self, device: torch.device, timeout: timedelta = TIMEOUT) -> None:
        """Who this is, by torchrun's variables; `timeout` is how long processes wait for one another."""
        self.rank = int(os.environ.get("RANK", "0"))
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.device = device
        self.timeout = timeout
        self._stop: Tensor | None = None
        self._stop_copied: torch.cuda.Event | None = None

    @property
    def first(self) -> bool:
        """Whether this one speaks and writes for all."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        return self.count > 1

    def __enter__(self) -> Processes:
        if self.several:
            backend = "nccl" if self.device.type == "cuda" else "gloo"
            store, _, _ = next(rendezvous("env://", self.rank, self.count, timeout=self.timeout))
            store.set_timeout(self.timeout)
            store = store_of_this_start(store, self.rank, self.count, self.timeout)
            dist.init_process_group(
                backend, store=store, rank=self.rank, world_size=self.count, timeout=self.timeout
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.several:
            dist.destroy_process_group()

    def part(self, rows: int) -> tuple[int, int]:
        """First row and number of rows that this process takes of so many; parts differ by one at most."""
        first = rows * self.rank // self.count
        return first, rows * (self.rank + 1) // self.count - first

    def largest_part(self, rows: int) -> int:
        """Rows that the process with most of them takes."""
        return -(-rows // self.count)

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.several:
            dist.barrier()

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """Wait for the first process at the end of the block; what it refuses in there ends all of them.

        It says why before the others hear of it, because torchrun ends it as soon as another one has ended, and
        all go with the same status. What the others have to do with it in the block comes before the first
        one alone can fail.

        Raises:
            SaidError: the first one has refused something and said so.
        """
        refused = None
        try:
            yield
        except ElektronError as error:
            refused = error
            if self.several and self.first:
                log.error("%s", error)
        if self.several and self.same(float(refused is not None)):
            raise SaidError(str(refused or "the first process has said why")) from refused
        if refused is not None:
            raise refused

    def sum(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by the sum of everybody's."""
        if self.several:
            dist.all_reduce(tensor)
        return tensor

    def same(self, number: float) -> float:
        """The first process's number."""
        if not self.several:
            return number
        tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        dist.broadcast(tensor, 0)
        return float(tensor)

    def alike(self, module: nn.Module) -> None:
        """Give everybody the first process's weights."""
        if self.several:
            for tensor in (*module.parameters(), *module.buffers()):
                dist.broadcast(tensor.data, 0)

    def whole(self, batch: GlobalBatch, stop: bool) -> GlobalBatch:
        """A step's batch with the counts of all its rows, of which this process has its part.

        That someone was asked to `stop` is passed on with them, without waiting for the answer.
        """
        if not self.several:
            return batch.counting(max(1.0, float(batch.masked_tokens)), batch.real_tokens)
        numbers = [float(batch.masked_tokens), float(batch.real_tokens), float(stop)]
        counts = torch.tensor(numbers, dtype=torch.float64)
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            counts = counts.pin_memory().to(self.device, non_blocking=True)
        dist.all_reduce(counts)
        self._stop = counts[2].to("cpu", non_blocking=True)
        if on_gpu:
            self._stop_copied = torch.cuda.Event()
            self._stop_copied.record()
        return batch.counting(counts[0].clamp(min=1).float(), counts[1].float())

    def all_stop(self, stop: bool) -> bool:
        """Whether to stop: at once if alone, else if anybody had been asked to when the last batch was taken."""
        if not self.several:
            return stop
        if self._stop is None:
            return False
        if self._stop_copied is not None:
            # The copy is queued before the step's own work, which goes on meanwhile.
            self._stop_copied.synchronize()
        return bool(self._stop > 0)

    def sum_gradients(
        self, parameters: Iterable[nn.Parameter], gradients: dict[nn.Parameter, Tensor]
    ) -> None:
        """Sum what each process has of the gradients; all have them for the same parameters.

        Those that are divided among the processes are sums already.
        """
        if not self.several:
            return
        found = [gradients[p] for p in parameters if p in gradients]
        for some in messages([gradient for gradient in found if not divided(gradient)]):
            flat = torch.cat([gradient.flatten() for gradient in some])
            dist.all_reduce(flat)
            for gradient, summed in zip(
                some, flat.split([gradient.numel() for gradient in some]), strict=True
            ):
                gradient.copy_(summed.view_as(gradient))


def store_of_this_start(store: Store, rank: int, count: int, timeout: timedelta) -> PrefixStore:
    """The part of a store that only these processes use, and not those that were here before them.

    Each of the others says its name, and goes by the answer to that name, which nobody can have got before.
    The first one answers every name that it finds, of the dead too, until all others have had theirs.

    Raises:
        DistStoreError: not all of them have come in time.
    """
    name = uuid.uuid4().hex
    if rank > 0:
        store.set(f"here/{rank}", name)
        first = store.get(f"first/{name}").decode()
        store.add(f"joined/{first}", 1)
        return PrefixStore(first, store)
    others, answered = [f"here/{other}" for other in range(1, count)], set()
    until = time.monotonic() + timeout.total_seconds()
    while store.add(f"joined/{name}", 0) < len(others):
        if time.monotonic() > until:
            raise dist.DistStoreError(f"not all of {count} processes came within {timeout}")
        for other in store.multi_get(others):
            if other not in answered:
                store.set(f"first/{other.decode()}", name)
                answered.add(other)
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return PrefixStore(name, store)


def refuse_too_many(processes: int, rows: int) -> None:
    """Raise ElektronError for more processes than rows in a step."""
    if rows < processes:
        raise ElektronError(
            f"{processes} processes cannot share {rows} rows in a step: raise --batch "
            "or start fewer of them"
        )


def messages(tensors: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    """Tensors in groups of one type and not too many numbers, in their order."""
    group: list[Tensor] = []
    for tensor in tensors:
        full = sum(t.numel() for t in group) + tensor.numel() > NUMBERS_IN_A_MESSAGE
        if group and (full or group[0].dtype != tensor.dtype):
            yield group
            group = []
        group.append(tensor)
    if group:
        yield group


def take_own_gpu() -> None:
    """Make the GPU current that belongs to this process of its host, where torchrun has started it."""
    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
