"""A run of the PyTorch loop, from its first check to the test of its best state."""

import copy
import logging
import math
import pathlib
import time
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from tqdm import tqdm

from drifting import pictures
from drifting.core import config as config_lib
from drifting.core import files, interrupts, optimizers
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.methods import classifier
from drifting.runs import build, folder
from drifting.runs.train import tested_steps
from drifting.training import schedule as schedules
from drifting.training import writers
from drifting.training.divergence import TrainingDiverged
from drifting.training.epochs import Epoch
from drifting.training.meters import Window, progress_bar
from input_pipeline import splits
from input_pipeline.decoding import DataError
from input_pipeline.image_set import ImageSet
from models import registry
from reference_torch import batches, checkpoint, networks, steps, support

log = logging.getLogger("drifting.reference_torch")


def train(config: Any, workdir: pathlib.Path) -> None:
    """Trains a config in a workdir, which may hold an earlier part of the run.

    Raises:
      UserError: something is invalid, missing or not implemented; such a run writes nothing.
    """
    config = config_lib.resolve(config)
    support.require_supported(config_lib.flatten(config))
    with folder.owned(workdir):
        whole = build.load_images(config)
        support.require_images(whole)
        test = build.load_images(config, config.data.test_split).in_classes(whole.class_names)
        if not config.data.num_val:
            raise ConfigError("config.data.num_val = 0: the best state is that of a validation")
        split = splits.make(whole, config.data.num_val, config.data.split_seed)
        fit, held_out = split.apply(whole)
        training = Training(config, workdir, fit, held_out)
        _require_same_run(workdir, config, whole.fingerprint)
        training.restore()
        splits.load_or_make(
            workdir / "split.json", whole, config.data.num_val, config.data.split_seed
        )
        _write_config(workdir, training, whole.fingerprint)
        training.run()
        training.test(test)


def _require_same_run(workdir: pathlib.Path, config: Any, fingerprint: str) -> None:
    """Checks that what is in the workdir is an earlier part of this run, or nothing."""
    if not checkpoint.path_in(workdir).exists():
        folder.require_no_run(workdir)
        return
    saved, facts = config_lib.read(workdir / "config.json")
    if changes := config_lib.check_resume(saved, config):
        log.warning("resuming with changed %s", "; ".join(changes))
    if facts.get("data_fingerprint") != fingerprint:
        raise DataError(
            f"{workdir} was trained on other data than {config.data.source} holds now; restore "
            "them, or choose another --workdir"
        )


def _write_config(workdir: pathlib.Path, training: "Training", fingerprint: str) -> None:
    device = training.device
    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    config_lib.write(
        workdir / "config.json",
        training.config,
        {
            "framework": "torch",
            "versions": {"torch": torch.__version__, "numpy": np.__version__},
            "device_kind": kind,
            "data_fingerprint": fingerprint,
            "data": training.facts.to_json(),
        },
    )


