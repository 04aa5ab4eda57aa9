"""The input of every stage and every measurement, opened once and on first use."""

from functools import cached_property

import jax
import numpy as np

from realm_jax import models
from realm_jax.config import Config, Masking
from realm_jax.corpus.store import PassageStore
from realm_jax.corpus.texts import PassageTexts
from realm_jax.errors import UserError
from realm_jax.qa.made_questions import made_questions
from realm_jax.qa.questions import Question, load_questions, prepared_set, split_sizes
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.jitted_models import Models
from realm_jax.training.masked_queries import MaskedQueries
from realm_jax.training.mesh import make_mesh
from realm_jax.training.question_arrays import BeamLabels, QuestionSet
from realm_jax.workdir import Workdir

SAMPLE_ROWS = 512


class OpenRun:
    """An experiment in its workdir: the models, and the prepared data."""

    def __init__(self, config: Config, workdir: Workdir, compared: int | None = None):
        """`compared`: as `most` of `PassageStore.open`; who only asks compares a sample."""
        self.config, self.workdir, self._compared = config, workdir, compared
        self.data = workdir.data(config.data.directory)
        self.data.fetch()

    def again(self) -> "OpenRun":
        """The same, as it stands now."""
        return OpenRun(self.config, self.workdir, self._compared)

    @cached_property
    def mesh(self) -> jax.sharding.Mesh:
        """All devices of all processes, as the experiment arranges them."""
        return make_mesh(self.config.mesh)

    @cached_property
    def models(self) -> Models:
        return Models(self.config, self.workdir)

    @cached_property
    def store(self) -> PassageStore:
        return PassageStore.open(self.data.store, self._compared)

    @cached_property
    def texts(self) -> PassageTexts:
        return PassageTexts(self.data)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return Tokenizer.from_vocab(models.resolve_vocab(self.config.model))

    def sample_rows(self) -> np.ndarray:
        """Passage rows [R,P] spread evenly over the store, to fit the layers that the weights lack."""
        return self.store.rows(np.linspace(0, self.store.num_passages - 1, SAMPLE_ROWS).astype(int))

    def questions(self, split: str) -> QuestionSet:
        found = load_questions(prepared_set(self.config.questions, self.data), split)
        return QuestionSet(self.config, self.tokenizer, found)

    def questions_to_learn(self) -> tuple[QuestionSet, int]:
        """The questions that fine-tuning learns from: questions made of the documents, so many, and behind them the
        labelled ones.

        Raises:
          UserError: there are none to learn from.
        """
        config, settings = self.config, self.config.finetune
        if not settings.steps:
            return QuestionSet(config, self.tokenizer, [Question("", "?", ("?",))]), 0
        labelled = "train" in split_sizes(config.questions, self.data)
        steps = min(settings.made_steps, settings.steps) if labelled or not settings.made_steps else settings.steps
        if not steps:
            return self.questions("train"), 0
        longest = min(config.model.max_span_width, config.data.answer_length)
        questions = made_questions(self.data, steps * settings.batch_size, config.seed, longest)
        made = len(questions)
        if not labelled and not made:
            raise UserError(
                f"finetune.made_steps: {settings.made_steps}, but no question can be made of the documents, as no "
                "sentence has a name, date or number with words enough around it; name labelled questions by "
                "--questions.train FILE, or leave fine-tuning out: --finetune.steps 0"
            )
        if labelled:
            questions += load_questions(prepared_set(config.questions, self.data), "train")
        return QuestionSet(config, self.tokenizer, questions), made

    def dev_sets(self) -> dict[str, QuestionSet]:
        """The sets of dev questions that there are, by the ending of their figures' names."""
        sizes = split_sizes(self.config.questions, self.data)
        return {
            split.removeprefix("dev"): self.questions(split) for split in ("dev", "dev_new_kinds") if split in sizes
        }

    def labels(self, questions: QuestionSet) -> BeamLabels:
        """Which passages hold an answer of these questions."""
        return BeamLabels(self.config, self.data, self.tokenizer, self.store, questions)

    def masked_queries(self, split: str, masking: Masking | None = None) -> MaskedQueries:
        """Sentences of a split, masked as the experiment says unless `masking` says otherwise."""
        return MaskedQueries(self.config, self.data, self.tokenizer, split, masking)
