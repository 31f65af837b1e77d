"""`python -m service` is `rosetta`."""

import os
import sys

# -m lets modules of the current folder stand in for the standard library's: a `secrets.py` there is not ours to run.
# This package has been found.
if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:
    del sys.path[0]

from service.cli.main import main

sys.exit(main())
