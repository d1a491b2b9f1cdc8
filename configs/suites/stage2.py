"""Three classifiers on three data sets in two precisions, by JAX and by PyTorch: 180 runs.

Five seeds each.

python scripts/run_suite.py configs/suites/stage2.py --out runs/stage2
"""

from drifting.suites import Suite, matrix


def get_suite():
    runs = matrix(
        configs={
            "cifar10": "configs/classifier_cifar10.py",
            "cifar100": "configs/classifier_cifar100.py",
            "tiny_imagenet": "configs/classifier_tiny_imagenet.py",
        },
        models=["mobilenetv2", "resnet50", "convnext_tiny"],
        precisions=["float32", "bfloat16"],
        seeds=[42, 123, 456, 789, 1024],
        frameworks=["jax", "torch"],
    )
    return Suite(runs, table="accuracy")
