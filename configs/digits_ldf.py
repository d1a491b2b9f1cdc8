"""`--config configs/digits_ldf.py`: the same as digits.py:ldf."""

from configs import digits


def get_config():
    return digits.get_config("ldf")
