"""``python -m ar_dmvc`` is ``ardmvc``."""

import sys

from ar_dmvc.cli import main

sys.exit(main())
