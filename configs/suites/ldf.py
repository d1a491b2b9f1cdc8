"""The effect of the encoder, the learned field and its parts on CIFAR-10: eight runs.

    python scripts/run_suite.py configs/suites/ldf.py --out runs/ldf
    python scripts/run_suite.py configs/suites/ldf.py --nano --out runs/ldf_nano

The full suite needs a GPU: 9,750 steps per run, after 100 epochs of the encoder. --nano is for two
CPU cores: 150 steps with small sets, after two epochs of the encoder.
"""

from drifting.suites import RunSpec, Suite

FULL = {
    "train.total_steps": 9_750,
    "train.sample_steps": 1_950,
    "train.checkpoint_steps": 1_950,
    "train.keep_every_steps": 1_950,
    "eval.num_samples": 50_000,
}
NANO = {
    "method.num_generated": 8,  # these two per class and step
    "method.num_positives": 8,
    "model.size": "nano",
    "model.patch_size": 8,
    "model.num_registers": 4,
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup_steps": 20,
    "field_optimizer.warmup_steps": 20,
    "ema_decay": 0.95,
    "method.num_unconditional": 8,
    "method.temperatures": (0.05, 0.2, 0.5),
    "train.total_steps": 150,
    "train.log_steps": 20,
    "train.sample_steps": 150,
    "train.checkpoint_steps": 30,
    "train.keep_every_steps": 30,
    "eval.num_samples": 1_000,
    "eval.cfg_scale": 1.0,
}
BUDGETS = {"full": FULL, "nano": NANO}


def get_suite(budget="full"):
    nano = budget == "nano"
    encoder = RunSpec(
        "encoder",
        "configs/classifier_cifar10.py:" + ("resnet18_nano" if nano else "resnet18"),
        {"train.total_epochs": 2.0 if nano else 100.0},
        in_table=False,
    )
    ldf = "configs/cifar10_ldf.py"
    # In the full suite the config files define the sizes of their sets.
    small, large = (_set_size(4), _set_size(16)) if nano else ({}, {})
    in_features = {"method.encoder": "{encoder}"}
    runs = {
        "kernel": ("configs/cifar10_short.py", in_features),
        "kernel_no_encoder": ("configs/cifar10_short_no_encoder.py", {}),
        "ldf": (ldf, in_features),
        "ldf_no_proj": ("configs/cifar10_ldf_no_proj.py", in_features),
        "ldf_setsize_small": ("configs/cifar10_ldf_setsize_small.py", in_features | small),
        "ldf_setsize_large": ("configs/cifar10_ldf_setsize_large.py", in_features | large),
        "ldf_frozen": (ldf, in_features | {"field.objective": "frozen"}),
        "ldf_distill": (ldf, in_features | {"field.objective": "distill"}),
    }
    shared = BUDGETS[budget] | {"eval.features": "encoder:{encoder}"}
    specs = [
        RunSpec(name, config, shared | overrides, after=("encoder",))
        for name, (config, overrides) in runs.items()
    ]
    return Suite([encoder, *specs], table="scores")


def _set_size(size):
    return {"method.num_generated": size, "method.num_positives": size}
