"""The folder of a run: claimed by training, opened read-only by everything else."""

import copy
import functools
import json
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from drifting import methods
from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.core.facts import DataFacts
from drifting.core.networks import Codec, Encoder
from drifting.core.state import TrainState
from drifting.evaluation import generation, translation
from drifting.runs import best, folder
from drifting.runs.decoding import decoder_of
from drifting.runs.folder import WorkdirError
from drifting.runs.sampled import Sampled
from drifting.training import checkpoints

log = logging.getLogger(__name__)

FINGERPRINT_DIGITS = 64  # of a SHA-256


# --- training in it ------------------------------------------------------------------------------


def claim(workdir: pathlib.Path, config: Any) -> None:
    """Checks that a run can start in the folder, or logs what a resumed one changes in the config.

    Raises:
      WorkdirError: the folder holds files but no checkpoint, and a run has not just started in it.
      ConfigError: the run in it has another model or data set.
    """
    if not checkpoints.is_resumable(workdir / "checkpoints"):
        folder.require_no_run(workdir)
        return
    saved, _ = config_lib.read(workdir / "config.json")
    changes = config_lib.check_resume(saved, config)
    if changes:
        log.warning("resuming with changed %s", "; ".join(changes))


# --- what is in it -------------------------------------------------------------------------------


