"""A small and a large classifier on both CIFARs: 12 runs, as a first look before stage2.py.

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
        seeds=[0, 1, 2],
    )
    return Suite(runs, table="accuracy")
