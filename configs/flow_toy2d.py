"""`--config configs/flow_toy2d.py`: the same as meanflow_toy2d.py:flow."""

from configs import meanflow_toy2d


def get_config():
    return meanflow_toy2d.get_config("flow")