def read_facts(workdir: pathlib.Path, values: Mapping[str, Any]) -> DataFacts:
    """The facts in config.json about the data that a run was trained on.

    Args:
      values: the contents of config.json besides the config.

    Raises:
      ConfigError: an earlier version wrote the file.
    """
    try:
        return DataFacts.from_json(values["data"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"{workdir}/config.json has no valid description of the data: an earlier version wrote "
            "it, or it is damaged; run its `python train.py` command again, which updates the file "
            "and continues from the checkpoints if they still fit"
        ) from error


def read_fingerprint(values: Mapping[str, Any]) -> str | None:
    """The fingerprint of the training split in the contents of config.json.

    None if an earlier version wrote it, with fewer digits, from names and times.
    """
    found = values.get("data_fingerprint")
    return found if isinstance(found, str) and len(found) == FINGERPRINT_DIGITS else None


def _identity(config: Any, facts: Mapping[str, Any]) -> str:
    """Equal for what opens as the same run."""
    data = facts.get("data"), facts.get("data_fingerprint")
    return json.dumps((config.to_dict(), data), sort_keys=True)


class Run(Sampled):
    """A trained run, opened read-only and without its data.

    Its config and method are those that the newest checkpoint was made with; see `at`.

    Args:
      frozen: the frozen networks, for use as in training; without them the networks of
        `method.replaceable` are not restored.
      precision: of the computation; that of the config if None.

    Raises:
      UserError: the workdir is not that of a run.
    """

    def __init__(
        self,
        workdir: str | pathlib.Path,
        frozen: Mapping[str, Encoder] | None = None,
        precision: str | None = None,
    ):
        workdir = pathlib.Path(workdir).expanduser()
        self._now = config_lib.read_complete(workdir / "config.json")
        self._latents = read_facts(workdir, self._now[1]).latents
        self._codec: Codec | None = None
        for name, why in checkpoints.misnamed(workdir / "checkpoints").items():
            log.warning("checkpoint %s is ignored: %s", workdir / "checkpoints" / name, why)
        self.workdir, self._networks, self._precision = workdir, frozen, precision
        self.frozen = {name: network.parameters for name, network in (frozen or {}).items()}
        steps = self.steps()
        if not steps:
            raise WorkdirError(
                f"{workdir} has no finished checkpoint yet; train it further with `python train.py`"
            )
        try:
            self._open(*self._made_with(steps[-1]))
        except checkpoints.CheckpointError:  # `restore` says how it is damaged
            self._open(*self._now)

    def _open(self, config: Any, facts: dict[str, Any]) -> None:
        """Makes this the run of a config and of what is known about its data."""
        # What `at` returns, by config and by step.
        self._opened: dict[str | int, Run] = {_identity(config, facts): self}
        self._sampler: tuple[str | None, int | None] = (None, None)
        if self._precision:
            config = config.copy_and_resolve_references()
            config.precision = self._precision
        data = read_facts(self.workdir, facts)
        method = methods.create(config, data, self._networks)
        super().__init__(self.workdir, config, method)
        # A checkpoint from before the run was given an autoencoder is decoded by it, too.
        latents = data.latents or self._latents
        self.decoder = decoder_of(self._codec, data.space, latents) if self._codec else None
        self.data_fingerprint = None if config.data.streaming else read_fingerprint(facts)
        self._left_out = method.replaceable if self._networks is None else ()
        where = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        self._shapes = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
            jax.eval_shape(self.method.init, jax.random.key(0)),
        )

    def _made_with(self, step: int) -> tuple[Any, dict[str, Any]]:
        """The contents of the config.json that a checkpoint was saved with.

        Those of the workdir's for one of an older version. Data that were moved are where the
        workdir's says.

        Raises:
          CheckpointError: the checkpoint has a damaged one, or was removed.
        """
        path = checkpoints.config_of(self.workdir / "checkpoints", step)
        if path is None:
            return self._now
        try:
            config, facts = config_lib.read_complete(path)
        except ConfigError:
            if path.exists():
                raise
            raise checkpoints.CheckpointError(f"checkpoint {path.parent} was removed") from None
        now = config_lib.flatten(self._now[0])
        config.update_from_flattened_dict({key: now[key] for key in config_lib.FREE})
        return config, facts

    def at(self, step: int) -> "Run":
        """This run with the config that the checkpoint of `step` was made with.

        The same object for the same config, so that what was compiled can be used again.

        Raises:
          CheckpointError: the checkpoint is damaged or was removed.
        """
        if step in self._opened:
            return self._opened[step]
        config, facts = self._made_with(step)
        identity = _identity(config, facts)
        if identity not in self._opened:
            self._opened[identity] = other = copy.copy(self)
            other.__dict__.pop("last", None)
            other._open(config, facts)
            if any(self._sampler):  # a method without a sampler never has one to use
                other.use_sampler(*self._sampler)
            other._opened = self._opened
        self._opened[step] = self._opened[identity]  # also once a running job has removed it
        return self._opened[step]

    def use_sampler(self, name: str | None, steps: int | None) -> None:
        super().use_sampler(name, steps)
        self._sampler = name, steps
        self._opened = {key: run for key, run in self._opened.items() if run is self}

    @property
    def autoencoder(self) -> str | None:
        """The workdir of the autoencoder of the run's latents; None without one."""
        return self._latents and (self._now[0].data.autoencoder or self._latents.autoencoder)

    def use_autoencoder(self, codec: Codec) -> None:
        """Decodes latents by an autoencoder; ConfigError unless it is that of the run."""
        self._codec = codec
        latents = self.facts.latents or self._latents
        self.decoder = decoder_of(codec, self.facts.space, latents)
        self._opened = {key: run for key, run in self._opened.items() if run is self}

    def best_step(self) -> int:
        """The step of the best checkpoint (best.py); the last step if none is scored."""
        found = best.step(self.workdir, self.method.best_score, self.config)
        return max(self.steps()) if found is None else found

    def restore_best(self) -> tuple[TrainState, dict[str, float], int]:
        """The state and metrics of `best_step`, and that step."""
        while True:
            step = self.best_step()
            try:
                return *self.restore(step), step
            except checkpoints.CheckpointError:
                if step in self.steps():
                    raise
                # A running job removed it, because it has a better or newer one.

    def restore(self, step: int) -> tuple[TrainState, dict[str, float]]:
        """The state at `step`, on one device, and the metrics saved with it.

        The method that it fits is that of `at(step)`.
        """
        folder, run = self.workdir / "checkpoints", self.at(step)
        return checkpoints.restore(folder, step, run._shapes, run._left_out)

    def restore_last(self) -> tuple[TrainState, int]:
        """The newest usable state and its step; damaged newer ones are logged and skipped.

        So is one that a running job removes meanwhile, when it has a newer one.
        """
        unusable: set[int] = set()
        while steps := set(self.steps()) - unusable:
            step = max(steps)
            try:
                return self.restore(step)[0], step
            except checkpoints.CheckpointError as error:
                log.warning("%s; trying another", error)
                unusable.add(step)
        raise WorkdirError(
            f"no checkpoint in {self.workdir} can be used; the warnings above say why. Restore one "
            "from a copy, or train in another --workdir"
        )

    @functools.cached_property
    def last(self) -> tuple[TrainState, int]:
        """The result of `restore_last`, kept."""
        return self.restore_last()

    def chosen(self, which: str) -> tuple[TrainState, int]:
        """The state and the step of a checkpoint: `last`, `best` (best.py), or a step by number.

        Raises:
          WorkdirError: it is not one of these; CheckpointError: it is damaged.
        """
        if which == "last":
            return self.last
        if which == "best":
            state, _, step = self.restore_best()
            return state, step
        if which not in map(str, self.steps()):
            raise WorkdirError(
                f"--checkpoint {which}: choose last, best, or one of the steps of {self.workdir}: "
                f"{', '.join(map(str, self.steps()))}"
            )
        return self.restore(int(which))[0], int(which)

    def sample(
        self,
        labels: Any,
        seed: int = 42,
        *,
        cfg_scale: float | None = None,
        ema: bool = True,
        batch_size: int | None = None,
        progress: bool = False,
    ) -> np.ndarray:
        """One sample for each label, from the newest checkpoint.

        Args:
          labels: integers [N], classes of the training data.
          cfg_scale, batch_size: those of config.eval if None.
          ema: whether to use the averaged weights.
          progress: whether to show a progress bar.

        Returns:
          uint8 [N, H, W, C], or float32 [N, D] of a run on points.

        Raises:
          WorkdirError: the run makes no samples, or a label is out of range or none is given.
        """
        self.require_generator()
        labels = np.asarray(list(labels), np.int32)
        if not len(labels):
            raise WorkdirError("no samples are asked for; give one label or more")
        unknown = sorted({int(k) for k in labels if not 0 <= k < self.facts.num_classes})
        if unknown:
            raise WorkdirError(
                f"labels {unknown}: the run has {self.facts.num_classes} classes; use 0 to "
                f"{self.facts.num_classes - 1}"
            )
        state, step = self.last
        run = self.at(step)
        cfg_scale = run.config.eval.cfg_scale if cfg_scale is None else cfg_scale
        program = run.program(cfg_scale, ema)
        size = run.config.eval.batch_size if batch_size is None else batch_size
        if size < 1:
            raise WorkdirError(
                f"a batch size of {size} (config.eval.batch_size, --batch_size): must be 1 or more"
            )
        size = min(size, len(labels))
        key = jax.random.key(seed)
        return generation.generate_images(program, state, labels, key, size, progress)

    def translate(
        self, images: np.ndarray, *, ema: bool = True, batch_size: int | None = None
    ) -> np.ndarray:
        """Translations by the newest checkpoint, uint8 [N, H, W, C] of any size both.

        Raises:
          UserError: the run does not translate, or the images have another form.
        """
        self.require_translator()
        state, step = self.last
        method = self.at(step).method
        return translation.translate_images(method, state, images, ema, batch_size)
