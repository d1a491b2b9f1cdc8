"""Metrics of many steps: their means since the last log, and rates."""

import math
import time
from typing import Any

from tqdm import tqdm

NOT_AVERAGED = ("lr",)  # metrics that are settings: their last value is logged


def progress_bar(step: int, total: int) -> tqdm:
    """The bar of a run of `total` steps that begins, or resumes, at a step."""
    return tqdm(total=total, initial=step, unit="step", desc="training", mininterval=1.0)


class Window:
    """Means of the metrics since the last log, and the rates."""

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        self.steps, self.sums, self.last, self.began = 0, {}, {}, time.perf_counter()

    def add(self, report: dict[str, Any], steps: int) -> None:
        self.steps += steps
        self.last = report["last"]
        for name, value in report["sum"].items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def means(self) -> dict[str, float]:
        means = {name: total / self.steps for name, total in self.sums.items()}
        return means | {n: float(self.last[n]) for n in NOT_AVERAGED if n in means}

    def rates(self, images_per_step: int, steps_per_epoch: float) -> dict[str, float]:
        seconds = (time.perf_counter() - self.began) / self.steps
        rates = {"images_per_second": images_per_step / seconds, "step_ms": 1000 * seconds}
        return rates | (
            {"epoch_seconds": steps_per_epoch * seconds} if steps_per_epoch < math.inf else {}
        )
