"""A training run on this process: resume, update, trace, validate, checkpoint.

The run's folder collects `trace.jsonl`, `learning.jsonl`, the checkpoints and at last
`model.safetensors`. Rank 0 writes; the others compute.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.digest import digest_of
from alexnet.inputs import side_read
from alexnet.network import Network
from alexnet.plan import Plan
from alexnet.trace import PendingEntry, link_digest, linked, loss_chain
from alexnet.training import Training
from alexnet.weights import load_weights, matching_weights, weights_of
from pipeline.config.parameters import Parameters
from pipeline.config.paths import STORE
from pipeline.data.store import Store
from pipeline.system import signals
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, write_json
from pipeline.system.journal import MARKS, Journal
from pipeline.system.terminal import progress, say
from pipeline.training import checkpoints
from pipeline.training.loading import (
    build_network,
    crop_reader,
    image_reader,
    load_statistics,
    read_weights,
)
from pipeline.training.plateau import plateau_warning

JOURNALS = ("trace.jsonl", "learning.jsonl")
LOSSES_WAITING = 10  # updates whose losses are read together from a GPU


def train(parameters: Parameters, folder: Path, device: torch.device,
          stop: int | None = None) -> None:
    """Train from the newest checkpoint in `folder`, or from the start, to the end.

    With `stop` only until so many updates are done; if that is before the end, no model is left.

    Raises:
        UserError: missing inputs, or a diverging run.
        Interrupted: SIGINT or SIGTERM came; a checkpoint has been written.
    """
    run = _Run(parameters, folder, Store(STORE), device)
    run.resume()
    run.proceed(stop)


def same_everywhere(text: str, device: torch.device) -> bool:
    """Return whether every training process passes the same text; all must take part."""
    mine = torch.frombuffer(bytearray(hashlib.sha256(text.encode()).digest()),
                            dtype=torch.uint8).to(device)
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    return all(torch.equal(mine, other) for other in gathered)


class _Run:
    """A training run on this process, with its files."""

    def __init__(self, parameters: Parameters, folder: Path, store: Store,
                 device: torch.device) -> None:
        self.settings, self.folder = parameters.train, folder
        self.checkpoint_every = parameters.execution.checkpoint_every
        self.checkpoint_seconds = parameters.execution.checkpoint_seconds
        self.keep_every = parameters.execution.keep_every
        self.checkpoints, self.checkpointed = checkpoints.Writer(), time.monotonic()
        self.classes = len(store.classes)
        self.keys = [each.wnid for each in store.classes]
        self.validation = store.split("val")
        split = self.images = store.split("train")
        self.count = len(split)
        if self.count == 0 or len(self.validation) == 0:
            raise UserError(f"{STORE}: no images to train on or to validate with")
        plan = Plan(self.settings.seed,
                    max(1, round(self.settings.epochs * self.count / self.settings.batch)),
                    self.settings.batch, self.settings.micro_batches)
        network = build_network(parameters, store, parameters.execution.placement == "two", device)
        self.place = network.placement
        if self.place.first and (warning := store.other_decoder()):
            say(f"train: {warning}")
        if self.settings.start_from:
            self._start_from(network, Path(self.settings.start_from))
        recipe = parameters.effective_recipe()
        self.training = Training(network, recipe, plan, torch.from_numpy(split.labels),
                                 load_statistics(),
                                 crop_reader(split, side_read(recipe, network.table)),
                                 lambda images: split.expect(images.numpy()))
        # of the updates since the last line of the learning curve
        self.loss_sum, self.loss_count, self.wrong = 0.0, 0, 0
        # of those that are not among them yet: step, loss, wrong images
        self.uncounted: list[tuple[int, Tensor, Tensor]] = []
        self.last_loss: float | None = None
        self.losses_waiting = LOSSES_WAITING if device.type == "cuda" else 1
        self.warned = False
        self.reached = False  # the training error at which the training ends before its time
        self.journals: dict[str, Journal] = {}  # on the first process
        # Between CPUs, whatever the devices: what the processes agree on besides tensors.
        self.control = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self.traced: PendingEntry | None = None  # its digests are taken while the training goes on
        # of the updates since the last entry of the trace, and of those before it, as digests
        self.losses = self.traced_losses = ""
        self.previous = ""  # on the first process: the digest that the next entry names

    def _start_from(self, network: Network, file: Path) -> None:
        weights = matching_weights(network, read_weights(file, "correct train.start_from", False,
                                                         self.keys))
        if not weights:
            raise UserError(f"train.start_from: no layer of {file} has the shape of one of this "
                            "network's")
        load_weights(network, weights)
        if self.place.first:
            initial = sorted({name.split(".")[0] for name in network.table.canonical()} - {
                name.split(".")[0] for name in weights})
            say(f"train: starting from {file}; initialised: {', '.join(initial) or 'nothing'}")

    @property
    def epoch(self) -> float:
        return self.training.step * self.settings.batch / self.count

    def resume(self) -> None:
        """Load the newest whole checkpoint; drop journal lines written after it."""
        checkpoint = checkpoints.newest(self.folder)
        marks: dict[str, Any] = {}
        if checkpoint:
            step, state, memory = checkpoint
            marks = memory["lines"]
            checkpoints.check_fits(self.folder, step, state,
                                   self.training.network.table.canonical())
            self.training.load(step, state)
            self.loss_sum, self.loss_count = float.fromhex(memory["loss_sum"]), memory["loss_count"]
            self.wrong = memory["wrong"]
            self.losses, self.previous = memory["losses"], memory["previous"]
            if self.place.first:
                say(f"train: going on from the checkpoint of step {step} of "
                    f"{self.training.plan.steps}")
        if dist.is_initialized() and not same_everywhere(str(self.training.step),
                                                         self.place.device):
            # and nobody writes before all have read
            raise UserError(f"{self.folder}: the training processes found different checkpoints "
                            "there; it must be on a file system that they share")
        initial = None if checkpoint else self._state()
        if initial is not None:
            self.previous = digest_of(initial)
        if self.place.first:
            self.journals = {name: Journal(self.folder / name, marks.get(name))
                             for name in JOURNALS}

    def proceed(self, stop: int | None) -> None:
        """Train to the end, or to the update `stop`.

        Raises:
            Interrupted: SIGINT or SIGTERM came; a checkpoint has been written.
        """
        steps = self.training.plan.steps
        until = min(steps, stop or steps)
        stopping = "train: stopping after this update, with a checkpoint; again to stop at once"
        with signals.defer_signals(stopping if self.place.first else "",
                           again=not dist.is_initialized()) as received:
            self._update(until, received)
        if self.place.first:
            write_json(self.folder / MARKS,
                       {name: journal.mark() for name, journal in self.journals.items()})
        if until < steps and not self.reached:
            return
        self._check_images()
        state = self._state()
        if state is not None:
            self._write_model(weights_of(state))

    def _update(self, until: int, received: Callable[[], int]) -> None:
        steps, batch = self.training.plan.steps, self.settings.batch
        with progress("train", until * batch, "images", self.training.step * batch,
                      quiet=not self.place.first) as advance:
            validated = ""
            while self.training.step < until and not self.reached:
                step, last = self.training.step + 1, self.training.step + 1 == steps
                due = last or step == 1 or step % self.settings.trace_every == 0
                validation_due = last or self._validation_is_due(step)
                may_end = validation_due and self.settings.stop_below is not None
                self.training.advance(traced=due or may_end)
                self._note_loss()
                if due:
                    self._trace()
                if validation_due:
                    validated = self._validate()
                    if self.reached and not due:
                        self._trace()
                signal = self._greatest_anywhere(received())
                last = last or self.reached
                checkpoint_due = signal or self._checkpoint_is_due(step)
                # before the one to go on from: a kill between the two must not lose it
                if due and not last and self._is_kept(step):
                    self._checkpoint(self.folder / checkpoints.KEPT_FOLDER, None)
                if checkpoint_due and not last:
                    self._checkpoint(self.folder, checkpoints.RECENT)
                advance(batch, self._loss_and(validated))
                if signal and step < until and not last:
                    self._interrupt(signal)
            self._count_losses()
            self._write_trace()
        self.training.finish()
        self.checkpoints.finish()

    def _checkpoint_is_due(self, step: int) -> bool:
        """Return whether this is a step for a checkpoint, and long enough after the last one for
        one of the processes."""
        if step % self.checkpoint_every:
            return False
        if not self.checkpoint_seconds:
            return True
        passed = time.monotonic() - self.checkpointed >= self.checkpoint_seconds
        return bool(self._greatest_anywhere(passed))

    def _greatest_anywhere(self, number: int) -> int:
        """Return the greatest of the processes' numbers: the signal that one of them has received,
        for instance, so that all stop after the same update."""
        if not dist.is_initialized():
            return number
        greatest = torch.tensor([number], dtype=torch.int32)
        dist.all_reduce(greatest, dist.ReduceOp.MAX, self.control)
        return int(greatest)

    def _interrupt(self, number: int) -> None:
        self.training.finish()
        self.checkpoints.finish()
        if self.place.first:
            say(f"train: the checkpoint of step {self.training.step} of {self.training.plan.steps} "
                "is written")
        raise signals.Interrupted(number)

    def _loss_and(self, validated: str) -> str:
        loss = self.last_loss
        return ("" if loss is None else f"loss {loss:.3f}{validated}" if loss < 1000
                else f"loss {loss:.3g}{validated}")

    def _note_loss(self) -> None:
        """Take the update's loss, to be counted with those of some more: to read a number of a GPU
        is to wait until it has done all that it was given."""
        if self.training.loss is not None and self.training.wrong is not None:
            self.uncounted.append((self.training.step, self.training.loss, self.training.wrong))
        if len(self.uncounted) >= self.losses_waiting:
            self._count_losses()

    def _count_losses(self) -> None:
        """Count what waits; whoever needs the sums calls it first."""
        for step, tensor, wrong in self.uncounted:
            loss = self.last_loss = float(tensor)
            if not math.isfinite(loss):
                raise UserError(f"the loss is {loss} at step {step}: the run has "
                                "diverged. Lower recipe.weight_lr and recipe.bias_lr, or set "
                                "recipe.colour_noise to stdev")
            self.loss_sum, self.loss_count = self.loss_sum + loss, self.loss_count + 1
            self.losses = loss_chain(self.losses, loss)
            self.wrong += int(wrong)
        self.uncounted = []

    def _validation_is_due(self, step: int) -> bool:
        span, batch = self.settings.validate_every * self.count, self.settings.batch
        return int(step * batch / span) > int((step - 1) * batch / span)

    def _validate(self) -> str:
        self._count_losses()
        metrics = {} if self.place.replica else self.training.validate(
            image_reader(self.validation), torch.from_numpy(self.validation.labels))
        wanted = self.settings.stop_below
        error = self.wrong / (self.loss_count * self.settings.batch) if self.place.first else 1.0
        if wanted is not None:
            self.reached = bool(self._greatest_anywhere(error <= wanted))
        if not self.place.first:
            return ""
        line = {"step": self.training.step, "epoch": round(self.epoch, 4),
                "training_loss": self.loss_sum / self.loss_count,
                "training_error": error,
                "validation_loss": metrics["loss"], "validation_error": metrics["error"]}
        self.loss_sum, self.loss_count, self.wrong = 0.0, 0, 0
        self._append("learning.jsonl", line)
        self._warn_of_plateau(line["training_loss"])
        return f", val error {100 * line['validation_error']:.1f} %"

    def _warn_of_plateau(self, loss: float) -> None:
        warning = plateau_warning(loss, self.epoch, self.classes, self.training.recipe)
        if warning and not self.warned:
            self.warned = True
            say(f"warning: {warning}")

    def _trace(self) -> None:
        """Begin the entry of this step, and write the one before, whose digests are done by now."""
        self._count_losses()
        self._write_trace()
        self.traced = self.training.trace()
        self.traced_losses, self.losses = self.losses, ""

    def _write_trace(self) -> None:
        if self.traced is None:
            return
        entry, self.traced = self.traced.entry(), None
        if self.place.first:
            link = linked(entry, self.traced_losses, self.previous)
            self._append("trace.jsonl", link)
            self.previous = link_digest(link)

    def _is_kept(self, step: int) -> bool:
        """Return whether the record keeps a checkpoint of this traced step: it is the first one at
        or after a multiple of `execution.keep_every`, or the last one before the end."""
        every, traced = self.keep_every, self.settings.trace_every
        before, after = ((step - 1) // traced * traced, step // traced * traced + traced)
        return every > 0 and (step // every > before // every
                              or after >= self.training.plan.steps)

    def _checkpoint(self, folder: Path, recent: int | None) -> None:
        self._count_losses()
        self._check_images()
        self._write_trace()  # a run that goes on from here does not trace earlier steps again
        self.checkpointed = time.monotonic()
        state = self._state()
        if state is not None:
            memory = {"loss_sum": self.loss_sum.hex(), "loss_count": self.loss_count,
                      "wrong": self.wrong, "losses": self.losses, "previous": self.previous}
            self.checkpoints.save(folder, self.training.step, state, memory,
                                  list(self.journals.values()), recent)

    def _check_images(self) -> None:
        for split in (self.images, self.validation):
            split.check_unchanged()

    def _state(self) -> dict[str, Tensor] | None:
        return self.training.state() if self.place.replica == 0 else None

    def _append(self, name: str, line: dict[str, Any]) -> None:
        if self.place.first:
            self.journals[name].append(line)

    def _write_model(self, weights: dict[str, Tensor]) -> None:
        with atomic_write(self.folder / "model.safetensors") as stream:
            stream.write(safetensors.torch.save(weights, {"digest": digest_of(weights)}))
