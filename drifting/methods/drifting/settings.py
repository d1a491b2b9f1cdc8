"""The config keys of drifting and their constraints."""

import dataclasses

from drifting.core.errors import ConfigError, one_of
from drifting.core.facts import DataFacts
from drifting.core.method import MethodSettings
from drifting.methods import features as feature_lib
from drifting.methods import gradients
from input_pipeline.decoding import DataError

FORMS = ("sphere", "distance")
FIELDS = ("kernel", "learned")

LEAST = {"num_generated": 1, "num_positives": 1, "num_unconditional": 0, "queue_size": 0,
         "queue_push": 1, "queue_unconditional": 0}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings(MethodSettings):
    """The keys of config.method."""

    field: str = "kernel"  # or learned: see config.field and config.field_optimizer
    # The form of the algorithm. distance: as released by the paper's authors, distances divided by
    # their mean, guidance by unconditional negatives in training. sphere: L2-normalised features,
    # guidance by extrapolation from the null class in sampling.
    form: str = "distance"
    temperatures: tuple[float, ...] = (0.02, 0.05, 0.2)
    # The network in whose features samples drift: the workdir of a classifier or of a masked
    # autoencoder, or torch:<network>:<file> with torchvision's weights. None: pixels.
    encoder: str | None = None
    # pooled: the spatial mean of each stage, as in jaysarva/drifting-model. locations: every place
    # of the maps, their means and deviations over patches, and the pixels, as in the paper.
    encoder_features: str = "pooled"
    encoder_every_block: int = 2  # locations: also the maps of every k-th block; 0: stages only
    classes_per_step: int = 0  # 0: all classes
    num_generated: int = 32  # per class and step
    num_positives: int = 32  # per class and step
    num_unconditional: int = 16  # real negatives of any class, per class and step (distance)
    scale_per_label: bool = False  # a distance scale per class, not one for the whole batch
    drop_self_pairs: bool = False  # a sample's affinity to itself is 0, not 1e-3
    # Guidance scales in training: a share of them is 1, the others follow p(s) ~ s^-power.
    cfg_min: float = 1.0
    cfg_max: float = 4.0
    cfg_power: float = 3.0
    cfg_share_at_one: float = 0.0  # released: 0.5 with the large latent model only
    # The share of labels that become the null class, which guidance needs in the sphere form.
    # None: 0.1 in the sphere form, 0 in the distance form, where nothing uses the null class and a
    # share p of it acts like a guidance scale of 1 / (1 - p).
    label_dropout: float | None = None
    queue_size: int = 0  # images per class in a sample queue (released: 128); 0: no queue
    queue_push: int = 64  # fresh images pushed per step
    # Images in a queue of any class, of which unconditional negatives are drawn (released: 1000);
    # 0: they are drawn from the queues of the classes.
    queue_unconditional: int = 0
    micro_batches: int = 1  # exact; above 1 saves memory for one more forward pass

    def completed(self, facts: DataFacts) -> "Settings":
        dropout = self.label_dropout
        if dropout is None:
            dropout = 0.1 if self.form == "sphere" else 0.0
        classes = self.classes_per_step or facts.num_classes
        return dataclasses.replace(self, classes_per_step=classes, label_dropout=dropout)

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError, naming the key, for a value out of range."""
        one_of("method.field", self.field, FIELDS)
        one_of("method.form", self.form, FORMS)
        one_of("method.encoder_features", self.encoder_features, feature_lib.KINDS)
        for key, least in LEAST.items():
            if vars(self)[key] < least:
                raise ConfigError(f"config.method.{key} = {vars(self)[key]} is less than {least}")
        if not 1 <= self.classes_per_step <= facts.num_classes:
            raise ConfigError(
                f"config.method.classes_per_step = {self.classes_per_step}, but the data set has "
                f"{facts.num_classes} classes: choose from 1 to that many, or 0 for all"
            )
        what = f"the {self.batch_size} images generated per step"
        gradients.require_division(self.micro_batches, self.batch_size, what)
        if not 1.0 <= self.cfg_min <= self.cfg_max:
            raise ConfigError(
                f"config.method.cfg_min and cfg_max = {self.cfg_min}, {self.cfg_max}: "
                "needs 1 <= cfg_min <= cfg_max"
            )
        for name in ("cfg_share_at_one", "label_dropout"):
            if not 0.0 <= vars(self)[name] <= 1.0:
                raise ConfigError(f"config.method.{name} = {vars(self)[name]} is not in [0, 1]")

    def check_draws(self, facts: DataFacts, num_drawn: int) -> None:
        """Raises ConfigError or DataError if `num_drawn` positives per class cannot be drawn.

        With a stream, a class is left out until the queue holds enough of its images.
        """
        if self.queue_size and self.queue_size < num_drawn:
            raise ConfigError(
                f"config.method.queue_size = {self.queue_size} holds fewer images per class than "
                f"the {num_drawn} positives drawn from it; set it to at least {num_drawn}"
            )
        if self.queue_unconditional and not self.queue_size:
            raise ConfigError(
                f"config.method.queue_unconditional = {self.queue_unconditional} is a part of the "
                "sample queue: set config.method.queue_size as well, or set it to 0"
            )
        if self.queue_unconditional and not self.negatives:
            raise ConfigError(
                f"config.method.queue_unconditional = {self.queue_unconditional}, but no "
                "unconditional negatives are drawn (config.method.num_unconditional, form); set "
                "it to 0"
            )
        if 0 < self.queue_unconditional < self.negatives:
            raise ConfigError(
                f"config.method.queue_unconditional = {self.queue_unconditional} holds fewer "
                f"images than the {self.negatives} unconditional negatives drawn from it for a "
                f"class; set it to at least {self.negatives}, or to 0"
            )
        if facts.streamed and not self.queue_size:
            raise ConfigError(
                "config.data.streaming = True needs a queue to draw positives from: set "
                "config.method.queue_size (released: 128)"
            )
        if not facts.streamed:
            _require_class_counts(facts, num_drawn)

    @property
    def batch_size(self) -> int:
        """Images generated per step, which the number of devices has to divide."""
        return self.classes_per_step * self.num_generated

    @property
    def images_per_step(self) -> int:
        """Positives of the generator per step."""
        return self.classes_per_step * self.num_positives

    @property
    def negatives(self) -> int:
        """Unconditional negatives per class and step."""
        return self.num_unconditional if self.form == "distance" else 0

    @property
    def networks(self) -> dict[str, str]:
        return {"encoder": self.encoder} if self.encoder else {}

    @property
    def needs(self) -> dict[str, str]:
        needed = {"label": "method 'drifting', which draws positives by class,"}
        if self.form == "distance" and self.cfg_max > 1.0:
            needed["guidance"] = (
                f"config.method.form = 'distance' with config.method.cfg_max = {self.cfg_max:g}"
            )
        return needed


def _require_class_counts(facts: DataFacts, n: int) -> None:
    named = zip(facts.class_names, facts.class_counts, strict=True)
    short = [f"{name} ({count})" for name, count in named if count < n]
    if short:
        raise DataError(
            f"{facts.source} has classes with fewer images than the {n} distinct positives "
            f"drawn per class: {', '.join(short)}. Lower config.method.num_positives or add images."
        )
