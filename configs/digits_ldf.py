"""digits.py with a learned drifting field.

    python train.py --config configs/digits_ldf.py
"""

from configs import digits


def get_config():
    config = digits.get_config()
    config.method.field = "learned"
    return config
