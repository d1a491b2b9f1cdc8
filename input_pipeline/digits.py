"""scikit-learn's embedded digits, with a fixed test split."""

import numpy as np

from input_pipeline.decoding import Decoding, Found, require_split

DIGITS_TEST = 300
DIGITS_SPLIT_SEED = 42


def find(rest: str, split: str, options: Decoding) -> Found:
    """scikit-learn's digits; a fixed stratified split of 1,497 and 300."""
    require_split("digits", split, ("train", "test"))

    def decode():
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        parts = train_test_split(
            np.arange(len(images)),
            test_size=DIGITS_TEST,
            random_state=DIGITS_SPLIT_SEED,
            stratify=digits.target,
        )
        rows = np.sort(parts[0] if split == "train" else parts[1])
        return options.fit_arrays(images[rows], "digits"), digits.target[rows]

    names = tuple("0123456789")
    return Found("scikit-learn digits", names, decode, cached=False)
