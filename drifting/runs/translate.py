"""Translating a folder of images by a checkpoint of a translator, file by file."""

import contextlib
import hashlib
import itertools
import logging
import os
import pathlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np
from PIL import Image
from tqdm import tqdm

from drifting.core.errors import ConfigError, UserError
from drifting.evaluation import translation
from drifting.evaluation.translation import Started, TranslateProgram
from drifting.pictures import formats
from drifting.pretrained.encoder import digest
from drifting.runs import translated
from drifting.runs.workdir import Run
from input_pipeline import picture
from input_pipeline.decoding import DataError

log = logging.getLogger(__name__)

FORMATS = ("png", "jpg")
THREADS = min(4, os.cpu_count() or 1)  # that read and write files: each may hold a large one


def translate(
    workdir: str | pathlib.Path,
    folder: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    limit: int | None = None,
    format: str = "png",
    batch_size: int | None = None,
    max_side: int | None = None,
    checkpoint: str = "last",
    ema: bool = True,
) -> pathlib.Path:
    """Writes the translation of each image of a folder under its own name, in its own size.

    The images are those that training would read from the folder. Translations that are there
    already are kept: each has a comment that identifies its image, the weights and `max_side`.

    Args:
      out: a folder outside of `folder`, which gets the translations and nothing else.
      limit: translate only the first ones.
      format: png, which is lossless, or jpg with quality 95.
      batch_size: images per call; by default as many as have the pixels of a training batch.
      max_side: larger images are scaled down to this many pixels on their longer side.
      checkpoint: `last`, `best` (see docs/checkpoints.md), or the number of a step.
      ema: whether to use the averaged weights.

    Returns:
      `out`.

    Raises:
      UserError: an argument is invalid, and nothing is translated; or, after all others were
        translated, some files could not be: they are named.
    """
    _check(format, limit=limit, batch_size=batch_size, max_side=max_side)
    run = Run(workdir)
    run.require_translator()
    folder, out = pathlib.Path(folder).expanduser(), pathlib.Path(out).expanduser()
    expected = translated.targets(folder, out, format)
    state, step = run.chosen(checkpoint)
    method = run.at(step).method
    which = "averaged weights (EMA)" if ema and state.ema_params else "raw weights, no average"
    log.info("translating by step %d of %s, %s", step, run.workdir, which)
    weights = digest([state.weights(name, ema) for name in sorted(state.params)])
    reader = _Reader(method.space.shape[-1], max_side, weights)
    with translated.alone(out), ThreadPoolExecutor(THREADS) as pool:
        done = translated.done(out, expected, reader.mark)
        chosen = dict(itertools.islice(expected.items(), limit))
        left = {path: target for path, target in chosen.items() if path not in done}
        work = _Work(reader, pool, left)
        groups = work.groups(lambda size: batch_size or translation.default_batch(method, *size))
        log.info(
            "%d of %d images to translate, %d are done; compilations: %d, one per padded size",
            sum(len(group.paths) for group in groups), len(chosen), len(chosen) - len(left),
            len(groups),
        )  # fmt: skip
        work.translate(groups, TranslateProgram(method, state, ema), len(chosen))
    if work.scaled:
        log.info("%d images were scaled down to --max_side %d", len(work.scaled), max_side)
    good = len(chosen) - len(work.failures)
    log.info("%s: %d translations, %d of them new", out, good, len(left) - len(work.failures))
    if work.failures:
        names = translated.some(path for path in left if path in work.failures)
        raise UserError(
            f"{len(work.failures)} of {len(chosen)} images were skipped: {names}; the lines above "
            f"say why. The other {good} are translated in {out}"
        )
    return out


def _check(format: str, **numbers: int | None) -> None:
    if format not in FORMATS:
        raise ConfigError(f"--format {format}: choose one of {', '.join(FORMATS)}")
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ConfigError(f"--{name} {value}: must be 1 or more")


class _Picture(NamedTuple):
    """An image as it is translated.

    Attributes:
      pixels: uint8 [H, W, C].
      scaled: whether `max_side` made it smaller.
      mark: the comment of its translation.
    """

    pixels: np.ndarray
    scaled: bool
    mark: str

    @property
    def padded_size(self) -> tuple[int, int]:
        height, width, _ = self.pixels.shape
        return translation.padded_size(width, height)


