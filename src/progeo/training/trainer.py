"""Running a phase on Lightning Fabric: steps, checkpoints, validation, stopping and going on."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision, Precision
from lightning_fabric.strategies import DDPStrategy
from rich.progress import Progress, TaskID

from progeo.console import logger, progress_bar
from progeo.devices import choose_precision, derive_seed
from progeo.errors import ProgeoError, explain_lack_of_memory
from progeo.files import write_csv
from progeo.training import ranks
from progeo.training.groups import describe_groups
from progeo.training.interrupt import Interruption, delay_interruption
from progeo.training.launching import find_launched
from progeo.training.method import Optimizers, Phase
from progeo.training.state import KEPT_SETTINGS, Checkpoint, State

SECONDS_BETWEEN_READINGS = 1.0
"""Reading the loss waits for the device, so it is done this often and not at every step."""
COMPILER = ("torch._dynamo", "torch._inductor")
PATIENCE_WITH_RANKS = timedelta(days=1)
"""One that is gone closes its connections, which the others notice at once; one that works alone may take hours."""

Recalls = dict[int, float]


class Trainer:
    """Trains one phase of a run, from where an earlier start left it."""

    def __init__(
        self,
        phase: Phase,
        validate: Callable[[str], Recalls] | None = None,
        keep: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        """Load the checkpoint of the phase, where there is one.

        Args:
            phase: what to train.
            validate: measures the network before the first step and after each epoch: R@N by N. It is told what the
                progress bar is to say.
            keep: keeps the network, which is the best so far, with the figures of its epoch.

        Raises:
            ProgeoError: the checkpoint is damaged, or belongs to other settings or classes.
        """
        run = phase.run
        self.run, self.phase, self.fabric = run, phase, run.fabric
        self.validate, self.keep = validate, keep
        self.rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in phase.optimizers]
        wrapped: list[Any] = [self.fabric.setup_optimizers(optimizer) for optimizer in phase.optimizers]
        self.wrapped = {id(optimizer): one for optimizer, one in zip(phase.optimizers, wrapped, strict=True)}
        self.scaler = getattr(self.fabric.strategy.precision, "scaler", None) or torch.amp.GradScaler(enabled=False)
        kept = dict.fromkeys((*KEPT_SETTINGS, *phase.kept))
        belongs_to = {
            "options": {name: getattr(run.settings, name) for name in kept},
            "groups": describe_groups(run.groups),
            # Not compared: so that the file says what its weights are.
            "spec": json.loads(json.dumps(run.network.spec.to_dict(), default=str)),
        }
        self.checkpoint = Checkpoint(phase, phase.optimizers, self.scaler, belongs_to)
        self.path = (run.checkpoint if phase.gives_model else None) or run.folder / phase.checkpoint
        self.last_saved = time.monotonic()
        self.is_between_steps = True
        self.state = State()
        if self.path.is_file():
            self.state = self.checkpoint.load(self.path)
            self.state.losses = {name: values.to(run.device) for name, values in self.state.losses.items()}
        self.path = run.folder / phase.checkpoint
        phase.history = self.state.history

    def fit(self) -> list[dict[str, float]]:
        """Train epoch by epoch until the last one, or until patience ends; return the figures of all epochs.

        Raises:
            KeyboardInterrupt: a stop was asked for; the state is that after the last whole step.
            ProgeoError: a loss or a weight is not finite, or too many images cannot be read.
        """
        phase, state = self.phase, self.state
        if self.is_finished:
            if phase.gives_model:
                logger.info("The training is done: only the test is repeated")
            return state.history
        with explain_lack_of_memory(phase.memory_remedy):
            logger.info(phase.describe(state))
            self._fit()
        if self.validate:
            logger.info(self.describe_best())
        return state.history

    def _fit(self) -> None:
        phase, state = self.phase, self.state
        try:
            if self.validate and not state.epoch and not state.step and state.start is None:
                self.try_start(self.validate("Validating the start"))
            with progress_bar("loss {task.fields[loss]}") as bar:
                task = bar.add_task(phase.title, total=None, loss="")
                while not self.is_finished:
                    with delay_interruption() as interruption:
                        start = time.monotonic()
                        self.train_epoch(bar, task, interruption)
                        figures = self.read_figures()
                        # Before validation, so that being killed there costs no training.
                        if self.validate:
                            self.save()
                        seconds = time.monotonic() - start
                        if not self.validate:
                            self.finish_epoch(figures, {}, seconds)
                    if self.validate:
                        bar.stop()
                        recalls = self.validate("Validating")
                        with delay_interruption() as interruption:
                            self.finish_epoch(figures, recalls, seconds)
                        self.raise_if_requested(interruption)
                        bar.start()
        except KeyboardInterrupt:
            # A second Ctrl-C may stop in the middle of a step: then the checkpoint before is the good one.
            if self.is_between_steps:
                self.read_figures()
                self.save()
            raise

    @property
    def is_finished(self) -> bool:
        """Whether the last epoch is done, or patience is at its end."""
        return self.state.epoch >= self.phase.epochs or self.is_out_of_patience

    @property
    def is_out_of_patience(self) -> bool:
        """Whether too many epochs have brought no better model."""
        patience = self.run.settings.patience
        return bool(self.validate and patience and self.state.epochs_without_improvement >= patience)

    def train_epoch(self, bar: Progress, task: TaskID, interruption: Interruption) -> None:
        """Do the steps of the current epoch that are still to be done."""
        phase, state = self.phase, self.state
        bar.reset(task, total=phase.steps(state.epoch), completed=state.step)
        bar.update(task, description=f"{phase.title} {state.epoch + 1}/{phase.epochs}")
        optimizers = phase.start_epoch(state.epoch)
        ranks.align(optimizers[:1] if phase.local_steps else optimizers)
        last_reading = time.monotonic()
        for batch in phase.batches(state.epoch, state.step):
            if self.is_between_steps:
                self.raise_if_requested(interruption)
            self.is_between_steps = False
            with explain_compiler():
                self.note_loss("loss", self.train_step(batch, optimizers))
            state.step += 1
            self.is_between_steps = self.meet()
            bar.advance(task)
            if time.monotonic() - last_reading > SECONDS_BETWEEN_READINGS:
                bar.update(task, loss=f"{self.read_losses()['loss']:.3f}")
                last_reading = time.monotonic()
        bar.update(task, loss=f"{self.read_losses()['loss']:.3f}")
        phase.end_epoch(state.epoch)
        self.raise_if_requested(interruption)

    def train_step(self, batch: Any, optimizers: Optimizers) -> torch.Tensor:
        """Do one step; return its loss, a scalar on the device, without waiting for it."""
        phase, state, settings = self.phase, self.state, self.run.settings
        torch.manual_seed(derive_seed(settings.seed, state.epoch, state.step))  # for dropout and the like
        factor = phase.rate(state.epoch, state.step)
        for optimizer, rates in zip(phase.optimizers, self.rates, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = factor * rate
        losses: dict[str, torch.Tensor] = phase(batch)
        loss: torch.Tensor = sum(losses.values())  # type: ignore[assignment]
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.fabric.backward(loss)
        if settings.clip_gradients is not None and phase.gives_model:
            self.fabric.clip_gradients(
                self.run.network, optimizers[0], max_norm=settings.clip_gradients, error_if_nonfinite=False
            )
        for optimizer in optimizers:
            self.wrapped[id(optimizer)].step()
        self.scaler.update()
        if len(losses) > 1:
            for name, value in losses.items():
                self.note_loss(f"loss_{name}", value.detach())
        return loss.detach()

    def note_loss(self, name: str, value: torch.Tensor) -> None:
        """Keep a loss of the current step, on the device."""
        state = self.state
        before = state.losses.get(name, torch.zeros(0, device=self.run.device))[: state.step]
        if state.step == 0 or len(state.losses.get(name, before)) <= state.step:
            # Smaller batches than before the run stopped make more steps of the same epoch.
            steps = max(self.phase.steps(state.epoch), state.step + 1)
            missing = torch.full((steps - len(before),), torch.nan, device=self.run.device)
            state.losses[name] = torch.cat([before, missing])
        state.losses[name][state.step] = value

    def read_losses(self) -> dict[str, float]:
        """Return the mean losses of the epoch so far.

        Raises:
            ProgeoError: a loss was not finite.
        """
        state = self.state
        done = {name: values[: state.step].cpu() for name, values in state.losses.items()}
        losses = done.get("loss", torch.zeros(0))
        bad = torch.nonzero(~torch.isfinite(losses))
        if len(bad):
            self.complain(f"The loss is {losses[bad[0, 0]].item()} at step {bad[0, 0].item() + 1}")
        means = {name: float(values.nanmean()) for name, values in sorted(done.items())}
        return means | {"loss": float(losses.mean()) if len(losses) else 0.0}

    def read_figures(self) -> dict[str, float]:
        """Return the figures of the current epoch, after checking that nothing that would be kept is broken.

        Raises:
            ProgeoError: a loss or a weight is not finite.
        """
        state = self.state
        figures = {"epoch": state.epoch + 1, **self.phase.figures(state.epoch), **self.read_losses()}
        if not all(bool(parameter.detach().isfinite().all()) for parameter in self.phase.parameters()):
            self.complain(f"The weights are no longer finite after step {state.step}")
        return figures

    def complain(self, what: str) -> None:
        """Raise ProgeoError, with what to lower."""
        amp = ", or take `precision` float32" if isinstance(self.fabric.strategy.precision, MixedPrecision) else ""
        remedy = f"{self.phase.remedy[0].upper()}{self.phase.remedy[1:]}{amp}"
        raise ProgeoError(f"{what} of epoch {self.state.epoch + 1}. {remedy}.")

    def try_start(self, recalls: Recalls) -> None:
        """Take the network before its first step as the best model so far."""
        state = self.state
        state.start, state.best_epoch, state.best_recall = recalls, 0, recalls[1]
        figures = name_recalls(recalls)
        if self.keep:
            self.keep({"epoch": 0, **figures})
        logger.info(f"Before training: validation {format_recalls(recalls)}")
        if self.fabric.is_global_zero:
            self.write_events(figures)

    def describe_best(self) -> str:
        """Say which epoch gave the best model."""
        state = self.state
        before = "" if state.start is None else f"; before training it was {state.start[1]:.1f}"
        if state.best_epoch:
            return f"The best model is that of epoch {state.best_epoch}, validation R@1 {state.best_recall:.1f}{before}"
        return (
            f"The best model is the start, validation R@1 {state.best_recall:.1f}: no epoch of training was better. "
            "A lower `lr`, fewer trained stages (`unfreeze`) or `keep_start` change less of it"
        )

    def finish_epoch(self, figures: dict[str, float], recalls: Recalls, seconds: float) -> None:
        """Record the epoch, keep the model if it is the best so far, and move on to the next."""
        state, phase = self.state, self.phase
        figures = figures | name_recalls(recalls)
        state.history.append(figures | {"seconds": seconds})
        improved = not recalls or recalls[1] > state.best_recall
        state.epochs_without_improvement = 0 if improved else state.epochs_without_improvement + 1
        if improved and recalls:
            state.best_epoch, state.best_recall = state.epoch + 1, recalls[1]
        if improved and self.keep:
            self.keep(figures)
        if phase.gives_model:
            best = ", the best so far" if improved else ""
            text = f", validation {format_recalls(recalls)}{best}" if recalls else ""
            logger.info(f"Epoch {state.epoch + 1}/{phase.epochs}: loss {figures['loss']:.4f}{text}")
            if self.fabric.is_global_zero:
                self.write_events(figures)
        state.epoch, state.step, state.losses = state.epoch + 1, 0, {}
        if self.is_out_of_patience:
            logger.info(f"No better R@1 for {self.run.settings.patience} epochs: stopping early")
        if self.is_finished or time.monotonic() - self.last_saved >= phase.seconds_between_checkpoints:
            self.save()

    def save(self) -> None:
        """Write the checkpoint and the table of figures; one process does."""
        if self.fabric.is_global_zero:
            self.checkpoint.save(self.path, self.state)
            if self.state.history:
                write_csv(self.path.with_name(self.phase.metrics), self.state.history)
        self.last_saved = time.monotonic()

    def write_events(self, figures: dict[str, float]) -> None:
        """Write the losses of an epoch, step by step, and its validation as TensorBoard events; the start has none."""
        from torch.utils.tensorboard import SummaryWriter

        state = self.state
        first_step = state.epoch * self.phase.steps(state.epoch)
        # Events of a stretch that is trained again after a resume are hidden by purge_step.
        with SummaryWriter(str(self.path.parent), purge_step=first_step) as events:
            for name, losses in state.losses.items():
                for step, loss in enumerate(losses.tolist()):
                    events.add_scalar(name, loss, first_step + step)
            for name, value in figures.items():
                if name.startswith("validation"):
                    events.add_scalar(name, value, first_step + len(state.losses.get("loss", ())))

    def meet(self) -> bool:
        """Return whether all ranks have the same weights; average them where each trains by itself and it is time."""
        phase, state = self.phase, self.state
        if not phase.local_steps:
            return True
        if state.step % phase.local_steps and state.step < phase.steps(state.epoch):
            return False
        ranks.average(self.run.network, phase.optimizers[:1])
        first = (state.step - 1) // phase.local_steps * phase.local_steps
        ranks.average_tensors([losses[first : state.step] for losses in state.losses.values()])
        return True

    def raise_if_requested(self, interruption: Interruption) -> None:
        """Raise KeyboardInterrupt if a stop was asked for, in all ranks after the same step."""
        interruption.requested = ranks.agree(interruption.requested)
        if interruption.requested and self.phase.local_steps:
            self.phase.end_epoch(self.state.epoch)
        interruption.raise_if_requested()


def name_recalls(recalls: Recalls) -> dict[str, float]:
    """Return recalls as the table of figures calls them."""
    return {f"validation_R@{rank}": recall for rank, recall in recalls.items()}


def format_recalls(recalls: Recalls) -> str:
    """Return recalls as one line."""
    return ", ".join(f"R@{rank}: {recall:.1f}" for rank, recall in recalls.items())


class SteadyMixedPrecision(MixedPrecision):
    """Mixed precision whose loss scale changes once a step, however many optimisers take it."""

    def optimizer_step(self, optimizer: Any, **kwargs: Any) -> Any:
        """Do the step of one optimiser."""
        return self.scaler.step(optimizer, **kwargs) if self.scaler else optimizer.step(**kwargs)


def create_fabric(device: torch.device, use_amp16: bool, precision_name: str | None = None) -> Fabric:
    """Return Lightning Fabric, in the precision that ``choose_precision`` gives for this name.

    Without a name ``use_amp16`` means half, and else float32. Where several processes were launched it connects them,
    each with a device of the kind of ``device``.
    """
    precision = Precision()
    kind = choose_precision(precision_name or ("half" if use_amp16 else "float32"), device)
    if kind == "fp16":
        precision = SteadyMixedPrecision("16-mixed", device.type, torch.amp.GradScaler(device.type))
    elif kind == "bf16":
        precision = SteadyMixedPrecision("bf16-mixed", device.type)
    devices, nodes = find_launched() or (1, 1)
    strategy: Any = "auto"
    if devices * nodes > 1:
        for what in ("find_unused_parameters=True was specified", "`broadcast_buffers` is deprecated"):
            warnings.filterwarnings("ignore", what)
        strategy = DDPStrategy(
            # What is on processors goes by gloo everywhere, and waits for no GPU.
            process_group_backend="cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo",
            timeout=PATIENCE_WITH_RANKS,
            broadcast_buffers=False,
            find_unused_parameters=True,  # of networks of others, and of layers that a head leaves out
        )
    fabric = Fabric(accelerator=device.type, devices=devices, num_nodes=nodes, strategy=strategy, plugins=[precision])
    fabric.launch()
    return fabric


@contextmanager
def explain_compiler() -> Iterator[None]:
    """Turn an error of the compiler, which runs in the first step, into a ProgeoError."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(COMPILER):
            raise
        reason = " ".join(str(error).split("\n\n")[0].split())
        raise ProgeoError(
            f"PyTorch cannot compile this network here: {reason}. On the CPU it needs a C++ compiler such as g++; "
            "without one leave out `compile`."
        ) from error
