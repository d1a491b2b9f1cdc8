"""The digits that come with scikit-learn, with a fixed test split."""

import numpy as np

from input_pipeline.decoding import Decoding, Found, Source, numbered_classes

NUM_TEST = 300
SPLIT_SEED = 42


def find(rest: str, split: str, options: Decoding) -> Found:
    """A fixed stratified split into 1,497 training and 300 test images."""

    def decode():
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
        return options.fit_arrays(images[rows], "digits"), digits.target[rows]

    return Found(None, numbered_classes(10), decode)


# 1,797 real 8x8 digits of scikit-learn.
SOURCES = (Source("digits", find, splits=("train", "test")),)