class _Reader(NamedTuple):
    """Reads images as a run takes them.

    Attributes:
      channels: 1 or 3.
      max_side: as in `translate`.
      weights: identifies those of the run.
    """

    channels: int
    max_side: int | None
    weights: str

    def read(self, path: pathlib.Path) -> _Picture:
        """Raises UserError for a file that cannot be read."""
        content = translated.content(path)
        image = picture.decode(content, str(path)).convert("L" if self.channels == 1 else "RGB")
        size = self._size(*image.size)
        scaled = size != image.size
        if scaled:
            image = image.resize(size, Image.Resampling.BICUBIC)  # Pillow's is antialiased
        pixels = np.asarray(image).reshape(image.height, image.width, self.channels)
        return _Picture(pixels, scaled, self.mark(content))

    def _size(self, width: int, height: int) -> tuple[int, int]:
        longer = max(width, height)
        if self.max_side is None or longer <= self.max_side:
            return width, height
        scale = self.max_side / longer
        return max(1, round(width * scale)), max(1, round(height * scale))

    def mark(self, content: bytes) -> str:
        """The comment of the translation of a file with this content."""
        settings = f"{self.weights} {self.max_side} ".encode()
        return f"drifting translation {hashlib.sha256(settings + content).hexdigest()}"


class _Group(NamedTuple):
    """The images of one padded size (width, height), and how many are translated at a time."""

    size: tuple[int, int]
    paths: list[pathlib.Path]
    batch_size: int

    def parts(self) -> Iterator[list[pathlib.Path]]:
        for i in range(0, len(self.paths), self.batch_size):
            yield self.paths[i : i + self.batch_size]


class _Work:
    """Reads, translates and writes the images that are left.

    Args:
      left: the file of each translation, by that of its image.

    Attributes:
      failures: the images that were skipped.
      scaled: those that `max_side` made smaller.
    """

    def __init__(
        self, reader: _Reader, pool: ThreadPoolExecutor, left: dict[pathlib.Path, pathlib.Path]
    ):
        self._reader, self._pool, self._left = reader, pool, left
        self.failures: set[pathlib.Path] = set()
        self.scaled: set[pathlib.Path] = set()

    def groups(self, most: Callable[[tuple[int, int]], int]) -> list[_Group]:
        """The images that can be read, the largest first, so that too little memory shows at once.

        Args:
          most: padded size -> most images per batch.
        """
        found: dict[tuple[int, int], list[pathlib.Path]] = {}
        sizes = self._pool.map(self._padded_size, self._left)
        bar = tqdm(
            sizes, desc="reading", total=len(self._left), unit="img", mininterval=1.0, leave=False
        )
        for path, size in zip(self._left, bar, strict=True):
            if size:
                found.setdefault(size, []).append(path)
        ordered = sorted(found.items(), key=lambda item: -item[0][0] * item[0][1])
        return [
            _Group(size, paths, translation.even_batch(len(paths), most(size)))
            for size, paths in ordered
        ]

    def _padded_size(self, path: pathlib.Path) -> tuple[int, int] | None:
        read = self._read(path)
        return read and read.padded_size

    def translate(self, groups: list[_Group], program: TranslateProgram, total: int) -> None:
        """Translates and writes all groups, with a progress bar of `total` images.

        The device works on the next batch while one is written.
        """
        with tqdm(desc="translating", total=total, unit="img", mininterval=1.0,
                  initial=total - sum(len(group.paths) for group in groups)) as bar:  # fmt: skip
            started = itertools.chain(self._started(groups, program), [None])
            for (group, read, batch), _ in itertools.pairwise(started):
                with _enough_memory(group):
                    results = batch.results()
                for _ in self._pool.map(self._write, read.items(), results):
                    bar.update()

    def _started(
        self, groups: list[_Group], program: TranslateProgram
    ) -> Iterator[tuple[_Group, dict[pathlib.Path, _Picture], Started]]:
        for group in groups:
            for part in group.parts():
                pictures = self._pool.map(self._read, part, itertools.repeat(group.size))
                read = {path: p for path, p in zip(part, pictures, strict=False) if p}
                if read:
                    with _enough_memory(group):
                        batch = program.start([p.pixels for p in read.values()], group.batch_size)
                    yield group, read, batch

    def _read(self, path: pathlib.Path, expected: tuple[int, int] | None = None) -> _Picture | None:
        """The image of a file, with the expected padded size; None if it has to be skipped."""
        try:
            read = self._reader.read(path)
            if expected and read.padded_size != expected:
                raise DataError(f"{path} has another size than a moment ago; run this again")
        except UserError as error:
            self._skip(path, error)
            return None
        if read.scaled:
            self.scaled.add(path)
        return read

    def _write(self, read: tuple[pathlib.Path, _Picture], result: np.ndarray) -> None:
        path, image = read
        try:
            translated.save(self._left[path], result, image.mark)
        except formats.PictureError as error:  # such as too large for a JPEG
            self._skip(path, error)

    def _skip(self, path: pathlib.Path, error: UserError) -> None:
        log.warning("skipped: %s", error)
        self.failures.add(path)
        self.scaled.discard(path)


@contextlib.contextmanager
def _enough_memory(group: _Group) -> Iterator[None]:
    """Says what to do where the device has too little memory."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        width, height = group.size
        raise UserError(
            f"too little memory for {group.batch_size} images of {width}x{height} at a time; set a "
            "smaller --batch_size or --max_side. What was translated before is kept"
        ) from error
