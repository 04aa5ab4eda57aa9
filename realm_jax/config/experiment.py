"""All options of an experiment, and the checks of those of several parts together."""

import dataclasses
from typing import Annotated, Any

from realm_jax import settings
from realm_jax.config.data import Data
from realm_jax.config.evaluation import Evaluation
from realm_jax.config.index import Index
from realm_jax.config.masking import Masking
from realm_jax.config.mesh import Mesh
from realm_jax.config.model import Model
from realm_jax.config.questions import Questions
from realm_jax.config.training import ClosedBook, Finetune, Ict, Pretrain, Tagger, WarmUp
from realm_jax.errors import UserError
from realm_jax.kinds import INDEXES
from realm_jax.settings import Added, First, InputFile, Machine, Part, Range

MAX_SEED = 2**32 - 1


@dataclasses.dataclass(frozen=True)
class Config(Part):
    """A whole experiment."""

    name: str = "unnamed"
    """Names the experiment in reports and messages."""
    seed: Annotated[int, Range(0, MAX_SEED), First()] = 0
    """Seed of all randomness: initialisation, order of data, masks, dropout."""
    data: Data = Data()
    questions: Questions = Questions()
    mesh: Annotated[Mesh, Machine()] = Mesh()
    model: Model = Model()
    masking: Masking = Masking()
    index: Index = Index()
    ict: Ict = Ict()
    warm_up: WarmUp = WarmUp()
    pretrain: Pretrain = Pretrain()
    finetune: Finetune = Finetune()
    closed_book: ClosedBook = ClosedBook()
    tagger: Tagger = Tagger()
    evaluation: Evaluation = Evaluation()

    def __post_init__(self):
        settings.check(self)

    @property
    def checkpoints_behind(self) -> int:
        """Newest checkpoints of pre-training that a trainer may need which goes on from its last one: it searches a
        snapshot that is older by the schedule's delay."""
        return (self.index.delay or 0) // self.pretrain.checkpoint_every + 2

    def check(self, name: str) -> None:
        data = self.data
        for option, length in (
            ("data.joint_length", data.joint_length),
            ("finetune.joint_length", self.finetune.joint_length),
        ):
            if length < data.query_length + 2:
                raise UserError(
                    f"{option}: {length} leaves no room for a passage beside a query of data.query_length "
                    f"{data.query_length}; it must be at least {data.query_length + 2}"
                )
        if self.closed_book.steps and data.query_length < data.answer_length + 3:
            raise UserError(
                f"data.query_length: {data.query_length} leaves no room for a question beside closed_book's masks, "
                f"as many as data.answer_length {data.answer_length}; it must be at least {data.answer_length + 3}"
            )
        self._check_corpus()
        if self.questions.match == "regex" and self.closed_book.steps:
            raise UserError(
                f"closed_book.steps: {self.closed_book.steps}, but the closed-book reader learns to say answers, and "
                "questions.match regex has only patterns of them; set it to 0"
            )
        if self.questions.match == "regex" and self.finetune.made_steps:
            raise UserError(
                f"finetune.made_steps: {self.finetune.made_steps}, but questions.match regex has patterns for answers, "
                "and made questions have words; set it to 0"
            )
        behind = self.checkpoints_behind
        if self.pretrain.keep < behind:
            raise UserError(
                f"pretrain.keep: {self.pretrain.keep} checkpoints are too few for a builder that may be "
                f"index.swap_after {self.index.swap_after} steps behind, with one every pretrain.checkpoint_every "
                f"{self.pretrain.checkpoint_every} steps; it must be at least {behind}"
            )
        self._check_ablations()

    def _check_ablations(self) -> None:
        """Options that are about something which other options leave out."""
        pretrain, finetune = self.pretrain, self.finetune
        if not INDEXES[self.index.kind].embeds and pretrain.steps and pretrain.embedder_rate:
            raise UserError(
                f"pretrain.embedder_rate: {pretrain.embedder_rate}, but index.kind {self.index.kind} retrieves "
                "without the embedder, which gets no gradient; set it to 0"
            )
        if finetune.refresh != "none" and not (finetune.embedder_rate and INDEXES[self.index.kind].embeds):
            still = "finetune.embedder_rate 0" if not finetune.embedder_rate else f"index.kind {self.index.kind}"
            raise UserError(
                f"finetune.refresh: {finetune.refresh} embeds passages anew, but with {still} their vectors would stay "
                "as they are; it must be none"
            )
        for option, value, most in (
            ("pretrain.oversample", pretrain.oversample, 1),
            ("pretrain.answer_within", pretrain.answer_within, 0),
        ):
            chooses = option == "pretrain.oversample" and self.masking.choice.learns
            if not self.masking.choice.hides_salient and value > most and not chooses:
                raise UserError(
                    f"{option}: {value} needs to know which passages hold what is hidden, as is known of salient spans "
                    f"only; with masking.kind {self.masking.kind} it must be {most}"
                )
        if self.masking.choice.learns and pretrain.oversample == 1:
            raise UserError(
                "pretrain.oversample: 1 leaves masking.kind learned no choice; it must be at least 2, queries drawn "
                "for each one trained on"
            )
        if not pretrain.steps:
            for option, value in (("finetune.embedder", finetune.embedder), ("finetune.reader", finetune.reader)):
                if value == "start":
                    raise UserError(
                        f"{option}: start is what pre-training begins with, and with pretrain.steps 0 also what it "
                        "ends with; use pretrain"
                    )

    def _check_corpus(self) -> None:
        data = self.data
        if data.text_source and self.warm_up.steps:
            raise UserError(
                f"warm_up.steps: {self.warm_up.steps}, but the warm-up learns from masked sentences beside their own "
                "passages, and data.text_source is another corpus; set it to 0"
            )
        needing = {
            "masking.min_holders": self.masking.min_holders,
            "masking.max_holders": self.masking.max_holders,
            "warm_up.steps": self.warm_up.steps,
            "pretrain.probe_queries": self.pretrain.steps and self.pretrain.probe_queries,
            "pretrain.oversample": self.masking.choice.hides_salient and self.pretrain.oversample > 1,
            "pretrain.answer_within": self.pretrain.answer_within,
        }
        if not data.holders and any(needing.values()):
            option = next(name for name, value in needing.items() if value)
            least = 1 if option == "pretrain.oversample" else 0
            raise UserError(f"data.holders: is off, but {option} needs it; set that to {least}, or turn it on")


INPUT_FILES = settings.marked(Config, InputFile)
_MACHINE, _ADDED = settings.marked(Config, Machine), settings.marked(Config, Added)


def of_the_machine(option: str) -> bool:
    """Whether an option may change within a run (`settings.Machine`)."""
    return option in _MACHINE


def decisive(config: Config) -> dict[str, Any]:
    """{option: value} of all that may decide a result. One that was added is left out at its default, as before it."""
    default = settings.flatten(Config())
    return {
        name: value
        for name, value in settings.flatten(config).items()
        if name not in _MACHINE and not (name in _ADDED and value == default[name])
    }
