"""Shared by the notebooks of the MQG workbench. Importing this package imports nothing heavy."""

import os
import sys

__version__ = "0.1.0"

# OpenMP's threads spin while they wait, which makes training ten times slower on a machine that others use too. It must
# be set before torch is loaded; a setting of the user's own is kept.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# nbformat and plotly import jsonschema, which imports rfc3987_syntax if it is there, which builds a grammar: two CPU
# seconds in every kernel, to check a format that no notebook has. jsonschema does without it.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
