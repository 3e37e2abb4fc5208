"""`python -m actorsched` is the same as `actorsched`."""

from __future__ import annotations

import sys

from actorsched.cli import main

if __name__ == "__main__":
    sys.exit(main())
