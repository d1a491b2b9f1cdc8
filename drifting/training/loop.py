"""The training loop: many steps per dispatch, asynchronous metrics, exact resume.

It is given a method and calls its pure functions; it never computes a loss itself.
"""

import contextlib
import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np
from tqdm import tqdm

from drifting.core import config as config_lib
from drifting.core import interrupts
from drifting.core import state as state_lib
from drifting.core.method import Scored
from drifting.core.state import TrainState
from drifting.training import checkpoints, divergence
from drifting.training import mesh as mesh_lib
from drifting.training.checkpoints import CheckpointError, Checkpoints
from drifting.training.divergence import TrainingDiverged
from drifting.training.epochs import Epoch
from drifting.training.meters import Window, progress_bar
from drifting.training.parts import Parts
from drifting.training.program import compile_steps, make_summary
from drifting.training.telemetry import Telemetry
from drifting.training.validation import Validation
from drifting.training.writers import Writers

log = logging.getLogger(__name__)

# (state, step, metrics) -> None, called with every checkpoint.
Score = Callable[[TrainState, int, dict[str, float]], None]
# () -> the step of the best checkpoint, which is kept; None if no checkpoint has a score.
Best = Callable[[], int | None]
# (step that is resumed, None for a fresh run) -> config.json, which goes into every checkpoint.
Record = Callable[[int | None], bytes]


