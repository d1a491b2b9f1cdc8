"""What a method knows about its training data."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from input_pipeline import space as spaces


@dataclasses.dataclass(frozen=True)
class LatentFacts:
    """How the latents that a run is trained on become images again; saved in config.json.

    Attributes:
      autoencoder: its workdir, where the run found it.
      identity: that of the autoencoder, `Codec.identity`.
      mean, std: per channel of the autoencoder's latents: a model sees (latent - mean) / std.
    """

    autoencoder: str
    identity: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LatentFacts":
        """From the attributes by name; KeyError or TypeError if the values are not such."""
        found = cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
        if not all(isinstance(x, float) for x in (*found.mean, *found.std)):
            raise TypeError("mean and std are numbers")
        if not (isinstance(found.autoencoder, str) and isinstance(found.identity, str)):
            raise TypeError("an autoencoder has a workdir and an identity")
        return found


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What a method needs to know about its training data; saved in config.json.

    Attributes:
      space: what one sample is.
      class_names: one per label.
      class_counts: samples per class; None for a stream, whose classes are not counted.
      num_samples: of the part that is trained on; None for a stream that does not end.
      mean, std: per channel, in the range that a model sees.
      source: config.data.source.
      streamed: whether the data are read during training, rather than held on the device.
      latents: how latents are decoded; None for other data, and for latents that are not decoded.
    """

    space: spaces.Space
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...] | None
    num_samples: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    streamed: bool
    latents: LatentFacts | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def to_json(self) -> dict[str, Any]:
        latents = self.latents and vars(self.latents)
        return vars(self) | {"space": self.space.to_json(), "latents": latents}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "DataFacts":
        """The facts that `to_json` wrote; KeyError or TypeError if the values are not such."""
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        latents = values.get("latents") and LatentFacts.from_json(values["latents"])
        space = spaces.from_json(values["space"])
        facts = cls(**values | {"space": space, "latents": latents})
        counts = facts.class_counts or ()
        numbers = (*counts, 0 if facts.num_samples is None else facts.num_samples)
        if any(type(n) is not int or n < 0 for n in numbers):
            raise TypeError("numbers of samples are integers")
        if not all(isinstance(x, float) for x in (*facts.mean, *facts.std)):
            raise TypeError("mean and std are numbers")
        if not all(isinstance(name, str) for name in (facts.source, *facts.class_names)):
            raise TypeError("the source and the classes have names")
        if counts and len(counts) != len(facts.class_names):
            raise TypeError("there is one count per class")
        return facts
