"""Runs the PyTorch port of REALM (transformers 4.40.2) on small random models and writes inputs and outputs.

    python parity/port.py FOLDER [--seed 0] [--tiny]
    python parity/port.py FOLDER --reload

It runs in an environment of its own (parity/requirements.txt) and knows nothing of realm_jax, so that no mistake is
made twice. FOLDER receives

    embedder/ scorer/ encoder/ reader/ openqa/   as the port's save_pretrained writes them
    inputs.npz                                   rows of tokens, masks, questions, answers
    float32.npz, float64.npz                     outputs, by quantity; gradients as gradient/MODEL/TENSOR

`parity/compare.py` reads it and writes the models back into FOLDER/saved; `--reload` has the port load these and checks
that every tensor and every value of config.json is as it was. `--tiny` makes the model of tests/published/golden.
"""

import argparse
import copy
import os
import warnings
from pathlib import Path

import numpy as np
import torch

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")
from transformers import (  # noqa: E402  (the settings above count at import)
    RealmConfig,
    RealmEmbedder,
    RealmForOpenQA,
    RealmKnowledgeAugEncoder,
    RealmReader,
    RealmRetriever,
    RealmScorer,
    RealmTokenizerFast,
)

PAD, PADDING_IDX, CLS, SEP, MASK = 0, 1, 101, 102, 103
B, K, M, Q, P, J = 3, 4, 5, 12, 16, 24
"""Queries, candidates, masks; lengths of query, passage and joint rows."""
QUESTIONS, LONG, RECORDS, BEAM, READ = 5, 2, 11, 6, 3
PIECES = 4
"""Wordpieces of the vocabulary that continue a word."""


KINDS = {
    "embedder": RealmEmbedder,
    "scorer": RealmScorer,
    "encoder": RealmKnowledgeAugEncoder,
    "reader": RealmReader,
    "openqa": RealmForOpenQA,
}


class World:
    """Vocabulary and texts. A word is `w` and its id."""

    def __init__(self, rng: np.random.Generator, vocab_size: int):
        self.rng, self.words = rng, [i for i in range(1, vocab_size - PIECES) if not 100 <= i <= MASK]
        special = {PAD: "[PAD]", 100: "[UNK]", CLS: "[CLS]", SEP: "[SEP]", MASK: "[MASK]"}
        self.vocab = [special.get(i, f"w{i}") for i in range(vocab_size - PIECES)] + [f"##{c}" for c in "abcd"]

    def ids(self, low: int, high: int) -> list[int]:
        """Wordpieces, sometimes with the id whose gradient the port drops, sometimes with one that continues a word."""
        ids = [int(i) for i in self.rng.choice(self.words, self.rng.integers(low, high + 1))]
        ids[0] = PADDING_IDX if self.rng.random() < 0.3 else ids[0]
        return [len(self.vocab) - 1 if i and self.rng.random() < 0.1 else piece for i, piece in enumerate(ids)]

    def text(self, ids: list[int]) -> str:
        return " ".join(self.vocab[i] for i in ids).replace(" ##", "")


def row(length: int, *parts: list[int]) -> tuple[list[int], list[int]]:
    """`[CLS] part [SEP] part [SEP] PAD...` and its segments."""
    ids, segments = [CLS], [0]
    for number, part in enumerate(parts):
        ids, segments = [*ids, *part, SEP], segments + [number] * (len(part) + 1)
    assert len(ids) <= length, (len(ids), length)
    padding = [0] * (length - len(ids))
    return ids + padding, segments + padding


def pretraining_inputs(world: World) -> dict[str, np.ndarray]:
    """Masked queries, their candidates (the null passage first), joint rows. One body is too long and is cut."""
    rows = {"query": [], "passages": [], "joint": [], "positions": [], "targets": [], "weights": []}
    for b in range(B):
        query = world.ids(M + 1, Q - 2)
        masks = 1 + b % M
        places = sorted(int(i) for i in world.rng.choice(len(query), masks, replace=False))
        rows["targets"].append([query[i] for i in places] + [0] * (M - masks))
        rows["positions"].append([i + 1 for i in places] + [0] * (M - masks))
        rows["weights"].append([1.0] * masks + [0.0] * (M - masks))
        query = [MASK if i in places else piece for i, piece in enumerate(query)]
        bodies = [[]] + [world.ids(3, P - 6) for _ in range(K - 2)] + [world.ids(P - 4, P - 4)]
        rows["query"].append(row(Q, query))
        rows["passages"].append(
            [row(P, world.ids(1, 3) if body and len(body) < P - 5 else [], body) for body in bodies]
        )
        rows["joint"].append([row(J, query, body[: J - 3 - len(query)]) for body in bodies])
    inputs = {}
    for name in ("query", "passages", "joint"):
        pairs = np.array(rows.pop(name), np.int32)
        inputs[name], inputs[f"{name}_segments"] = pairs[..., 0, :], pairs[..., 1, :]
    return inputs | {key: np.array(value, np.float32 if key == "weights" else np.int32) for key, value in rows.items()}


