"""The experiment schema: frozen dataclasses, one per part, with units and ranges.

An experiment file's ``get_config()`` returns a `Config`. The command line turns every field into an option of the same
dotted name (``--pretrain.steps 100``); the text below a field is that option's help. A part has its own checks;
those of several parts together in `experiment.Config`.
"""

from realm_jax.config.data import Data
from realm_jax.config.evaluation import Evaluation
from realm_jax.config.experiment import INPUT_FILES, Config, decisive, of_the_machine
from realm_jax.config.index import Bm25, Index
from realm_jax.config.masking import Masking
from realm_jax.config.mesh import ROW_AXES, Mesh
from realm_jax.config.model import Bert, Model
from realm_jax.config.questions import QUESTION_SPLITS, Questions
from realm_jax.config.sweep import Sweep
from realm_jax.config.training import ClosedBook, Finetune, Ict, Pretrain, Tagger, Training, WarmUp

__all__ = [
    "Bert", "Bm25", "ClosedBook", "Config", "Data", "Evaluation", "Finetune", "INPUT_FILES", "Ict", "Index", "Masking",
    "Mesh", "Model", "Pretrain", "QUESTION_SPLITS", "Questions", "ROW_AXES", "Sweep", "Tagger", "Training", "WarmUp",
    "decisive", "of_the_machine",
]  # fmt: skip
