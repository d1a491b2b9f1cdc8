"""The PyTorch loop is imported as its command does, from scripts/."""

import sys

from script_modules import SCRIPTS

sys.path.append(str(SCRIPTS))
