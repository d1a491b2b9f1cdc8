"""Three classifiers on three data sets in two precisions with five seeds each: 90 runs.

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
        seeds=[0, 1, 2, 3, 4],
    )
    return Suite(runs, table="accuracy")
