"""Labelled data on the device that a train step draws from: a whole set or a streamed batch."""

import abc

import jax

from input_pipeline.space import Space


class Data(abc.ABC):
    """The interface of `Resident` and `Batch`; all calls can be jitted.

    Attributes:
      images: stored values [N, *space.shape].
      labels: int32 [N].
      space: what one sample is, a static part of the type.
    """

    images: jax.Array
    labels: jax.Array
    space: Space

    @property
    def num_rows(self) -> int:
        """N, which is static."""
        return self.images.shape[0]

    @abc.abstractmethod
    def next_batch(self, key: jax.Array, step: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """Batch number `step` of an endless stream of epochs, each in its own random order.

        Args:
          key: the same at all steps; it determines the orders of a resident set.
          step: int32, traced, 0 to 2^31 - 1.

        Returns:
          Values as a model sees them, float32 [n, *space.shape], and labels int32 [n].

        Raises:
          ValueError: while tracing, for a streamed batch whose number of rows is not n.
        """

    @abc.abstractmethod
    def next_of_class(self, key: jax.Array, step: jax.Array, label: int, n: int) -> jax.Array:
        """Batch number `step` of an endless stream of epochs of one class alone.

        Every sample of the class is seen exactly once per epoch. Classes of different lengths have
        epochs of different lengths, in orders that are independent also where `key` is the same.

        Args:
          key: the same at all steps; it determines the orders.
          step: int32, traced, 0 to 2^31 - 1.
          label: the class, static.

        Returns:
          Values as a model sees them, float32 [n, *space.shape].

        Raises:
          ValueError: while tracing, for a class without samples.
          TypeError: while tracing, for a streamed batch, which does not hold whole classes.
        """

    @abc.abstractmethod
    def draw(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """n distinct rows in random order, and their labels.

        Returns:
          Values as a model sees them, float32 [n, *space.shape], and labels int32 [n].

        Raises:
          ValueError: while tracing, for a streamed batch with fewer than n rows. (A resident set
            with fewer repeats some.)
        """

    @abc.abstractmethod
    def positives(self, key: jax.Array, classes: jax.Array, n: int) -> jax.Array:
        """n distinct rows of each of `classes` [C], as a model sees them: [C, n, *space.shape].

        Raises:
          TypeError: while tracing, for a streamed batch, which does not hold whole classes. Use a
            SampleQueue of such batches.
        """

    @abc.abstractmethod
    def fresh(self, key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
        """Rows to push into a sample queue at a step, as they are stored, and their labels.

        A resident set returns the n rows that `draw` would, a streamed batch returns all its rows.
        """
