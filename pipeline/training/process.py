"""What each training process runs: load, resume, update, trace, validate, checkpoint.

`python -m pipeline train FOLDER [STOP]`, started once a process by PyTorch's launcher, or once
without it; the `train` stage calls `train()` itself where one process is enough, and `together()`
where the launcher started the stage. FOLDER holds `parameters.json` and collects `trace.jsonl`,
`learning.jsonl`, the checkpoints and at last `model.safetensors`, unless it was to stop after STOP
updates, before the end. Rank 0 writes; the others compute.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import safetensors
import safetensors.torch
import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.augmentation import Statistics, Views
from alexnet.digest import digest_of
from alexnet.network import Network
from alexnet.placement import placement_here
from alexnet.plan import Plan
from alexnet.trace import PendingEntry
from alexnet.training import Training
from alexnet.weights import load_weights, matching_weights, weights_of
from pipeline.config.parameters import Parameters, check
from pipeline.config.paths import STORE
from pipeline.data.statistics import load_mean, load_pca
from pipeline.data.store import Split, Store
from pipeline.records import environment
from pipeline.records.differences import decisive
from pipeline.system import errors, signals
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write, write_json
from pipeline.system.journal import MARKS, Journal
from pipeline.system.processes import die_with_parent, keep_freed_memory
from pipeline.system.terminal import progress, say
from pipeline.training import checkpoints
from pipeline.training.heartbeat import Heartbeat

PLATEAU_EPOCHS = 3.0  # a healthy run has left log(classes) behind by then
PLATEAU_SHARE = 0.97
LINES = ("trace.jsonl", "learning.jsonl")


def main(folder: Path, stop: int | None = None) -> None:
    """Entry of a started process."""
    die_with_parent()
    faulthandler.enable(2)
    parameters = check(json.loads((folder / "parameters.json").read_text()),
                       folder / "parameters.json")
    try:
        if "WORLD_SIZE" in os.environ:
            together(parameters, folder, stop)
        else:
            train(parameters, folder, prepare(parameters), stop)
    except signals.Interrupted as interrupted:
        sys.exit(interrupted.status)
    except Exception as error:
        line, status = errors.describe_error(error)
        say(line)
        sys.exit(status)


def together(parameters: Parameters, folder: Path, stop: int | None = None) -> None:
    """Train as one of the processes that PyTorch's launcher started; nothing is left to do where a
    model is there.

    Raises:
        UserError: as `train`; the processes do not all find the same run; or another one has ended.
    """
    device = prepare(parameters)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        with Heartbeat():
            _train_together(parameters, folder, device, stop)
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise UserError("the connection to another training process is lost: it has ended; "
                            "what it said stands above. The same command goes on from the last "
                            "checkpoint") from None
        raise
    finally:
        dist.destroy_process_group()


def _train_together(parameters: Parameters, folder: Path, device: torch.device,
                    stop: int | None) -> None:
    finished = (folder / "model.safetensors").exists()
    if not _same_everywhere(f"{folder.name} {finished}", device):
        raise UserError("the training processes do not all find the same code, parameters, data "
                        f"and {folder}: machines that train together need one project folder, on a "
                        "file system that they share")
    several_machines = os.environ.get("LOCAL_WORLD_SIZE") != os.environ["WORLD_SIZE"]
    if several_machines and not _same_everywhere(
            json.dumps(decisive(environment.fingerprint(), device.type)),
            device) and dist.get_rank() == 0:
        say("warning: the machines that train together are not alike; the record names the first "
            "one only")
    if not finished:
        train(parameters, folder, device, stop)


def _same_everywhere(told: str, device: torch.device) -> bool:
    """Whether every process says the same; all take part."""
    mine = torch.frombuffer(bytearray(hashlib.sha256(told.encode()).digest()),
                            dtype=torch.uint8).to(device)
    everybodys = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everybodys, mine)
    return all(torch.equal(mine, other) for other in everybodys)


def train(parameters: Parameters, folder: Path, device: torch.device,
          stop: int | None = None) -> None:
    """Train from the newest checkpoint in `folder`, or from the start, to the end.

    With `stop` only until so many updates are done; if that is before the end, no model is left.
    """
    run = _Run(parameters, folder, Store(STORE), device)
    run.resume()
    run.go_on(stop)


def prepare(parameters: Parameters) -> torch.device:
    """Memory, threads, determinism and the device of this process."""
    keep_freed_memory()
    torch.set_num_threads(parameters.execution.threads)
    deterministic = parameters.execution.deterministic
    # As use_deterministic_algorithms, which imports the compiler that nobody here uses: almost two
    # seconds.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    if parameters.execution.device != "cuda":
        if parameters.train.precision == "tf32":
            raise UserError("train.precision: tf32 is a format of GPUs, and the device is the CPU; "
                            "set it to fp32 or bf16")
        return torch.device("cpu")
    if deterministic:
        # cuBLAS is deterministic only with this
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = not deterministic
    tf32 = parameters.train.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
    return device


def network_of(parameters: Parameters, store: Store, split: bool, device: torch.device) -> Network:
    """The configured network with its initial weights: one column of it when `split`, else the
    whole.

    Raises:
        UserError: the store's images are not of the size that the network takes.
    """
    table = parameters.the_table(len(store.classes))
    if store.side != table.stored:
        raise UserError(f"network.architecture: {parameters.network.architecture} takes images of "
                        f"{table.stored} x {table.stored} pixels, and {STORE} has {store.side} x "
                        f"{store.side}; set resize.side to {table.stored}")
    return Network(table, parameters.the_recipe(), parameters.train.seed,
                   placement_here(table.columns, split, device), parameters.train.precision)


def statistics() -> Statistics:
    """Mean image and colour components, as the stages `mean` and `pca` left them."""
    found = load_pca()
    return Statistics(mean_image(), torch.tensor(found["eigenvalues"], dtype=torch.float64),
                      torch.tensor(found["eigenvectors"], dtype=torch.float64))


def mean_image() -> Tensor:
    """float32 [256, 256, 3], as the stage `mean` left it."""
    return torch.from_numpy(load_mean())


def weights_in(file: Path, mend: str, anyones: bool = False) -> dict[str, Tensor]:
    """The canonical weights in a safetensors file, which have the digest that its header names.

    With `anyones`, of a file that names none, too: of other programs.

    Raises:
        UserError: the file is missing or damaged; `mend` says what helps.
    """
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            digest = (opened.metadata() or {}).get("digest")
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if digest != digest_of(weights) and not (anyones and digest is None):
            raise ValueError("its tensors do not have the digest it names" if digest
                             else "it names no digest")
        return weights
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {mend}") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file}: damaged ({error}); {mend}") from None


def images_of(split: Split) -> Callable[[slice], Tensor]:
    """Reads whole images, uint8 [n, 256, 256, 3], by slice."""
    def read(part: slice) -> Tensor:
        indices = numpy.arange(part.start, part.stop)
        zeros = numpy.zeros(len(indices), dtype=numpy.int64)
        return torch.from_numpy(split.gather_crops(indices, zeros, zeros, zeros.astype(bool),
                                                   size=split.side))
    return read


def crops_of(split: Split, size: int) -> Callable[[Views], Tensor]:
    """Reads crops, uint8 [n, size, size, 3]."""
    return lambda seen: torch.from_numpy(split.gather_crops(seen.images.numpy(),
                                                            seen.tops.numpy(), seen.lefts.numpy(),
                                                            seen.flips.numpy().astype(bool), size))


class _Run:
    """A training run on this process, with its files."""

    def __init__(self, parameters: Parameters, folder: Path, store: Store,
                 device: torch.device) -> None:
        self.settings, self.folder = parameters.train, folder
        self.every = parameters.execution.checkpoint_every
        self.classes = len(store.classes)
        self.validation = store.split("val")
        split = self.images = store.split("train")
        self.count = len(split)
        if self.count == 0 or len(self.validation) == 0:
            raise UserError(f"{STORE}: no images to train on or to validate with")
        plan = Plan(self.settings.seed,
                    max(1, round(self.settings.epochs * self.count / self.settings.batch)),
                    self.settings.batch, self.settings.micro_batches)
        network = network_of(parameters, store, parameters.execution.placement == "two", device)
        self.place = network.placement
        if self.place.first and (told := store.other_decoder()):
            say(f"train: {told}")
        if self.settings.start_from:
            self._start_from(network, Path(self.settings.start_from))
        self.training = Training(network, parameters.the_recipe(),
                                 plan, torch.from_numpy(split.labels),
                                 statistics(), crops_of(split, network.table.crop),
                                 lambda images: split.expect(images.numpy()))
        # Of the updates since the last line of the learning curve.
        self.loss_sum, self.loss_count, self.wrong = 0.0, 0, 0
        self.warned = False
        self.lines: dict[str, Journal] = {}  # on the first process
        # Between CPUs, whatever the devices: what the processes agree on besides tensors.
        self.control = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self.traced: PendingEntry | None = None  # its digests are taken while the training goes on

    def _start_from(self, network: Network, file: Path) -> None:
        taken = matching_weights(network, weights_in(file, "mend train.start_from", anyones=True))
        if not taken:
            raise UserError(f"train.start_from: no layer of {file} has the shape of one of this "
                            "network's")
        load_weights(network, taken)
        if self.place.first:
            anew = sorted({name.split(".")[0] for name in network.table.canonical()} - {
                name.split(".")[0] for name in taken})
            say(f"train: starting from {file}; anew: {', '.join(anew) or 'nothing'}")

    @property
    def epoch(self) -> float:
        return self.training.step * self.settings.batch / self.count

    def resume(self) -> None:
        """Go on from the newest whole checkpoint; lines written after it are forgotten."""
        found = checkpoints.newest(self.folder)
        marks: dict[str, Any] = {}
        if found:
            step, state, memory = found
            marks = memory["lines"]
            checkpoints.check_fits(self.folder, step, state,
                                   self.training.network.table.canonical())
            self.training.load(step, state)
            self.loss_sum, self.loss_count = float.fromhex(memory["loss_sum"]), memory["loss_count"]
            self.wrong = memory["wrong"]
            if self.place.first:
                say(f"train: going on from the checkpoint of step {step} of "
                    f"{self.training.plan.steps}")
        if dist.is_initialized() and not _same_everywhere(str(self.training.step),
                                                          self.place.device):
            # and nobody writes before all have read
            raise UserError(f"{self.folder}: the training processes found different checkpoints "
                            "there; it must be on a file system that they share")
        if self.place.first:
            self.lines = {name: Journal(self.folder / name, marks.get(name)) for name in LINES}

    def go_on(self, stop: int | None) -> None:
        """Train to the end, or to the update `stop`.

        Raises:
            Interrupted: SIGINT or SIGTERM came; a checkpoint has been written.
        """
        steps = self.training.plan.steps
        until = min(steps, stop or steps)
        stopping = "train: stopping after this update, with a checkpoint; again to stop at once"
        with signals.defer_signals(stopping if self.place.first else "",
                           again=not dist.is_initialized()) as heard:
            self._update(until, heard)
        if self.place.first:
            write_json(self.folder / MARKS,
                       {name: lines.mark() for name, lines in self.lines.items()})
        if until < steps:
            return
        self._check_images()
        state = self._state()
        if state is not None:
            self._publish(weights_of(state))

    def _update(self, until: int, heard: Callable[[], int]) -> None:
        steps, batch = self.training.plan.steps, self.settings.batch
        with progress("train", until * batch, "images", self.training.step * batch,
                      quiet=not self.place.first) as told:
            validated = ""
            while self.training.step < until:
                self.training.advance()
                self._count_loss()
                step, last = self.training.step, self.training.step == steps
                if (self.place.replica == 0
                        and (last or step == 1 or step % self.settings.trace_every == 0)):
                    self._write_trace()
                    self.traced = self.training.trace()
                if last or self._validation_is_due():
                    validated = self._validate()
                interrupted = self._heard_anywhere(heard())
                if (interrupted or step % self.every == 0) and not last:
                    self._checkpoint()
                told(batch, self._note(validated))
                if interrupted and step < until:
                    self._interrupt(interrupted)
            self._write_trace()
        self.training.finish()

    def _heard_anywhere(self, number: int) -> int:
        """The signal that any of the processes has heard, so that all stop after the same
        update."""
        if not dist.is_initialized():
            return number
        signals = torch.tensor([number], dtype=torch.int32)
        dist.all_reduce(signals, dist.ReduceOp.MAX, self.control)
        return int(signals)

    def _interrupt(self, number: int) -> None:
        self.training.finish()
        if self.place.first:
            say(f"train: the checkpoint of step {self.training.step} of {self.training.plan.steps} "
                "is written")
        raise signals.Interrupted(number)

    def _note(self, validated: str) -> str:
        loss = self.training.loss
        return ("" if loss is None else f"loss {loss:.3f}{validated}" if loss < 1000
                else f"loss {loss:.3g}{validated}")

    def _count_loss(self) -> None:
        if self.training.loss is None or self.training.wrong is None:
            return
        loss = float(self.training.loss)
        if not math.isfinite(loss):
            raise UserError(f"the loss is {loss} at step {self.training.step}: the run has "
                            "diverged. Lower recipe.weight_lr and recipe.bias_lr, or set "
                            "recipe.colour_noise to stdev")
        self.loss_sum, self.loss_count = self.loss_sum + loss, self.loss_count + 1
        self.wrong += int(self.training.wrong)

    def _validation_is_due(self) -> bool:
        span = self.settings.validate_every * self.count
        batch, step = self.settings.batch, self.training.step
        return int(step * batch / span) > int((step - 1) * batch / span)

    def _validate(self) -> str:
        found = {} if self.place.replica else self.training.validate(
            images_of(self.validation), torch.from_numpy(self.validation.labels))
        if not self.place.first:
            return ""
        line = {"step": self.training.step, "epoch": round(self.epoch, 4),
                "training_loss": self.loss_sum / self.loss_count,
                "training_error": self.wrong / (self.loss_count * self.settings.batch),
                "validation_loss": found["loss"], "validation_error": found["error"]}
        self.loss_sum, self.loss_count, self.wrong = 0.0, 0, 0
        self._append("learning.jsonl", line)
        self._warn_of_plateau(line["training_loss"])
        return f", val error {100 * line['validation_error']:.1f} %"

    def _warn_of_plateau(self, loss: float) -> None:
        if (self.warned or self.epoch < PLATEAU_EPOCHS
                or loss < PLATEAU_SHARE * math.log(self.classes)):
            return
        self.warned = True
        say(f"warning: after {self.epoch:.1f} epochs the loss is {loss:.3f}, still that of "
            f"guessing, log({self.classes}) = {math.log(self.classes):.3f}. Likely causes: too few "
            "updates so far (more train.epochs, smaller train.batch); initial weights too small "
            "for a signal (recipe.conv345_init_std 0.03); colour noise as printed in the paper "
            "(recipe.colour_noise stdev); a learning rate too small or too large "
            "(recipe.weight_lr)")

    def _write_trace(self) -> None:
        if self.traced is not None:
            self._append("trace.jsonl", self.traced.entry())
            self.traced = None

    def _checkpoint(self) -> None:
        self._check_images()
        self._write_trace()  # a run that goes on from here does not trace earlier steps again
        state = self._state()
        if state is not None:
            checkpoints.save(self.folder, self.training.step, state,
                             {"loss_sum": self.loss_sum.hex(), "loss_count": self.loss_count,
                              "wrong": self.wrong}, list(self.lines.values()))

    def _check_images(self) -> None:
        for split in (self.images, self.validation):
            split.check_unchanged()

    def _state(self) -> dict[str, Tensor] | None:
        return self.training.state() if self.place.replica == 0 else None

    def _append(self, name: str, line: dict[str, Any]) -> None:
        if self.place.first:
            self.lines[name].append(line)

    def _publish(self, weights: dict[str, Tensor]) -> None:
        with atomic_write(self.folder / "model.safetensors") as stream:
            stream.write(safetensors.torch.save(weights, {"digest": digest_of(weights)}))

