"""Where published weights are imported from: folders of several formats, each of which brings some parts of a run."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from etils import epath

from realm_jax import disk, published
from realm_jax.config import Bert, Model
from realm_jax.corpus.tensorflow_corpora import BLOCKS, TITLES
from realm_jax.corpus.tfrecord import read_records
from realm_jax.errors import UserError
from realm_jax.published import variables
from realm_jax.published.records import RECORDS
from realm_jax.published.sizes import CONFIG, TOKENIZER, VOCAB, check_vocab

FILES = (
    CONFIG, VOCAB, TOKENIZER, RECORDS, BLOCKS, TITLES, "model*.safetensors*", "pytorch_model*.bin*", "*.ckpt*.index",
    "*.ckpt*.data-*", "variables/*", "assets/vocab.txt", "encoded/*", "export/best_default/checkpoint/*",
)  # fmt: skip
"""The files of a remote folder that are fetched."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PARTS = ("embedder", "reader", "span_reader")


@dataclasses.dataclass
class Parts:
    """The parts that the sources bring together; each part comes from the first one that has it."""

    bert: Bert
    model: Model
    settings: dict[str, Any]
    params: dict[str, published.Params]
    """Of `embedder`, `reader` (masked-LM) and `span_reader`, those that there are."""
    vectors: np.ndarray | None
    passages: "Passages | None"
    vocab: Path | None


@dataclasses.dataclass(frozen=True)
class Passages:
    """Titles and texts, read from their files each time they are iterated over."""

    texts: Path
    titles: Path | None = None

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """(title, text) of each passage; titles are empty where there is no file of them.

        Raises:
          UserError: a file is damaged, a passage is no UTF-8, or there are not as many titles as texts.
        """
        texts = published.Records(self.texts) if self.texts.name == RECORDS else read_records(self.texts)
        titles = read_records(self.titles) if self.titles else None
        for number, text in enumerate(texts):
            title = next(titles, None) if titles else b""
            if title is None:
                raise UserError(
                    f"{self.titles}: {number} titles, but {self.texts} has more passages; one each is wanted"
                )
            yield _text(self.titles, number, title), _text(self.texts, number, text)
        if titles and next(titles, None) is not None:
            raise UserError(f"{self.titles}: more titles than {self.texts} has passages; one each is wanted")

    def where(self, number: int) -> str:
        """The place that a passage comes from."""
        return f"{self.texts.name}: record {number}"


def _text(path: Path | None, number: int, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: record {number}: no UTF-8 at its byte {error.start} ({data[error.start : error.end]!r})"
        ) from None


