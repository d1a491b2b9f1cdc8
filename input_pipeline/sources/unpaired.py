"""Two domains of images without pairs, as one labelled set: class 0 is translated to class 1.

Each side is another source, one class of it, or one of the two splits of a source whose splits come
in pairs (trainA and trainB, testA and testB), as those of CycleGAN (Zhu et al., arXiv:1703.10593).
"""

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from drifting.core.errors import did_you_mean
from input_pipeline.decoding import DataError, Decoding, Found, Source

# It imports this file in turn, but is used only once both are there.
from input_pipeline.sources import registry
from input_pipeline.space import Pixels

USAGE = (
    "write unpaired:<A>,<B>, where each side is a source, <source>#<class> for one of its classes, "
    "or <source>@A or <source>@B for its splits trainA or trainB; or unpaired:<source> for "
    "<source>@A,<source>@B. Paths and names cannot have commas"
)
SIDE = re.compile(r"(?P<source>.*?)(#(?P<chosen>[^#]+))?(@(?P<letter>[AB]))?")


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two domains.

    Attributes:
      source: as config.data.source.
      chosen: the name of the only class that is taken; None: all are.
      letter: A or B, what the names of its splits end in; "" where they have their usual names.
    """

    source: str
    chosen: str | None
    letter: str

    @property
    def name(self) -> str:
        """The name of its class, else its letter, else the last part of its source."""
        last = re.split("[/:]", self.source.rstrip("/:"))[-1]
        return self.chosen or self.letter or last

    def locate(self, split: str, options: Decoding) -> Callable[[], np.ndarray]:
        """Finds its images, uint8 [N, size, size, channels], and returns what decodes them."""
        split = f"{split}{self.letter}"
        found = registry.locate(self.source, split, options)
        if self.chosen is not None:
            self._require_class(found.class_names)

        def decode() -> np.ndarray:
            images, labels = registry.decode(self.source, split, options, found)
            if self.chosen is not None:
                images = images[labels == found.class_names.index(self.chosen)]
            if not len(images):
                what = f"images of class {self.chosen!r}" if self.chosen else "images"
                raise DataError(f"{self.source}, split {split!r}, has no {what}; choose others")
            return images

        return decode

    def _require_class(self, names: tuple[str, ...]) -> None:
        """Raises DataError unless exactly one of the classes has the chosen name."""
        if self.chosen not in names:
            known = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            hint = did_you_mean(self.chosen, names)
            raise DataError(f"{self.source} has no class {self.chosen!r}; it has {known}{hint}")
        if names.count(self.chosen) > 1:
            raise DataError(f"{self.source} has several classes {self.chosen!r}; rename them")


def find(rest: str, split: str, options: Decoding) -> Found:
    """The images of both sides, A before B, with labels 0 and 1."""
    sides = parse(rest)
    try:
        decoders = [side.locate(split, options) for side in sides]
    except DataError as error:
        if "," in rest:
            raise
        raise type(error)(
            f"{error}. 'unpaired:{rest}' alone is for a source with splits {split}A and {split}B; "
            "to name two sources, write unpaired:<A>,<B>"
        ) from error

    def decode() -> tuple[np.ndarray, np.ndarray]:
        images = [decode_side() for decode_side in decoders]
        if np.array_equal(*images):
            raise DataError(
                f"unpaired:{rest}, split {split!r}: both sides have the same images; name two "
                "domains that differ"
            )
        return np.concatenate(images), np.repeat([0, 1], list(map(len, images)))

    # Each side is cached as the source that it is.
    return Found(None, _names(sides), decode)


def parse(rest: str) -> tuple[Side, Side]:
    """The sides of `unpaired:<rest>`.

    Raises:
      DataError: another form than USAGE, an unknown source, or one without images.
    """
    texts = rest.split(",")
    if rest and len(texts) == 1 and _side(rest) == Side(rest, None, ""):
        texts = [f"{rest}@A", f"{rest}@B"]
    if len(texts) != 2 or not all(texts):
        raise DataError(f"unpaired:{rest} does not name two domains; {USAGE}")
    sides = _side(texts[0].strip()), _side(texts[1].strip())
    for side in sides:
        if registry.find(side.source).kind is not Pixels or side.source.startswith("unpaired:"):
            raise DataError(
                f"unpaired:{rest}: {side.source} does not hold images of one domain; {USAGE}"
            )
    return sides


def _side(text: str) -> Side:
    found = SIDE.fullmatch(text)
    return Side(found["source"], found["chosen"], found["letter"] or "")


def _names(sides: tuple[Side, Side]) -> tuple[str, ...]:
    """The names of the two domains, which differ."""
    first, second = (side.name for side in sides)
    return (first, second) if first != second else (f"{first} A", f"{second} B")


# Two sources of images, `<A>,<B>`, each with `#<class>` for one class alone; or `<source>`, whose
# splits are trainA, trainB, testA and testB. Class 0 is A and class 1 is B.
SOURCES = (Source("unpaired:<A>,<B>", find),)
