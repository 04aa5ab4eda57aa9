"""`python -m realm_jax JOB EXPERIMENT [options]`, the same as `realm JOB EXPERIMENT [options]`."""

import signal
import sys


def main() -> int:
    # Until the job listens to it, Ctrl-C ends the process as SIGTERM does: without a traceback of the imports.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        stream.reconfigure(errors="backslashreplace")  # what a terminal of another encoding cannot show
    from realm_jax.jobs import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
