"""The folders of reference numbers and of prepared data sets."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = pathlib.Path(os.environ.get("GOLDEN_DIR", ROOT / "../shared/golden"))
TFDS_DATA = pathlib.Path(os.environ.get("TFDS_DATA_DIR", ROOT / "../shared/data/tfds"))
