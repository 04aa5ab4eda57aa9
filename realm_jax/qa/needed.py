"""Which experiments need questions; told from their settings alone."""

from realm_jax.config import Config
from realm_jax.errors import UserError
from realm_jax.kinds import SOURCES
from realm_jax.stages import STAGES, of_run


def require_training_questions(config: Config) -> None:
    """Raises UserError where a stage would learn from questions, no file of them is named, and the source has none."""
    for stage in of_run(config):
        steps = getattr(config, stage).steps if "questions" in STAGES[stage].reads else 0
        if stage == "finetune" and config.finetune.made_steps:
            continue  # learns from questions made of the documents
        if steps and not config.questions.train and not SOURCES[config.data.source].brings_questions:
            raise UserError(
                f"{stage}.steps: {steps}, but there are no training questions; name them by --questions.train FILE, or "
                f"leave that out: --{stage}.steps 0"
            )
