"""`python -m realm_jax JOB EXPERIMENT [options]`, the same as `realm JOB EXPERIMENT [options]`."""

import sys

from realm_jax.jobs.cli import main

if __name__ == "__main__":
    sys.exit(main())
