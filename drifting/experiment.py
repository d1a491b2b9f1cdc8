"""From a config or a workdir to the objects that the entry points need.

The only module that knows all rooms: data, methods, training and checkpoints.
"""

import functools
import logging
import pathlib
import subprocess
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from configs import base
from drifting import config as config_lib
from drifting import methods, pictures
from drifting.evaluation import generation, reference, report, scoring
from drifting.training import checkpoints, loop, sharding
from drifting.weights import inception as weights
from input_pipeline import sources
from input_pipeline.sources import ImageSet

log = logging.getLogger(__name__)


class WorkdirError(RuntimeError):
    """A workdir that cannot be written or understood."""


# What entry points print as one line instead of a traceback.
USER_ERRORS = (
    WorkdirError,
    config_lib.ConfigError,
    sources.DataError,
    sharding.MeshError,
    checkpoints.CheckpointError,
    loop.TrainingDiverged,
    generation.NonFiniteSamples,
    report.TableError,
    reference.StatisticsError,
    weights.WeightsError,
)


def load_images(config: Any, split: str) -> ImageSet:
    """The split of config.data.source in the config's shape."""
    data = config.data
    return sources.load(
        data.source,
        split,
        image_size=data.image_size,
        channels=data.channels,
        fit=data.fit,
        on_corrupt=data.on_corrupt,
    )


def make_method(config: Any, image_set: ImageSet) -> Any:
    """The config's method for the shape and classes of a data set."""
    return methods.create(config, image_set.images.shape[1:], image_set.num_classes)


def train(config: Any, workdir: str | pathlib.Path) -> None:
    """Trains a config in a workdir, fresh or resumed.

    Raises:
      one of USER_ERRORS.
    """
    workdir = pathlib.Path(workdir)
    _check_workdir(workdir, config)
    image_set = load_images(config, config.data.split)
    method = make_method(config, image_set)
    convert = functools.partial(
        config_lib.to_steps,
        config.train,
        images_per_step=method.images_per_step,
        num_images=len(image_set),
    )
    per_epoch = config_lib.steps_per_epoch(
        config.train, method.images_per_step, len(image_set)
    )
    schedule = loop.steps_of(config, convert, per_epoch)
    method.check_data(image_set)  # nothing is written for a run that cannot start
    config_lib.write(workdir / "config.json", config, _facts(image_set))
    hparams = config_lib.flatten(config)
    loop.train(method, image_set, config, schedule, workdir, hparams)


def _check_workdir(workdir: pathlib.Path, config: Any) -> None:
    """Makes the folder of a fresh run; refuses one that cannot be written or gone on from."""
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        _probe(workdir)
    except OSError as error:
        raise WorkdirError(
            f"cannot write to the workdir {workdir}: {error.strerror}; choose another --workdir"
        ) from error
    if not any(workdir.iterdir()):
        return
    if not checkpoints.valid_steps(workdir / "checkpoints"):
        raise WorkdirError(
            f"{workdir} holds files but no finished checkpoint, so there is nothing to resume; "
            "remove it or choose another --workdir"
        )
    for line in config_lib.check_resume(config_lib.read(workdir / "config.json"), config):
        log.warning("resuming with a changed %s", line)


def _facts(image_set: ImageSet) -> dict[str, Any]:
    """What a reader of config.json needs to repeat the run."""
    import importlib.metadata

    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    return {
        "versions": {p: importlib.metadata.version(p) for p in packages},
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "git_commit": _git_commit(),
        "data_fingerprint": image_set.fingerprint,
    }


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    root = pathlib.Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


class Run:
    """A trained run, opened read-only for evaluation and sampling.

    Raises:
      one of USER_ERRORS: the workdir is not that of a run.
    """

    def __init__(self, workdir: str | pathlib.Path):
        self.workdir = pathlib.Path(workdir)
        self.config = config_lib.read(self.workdir / "config.json")
        if not self.steps():
            raise WorkdirError(
                f"{self.workdir} has no finished checkpoint yet; train it further with "
                "`python train.py`"
            )
        self.images = load_images(self.config, self.config.data.split)
        self.method = make_method(self.config, self.images)
        folder = self.workdir / "checkpoints"
        self._checkpoints = checkpoints.Checkpoints(folder, read_only=True)
        where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        self._shapes = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
            jax.eval_shape(self.method.init, jax.random.key(0)),
        )

    def steps(self) -> list[int]:
        """Steps of the finished checkpoints, read anew."""
        return checkpoints.valid_steps(self.workdir / "checkpoints")

    def restore(self, step: int) -> tuple[Any, dict[str, float]]:
        """The state at `step` on one device, and the metrics saved beside it."""
        return self._checkpoints.restore(step, self._shapes)

    def restore_last(self) -> tuple[Any, int]:
        """The newest usable state and its step; a damaged newer one is named and passed over."""
        for step in reversed(self.steps()):
            try:
                return self.restore(step)[0], step
            except checkpoints.CheckpointError as error:
                log.warning("%s; trying the one before", error)
        raise WorkdirError(f"no checkpoint in {self.workdir} can be used")

    def sampler(self, cfg_scale: float, ema: bool) -> Callable:
        """(state, key, labels) -> images, for a SampleProgram."""

        def generate(state, key, labels):
            return self.method.sample(state, key, labels, cfg_scale, ema)

        return generate

    def batch_sharding(self, batch_size: int) -> jax.sharding.NamedSharding:
        """How a batch of samples is spread over the devices."""
        return sharding.batch_sharding(batch_size)


