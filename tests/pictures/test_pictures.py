"""The room as a whole: what it costs to enter."""

import subprocess
import sys


def test_importing_loads_neither_matplotlib_nor_jax():
    program = (
        "import sys, drifting.pictures, drifting.pictures.film;"
        "assert 'matplotlib' not in sys.modules and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
