"""Ranks: the processes that train together, one a device, and what they share.

All ranks draw the same global batch. Each encodes its own rows; the descriptors of all are gathered, and every rank
computes the loss of the whole batch and takes the same step. So the losses need to know nothing of ranks, and what they
train beside the network, such as classifiers, is a whole replica on every rank.

After ``gather`` every rank has the whole loss, so that the gradients behind it, added up over the ranks, are as many
times too large as there are ranks. Data parallel, which takes their mean, and ``spread`` make up for it.

Without a process group there is one rank, and each function here returns what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.distributed.distributed_c10d import _get_default_store
from torch.nn.modules.batchnorm import _BatchNorm

from progeo.console import console, logger
from progeo.errors import ProgeoError

Result = TypeVar("Result")
Found = TypeVar("Found")
Items = TypeVar("Items", bound=Sequence[Any])

SIGNS_OF_A_LOST_RANK = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo", "NCCL")


def number() -> int:
    """Return which rank this process is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def count() -> int:
    """Return how many ranks there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_rows(total: int) -> slice:
    """Return the rows of a batch that are this rank's: equal shares in order, or shares that differ by one row."""
    return slice(number() * total // count(), (number() + 1) * total // count())


def hush() -> None:
    """Let only the first rank write to the terminal and the log."""
    if number():
        console.quiet = logger.disabled = True


def gather(rows: torch.Tensor, total: int) -> torch.Tensor:
    """Return the rows of all ranks (``total``, …), with gradient; each rank gives those of ``own_rows(total)``."""
    return rows if len(rows) == total else _Gather.apply(rows, total)  # type: ignore[no-any-return, no-untyped-call]


def spread(rows: torch.Tensor) -> torch.Tensor:
    """Return this rank's share of rows (B, …) that all ranks have alike; the gradient is that of all rows.

    Where there are fewer rows than ranks, each rank takes them all.
    """
    is_shared = count() > 1 and len(rows) >= count()
    return _Spread.apply(rows) if is_shared else rows  # type: ignore[no-any-return, no-untyped-call]


def _gather(rows: torch.Tensor, total: int) -> torch.Tensor:
    longest = -(-total // count())
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    gathered = rows.new_empty(count() * longest, *rows.shape[1:])
    dist.all_gather_into_tensor(gathered, padded)
    if total == len(gathered):
        return gathered
    return torch.cat([gathered[rank * longest :][: _count_rows(rank, total)] for rank in range(count())])


def _count_rows(rank: int, total: int) -> int:
    return (rank + 1) * total // count() - rank * total // count()


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, total: int) -> torch.Tensor:
        return _gather(rows, total)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        # All ranks have the same loss: the sum of their gradients is this one as many times as there are ranks.
        return gradient[own_rows(len(gradient))] * count(), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        ctx.total = len(rows)
        return rows[own_rows(len(rows))].clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _gather(gradient, ctx.total) / count()


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    backward = forward


class GatheredStatistics(_BatchNorm):
    """What a batch normalisation becomes on processors: its statistics are those of all ranks' batches, equally large.

    PyTorch's own ``SyncBatchNorm`` runs on GPUs only.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, …)."""
        if not self.training:
            return super().forward(images)
        values = images.to(torch.promote_types(images.dtype, torch.float32))
        others = [0, *range(2, values.dim())]
        shape = (1, -1, *[1] * (values.dim() - 2))
        size = count() * values.numel() // values.shape[1]
        mean = _Sum.apply(values.sum(others)) / size  # type: ignore[no-untyped-call]
        values = values - mean.view(shape)
        variance = _Sum.apply(values.square().sum(others)) / size  # type: ignore[no-untyped-call]
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), share)
            unbiased = variance.detach() * size / max(1, size - 1)
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)
        values = values * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            values = values * self.weight.view(shape) + self.bias.view(shape)
        values = values.to(images.dtype)
        for part in ("drop", "act"):  # those of timm have their activation with them
            values = getattr(self, part, nn.Identity())(values)
        return values  # type: ignore[no-any-return]


def synchronise(network: nn.Module, device: torch.device) -> None:
    """Let the batch normalisations of a network in training take their statistics from the batches of all ranks."""
    if device.type == "cuda":
        convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            kind = type(module)
            module.__class__ = type(kind.__name__, (GatheredStatistics, kind), {})


