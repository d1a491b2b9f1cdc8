"""Pictures as they were written."""

import numpy as np
from PIL import Image


def pixels(path):
    """uint8 [H, W] or [H, W, C]."""
    with Image.open(path) as picture:
        return np.asarray(picture)
