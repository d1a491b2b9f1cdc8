"""Small and large classifier on both CIFARs, 12 runs: the first look before stage2.py.

    python scripts/run_matrix.py --matrix configs/matrices/stage1.py --out runs/stage1
"""


def get_matrix():
    return {
        "configs": {
            "cifar10": "configs/classifier_cifar10.py",
            "cifar100": "configs/classifier_cifar100.py",
        },
        "models": ["mobilenetv2", "resnet50"],
        "precisions": ["float32"],
        "seeds": [0, 1, 2],
    }
