"""The command line of imports, and the runs that they make."""

from realm_jax.jobs import cli
from realm_jax.runtime.settings_record import read_record
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import Workdir


def realm(*arguments):
    return cli.main([str(argument) for argument in arguments])


def opened(workdir):
    return OpenRun(read_record(Workdir(workdir)).config, Workdir(workdir))