def fetch(source: str, cache: Path) -> Path:
    """The local folder that a source means: itself, a copy of a `gs://` folder in `cache`, or the Hub's copy.

    Raises:
      UserError: there is no such folder, or it cannot be fetched.
    """
    if Path(source).is_dir():
        return Path(source)
    if "://" in source:
        return copy_remote(source, cache / quote(source, safe=""))
    if not HUB_ID.fullmatch(source):
        raise UserError(f"--source: {source!r} is no folder; it must be one, or gs://..., or OWNER/NAME on the Hub")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise UserError(
            f"--source: {source!r} is no folder; taken as an id on the Hub it needs huggingface_hub, which is not "
            f"installed ({error}): run `pip install 'realm_jax[hub]'`"
        ) from None
    try:
        return Path(snapshot_download(source, allow_patterns=list(FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"--source: {source!r} is no folder, and the Hub does not give it ({reason})") from None


def copy_remote(source: str, target: Path) -> Path:
    """Copies the needed files of a remote folder, each whole or not at all; files that are there are kept."""
    try:
        remote = epath.Path(source)
        found = sorted({path for pattern in FILES for path in remote.glob(pattern)})
        for path in found:
            local = target / path.relative_to(remote)
            if not local.exists():
                print(f"import_weights: fetching {path}", flush=True)
                with disk.written(local) as part:
                    path.copy(part, overwrite=True)
    # What stands between this machine and a bucket has errors of its own.
    except Exception as error:
        raise UserError(
            f"--source: {source!r} cannot be fetched ({type(error).__name__}: {error}); gs:// needs a network and "
            "`pip install 'realm_jax[gcs]'`"
        ) from None
    if not found:
        raise UserError(f"--source: {source!r} holds nothing that can be imported, or does not exist")
    return target


def gather(folders: Sequence[Path]) -> Parts:
    """The parts that the folders hold.

    Raises:
      UserError: a folder holds nothing that is known, or two of them do not fit each other.
    """
    parts: Parts | None = None
    vectors = texts = titles = vocab = None
    for folder in folders:
        model = _model(folder)
        found = _first(folder / RECORDS, folder / BLOCKS)
        named = _first(folder / TITLES)
        titles = titles or named
        encoded = _encoded(folder) if model is None or model.vectors is None else model.vectors
        if model is None and found is None and named is None and encoded is None:
            raise UserError(
                f"--source: {folder} holds no published model ({CONFIG} and weights, or TensorFlow's variables), no "
                f"{variables.ENCODED}, no {BLOCKS} and no {TITLES}"
            )
        vectors = encoded if vectors is None else vectors
        texts = texts or found
        if model is not None:
            parts = _merged(parts, model, folder)
            if vocab is not None and model.vocab is not None:
                _check_same_vocab(vocab, model.vocab)
            vocab = vocab or model.vocab
    if parts is None:
        raise UserError(f"--source: none of {', '.join(map(str, folders))} holds a model")
    if vocab is not None:
        check_vocab(vocab, parts.bert.vocab_size, f"the model of {folders[0]}")
    if vectors is not None and vectors.shape[1:] != (parts.model.vector_size,):
        raise UserError(
            f"--source: vectors of size {vectors.shape[1:]}, but the embedder's are of size {parts.model.vector_size}"
        )
    if vectors is not None and "embedder" not in parts.params:
        raise UserError("--source: vectors without the embedder that made them; name its folder as another --source")
    if (vectors is None) != (texts is None):
        missing = "vectors (block_emb)" if vectors is None else f"passages ({RECORDS} or {BLOCKS})"
        raise UserError(f"--source: no {missing} beside the others; name the folder that has them as another --source")
    passages = None if texts is None else Passages(texts, titles)
    return dataclasses.replace(parts, vectors=vectors, passages=passages, vocab=vocab)


def _check_same_vocab(one: Path, other: Path) -> None:
    lines = zip(one.read_bytes().splitlines(), other.read_bytes().splitlines(), strict=False)
    for number, (a, b) in enumerate(lines, 1):
        if a != b:
            raise UserError(
                f"--source: {other}:{number}: {b.decode(errors='replace')!r}, but {one} has "
                f"{a.decode(errors='replace')!r} there; parts of one run must have the same vocabulary"
            )


def _model(folder: Path) -> published.Published | None:
    if (folder / CONFIG).is_file() and any(folder.glob("model*.safetensors*")) or any(folder.glob("pytorch_model*")):
        return published.load(folder)
    return variables.load_checkpoint(folder) if variables.find_checkpoint(folder) else None


def _first(*paths: Path) -> Path | None:
    return next((path for path in paths if path.is_file()), None)


def _encoded(folder: Path) -> np.ndarray | None:
    for prefix in (folder / variables.ENCODED, folder / variables.ENCODED.name):
        if prefix.with_name(f"{prefix.name}.index").is_file():
            return variables.load_vectors(prefix)
    return None


def _merged(parts: Parts | None, model: published.Published, folder: Path) -> Parts:
    params = dict(zip(PARTS, _roles(model, folder), strict=True))
    params = {part: tree for part, tree in params.items() if tree is not None}
    if parts is None:
        return Parts(model.bert, model.model, model.settings, params, None, None, None)
    if dataclasses.replace(model.bert, dropout=0.0) != dataclasses.replace(parts.bert, dropout=0.0):
        raise UserError(f"--source: {folder} is {model.bert}, another source is {parts.bert}; their sizes must agree")
    # What the format of a part does not speak of is the schema's default there.
    if "span_reader" in params and "span_reader" not in parts.params:
        keep = ("span_hidden_size", "max_span_width", "span_eps")
        parts.model = dataclasses.replace(parts.model, **{name: getattr(model.model, name) for name in keep})
    if "embedder" in params and "embedder" not in parts.params:
        keep = ("vector_size", "projection_eps")
        parts.model = dataclasses.replace(parts.model, **{name: getattr(model.model, name) for name in keep})
    parts.params, parts.settings = params | parts.params, model.settings | parts.settings
    return parts


def _roles(model: published.Published, folder: Path) -> tuple:
    """(embedder, reader, span reader) of a model, None where it has none."""
    params = model.params
    if model.kind == "embedder":
        return params, None, None
    if model.kind == "scorer":
        if params["query_embedder"] is not params["embedder"]:
            raise UserError(f"--source: {folder} is a scorer with two embedders; queries and passages have one here")
        return params["embedder"], None, None
    if model.kind == "reader":
        return None, _masked_lm(params, model.unused), params
    if model.kind == "open_qa":
        return params["embedder"], _masked_lm(params["reader"], model.unused["reader"]), params["reader"]
    if "head" not in params:
        raise UserError(
            f"--source: {folder} is a BERT without a masked-LM head, which is no reader; begin another run with it, by "
            "--model.weights, or where it was trained to find answers by --model.reader_weights"
        )
    return None, {"trunk": params["trunk"], "head": params["head"]}, None


def _masked_lm(reader: dict, unused: dict) -> dict | None:
    """The reader of pre-training that a span reader was; None where its head is not in the file but filled up."""
    head = {name: leaf for name, leaf in unused["head"].items() if name != "decoder"}
    return {"trunk": reader["trunk"], "head": head} if head["transform"]["kernel"].any() else None
