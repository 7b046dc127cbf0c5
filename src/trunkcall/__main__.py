"""`python -m trunkcall` is the `trunkcall` command."""

import sys

from trunkcall.cli import main

sys.exit(main())
