"""digits.py with a learned drifting field.

    python train.py --config configs/digits_ldf.py

Two CPU cores: 7 minutes. Of 1,000 samples 99.7 % are labelled as asked by a 3-nearest-neighbour
classifier; their Frechet distance on pixels is 0.38 (12.2 at step 0).
"""

from configs import digits


def get_config():
    config = digits.get_config()
    config.method.field = "learned"
    return config
