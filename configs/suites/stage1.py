"""Two classifiers on both CIFARs, by JAX and by PyTorch: 24 runs, a first look before stage2.py.

python scripts/run_suite.py configs/suites/stage1.py --out runs/stage1
"""

from drifting.suites import Suite, matrix


def get_suite():
    runs = matrix(
        configs={
            "cifar10": "configs/classifier_cifar10.py",
            "cifar100": "configs/classifier_cifar100.py",
        },
        models=["mobilenetv2", "resnet50"],
        precisions=["float32"],
        seeds=[42, 123, 456],
        frameworks=["jax", "torch"],
    )
    return Suite(runs, table="accuracy")
