"""`python -m mova_core` is `mova`."""

import sys

from mova_core.cli import main

sys.exit(main())
