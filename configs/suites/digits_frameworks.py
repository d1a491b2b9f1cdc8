"""Two narrow classifiers of 8x8 digits, by JAX and by PyTorch: 8 runs, minutes on two CPU cores.

python scripts/run_suite.py configs/suites/digits_frameworks.py --out runs/digits_frameworks
"""

from drifting.suites import Suite, matrix


def get_suite():
    runs = matrix(
        configs={"digits": "configs/classifier_digits.py"},
        models=["resnet18", "mobilenetv2"],
        precisions=["float32"],
        seeds=[42, 123],
        frameworks=["jax", "torch"],
        overrides={"optimizer.learning_rate": 0.025},  # 0.1 at a batch of 256, in proportion
    )
    return Suite(runs, table="accuracy")
