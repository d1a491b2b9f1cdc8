"""Flow matching in the plane: meanflow_toy2d.py without mean velocities, and 50 steps.

python train.py --config configs/flow_toy2d.py
"""

from configs import meanflow_toy2d


def get_config():
    config = meanflow_toy2d.get_config()
    config.method.share_r_neq_t = 0.0
    config.method.norm_power = 0.0
    config.method.sampler = "euler"
    config.method.sampling_steps = 50
    return config
