"""List the experiments that come with the package, with a line each.

Each may be named in place of a file: `realm run factbook`. They lie in the folder that is printed, and the head of each
file tells you its command, its time and its figures. A variant of your own imports its base by that name, wherever it
lies itself: `import factbook`.
"""

import ast

import tyro

from realm_jax.config.experiment_file import SHIPPED, shipped
from realm_jax.jobs.job import Job, NoArguments


def command(argv: list[str]) -> int:
    tyro.cli(NoArguments, args=argv, prog="realm experiments", description=__doc__)
    print(f"in {SHIPPED}:")
    modules = {name: ast.parse(file.read_bytes()) for name, file in shipped().items()}
    for function, takers in (("get_config", "`realm run` and other jobs"), ("get_sweep", "`realm sweep`")):
        print(f"\nfor {takers}:")
        for name, module in modules.items():
            if any(isinstance(node, ast.FunctionDef) and node.name == function for node in module.body):
                print(f"  {name:<26} {(ast.get_docstring(module) or '').partition(chr(10))[0]}")
    return 0


JOB = Job("experiments", __doc__, command=command)