def choose_answers(world: World, records: list[list[int]], ranks: np.ndarray) -> list[list[list[int]]]:
    """Two answers to each question, of two wordpieces. One of them stands in the passage of rank 0, 1, 2 (these are
    read), 3 (this one is only in the beam); those to the last question stand nowhere.

    Args:
      ranks: int [questions, records], the passages in the order in which they are retrieved.
    """
    absent = [world.words[-1], world.words[-1]]
    answers = [[absent, absent] for _ in ranks]
    for question in range(QUESTIONS - 1):
        body = records[ranks[question, question]]
        start = int(world.rng.integers(min(len(body), J // 3) - 1))
        answers[question][1] = body[start : start + 2]
    return answers


def randomise(model: torch.nn.Module, generator: torch.Generator) -> None:
    """Fresh models have zero biases and unit scales, which would hide mistakes; even the padding row is random."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "embeddings.weight" in name:
            value = 0.5 * noise
        elif parameter.ndim == 2:
            value = noise * (0.8 / parameter.shape[1] ** 0.5)
        else:
            norm = "norm" in name.lower() and name.endswith("weight")
            value = float(norm) + 0.2 * noise
        parameter.data.copy_(value)


def numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().numpy().copy()


def gradients(prefix: str, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Of every parameter that the forward pass uses, by the name in the file."""
    used = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {f"gradient/{prefix}/{name}": numpy(grad) for name, grad in used.items()}


def for_gradients(model: torch.nn.Module, dtype: torch.dtype, padding_idx: bool = True) -> torch.nn.Module:
    """A copy in training mode, without dropout."""
    model = copy.deepcopy(model).to(dtype).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.Embedding) and not padding_idx:
            module.padding_idx = None
    return model


def tensors(inputs: dict[str, np.ndarray], name: str, prefix: str = "") -> dict[str, torch.Tensor]:
    ids = torch.from_numpy(inputs[name]).long()
    segments = torch.from_numpy(inputs[f"{name}_segments"]).long()
    keys = ("input_ids", "token_type_ids", "attention_mask")
    return {prefix + key: value for key, value in zip(keys, (ids, segments, (ids != PAD).long()))}


def pretraining_loss(scorer, encoder, inputs, weights):
    """The port's loss and the scores it came from."""
    scores = scorer(**tensors(inputs, "query"), **tensors(inputs, "passages", "candidate_")).relevance_score
    scores.retain_grad()
    labels, mask = torch.zeros(B, J, dtype=torch.long), torch.zeros(B, J)
    for b, m in np.argwhere(weights > 0):
        labels[b, inputs["positions"][b, m]] = int(inputs["targets"][b, m])
        mask[b, inputs["positions"][b, m]] = 1
    out = encoder(**tensors(inputs, "joint"), relevance_score=scores, labels=labels, mlm_mask=mask)
    return out.loss, out.logits, scores


def run_pretraining(models, inputs, dtype) -> dict[str, np.ndarray]:
    out = {}
    with torch.no_grad():
        out["scorer/scores"] = numpy(
            copy.deepcopy(models["scorer"])
            .to(dtype)(**tensors(inputs, "query"), **tensors(inputs, "passages", "candidate_"))
            .relevance_score
        )
    word = "realm.embeddings.word_embeddings.weight"
    for padding_idx in (True, False):
        embedder, encoder = (for_gradients(models[name], dtype, padding_idx) for name in ("embedder", "encoder"))
        scorer = RealmScorer(embedder.config, query_embedder=embedder)
        scorer.embedder = embedder
        loss, logits, scores = pretraining_loss(scorer, encoder, inputs, inputs["weights"])
        loss.backward()
        if not padding_idx:
            for name, model in (("embedder", embedder), ("encoder", encoder)):
                out[f"without_padding_idx/{name}/{word}"] = numpy(dict(model.named_parameters())[word].grad)
            continue
        with torch.no_grad():
            out["embedder/queries"] = numpy(embedder(**tensors(inputs, "query")).projected_score)
            flat = {key: value.reshape(-1, P) for key, value in tensors(inputs, "passages").items()}
            out["embedder/passages"] = numpy(embedder(**flat).projected_score.reshape(B, K, -1))
        places = torch.from_numpy(inputs["positions"]).long()[:, None, :, None].expand(B, K, M, logits.shape[-1])
        at_masks = logits.view(B, K, J, -1).gather(2, places)
        out |= {"encoder/scores": numpy(scores), "encoder/logits": numpy(at_masks), "encoder/loss": numpy(loss)}
        out |= {"gradient/scores": numpy(scores.grad)} | gradients("embedder", embedder) | gradients("encoder", encoder)
    embedder, encoder = (for_gradients(models[name], dtype) for name in ("embedder", "encoder"))
    scorer.embedder = scorer.query_embedder = embedder
    loss, _, scores = pretraining_loss(scorer, encoder, inputs, 0 * inputs["weights"])
    loss.backward()
    return out | {"empty/loss": numpy(loss), "empty/gradient": numpy(scores.grad)}


def run_openqa(model, tokenizer, inputs, dtype) -> dict[str, np.ndarray]:
    """One question at a time, as the port wants it. The beam is longer than the passages read, as in its training."""
    model, out = for_gradients(model, dtype), {}
    retriever, seen = RealmRetriever(model.retriever.block_records, tokenizer), {}
    # The port adds the retrieval score to these very logits afterwards, in place.
    model.reader.qa_outputs.register_forward_hook(lambda _, __, output: seen.update(logits=output[0]))
    model.reader.register_forward_pre_hook(lambda _, __, keywords: seen.update(keywords), with_kwargs=True)
    model.retriever = lambda ids, *rest, **keywords: seen.update(rows=ids) or retriever(ids, *rest, **keywords)
    total = 0
    for i, (question, answers) in enumerate(zip(inputs["questions"], inputs["answers"])):
        tokens = tokenizer([str(question)], return_tensors="pt")
        result = model(**tokens, answer_ids=answers.tolist(), return_dict=True)
        reader = result.reader_output
        found = {
            "rows": seen["rows"],
            "scores": seen["relevance_score"],
            "joint": seen["input_ids"],
            "segments": seen["token_type_ids"],
            "hits": reader.retriever_correct,
            "labels": reader.reader_correct,
            "logits": seen["logits"],
            "retriever_loss": reader.retriever_loss,
            "reader_loss": reader.reader_loss,
            "loss": reader.loss,
            "span": torch.stack([reader.block_idx, reader.start_pos[0], reader.end_pos[0]]),
            "answer": result.predicted_answer_ids,
        }
        out |= {f"openqa/{i}/{key}": numpy(value) for key, value in found.items()}
        # Only of questions with an answer to read: elsewhere the port multiplies a loss that has no bound by 0.
        total = total + reader.loss if bool(reader.reader_correct.any()) else total
    total.backward()
    return out | gradients("openqa/embedder", model.embedder) | gradients("openqa/reader", model.reader)


def make_config(rng: np.random.Generator, seed: int, tiny: bool) -> RealmConfig:
    draw = (lambda low, high: low) if tiny else (lambda low, high: int(rng.integers(low, high + 1)))
    heads = draw(2, 4)
    return RealmConfig(
        vocab_size=draw(114, 500),
        hidden_size=heads * draw(4, 16),
        num_hidden_layers=draw(1, 4),
        num_attention_heads=heads,
        intermediate_size=draw(12, 160),
        max_position_embeddings=draw(J + 1, 40),
        hidden_act="gelu" if seed % 3 == 2 else "gelu_new",
        retriever_proj_size=draw(6, 32),
        span_hidden_size=draw(5, 40),
        max_span_width=draw(4, 10),
        num_candidates=K,
        reader_beam_size=READ,
        searcher_beam_size=BEAM,
        reader_seq_len=J,
        num_block_records=RECORDS,
    )


def came_back(folder: Path) -> list[str]:
    """The differences of the models of FOLDER/saved, as the port loads them."""
    changed = []
    for name, kind in KINDS.items():
        models = []
        for path in (folder / name, folder / "saved" / name):
            second = {"query_embedder": RealmEmbedder(RealmConfig.from_pretrained(path))} if name == "scorer" else {}
            models.append(kind.from_pretrained(path, **second))
        (before, after), settings = (m.state_dict() for m in models), [m.config.to_dict() for m in models]
        changed += [f"{name}: {key}" for key in before if not torch.equal(before[key], after[key])]
        changed += [f"{name}/config.json: {key}" for key, value in settings[0].items()
                    if value != settings[1].get(key) and key not in ("_name_or_path", "torch_dtype")]  # fmt: skip
    retrievers = [RealmRetriever.from_pretrained(path) for path in (folder / "openqa", folder / "saved" / "openqa")]
    same = np.array_equal(*(retriever.block_records for retriever in retrievers))
    return changed if same else [*changed, "openqa: block_records.npy"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0, help="odd ones write .bin files, others safetensors")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes")
    parser.add_argument("--reload", action="store_true", help="load FOLDER/saved and make nothing")
    options = parser.parse_args()
    if options.reload:
        changed = came_back(options.folder)
        print(f"{options.folder / 'saved'}, loaded by the port: {'; '.join(changed) or 'nothing is changed'}")
        raise SystemExit(bool(changed))
    torch.set_num_threads(1)  # So that sums are made in one order.
    rng, generator = np.random.default_rng(options.seed), torch.Generator().manual_seed(options.seed)
    config = make_config(rng, options.seed, options.tiny)
    world = World(rng, config.vocab_size)
    inputs = pretraining_inputs(world)
    records = [world.ids(4, 3 * J // 4) for _ in range(RECORDS)]
    # One question is so long that the port cuts it too, and not the passage alone.
    questions = [world.ids(14, 16) if i == LONG else world.ids(2, 5) for i in range(QUESTIONS)]
    texts = np.array([world.text(ids).encode() for ids in records], dtype=object)

    (options.folder / "openqa").mkdir(parents=True, exist_ok=True)
    vocab = options.folder / "openqa" / "vocab.txt"
    vocab.write_text("".join(f"{piece}\n" for piece in world.vocab))
    tokenizer = RealmTokenizerFast(str(vocab), do_lower_case=True)
    openqa = RealmForOpenQA(config, RealmRetriever(texts, tokenizer))
    models = {
        "embedder": RealmEmbedder(config),
        "scorer": RealmScorer(config, query_embedder=RealmEmbedder(config)),
        "encoder": RealmKnowledgeAugEncoder(config),
        "openqa": openqa,
    }
    for model in models.values():
        randomise(model, generator)
        model.eval()
    models["reader"] = openqa.reader

    rows = {"record": [row(J, [], ids) for ids in records], "question": [row(J, ids) for ids in questions]}
    with torch.no_grad():
        vectors = {}
        for name, pairs in rows.items():
            pairs = np.array(pairs)
            ids = tensors({name: pairs[:, 0], f"{name}_segments": pairs[:, 1]}, name)
            vectors[name] = openqa.embedder(**ids).projected_score
        openqa.block_emb.copy_(vectors["record"])
        ranks = numpy((vectors["question"] @ vectors["record"].T).argsort(dim=1, descending=True))
    inputs |= {
        "questions": np.array([world.text(ids) for ids in questions]),
        "answers": np.array(choose_answers(world, records, ranks), np.int32),
    }

    for name, model in models.items():
        # The port refuses to write these two as safetensors, because of an alias that it does not know of.
        only_bin = name in ("reader", "openqa")
        model.save_pretrained(options.folder / name, safe_serialization=not only_bin and options.seed % 2 == 0)
    np.save(options.folder / "openqa" / "block_records.npy", texts)
    np.savez_compressed(options.folder / "inputs.npz", **inputs)
    for dtype in ("float32", "float64"):
        kind = getattr(torch, dtype)
        out = run_pretraining(models, inputs, kind) | run_openqa(openqa, tokenizer, inputs, kind)
        np.savez_compressed(options.folder / f"{dtype}.npz", **out)


if __name__ == "__main__":
    main()
