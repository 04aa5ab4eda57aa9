"""The stage `tagger`: from labelled text to a folder that `data.tagger_weights` names."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from realm_jax import models, published
from realm_jax.config import Config
from realm_jax.models import TokenClassifier
from realm_jax.tagging.classifier_task import Tagger
from realm_jax.tagging.conll import read_labelled
from realm_jax.tagging.labelled import LabelledSet, label_names
from realm_jax.tagging.ner import Labeller
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training import checkpoints
from realm_jax.training.mesh import process_part
from realm_jax.training.open_run import OpenRun
from realm_jax.training.task import Metrics, Params
from realm_jax.workdir import Workdir

WEIGHTS = "weights"


class Classifier:
    """The model, and the text that it is trained on.

    Args:
      config: the text in `tagger`, the trunk to start from in `model`; a vocabulary keeps its case where a
        tokenizer_config.json beside it says so.
    """

    def __init__(self, config: Config):
        """Raises UserError where there is no such text or trunk."""
        self._config = config
        self._sentences = read_labelled(config.tagger.train, "tagger.train")
        self._names = label_names(self._sentences, "tagger.train")
        self._weights, self._vocab = models.resolve_weights(config.model), models.resolve_vocab(config.model)
        self._tokenizer = Tokenizer.from_vocab(self._vocab)
        self._bert = models.bert_config(config.model, self._weights)
        self._module = TokenClassifier(self._bert, config.model, len(self._names))

    def task(self, part: tuple[int, int] = (0, 1)) -> Tagger:
        """Its training, of which this process makes `part` (i, n) of each batch."""
        stage, seed = self._config.tagger, self._config.seed
        length = min(stage.length, self._bert.max_positions)
        batches = LabelledSet(self._sentences, self._tokenizer).batches(
            self._names, length, stage.batch_size, seed, part
        )
        return Tagger(self._module, batches, lambda key: {"tagger": self._start(key)}, self._probe())

    def _start(self, key: jax.Array) -> Params:
        return models.token_classifier_params(key, self._config.model, self._weights, len(self._names))

    def _probe(self) -> Callable[[Params], Metrics]:
        if not self._config.tagger.dev:
            return lambda params: {}
        dev = LabelledSet(read_labelled(self._config.tagger.dev, "tagger.dev"), self._tokenizer)
        label = Labeller(self._module, self._tokenizer)

        def probe(params: Params) -> Metrics:
            score = dev.f1(label(params, dev.encodings), self._names)
            return {"probe/entity_f1": score, "probe/score": score}

        return probe

    def publish(self, workdir: Workdir) -> Path:
        """Writes the result of the finished stage in Hugging Face's format, unless it is there; returns where.

        Raises:
          UserError: the stage is not finished.
        """
        stage, step = workdir.result("tagger")
        target = stage.root / WEIGHTS
        if not target.exists():
            row = jnp.zeros((1, 8), jnp.int32)
            shapes = jax.eval_shape(lambda: self._module.init(jax.random.key(0), row, row)["params"])
            params = checkpoints.restore_part(stage.checkpoints, step, "tagger", shapes)
            model = published.Published(
                "bert",
                self._bert,
                self._config.model,
                jax.tree.map(np.asarray, params),
                labels=self._names,
                settings={"architectures": ["BertForTokenClassification"]},
                vocab=self._vocab,
            )
            settings = {
                "do_lower_case": self._tokenizer.lowercase,
                "strip_accents": self._tokenizer.strip_accents,
                "tokenizer_class": "BertTokenizer",
            }
            published.save(target, model, settings)
        return target


def tagger_task(run: OpenRun) -> Tagger:
    run.workdir.check_local("tagger")
    return Classifier(run.config).task(process_part(run.mesh))


def publish(config: Config, workdir: Workdir) -> None:
    """Writes the weights of the finished stage, and says where."""
    folder = Classifier(config).publish(workdir)
    print(f"tagger: weights are in {folder}; a corpus is tagged with them by --data.tagger_weights", flush=True)