def evaluate(
    workdir: str | pathlib.Path,
    which: str = "last",
    *,
    skip_existing: bool = False,
    watch: bool = False,
    split: str | None = None,
    cfg_scales: list[float] | None = None,
    seeds: list[int] | None = None,
    **given: Any,
) -> None:
    """Scores checkpoints of a run; what is not given comes from its config.eval.

    Args:
      which: `last`, `all`, `best`, or steps separated by commas.
      skip_existing: leave out what the table holds already.
      watch: go on with new checkpoints until the run's last one; implies skip_existing.
      given: fields of scoring.Settings; None is the config's.

    Raises:
      one of USER_ERRORS.
    """
    run = Run(workdir)
    values = base.get_config().eval.to_dict() | run.config.eval.to_dict()
    values |= {k: v for k, v in given.items() if v is not None}
    values["metrics"] = tuple(values["metrics"])
    images = run.images
    if split not in (None, run.config.data.split):
        images = load_images(run.config, split)
    heldout = _heldout(run.config, images) if "neighbours" in values["metrics"] else None
    scorers = scoring.make_scorers(
        run,
        images,
        heldout,
        scoring.Settings(**values),
        cfg_scales or [values["cfg_scale"]],
        seeds or [values["seed"]],
    )
    session = scoring.Session(run, scorers, skip_existing or watch)
    session.score(which)
    if watch:
        session.watch(_total_steps(run))


def _total_steps(run: Run) -> int:
    return config_lib.to_steps(
        run.config.train, "total", run.method.images_per_step, len(run.images)
    )


def compare_folders(
    real: str | pathlib.Path, fake: str | pathlib.Path, **given: Any
) -> dict[str, Any]:
    """Scores the images of one folder against those of another, by configs/base.py's eval values.

    Raises:
      one of USER_ERRORS.
    """
    values = base.get_config().eval.to_dict() | {k: v for k, v in given.items() if v is not None}
    return scoring.score_folders(
        sources.load_as_they_are(real),
        sources.load_as_they_are(fake),
        feature_name=values["features"],
        mode=values["fid_mode"],
        metrics=tuple(values["metrics"]),
        batch_size=values["batch_size"],
        seed=values["seed"],
        sharding=sharding.batch_sharding(values["batch_size"]),
    )


def _heldout(config: Any, reference: ImageSet) -> ImageSet | None:
    """Real images apart from the reference, where the source has them."""
    if reference.split == config.data.test_split:
        return None
    try:
        return load_images(config, config.data.test_split)
    except sources.DataError as error:
        log.info("no held-out images: %s", error)
        return None


def sample(
    workdir: str | pathlib.Path,
    num: int,
    out: str | pathlib.Path | None,
    *,
    labels: list[int] | None,
    cfg_scale: float | None,
    batch_size: int | None,
    seed: int,
    ema: bool,
) -> pathlib.Path:
    """Writes `num` samples of a run's newest checkpoint as a grid, an npz or a folder.

    Raises:
      one of USER_ERRORS.
    """
    run = Run(workdir)
    out = pathlib.Path(out) if out else run.workdir / "samples.png"
    _check_out(out)
    chosen = np.asarray(labels if labels else range(run.images.num_classes), np.int32)
    unknown = [int(k) for k in chosen if not 0 <= k < run.images.num_classes]
    if unknown:
        raise WorkdirError(f"--labels {unknown}: there are {run.images.num_classes} classes")
    chosen = np.resize(chosen, num)  # in turn, so every class is there as often, or once more
    state, step = run.restore_last()
    cfg_scale = run.config.eval.cfg_scale if cfg_scale is None else cfg_scale
    program = generation.SampleProgram(run.sampler(cfg_scale, ema))
    size = min(batch_size or run.config.eval.batch_size, num)
    images = generation.generate_images(program, state, chosen, jax.random.key(seed), size)
    pictures.save_images(images, chosen, out)
    log.info("%d samples of step %d: %s", num, step, out)
    return out


def _check_out(out: pathlib.Path) -> None:
    """Refuses, before the work, a place that cannot be written or would mix two sets of samples."""
    is_folder = out.suffix not in (".png", ".npz")
    try:
        folder = out if is_folder else out.parent
        folder.mkdir(parents=True, exist_ok=True)
        _probe(folder)
    except OSError as error:
        raise WorkdirError(f"cannot write --out {out}: {error.strerror}") from error
    if is_folder and any(out.iterdir()):
        raise WorkdirError(f"--out {out} holds files already; empty it or choose another folder")


def _probe(folder: pathlib.Path) -> None:
    """Raises OSError where files cannot be made in a folder."""
    probe = folder / ".write_test"
    probe.touch()
    probe.unlink()
