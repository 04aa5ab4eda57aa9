"""A small world: articles whose names other passages tell too, questions about them, tiny random models."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

from realm_jax.config import Bert, Config, Data, Finetune, Index, Masking, Model, Pretrain, Questions, Training, WarmUp
from realm_jax.corpus.preparation import prepare_corpus
from realm_jax.qa.prepared_questions import prepare_questions
from realm_jax.qa.questions import Question, write_questions
from realm_jax.text.tokenizer import Tokenizer
from realm_jax.training.open_run import OpenRun
from realm_jax.workdir import DataDir, Workdir
from tests.corpus import toy
from tests.vocabulary import SPECIAL

COUNTRIES = ("Arland", "Boria", "Cyland", "Dorina", "Elvia", "Fjordia", "Garland", "Hovia", "Istria", "Jura", "Kelt")
CAPITALS = ("Akko", "Bergo", "Cita", "Dunn", "Elis", "Färna", "Gora", "Hamm", "Irka", "Jena", "Kotor")
RIVERS = ("Volla", "Moldau", "Niemen")
VOCAB = [*SPECIAL, *toy.VOCAB[6:], "country", "what", "which", "?", *(name.lower() for name in COUNTRIES + RIVERS)]
SPLITS = {"train": range(7), "dev": range(7, 9), "test": range(9, 11)}


def articles():
    for i, (country, capital) in enumerate(zip(COUNTRIES, CAPITALS, strict=True)):
        river, other = RIVERS[i % len(RIVERS)], CAPITALS[(i + 4) % len(CAPITALS)]
        places = [f"The capital of the country is {capital}.", f"The river {river} is in the city of {capital}."]
        yield toy.article(f"{country}: Places", [*places, f"It is {100 + 7 * i} km of {other}."], country)
        waters = [f"The river of {country} is the {river}.", f"On the {river} is {capital}, and on the lake {other}."]
        yield toy.article(f"{country}: Waters", waters, country)


def questions(split: str) -> list[Question]:
    asked = []
    for i in SPLITS[split]:
        capital, river = f"What is the capital of {COUNTRIES[i]}?", f"Which river is in {CAPITALS[i]}?"
        # The second answer is a long one, which no training data can hold.
        asked.append(Question(f"{split}-{i}-c", capital, (CAPITALS[i], f"the capital city of {COUNTRIES[i]}")))
        asked.append(Question(f"{split}-{i}-r", river, (RIVERS[i % len(RIVERS)],)))
    return asked


@dataclasses.dataclass(frozen=True)
class World:
    """Prepared data, and the settings to use them with."""

    config: Config
    data: DataDir
    tokenizer: Tokenizer

    def settings(self, **changes: Any) -> Config:
        """The configuration with whole parts, or their fields as dicts, replaced."""
        parts = {
            name: dataclasses.replace(getattr(self.config, name), **value) if isinstance(value, dict) else value
            for name, value in changes.items()
        }
        return dataclasses.replace(self.config, **parts)

    def patterns(self, folder: Path) -> Questions:
        """The questions as CuratedTREC's files, prepared: of each first answer a regular expression."""
        for split in SPLITS:
            lines = [(q.id, "factoid", q.question, _pattern(q.answers[0])) for q in questions(split)]
            (folder / f"{split}.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
        settings = Questions(**{split: (str(folder / f"{split}.tsv"),) for split in SPLITS}, match="regex")
        prepare_questions(self.settings(questions=settings), self.data, lambda line: None)
        return settings

    def experiment(self, folder: Path, **changes: Any) -> OpenRun:
        return OpenRun(self.settings(**changes), Workdir(folder))


def _pattern(answer: str) -> str:
    return rf"\b{re.sub('[aeiou]', '.', answer, flags=re.IGNORECASE)}\b"


def write_vocab(path: Path) -> None:
    path.write_text("".join(f"{piece}\n" for piece in VOCAB))


def write_documents(root: Path) -> None:
    """`documents`, with a file for each country; `questions.jsonl`, with a question for each; `vocab.txt`."""
    documents, questions = root / "documents", []
    documents.mkdir()
    for i, (country, capital) in enumerate(zip(COUNTRIES, CAPITALS)):
        text = f"# {country}\n\nThe capital of the country is {capital}. The river is in the city."
        (documents / f"{i}.md").write_text(text)
        questions.append({"question": f"What is the capital of {country}?", "answers": [capital]})
    (root / "questions.jsonl").write_text("".join(json.dumps(question) + "\n" for question in questions))
    write_vocab(root / "vocab.txt")


def make(root: Path) -> World:
    """Prepares everything in `root`."""
    root.mkdir(parents=True, exist_ok=True)
    vocab, data = root / "vocab.txt", DataDir(root / "data")
    write_vocab(vocab)
    bert = Bert(
        vocab_size=len(VOCAB),
        hidden_size=12,
        num_layers=1,
        num_heads=3,
        intermediate_size=20,
        max_positions=64,
        dropout=0.0,
    )
    stage = {"batch_size": 3, "learning_rate": 1e-3, "warmup_steps": 1, "log_every": 1}
    config = Config(
        name="world",
        seed=5,
        data=Data(
            directory=str(data.root),
            passage_length=40,
            query_length=32,
            joint_length=56,
            answer_length=6,
            max_answers=2,
            heldout_fraction=0.2,
        ),
        model=Model(weights="random", vocab=str(vocab), bert=bert, vector_size=8, span_hidden_size=7, max_span_width=6),
        masking=Masking(min_holders=1, max_masks=9),
        index=Index(kind="exact", swap_after=2, rows_per_batch=16, stop_after_s=20.0),
        warm_up=WarmUp(**stage, steps=0),
        pretrain=Pretrain(**stage, steps=6, checkpoint_every=2, probe_queries=5, probe_passages=12),
        finetune=Finetune(**stage, steps=4, joint_length=56, beam=10, read=3, labels="tokens"),
    )
    tokenizer = Tokenizer.from_vocab(vocab)
    write_questions(data.tfds, {split: questions(split) for split in SPLITS})
    prepare_corpus(config, data, tokenizer, articles(), lambda line: None)
    return World(config, data, tokenizer)


def stage(**changes: Any) -> Training:
    return dataclasses.replace(Training(steps=10, learning_rate=0.5, warmup_steps=4), **changes)
