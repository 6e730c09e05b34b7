"""Shared by the notebooks of the MQG workbench. Importing this package imports nothing heavy."""

import os
import sys

__version__ = "0.1.0"

# OpenMP's threads spin while they wait, by default so long that training is several times slower on a machine that is
# used for other work, too; without any spinning it is a third slower on an idle one. It must be set before torch is
# loaded; a setting of the user's own is kept.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

# nbformat and plotly import jsonschema, which imports rfc3987_syntax if it is there, which builds a grammar: two CPU
# seconds in every kernel, to check a format that no notebook has. jsonschema does without it.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