class Trainer:
    """One training run; see `train`."""

    def __init__(
        self,
        parts: Parts,
        workdir: pathlib.Path,
        score: Score | None = None,
        best: Best = lambda: None,
    ):
        self.parts, self.workdir, self.score = parts, workdir, score
        self.method, self.config, self.schedule = parts.method, parts.config, parts.schedule
        self.plotted = self.method.plotted if self.schedule.plot else ()
        self.mesh = parts.mesh
        self.everywhere = mesh_lib.replicated(self.mesh)
        keep, keep_every = self.config.train.keep_checkpoints, self.config.train.keep_every_steps
        self.checkpoints = Checkpoints(workdir / "checkpoints", keep, keep_every, best)
        self.frozen = jax.device_put(parts.parameters, self.everywhere)
        # Reports in flight: (steps of the call, step after it, seconds, report on the device).
        self.pending: list[tuple[int, int, float, dict]] = []
        self.window = Window()
        self.last_row: dict[str, float] = {}
        self.saved_step = -1
        self.deferral = interrupts.Deferral()  # of requests to stop, while there is work to save
        self.resumed_step: int | None = None
        self.telemetry: Telemetry | None = None

    # A run starts in this order, whether it is fresh or resumed:
    #   1. shapes, then shardings: a replicated state is never built and then moved;
    #   2. the newest usable checkpoint, or a state made in place by the jitted init;
    #   3. the record of the run, which a refused checkpoint leaves as it was;
    #   4. the program, compiled ahead of time so that nothing can recompile in the loop;
    #   5. a fresh run samples and saves at step 0, so that its curves begin there. It goes on once
    #      that checkpoint is sealed: files of later steps prove that there was one to resume from.
    def start(self, record: Record | None = None) -> None:
        base, init_key, self.summary_key = jax.random.split(jax.random.key(self.config.seed), 3)
        self.key = jax.device_put(base, self.everywhere)
        shapes = jax.eval_shape(self.method.init, init_key)
        self.shardings = mesh_lib.state_shardings(self.mesh, shapes)
        placed = jax.tree.map(
            lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
            shapes,
            self.shardings,
        )
        self._restore_or_init(placed, jax.jit(self.method.init, out_shardings=self.shardings),
                              init_key)  # fmt: skip
        self.config_file = record(self.resumed_step) if record else None
        self.feed = self.parts.data.feed(
            self.everywhere,
            lambda rows: mesh_lib.batch_over(self.mesh, rows),
            self.method.stream_batch,
            self.step,
            self.schedule.total,
        )
        self.validation = None
        if self.parts.held_out is not None and isinstance(self.method, Scored):
            size = self.config.eval.batch_size
            self.validation = Validation(self.method, self.parts.held_out, size, self.everywhere)
        self._compile()

    def _restore_or_init(self, placed: TrainState, init: Callable, key: jax.Array) -> None:
        restored = self.checkpoints.restore_newest(placed, self.method.replaceable)
        if restored is None:
            self.state, self.step = init(key), 0
            return
        self.state, self.step, self.last_row = restored
        self.saved_step = self.resumed_step = self.step
        log.info("resumed %s at step %d", self.workdir, self.step)
        for name in placed.params.keys() - self.state.params.keys():
            log.warning(
                "the checkpoint of step %d has no %s of this shape; it is initialised anew",
                self.step, name,
            )  # fmt: skip
            self.state = state_lib.with_network(self.state, name, init(key))

    def _compile(self) -> None:
        arguments = (self.state, self.feed.data, self.key, self._count(1), self.frozen)
        shardings = (self.shardings, self.everywhere)
        looped = self.feed.whole  # a streamed batch serves one step
        per_call = self.schedule.per_call
        self.program, looped = compile_steps(
            self.method, arguments, shardings, looped, per_call, self.plotted
        )
        if not looped:
            self.schedule = dataclasses.replace(self.schedule, per_call=1)
        self.summarize = make_summary(self.method)

    def _count(self, n: int) -> jax.Array:
        return jax.device_put(np.int32(n), self.everywhere)

    def run(self, writers: Writers) -> None:
        """Trains to the end, or until a request to stop, after which the state is saved.

        Raises:
          TrainingDiverged: the loss or the state became non-finite; such a state is never saved.
        """
        self.writers = writers
        if self.config.train.telemetry:
            self.telemetry = Telemetry(self.mesh.local_devices)
        with progress_bar(self.step, self.schedule.total) as bar:
            self.epoch = Epoch(self.schedule, self.step, self.last_row)
            self.clock = time.perf_counter()  # until when the time of calls has been counted
            if self.saved_step < 0:
                self._sample()
                self._save()
                self.checkpoints.wait()
            else:
                self.score_newest(self.last_row)  # the job may have been killed while scoring
            self.window.reset()
            self._lap()
            while self.step < self.schedule.total:
                self._dispatch(bar)
                if self.schedule.due(self.step, self.schedule.log):
                    self._log(bar)
                if self.schedule.plot_due(self.step):
                    self._plot()
                if self.schedule.due(self.step, self.schedule.sample):
                    self._sample()
                if self.schedule.due(self.step, self.schedule.checkpoint):
                    self._save()
                if self.deferral.asked:
                    self._save()
                    break

    def _dispatch(self, bar: tqdm) -> None:
        """Starts the next call, and waits for the one before it, so as not to run far ahead."""
        count = self.schedule.next_stop(self.step) - self.step
        data = self.feed.next()
        # Only explicit transfers: a hidden one would cost a host round trip per call.
        with jax.transfer_guard("disallow"):
            self.state, report = self.program(
                self.state, data, self.key, self._count(count), self.frozen
            )
        self.deferral.begin()
        self.step += count
        if self.pending:
            jax.block_until_ready(self.pending[-1][3])
        self.pending.append((count, self.step, self._lap(), report))
        bar.update(count)

    def _lap(self) -> float:
        """The seconds since the last lap."""
        last, self.clock = self.clock, time.perf_counter()
        return self.clock - last

    def _collect(self) -> None:
        """Fetches the reports in flight; raises TrainingDiverged if one is not finite."""
        reports = jax.device_get([report for *_, report in self.pending])
        for (count, after, seconds, _), report in zip(self.pending, reports, strict=True):
            if after == self.step:
                seconds += self._lap()  # it has ended only now
            if report["bad_step"] > 0:
                where = int(report["bad_step"])
                raise self._diverged(divergence.at_step(where, report["bad"], self.method.terms))
            self.window.add(report, count)
            self.writers.plots.add(report["each"], count)
            if self.epoch.add(report["sum"], count, seconds, after):
                self.writers.epoch(after, self.epoch.row(after))
        self.pending = []

    def _diverged(self, what: str) -> TrainingDiverged:
        with contextlib.suppress(CheckpointError):  # an older one is named then
            self.checkpoints.wait()
        folder = self.checkpoints.folder
        steps = checkpoints.valid_steps(folder)
        return divergence.diverged(what, folder, steps, self.resumed_step)

    def _log(self, bar: tqdm) -> None:
        self._collect()
        if not self.window.steps:
            return
        rates = self.window.rates(self.method.images_per_step, self.schedule.per_epoch)
        means = self.window.means()
        self.last_row = {**self.schedule.epoch_at(self.step), **means}
        readings = self.telemetry.row() if self.telemetry else {}
        self.writers.scalars(self.step, {**self.last_row, **rates, **readings})
        bar.set_postfix_str(
            f"loss {means['loss']:.4g}, {rates['images_per_second']:.0f} images/s", refresh=False
        )
        self.window.reset()

    def _plot(self) -> None:
        """Starts to draw the plots of all steps so far, unless the last drawing still goes on."""
        if self.writers.plots.ready():
            self._collect()
            self.writers.plots.draw()

    def _sample(self) -> None:
        began = time.perf_counter()
        key = jax.device_put(self.summary_key, self.everywhere)
        found = self.summarize(self.state, key, self.feed.data, self.frozen)
        shown, numbers = jax.device_get(found)
        for name, picture in shown.items():
            self.writers.picture(self.step, name, picture)
        if numbers:
            row = self.schedule.epoch_at(self.step)
            self.writers.scalars(self.step, row | {k: float(v) for k, v in numbers.items()})
        paused = time.perf_counter() - began
        self.window.began += paused  # rates are those of train steps alone
        self.clock += paused

    def _save(self) -> None:
        began = time.perf_counter()
        self._collect()
        row = self.last_row
        if self.window.steps:
            row = {**self.schedule.epoch_at(self.step), **self.window.means()}
        if self.saved_step != self.step:
            if where := divergence.find_unsound(self.state):
                raise self._diverged(f"the state is not finite after step {self.step}: {where}")
            row = row | self.epoch.means()
            row_saved = row | self._validate()
            self.writers.flush()
            self.checkpoints.save(self.state, self.step, row_saved, self.config_file)
            self.saved_step = self.step
            self.score_newest(row)
        self.window.began += time.perf_counter() - began
        self.clock = time.perf_counter()

    def score_newest(self, row: dict[str, float]) -> None:
        """Scores a checkpoint; a request to stop then has nothing to wait for."""
        if self.score and not self.deferral.asked:
            self.checkpoints.wait()
            self.deferral.end()  # until the next call of the program
            self.score(self.state, self.step, row)
            self.checkpoints.prune()  # this one may be the best now

    def _validate(self) -> dict[str, float]:
        """Scores on the held-out images as val_<name>, which are saved with the checkpoint."""
        if self.validation is None:
            return {}
        scores = self.validation.scores(self.state)
        scores = {f"val_{name}": value for name, value in scores.items()}
        self.writers.scalars(self.step, {**self.schedule.epoch_at(self.step), **scores})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
        log.info("step %d: %s", self.step, shown)
        return scores

    def close(self) -> None:
        if self.telemetry:
            self.telemetry.close()
        self.checkpoints.close()


