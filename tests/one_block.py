"""Runs an entry point with a DriftDiT of one block: python tests/one_block.py train.py --config ...

Most of the time of a short run is compilation, and one block is enough to train and to resume.
"""

import pathlib
import runpy
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
ONE_BLOCK = dict(hidden_size=64, depth=1, num_heads=2)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    from models import drift_dit

    drift_dit.SIZES["nano"] = ONE_BLOCK
    del sys.argv[0]
    runpy.run_path(str(ROOT / sys.argv[0]), run_name="__main__")
