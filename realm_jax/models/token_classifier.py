"""A label for every wordpiece: BERT's trunk and one linear layer (Devlin et al. 2019, section 5.3)."""

from pathlib import Path

import flax.linen as nn
from jaxtyping import Array, Float, Integer

from realm_jax import published
from realm_jax.config import Bert, Model
from realm_jax.errors import UserError
from realm_jax.models.bert import BertTrunk, Tokens, dense


class TokenClassifier(nn.Module):
    """Logits over `labels` labels."""

    bert: Bert
    model: Model
    labels: int

    def setup(self) -> None:
        self.trunk = BertTrunk(self.bert, self.model)
        self.classifier = dense(self.model, self.labels)

    def __call__(
        self, tokens: Integer[Tokens, "B T"], segments: Integer[Tokens, "B T"], deterministic: bool = True
    ) -> Float[Array, "B T L"]:
        return self.classifier(self.trunk(tokens, segments, deterministic))


def load_token_classifier(directory: Path, model: Model) -> tuple[TokenClassifier, published.Params, tuple[str, ...]]:
    """(module, parameters, names of the labels) of a Hugging Face-format folder.

    Raises:
      UserError: as `published.load`, also where config.json does not name as many labels as the classifier has; or
        there is no classifier in the file.
    """
    found = published.load(directory)
    if "classifier" not in found.params:
        raise UserError(f"{directory}: its weights have no classifier.weight; this is no token classifier")
    params = {part: found.params[part] for part in ("trunk", "classifier")}
    return TokenClassifier(found.bert, model, len(found.labels)), params, found.labels
