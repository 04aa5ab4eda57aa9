"""Cut the corpus on many machines with Apache Beam; `prepare` then does the rest.

Writes the same shards as `prepare` does, in --shards: copy them to <data>/shards, and `prepare` finds them finished.
Needs the extra `[beam]`. docs/corpora.md has the command for Google Cloud Dataflow.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from realm_jax.config import Config, Data
from realm_jax.errors import UserError
from realm_jax.jobs.job import Job
from realm_jax.kinds import SOURCES
from realm_jax.workdir import Workdir

COPIED = [name for name, kind in SOURCES.items() if kind.has_plain_files]


@dataclass(frozen=True)
class Arguments:
    """Where, and how."""

    shards: str = ""
    """Folder of the shards, a path or gs://...; empty means <data>/shards."""
    inputs: str = ""
    """Copy of the folder of data.path that workers can read, gs://..., where they do not see data.path itself. For
    sources of plain files: wikipedia, wikiextractor, folder, jsonl, squad, orqa."""
    beam: str = ""
    """Options of Beam in one string, such as '--runner DataflowRunner --project P --region R'."""


def main(config: Config, workdir: Workdir, arguments: Arguments) -> None:
    try:
        from apache_beam.options.pipeline_options import PipelineOptions

        from realm_jax.corpus.beam import cut_with_beam
    except ImportError as error:
        raise UserError(f"Apache Beam cannot be loaded ({error}); pip install 'realm_jax[beam]'") from None
    from realm_jax.corpus.preparation import Corpus
    from realm_jax.training.open_run import OpenRun

    if "ner" in config.data.taggers:
        raise UserError("data.taggers: `ner` needs a device, which Beam's workers lack; use rules here, or `prepare`")
    root = root_of(config.data) if arguments.inputs else ""
    data, tokenizer = workdir.data(config.data.directory), OpenRun(config, workdir).tokenizer
    corpus = Corpus(config.data, data, tokenizer)
    folder = arguments.shards or str(corpus.folder)
    cut_with_beam(folder, corpus.cutters, PipelineOptions(shlex.split(arguments.beam)), arguments.inputs, root)
    print(f"shards are in {folder}; `prepare` looks for them in {corpus.folder}", flush=True)


def root_of(data: Data) -> str:
    """The folder that `inputs` is a copy of.

    Raises:
      UserError: a source that cannot be read from a copy, or files outside this folder.
    """
    if data.source not in COPIED:
        raise UserError(
            f"--inputs: workers cannot read data.source {data.source!r} from a copy, only {', '.join(COPIED)}; leave "
            "--inputs out where they see the files themselves, or run `prepare`"
        )
    root = Path(data.path)
    root = root.parent if root.is_file() else root
    for option in ("path", "text_path") if data.text_source else ("path",):
        path = Path(getattr(data, option))
        if not (path.exists() and path.is_relative_to(root)):
            raise UserError(
                f"--inputs: is a copy of {root}, and data.{option} {str(path)!r} is no file or folder in it; have it "
                "there, or leave --inputs out"
            )
    return str(root)


JOB = Job("prepare_with_beam", __doc__, main, Arguments)
