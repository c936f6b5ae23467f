"""`python -m elektron COMMAND …`, the same as `elektron COMMAND …`."""

import sys

from elektron.cli import main

if __name__ == "__main__":
    sys.exit(main())
