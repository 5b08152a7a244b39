"""`python -m twoway`."""

import sys

from twoway.cli.main import main

sys.exit(main())
