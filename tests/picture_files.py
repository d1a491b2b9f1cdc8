"""Reading pictures back from files."""

import numpy as np
from PIL import Image


def pixels(path):
    """The pixels of a file, uint8 [H, W] or [H, W, C]."""
    with Image.open(path) as picture:
        return np.asarray(picture)