def use_device(deterministic: bool) -> torch.device:
    """The GPU if there is one, else the CPU, with products as JAX computes them there.

    JAX multiplies float32 matrices in TF32 on recent GPUs and chooses the fastest convolution.
    """
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = not deterministic
    torch.use_deterministic_algorithms(deterministic)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Training:
    """The state of a run, and what changes it; see `train`."""

    def __init__(self, config: Any, workdir: pathlib.Path, fit: ImageSet, held_out: ImageSet):
        self.config, self.workdir = config, workdir
        self.device = use_device(config.deterministic)
        self.facts: DataFacts = build.facts_of(fit)
        self.settings = config_lib.typed(classifier.Settings, config.method, "method")
        self.settings.check(self.facts)
        self.schedule = schedules.make(config.train, self.settings.batch_size, len(fit))
        optimizers.learning_rates(config.optimizer, self.schedule.total)  # it refuses bad ones
        model = {key: value for key, value in config.model.items() if key != "name"}
        registry.create(config.model.name, model, fit.space.shape, fit.num_classes)  # its checks
        torch.manual_seed(config.seed)
        self.network = networks.create(
            config.model.name,
            self.facts.num_classes,
            *fit.space.shape[:0:-1],
            width=config.model.width,
            stem=config.model.stem,
        ).to(self.device)
        self.optimizer = steps.make_optimizer(config.optimizer, self.network)
        self.stream = batches.Stream(fit, self.settings.batch_size, config.seed, self.device)
        self.held_out = batches.to_device(held_out, self.device)
        self.step, self.saved_step = 0, -1
        self.row: dict[str, float] = {}  # the last one logged
        self.best: dict[str, Any] = {"val_accuracy": -1.0}
        self.window, self.deferral = Window(), interrupts.Deferral()

    def restore(self) -> None:
        """Goes on from the checkpoint in the workdir, if there is one."""
        found = checkpoint.load(self.workdir, self.device)
        if found is None:
            return
        self.network.load_state_dict(found["network"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.step = self.saved_step = found["step"]
        self.row, self.best = found["row"], found["best"]
        log.info("resumed %s at step %d", self.workdir, self.step)

    # --- training --------------------------------------------------------------------------------

    def run(self) -> None:
        """Trains to the end; a request to stop ends it once the state is saved.

        Raises:
          TrainingDiverged: the loss became non-finite; such a state is never saved.
          SystemExit: 128 + a signal that asked to stop.
        """
        if self.step >= self.schedule.total:
            log.info("already at step %d of %d", self.step, self.schedule.total)
            return
        tensorboard, hparams = self.config.train.tensorboard, config_lib.flatten(self.config)
        self.writers = writers.Writers(self.workdir, self.saved_step, tensorboard, hparams)
        try:
            with self.deferral as deferral, progress_bar(self.step, self.schedule.total) as bar:
                self._to_the_end(bar)
        finally:
            self.writers.close()
        if deferral.asked:
            log.warning("%s: saved step %d in %s; the same command resumes there",
                        deferral.asked.name, self.step, self.workdir)  # fmt: skip
            raise SystemExit(128 + deferral.asked)

    def _to_the_end(self, bar: tqdm) -> None:
        self.epoch = Epoch(self.schedule, self.step, self.row)
        self._forget()
        if self.saved_step < 0:
            self._save()
        self.window.reset()
        self._lap()
        while self.step < self.schedule.total and not self.deferral.asked:
            self._train_step()
            bar.update()
            if self.schedule.epochs(self.step) > self.schedule.epochs(self.step - 1):
                self._collect()
            if self.schedule.due(self.step, self.schedule.log):
                self._log(bar)
            if self.deferral.asked or self.schedule.due(self.step, self.schedule.checkpoint):
                self._save()

    def _train_step(self) -> None:
        images, labels = self.stream.batch(self.step)
        images = batches.augmented(images, self.settings.crop_padding, self.config.data.flip)
        self.rate = steps.learning_rate(self.config.optimizer, self.schedule.total, self.step)
        self.sums += steps.train_step(
            self.network,
            self.optimizer,
            batches.standardised(images, self.facts),
            labels,
            self.rate,
            self.settings.label_smoothing,
            self.config.optimizer.clip_norm,
            self.config.precision,
        )
        self.count += 1
        self.step += 1
        self.deferral.begin()

    def _forget(self) -> None:
        self.sums, self.count = torch.zeros(len(steps.METRICS), device=self.device), 0

    def _lap(self) -> float:
        """The seconds since the last lap."""
        last, self.clock = getattr(self, "clock", 0.0), time.perf_counter()
        return self.clock - last

    def _collect(self) -> None:
        """Adds the metrics of the steps since the last call, which it waits for, to the means."""
        if not self.count:
            return
        sums = dict(zip(steps.METRICS, self.sums.tolist(), strict=True))
        if not all(map(math.isfinite, sums.values())):
            raise self._diverged(f"loss or gradient is not finite before step {self.step}")
        sums["lr"] = self.rate * self.count
        self.window.add({"sum": sums, "last": {"lr": self.rate}}, self.count)
        if self.epoch.add(sums, self.count, self._lap(), self.step):
            self.writers.epoch(self.step, self.epoch.row(self.step))
        self._forget()

    def _diverged(self, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"{what}; the last checkpoint is that of step {self.saved_step}. Lower "
            "config.optimizer.learning_rate and run again: it resumes from there"
        )

    def _log(self, bar: tqdm) -> None:
        self._collect()
        if not self.window.steps:
            return
        rates = self.window.rates(self.settings.batch_size, self.schedule.per_epoch)
        self.row = {**self.schedule.epoch_at(self.step), **self.window.means()}
        self.writers.scalars(self.step, {**self.row, **rates})
        bar.set_postfix_str(
            f"loss {self.row['loss']:.4g}, {rates['images_per_second']:.0f} images/s",
            refresh=False,
        )
        self.window.reset()

    def _save(self) -> None:
        """Validates and saves; the time that takes is not that of training."""
        self._collect()
        if self.saved_step == self.step:
            return
        began = time.perf_counter()
        scores, _ = self.scores(self.held_out)
        if not math.isfinite(scores["loss"]):
            raise self._diverged(f"the state is not finite after step {self.step}")
        scores = {f"val_{name}": value for name, value in scores.items()}
        self.writers.scalars(self.step, {**self.schedule.epoch_at(self.step), **scores})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        log.info("step %d: %s", self.step, shown)
        if scores["val_accuracy"] >= self.best["val_accuracy"]:  # the latest of equal ones
            state = copy.deepcopy(self.network.state_dict())
            self.best = {"step": self.step, "network": state, **scores}
        self._write_checkpoint()
        self.window.began += time.perf_counter() - began
        self._lap()

    def _write_checkpoint(self) -> None:
        self.writers.flush()
        content = {
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "row": {**self.row, **self.epoch.means()},
            "best": self.best,
        }
        checkpoint.save(self.workdir, content, self.device)
        self.saved_step = self.step

    # --- scores ----------------------------------------------------------------------------------

    @torch.no_grad()
    def scores(
        self, data: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[dict[str, float], np.ndarray]:
        """Loss in nats, accuracy and macro-F1 on images, and their confusion [K, K]."""
        self.network.eval()
        classes = self.facts.num_classes
        confusion = torch.zeros(classes * classes, dtype=torch.int64, device=self.device)
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        for images, labels in batches.in_order(data, self.config.eval.batch_size):
            with steps.computing_in(self.config.precision, self.device):
                logits = self.network(batches.standardised(images, self.facts))
            loss += F.cross_entropy(logits, labels, reduction="sum")
            places = labels * classes + logits.argmax(dim=1)
            confusion += torch.bincount(places, minlength=classes * classes)
        counts = confusion.reshape(classes, classes).cpu().numpy()
        found = {
            "loss": loss.item() / counts.sum(),
            "accuracy": np.trace(counts) / counts.sum(),
            "macro_f1": classifier.macro_f1(counts),
        }
        return {name: float(value) for name, value in found.items()}, counts

    def test(self, images: ImageSet) -> None:
        """Scores the best state on the test images: test.json and confusion.png."""
        path = self.workdir / "test.json"
        if tested_steps(path) == self.schedule.total:
            log.info("already tested: %s", path)
            return
        self.network.load_state_dict(self.best["network"])
        scores, confusion = self.scores(batches.to_device(images, self.device))
        rows = writers.read_metrics(self.workdir / "metrics.jsonl")
        seconds = [row["epoch_seconds"] for row in rows if "epoch_seconds" in row]
        found = {
            **scores,
            **{name: v for name, v in self.best.items() if name.startswith("val_")},
            "step": self.best["step"],
            "trained_steps": self.schedule.total,
            "num_images": len(images),
            "parameters": networks.num_parameters(self.network),
            "epoch_seconds": float(np.median(seconds)),
            "split": f"{images.source} {images.split}",
            "framework": "torch",
            "confusion": confusion,
        }
        files.write_json(path, found)
        picture = self.workdir / "confusion.png"
        with pictures.attempt(picture):
            pictures.plot_confusion(confusion, images.class_names, picture)
        shown = ", ".join(f"{k} {v:.4g}" for k, v in scores.items())
        log.info("test split, state of step %d: %s; %s", found["step"], shown, path)
