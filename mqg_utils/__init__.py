"""Shared by the notebooks of the MQG workbench. Importing this package imports nothing heavy."""

import os

__version__ = "0.1.0"

# OpenMP's threads spin while they wait. On a machine that others use too, that made training ten times slower;
# sleeping costs little. It must be said before torch is loaded; a setting of the user's own is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