def agree(wish: bool) -> bool:
    """Return whether any rank wishes it; asked of the processors, so that no GPU is waited for."""
    if count() == 1:
        return wish
    wishes = torch.tensor(wish, dtype=torch.uint8)
    dist.all_reduce(wishes, dist.ReduceOp.MAX)
    return bool(wishes)


def ask_first(function: Callable[[], Result]) -> Result:
    """Let the first rank call a function; return on all ranks what it returned."""
    if count() == 1:
        return function()
    answer = [function() if number() == 0 else None]
    dist.broadcast_object_list(answer)
    return answer[0]  # type: ignore[return-value]


def wait() -> None:
    """Wait until all ranks have come here."""
    agree(False)


def take_turns(function: Callable[[], object]) -> None:
    """Let the first rank call a function, and then the others, which find what it has left on the disk."""
    if number() == 0:
        function()
    wait()
    if number():
        function()


def collect(value: Result) -> list[Result]:
    """Return the values of all ranks, in order."""
    values: list[Any] = [value] * count()
    if count() > 1:
        dist.all_gather_object(values, value)
    return values


def lead(whole: Callable[[Callable[[Items], list[Found]]], Result], part: Callable[[Items], Found]) -> Result:
    """Let the first rank do a job and all ranks the heavy part of it; return on all what the first returned.

    Args:
        whole: the job, which the first rank does. It is given a function that shares items out, and returns what
            ``part`` found for each share, in order.
        part: what each rank does with its share of items.
    """
    if count() == 1:
        return whole(lambda items: [part(items)])

    def do(items: Items) -> list[Found]:
        found: list[Any] | None = [None] * count() if number() == 0 else None
        dist.gather_object(part(items[own_rows(len(items))]), found)  # type: ignore[arg-type]
        return found or []

    def share_out(items: Items) -> list[Found]:
        dist.broadcast_object_list([items])
        return do(items)

    result: list[Any] = [None]
    if number() == 0:
        result = [whole(share_out)]
        dist.broadcast_object_list([None])
    else:
        while True:
            message: list[Any] = [None]
            dist.broadcast_object_list(message)
            if message[0] is None:
                break
            do(message[0])
    dist.broadcast_object_list(result)
    return result[0]  # type: ignore[no-any-return]


def align(optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Give all ranks the weights and moments of the first: replicas whose arithmetic differs must not drift apart."""
    if count() > 1:
        for tensor in _tensors_of(optimizers):
            dist.broadcast(tensor, 0)


def average(network: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Give all ranks the mean of their weights, statistics and moments."""
    statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    average_tensors([*_tensors_of(optimizers), *statistics])


def average_tensors(tensors: Sequence[torch.Tensor]) -> None:
    """Give all ranks the mean of their tensors, in place."""
    for tensor in tensors:
        dist.all_reduce(tensor)
        tensor /= count()


def _tensors_of(optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[torch.Tensor]:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                yield parameter.detach()
                # In the order of their names: those of a checkpoint may stand in another than those of a step.
                yield from (value for _, value in sorted(optimizer.state.get(parameter, {}).items()))


@contextmanager
def explain_a_lost_rank() -> Iterator[None]:
    """Turn the error of a rank that waits for one that is gone into a ProgeoError."""
    try:
        yield
    except RuntimeError as error:
        is_lost = isinstance(error, dist.DistError) or any(sign in str(error) for sign in SIGNS_OF_A_LOST_RANK)
        if count() == 1 or not is_lost:
            raise
        raise ProgeoError(
            f"One of the {count()} processes that train together is gone: the others cannot go on"
        ) from error


@contextmanager
def end_with_one_message() -> Iterator[None]:
    """Let the first rank that ends with an error say why; the others exit in silence."""
    try:
        with explain_a_lost_rank():
            yield
    except (ProgeoError, OSError) as error:
        if not speaks_first():
            raise SystemExit(getattr(error, "exit_code", 2)) from None
        console.quiet = False
        raise


def speaks_first() -> bool:
    """Tell whether this rank is the first to end with an error, and is to say why; the others end in silence."""
    if not dist.is_initialized():
        return int(os.environ.get("LOCAL_RANK", "0")) == 0
    try:
        return int(_get_default_store().add("progeo: errors", 1)) == 1
    except RuntimeError:  # the first rank, which keeps the count, is gone and has said why
        return number() == 0
