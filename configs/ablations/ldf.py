"""What the encoder, the learned field and its parts are worth on CIFAR-10: eight runs.

    python scripts/run_ablation.py configs/ablations/ldf.py --out runs/ablation_ldf
    python scripts/run_ablation.py configs/ablations/ldf.py --nano --out runs/ablation_nano

The first is a GPU's job: 9,750 steps each, after an encoder of 100 epochs. --nano is for two CPU
cores: 150 steps of small sets, after an encoder of two epochs.
"""

SMALL, NORMAL, LARGE = (
    {"method.num_generated": size, "method.num_positives": size} for size in (4, 8, 16)
)


def get_ablation():
    ldf = "configs/cifar10_ldf.py"
    return {
        "encoder": {"config": "configs/classifier_cifar10.py:resnet18"},
        "runs": {
            "kernel": {"config": "configs/cifar10_short.py"},
            "kernel_no_encoder": {"config": "configs/cifar10_short_no_encoder.py"},
            "ldf": {"config": ldf},
            "ldf_no_proj": {"config": "configs/cifar10_ldf_no_proj.py"},
            "ldf_setsize_small": {"config": "configs/cifar10_ldf_setsize_small.py"},
            "ldf_setsize_large": {"config": "configs/cifar10_ldf_setsize_large.py"},
            "ldf_frozen": {"config": ldf, "field.objective": "frozen"},
            "ldf_distill": {"config": ldf, "field.objective": "distill"},
        },
        "budget": {
            "all": {
                "train.total_steps": 9_750,
                "train.sample_steps": 1_950,
                "train.checkpoint_steps": 1_950,
                "train.keep_checkpoints": 6,  # with that of step 0
                "eval.num_samples": 50_000,
            },
        },
        "nano": {
            "encoder": {
                "config": "configs/classifier_cifar10.py:resnet18_nano",
                "train.total_epochs": 2.0,
            },
            "all": {
                **NORMAL,
                "model.size": "nano",
                "model.patch_size": 8,
                "model.num_registers": 4,
                "optimizer.learning_rate": 2e-3,
                "optimizer.warmup_steps": 20,
                "field_optimizer.warmup_steps": 20,
                "ema_decay": 0.95,
                "method.num_unconditional": 8,
                "method.label_dropout": 0.0,
                "method.temperatures": (0.05, 0.2, 0.5),
                "train.total_steps": 150,
                "train.log_steps": 20,
                "train.sample_steps": 150,
                "train.checkpoint_steps": 30,
                "train.keep_checkpoints": 6,
                "eval.num_samples": 1_000,
                "eval.cfg_scale": 1.0,
            },
            "runs": {"ldf_setsize_small": SMALL, "ldf_setsize_large": LARGE},
        },
    }
