"""Turn the source into passages, pre-training text and questions; fetch the weights to start from.

Writes the prepared data (<workdir>/data, or data.directory, which several workdirs may share) and fetches the weights
into your cache folder.
"""

from typing import Any

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.jobs.job import Job
from realm_jax.locks import sole_owner
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Any = None) -> None:
    from realm_jax import models
    from realm_jax.corpus.preparation import clear_failed, prepare_corpus
    from realm_jax.qa.prepared_questions import prepare_questions
    from realm_jax.tagging.ner import open_ner
    from realm_jax.training.jitted_models import Models
    from realm_jax.training.open_run import OpenRun

    models.check_lengths(config)  # a run keeps its settings, and passages are cut by them
    Models(config, workdir)  # refuses vectors that are not made here as the weights want them
    tokenizer, data = OpenRun(config, workdir).tokenizer, workdir.data(config.data.directory)
    with sole_owner(data.root, "prepare"):
        try:
            prepare_questions(config, data)
            # Last, for it writes the manifest, with which the data is complete.
            prepare_corpus(config, data, tokenizer, ner=open_ner(config))
        except UserError:
            clear_failed(data)
            raise
    data.send()


JOB = Job("prepare", __doc__, main)
