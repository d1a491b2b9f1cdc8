"""The keys of a drifting run, and what they exclude."""

import dataclasses

from drifting.core.errors import ConfigError, one_of
from drifting.core.facts import DataFacts
from drifting.core.method import MethodSettings
from drifting.methods import features as feature_lib
from drifting.methods import gradients
from input_pipeline.decoding import DataError
from input_pipeline.space import Pixels

NORMALIZATIONS = ("sphere", "distance")
FIELDS = ("kernel", "learned")


@dataclasses.dataclass(frozen=True)
class Settings(MethodSettings):
    """The keys of config.method."""

    field: str = "kernel"  # or learned, which config.field and config.field_optimizer describe
    # distance: as released by the paper's authors, guidance by unconditional negatives.
    # sphere: on L2-normalised features, guidance by extrapolation from the null class.
    normalization: str = "distance"
    temperatures: tuple[float, ...] = (0.02, 0.05, 0.2)
    # The network whose features drift: the workdir of a classifier or masked autoencoder, or
    # torch:<network>:<file> with torchvision's weights. None: pixels.
    encoder: str | None = None
    # pooled: the mean of each stage's map, as in jaysarva/drifting-model. locations: every place of
    # the maps, their means and deviations over patches, and the pixels, as in the paper.
    encoder_features: str = "pooled"
    encoder_every_block: int = 2  # locations: maps of every k-th block as well; 0: of none
    classes_per_step: int = 0  # 0: all classes
    num_generated: int = 32  # a class and step
    num_positives: int = 32  # a class and step
    num_unconditional: int = 16  # real negatives of any class, a class and step (distance)
    scale_per_label: bool = False  # distance scale of each class, not of the whole batch
    drop_self_pairs: bool = False  # a sample's affinity to itself is 0, not 1e-3
    cfg_min: float = 1.0
    cfg_max: float = 3.0
    cfg_power: float = 3.0  # p(s) ~ s^-power
    cfg_share_at_one: float = 0.5
    label_dropout: float = 0.1
    queue_size: int = 0  # images a class in a sample queue (128 originally); 0: whole set
    queue_push: int = 64  # fresh images a step into the queue
    micro_batches: int = 1  # exact; more saves memory and costs one more forward pass

    def completed(self, facts: DataFacts) -> "Settings":
        classes = self.classes_per_step or facts.num_classes
        return dataclasses.replace(self, classes_per_step=classes)

    def check(self, facts: DataFacts) -> None:
        """Raises ConfigError for values that cannot be; DataError where a class is too small."""
        one_of("method.field", self.field, FIELDS)
        one_of("method.normalization", self.normalization, NORMALIZATIONS)
        one_of("method.encoder_features", self.encoder_features, feature_lib.KINDS)
        if not 1 <= self.classes_per_step <= facts.num_classes:
            raise ConfigError(
                f"config.method.classes_per_step = {self.classes_per_step}, but the data set has "
                f"{facts.num_classes} classes"
            )
        what = f"the {self.batch_size} images generated a step"
        gradients.require_division(self.micro_batches, self.batch_size, what)
        if not 1.0 <= self.cfg_min <= self.cfg_max:
            raise ConfigError(
                f"config.method.cfg_min and cfg_max = {self.cfg_min}, {self.cfg_max}: "
                "needs 1 <= cfg_min <= cfg_max"
            )

    def check_draws(self, facts: DataFacts, num_drawn: int) -> None:
        """Raises ConfigError or DataError where the data cannot give that many positives a class.

        Of a stream the queue holds what there is, and a class is left out until it holds enough.
        """
        if self.queue_size and self.queue_size < num_drawn:
            raise ConfigError(
                f"config.method.queue_size = {self.queue_size} holds fewer images than the "
                f"{num_drawn} positives drawn from it"
            )
        if facts.streamed and not self.queue_size:
            raise ConfigError(
                "config.data.streaming = True needs a queue of the newest images, from which "
                "positives are drawn: set config.method.queue_size (128 originally)"
            )
        if self.queue_size and not isinstance(facts.space, Pixels):
            raise DataError(
                f"{facts.source} has {facts.space.noun}, and the sample queue holds uint8 images; "
                "set config.method.queue_size=0 and config.data.streaming=False"
            )
        if not facts.streamed:
            _require_class_counts(facts, num_drawn)

    @property
    def batch_size(self) -> int:
        """Images generated a step; devices divide this."""
        return self.classes_per_step * self.num_generated

    @property
    def images_per_step(self) -> int:
        """Positives that the generator follows in a step."""
        return self.classes_per_step * self.num_positives

    @property
    def negatives(self) -> int:
        """Unconditional negatives a class and step."""
        return self.num_unconditional if self.normalization == "distance" else 0

    @property
    def networks(self) -> dict[str, str]:
        return {"encoder": self.encoder} if self.encoder else {}

    @property
    def needs(self) -> dict[str, str]:
        needed = {"label": "method 'drifting', which draws its positives by class,"}
        if self.normalization == "distance" and self.cfg_max > 1.0:
            needed["guidance"] = (
                "config.method.normalization = 'distance' with config.method.cfg_max = "
                f"{self.cfg_max:g}"
            )
        return needed


def _require_class_counts(facts: DataFacts, n: int) -> None:
    named = zip(facts.class_names, facts.class_counts, strict=True)
    short = [f"{name} ({count})" for name, count in named if count < n]
    if short:
        raise DataError(
            f"{facts.source} has classes with fewer images than the {n} distinct positives "
            f"asked of each: {', '.join(short)}. Lower config.method.num_positives or add images."
        )
