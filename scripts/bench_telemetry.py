"""Times training with and without telemetry, in turns within one run, and prints JSON.

    python scripts/bench_telemetry.py --config configs/digits.py --pairs 20 --logs 2

It is the loop of train.py with its log, TensorBoard events included, but without samples and
checkpoints. A round is the training of `logs` rows; a pair is a round with and one without
telemetry, in alternating order. Rounds of a second and more also count the thread that reads GPUs.
"""

import dataclasses
import json
import pathlib
import statistics
import tempfile
import time

import jax
import numpy as np
import timing
from absl import flags
from ml_collections import config_flags

from drifting import cli
from drifting.core import config as config_lib
from drifting.core.errors import UserError
from drifting.runs.build import build
from drifting.training import backend, telemetry
from drifting.training.loop import Trainer
from drifting.training.writers import Writers

CONFIG = config_flags.DEFINE_config_file("config", None, "Experiment file")
PAIRS = flags.DEFINE_integer("pairs", 20, "Timed pairs of rounds", lower_bound=2)
LOGS = flags.DEFINE_integer("logs", 2, "Rows of metrics per round", lower_bound=1)


class Alternating(Writers):
    """Switches a trainer's telemetry from round to round, and takes their times.

    Attributes:
      seconds: of the rounds so far, without the first one, which warms up: (without, with,
        with, without) and so on.
      row: the last one with telemetry.
    """

    def __init__(self, trainer, workdir):
        super().__init__(workdir, -1, trainer.config.train.tensorboard, {})
        self.trainer, self.logs, self.seconds, self.row = trainer, 0, [], {}

    def scalars(self, step, row):
        super().scalars(step, row)
        if "step_ms" not in row:  # of samples
            return
        self.logs += 1
        self.row = row if self.trainer.telemetry else self.row
        if self.logs % LOGS.value == 0:
            self._next_round()

    def _next_round(self):
        if self.logs > LOGS.value:
            self.seconds.append(time.perf_counter() - self.began)
            timing.say(f"round {len(self.seconds)}: {self.seconds[-1]:.2f} s")
        if self.trainer.telemetry:
            self.trainer.telemetry.close()
        self.trainer.telemetry = None
        if len(self.seconds) % 4 in (1, 2):
            self.trainer.telemetry = telemetry.Telemetry(self.trainer.mesh.local_devices)
        self.began = time.perf_counter()


def summarize(seconds, steps):
    """Times per step, and the ratio of each pair: its median with a 95 % bootstrap interval."""
    pairs = np.reshape(seconds, (-1, 2))
    pairs[1::2] = pairs[1::2, ::-1]  # every other one began with telemetry
    ratios = pairs[:, 1] / pairs[:, 0]
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    interval = np.quantile(np.median(draws, axis=1), (0.025, 0.975))
    without, with_telemetry = 1000 * np.median(pairs, axis=0) / steps
    return {
        "step_ms_without": round(float(without), 4),
        "step_ms_with": round(float(with_telemetry), 4),
        "ratio": round(statistics.median(ratios.tolist()), 5),
        "ratio_interval_95": [round(float(end), 5) for end in interval],
    }


def main(_):
    config = config_lib.resolve(CONFIG.value)
    if not config.train.telemetry:
        raise UserError("config.train.telemetry = False; leave it out, it is switched here")
    backend.configure(config.deterministic)
    parts = build(config)
    rounds, steps = 1 + 2 * PAIRS.value, LOGS.value * parts.schedule.log
    total = rounds * steps
    schedule = dataclasses.replace(parts.schedule, total=total, sample=total, checkpoint=total)
    parts = dataclasses.replace(parts, schedule=schedule, held_out=None)
    timing.say(f"{timing.machine()}: {rounds} rounds of {steps} steps")
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(parts, pathlib.Path(folder))
        with jax.set_mesh(trainer.mesh):
            trainer.start()
            writers = Alternating(trainer, pathlib.Path(folder))
            trainer.run(writers)
        trainer.close()
        writers.close()
    result = {
        "config": flags.FLAGS["config"].config_filename,
        **timing.machine(),
        "steps_per_row": parts.schedule.log,
        "rows_per_round": LOGS.value,
        "pairs": PAIRS.value,
        **summarize(writers.seconds, steps),
        "telemetry": {k: round(v, 3) for k, v in writers.row.items() if k in telemetry.NAMES},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
