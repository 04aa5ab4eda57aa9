"""Begin a run with published weights of REALM and ORQA, in Hugging Face's format or TensorFlow's.

Makes a workdir from which ask, evaluate, finetune, pretrain and build_index go on as from our own checkpoints. Without
an EXPERIMENT nothing is trained further and numbers of passages are as published; docs/published_weights.md has more.

    realm import_weights --source google/realm-orqa-nq-openqa --workdir runs/nq
    realm import_weights --source EMBEDDER READER --data.source folder --data.path documents --workdir runs/mine
    realm import_weights experiments/factbook.py --source EMBEDDER ENCODER --workdir runs/on_realm
"""

from dataclasses import dataclass

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.jobs.job import Job
from realm_jax.workdir import Workdir


@dataclass(frozen=True)
class Arguments:
    """Where the weights come from."""

    source: tuple[str, ...] = ()
    """One or more of: a folder, gs://BUCKET/FOLDER, OWNER/NAME on the Hugging Face Hub. Each part (embedder, reader,
    span reader, vectors, passages, titles, vocabulary) comes from the first that has it."""


def defaults() -> Config:
    """The values in `--help`: the settings without an experiment, as far as they are not the source's."""
    from realm_jax.importing.published_run import published_settings

    return published_settings()


def begin(base: Config | None, workdir: Workdir, options: list[str]) -> Config:
    """The experiment of a new workdir: `base`, or one without further training, with the sizes of the source.

    Raises:
      UserError: there is no source, or it cannot be read, or has no passages where there is no base.
    """
    from realm_jax.importing.published_run import settings_of_sources

    return settings_of_sources(
        base, _required(_values(options, "--source")), workdir, *_values(options, "--data.source")
    )


def clear(workdir: Workdir) -> None:
    """Before a new command: removes the leftovers of an import that made nothing whole."""
    from realm_jax.importing.published_run import clear_failed

    clear_failed(workdir)


def check(config: Config, workdir: Workdir, arguments: Arguments) -> None:
    """Before the settings are recorded.

    Raises:
      UserError: the import would fail.
    """
    from realm_jax.importing.published_run import check_import

    check_import(config, workdir, _required(arguments.source))


def _required(given: tuple[str, ...]) -> tuple[str, ...]:
    if not given:
        raise UserError("import_weights: --source is missing; name a folder, gs://..., or OWNER/NAME on the Hub")
    return given


def _values(options: list[str], name: str) -> tuple[str, ...]:
    """The values of an option, read ahead of the others, whose defaults depend on them."""
    for i, option in enumerate(options):
        if option.startswith(f"{name}="):
            return (option.partition("=")[2],)
        if option == name:
            rest = options[i + 1 :]
            end = next((j for j, word in enumerate(rest) if word.startswith("--")), len(rest))
            return tuple(rest[:end])
    return ()


def main(config: Config, workdir: Workdir, arguments: Arguments) -> None:
    from realm_jax.importing.published_run import import_weights

    import_weights(config, workdir, _required(arguments.source))


JOB = Job(
    "import_weights",
    __doc__,
    main,
    Arguments,
    defaults=defaults,
    clear=clear,
    begin=begin,
    check=check,
)
