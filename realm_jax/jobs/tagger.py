"""Train the classifier of the tagger `ner` on labelled text.

Reads CoNLL-2003's files or the data set of TFDS (--tagger.train), writes <workdir>/tagger/weights in Hugging Face's
format, which --data.tagger_weights of another workdir then names. A job that was stopped goes on from its last
checkpoint.
"""

from realm_jax.config import Config
from realm_jax.runtime.peers import Processes as Arguments
from realm_jax.workdir import Workdir


def main(config: Config, workdir: Workdir, arguments: Arguments | None = None) -> None:
    from realm_jax.tagging.classifier import Classifier
    from realm_jax.training.distributed import is_first
    from realm_jax.training.stages import train

    workdir.check_local("tagger")
    train("tagger", config, workdir)
    if is_first():
        folder = Classifier(config).publish(workdir)
        print(f"tagger: weights are in {folder}; a corpus is tagged with them by --data.tagger_weights", flush=True)
