"""The digits that come with scikit-learn, with a fixed test split."""

import numpy as np

from input_pipeline.decoding import DataError, Decoding, Found, Source, numbered_classes

NUM_TEST = 300
SPLIT_SEED = 42
INVERTED = "inverted"


def find(rest: str, split: str, options: Decoding) -> Found:
    """A fixed stratified split into 1,497 training and 300 test images.

    Raises:
      DataError: `rest` is neither empty nor `inverted`.
    """
    if rest not in ("", INVERTED):
        raise DataError(
            f"config.data.source = 'digits:{rest}' is not 'digits' or 'digits:inverted'; set one "
            "of them"
        )

    def decode() -> tuple[np.ndarray, np.ndarray]:
        images, labels = _read(split)
        if rest:
            images = np.concatenate([images, 255 - images])
            labels = np.concatenate([labels, 10 + labels])
        return options.fit_arrays(images, "digits"), labels

    names = numbered_classes(10)
    return Found(None, (*names, *(f"{name} {rest}" for name in names)) if rest else names, decode)


def _read(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 8, 8, 1] and labels [N] of `train` or `test`."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]  # [N, 8, 8, 1]
    train, test = train_test_split(
        np.arange(len(images)),
        test_size=NUM_TEST,
        random_state=SPLIT_SEED,
        stratify=digits.target,
    )
    rows = np.sort(train if split == "train" else test)
    return images[rows], digits.target[rows]


# 1,797 real 8x8 digits of scikit-learn; `digits:inverted` has each of them also black on white, as
# one of ten further classes.
SOURCES = (Source("digits", find, splits=("train", "test")),)