def train(
    parts: Parts,
    workdir: pathlib.Path,
    score: Score | None = None,
    record: Record | None = None,
    best: Best = lambda: None,
) -> None:
    """Trains to parts.schedule.total steps, from the workdir's newest checkpoint if it has one.

    Args:
      score: called with each checkpoint. Independently of it, a `Scored` method validates each
        checkpoint on the held-out images.
      record: called once the first state is there; not if the checkpoint is refused.
      best: called whenever a checkpoint was saved or scored.

    Raises:
      CheckpointError, MeshError, TrainingDiverged: one clear line each.
      SystemExit: 128 + a signal that asked to stop, once the state is saved.
    """
    trainer = Trainer(parts, workdir, score, best)
    with trainer.deferral as deferral:
        try:
            with jax.set_mesh(trainer.mesh):
                trainer.start(record)
                _train(trainer)
        finally:
            trainer.close()
    if deferral.asked:
        log.warning("%s: saved step %d in %s; the same command resumes there",
                    deferral.asked.name, trainer.step, workdir)  # fmt: skip
        raise SystemExit(128 + deferral.asked)


def _train(trainer: Trainer) -> None:
    if trainer.step >= trainer.schedule.total:
        log.info("already at step %d of %d", trainer.step, trainer.schedule.total)
        trainer.score_newest(trainer.last_row)  # the job may have been killed while scoring
        return
    hparams = config_lib.flatten(trainer.config)
    tensorboard = trainer.config.train.tensorboard
    writers = Writers(trainer.workdir, trainer.saved_step, tensorboard, hparams, trainer.plotted)
    try:
        trainer.run(writers)
    finally:
        writers.close()
