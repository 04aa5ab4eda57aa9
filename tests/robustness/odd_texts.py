"""Files that people name: experiments, questions, predictions, documents; made of what goes wrong in files."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.robustness.driver import Case

SEED = 22
DEEP = "[" * 50_000 + "]" * 50_000
GOOD = "from realm_jax.config import *\ndef get_config(): return Config(name='good')\n"
DOCUMENT = b"# A\n\nThe capital of the country is Bergo. The river is in the city.\n"
HEAD = "import sys, os\nfrom realm_jax.config import *\n"
EXPERIMENTS = {
    "nothing": b"",
    "NUL": GOOD.encode() + b"\0",
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16 without a mark": GOOD.encode("utf-16-le"),
    "UTF-32": GOOD.encode("utf-32"),
    "Latin-1": b"# caf\xe9\n" + GOOD.encode(),
    "another encoding": b"# coding: nothing-like-it\n" + GOOD.encode(),
    "random bytes": random.Random(1).randbytes(300),
    "an archive": b"PK\x03\x04" + bytes(30),
    "an unfinished text": b"def get_config():\n  return '''",
    "an unfinished bracket": b"def get_config():\n  return Config(",
    "mixed tabs": b"def get_config():\n\tif 1:\n        return 1\n",
    "deep brackets": b"x = " + b"(" * 1000 + b")" * 1000,
    "deep lists": b"x = " + b"[" * 100 + b"]" * 100,
    "a long number": b"x = " + b"9" * 5000,
    "a long line": b"x = '" + b"a" * 1_000_000 + b"'",
    "JSON": b'{"name": "mine"}',
    "YAML": b"name: mine\nseed: 3\n",
} | {
    f"{text[:60]!r}": (HEAD + text).encode()
    for text in (
        "sys.exit()", "sys.exit(0)", "exit()", "quit()", "raise SystemExit", "def get_config(): sys.exit()",
        "raise KeyError", "raise KeyError(3)", "raise Exception", "raise ValueError('\\n\\n')", "1/0", "x",
        "assert False", "raise RecursionError", "def f(): f()\nf()", "raise MemoryError", "raise StopIteration",
        "raise NotImplementedError", "raise OSError(28, 'No space left on device')", "open('nothing there')",
        "os.chdir('nothing there')", "import nothing_like_it", "from . import a", "from realm_jax import nothing",
        "raise UnicodeError", "raise GeneratorExit", "get_config = 3", "get_config = None", "get_config = Config",
        "def get_config(a): pass", "def get_config(): pass", "def get_config(): return 3",
        "def get_config(): yield Config()", "async def get_config(): return Config()",
        "def get_config(): return Config", "def get_config(): return [Config()]",
        "def get_config(): return Config(seed='1')", "def get_config(): return Config(seed=1.5)",
        "def get_config(): return Config(seed=True)", "def get_config(): return Config(seed=-1)",
        "def get_config(): return Config(seed=2**63)", "def get_config(): return Config(seed=10**5000)",
        "def get_config(): return Config(seed=float('nan'))", "def get_config(): return Config(name=3)",
        "def get_config(): return Config(data=3)", "def get_config(): return Config(data={})",
        "def get_config(): return Config(data=Data(taggers=3))",
        "def get_config(): return Config(data=Data(taggers=['rules']))", "def get_config(): return Config(nothing=1)",
        "def get_config(): return Config(questions=Questions(train='a'))",
        "def get_config(): return Config(questions=Questions(train=('',)))",
        "def get_config(): return Config(questions=Questions(train=(3,)))",
        "def get_config(): return Config(model=Model(bert=Bert(num_layers=10**12)))",
        "def get_config(): return Config(model=Model(bert=Bert(hidden_size=7)))",
        "def get_config(): return Config(pretrain=Pretrain(learning_rate=float('inf')))",
        "def get_config(): return Config(pretrain=Pretrain(clip_norm=float('nan')))",
        "def get_config(): return Config(index=Index(kind='nothing'))",
        "def get_config(): return Config(mesh=Mesh(data=0))",
        "def get_config(): return Config(1, 2, 3, 4, 5, 6, 7, 8)",
        "class Mine(Config): pass\ndef get_config(): return Mine()", "get_sweep = 3",
        "def get_sweep(): return Config()",
    )  # fmt: skip
}  # fmt: skip
LINES = (
    "", " ", "\t", "Why?", "{}", "[]", "null", "3", '"Why?"', '{"question": 3}', '{"question": null, "truth": "a"}',
    '{"question": ["Why?"]}', '{"question": "Why?", "truth": 3}', '{"question": "Why?", "truth": ["a"]}',
    '{"question": ""}', '{"question": "Why?"', "{'question': 'Why?'}", '{"question": "\\ud800"}',
    '{"question": "a\\u0000b"}', "{" * 500, '{"question": ' + DEEP + "}", '{"question": ' + "9" * 5000 + "}",
    '{"question": "' + "a" * 100_000 + '"}', "a" * 100_000, "[MASK]", "[MASK] [MASK]", "[MASK]" * 200,
    '{"question": "[MASK]", "truth": "' + "a " * 300 + '"}', "[SEP] [CLS] [PAD]", "\ufeffWhy?", "\x00", "\x1b[31mred",
    "\u202e reversed", "é" * 500, "日本語" * 300, '{"question": NaN}', '{"question": Infinity}',
    '{"question": "a", "question": "b", "answers": [[]]}', "1e400", "-", "--", '{"truth": "a"}',
    '{"question": {"question": {}}}',
)  # fmt: skip
RECORDS = (
    '{"question": "Q?", "answer": []}', '{"question": "Q?", "answers": {}}', '{"question": "Q?", "answer": [3]}',
    '{"question": "Q?", "answer": [[""]]}', '{"question": "Q?", "answer": "[\'1871\', \'in 1871\'"}',
    '{"answer": ["a"]}', '{"question": "Q?", "prediction": 3}', '{"question": "Q?", "prediction": null}',
    '{"question": "Q?", "prediction": []}', "a\tb", "a\tb\tc\td\te", "\t\t\t",
    '{"question": "Q?", "answer": "(((((a*)*)*)*)*)"}',
)  # fmt: skip
PIECES = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe9", b"\n" * 50, b"# A heading\n\n", b"---\ntitle: a\n---\n", b"---\n",
    b"```\n", b"The capital of the country is Bergo. ", b"<script>alert(1)</script>", b"<!-- ", b"&#99999999999;",
    b"| a | b |\n|---|\n", b"[[", b"]]", b"{{", b"}}", b"{|", b"|}", b"<ref>", b"[" * 2000, b"*" * 2000, b"> " * 500,
    b"1. " * 300, b"- " * 500, b"a" * 20_000, "日本語。".encode() * 300, "١٢٣ ".encode() * 300, b"\r\n", b"\r", b"\x0c",
    "\u2028".encode(), b"[MASK] [SEP]", b"\xed\xa0\x80", "e\u0301".encode() * 200, b"$$" * 500, b"![a](b)",
    b"[a]: http://b\n", b"\\" * 999, b"Title: a\n" * 20, b'{"title": "a", "text": "The river."}\n',
    b'{"title": 3, "text": null}\n', DEEP.encode() + b"\n", b"{\n", b"9" * 5000,
)  # fmt: skip
NAMES = (
    "a.md",
    "b.txt",
    "c.MD",
    "d.jsonl",
    "e",
    "f.pdf",
    ".g.md",
    "h é.md",
    "i\udce9.txt",
    "j\n.md",
    "k" * 200 + ".md",
)
TINY = [
    "--model.weights",
    "random",
    "--model.bert.hidden_size",
    "12",
    "--model.bert.num_layers",
    "1",
    "--model.bert.num_heads",
    "3",
    "--model.bert.intermediate_size",
    "20",
    "--model.bert.max_positions",
    "64",
    "--model.vector_size",
    "8",
    "--data.passage_length",
    "24",
    "--data.query_length",
    "16",
    "--data.joint_length",
    "40",
    "--finetune.joint_length",
    "40",
    "--data.processes",
    "1",
]


def cases(template: Path, vocab: Path, documents: int = 150, seed: int = SEED) -> Iterator[Case]:
    """Args: template: the workdir of a finished run; vocab: a small vocabulary."""
    for name, content in EXPERIMENTS.items():
        yield Case("experiments", name, _experiment(content), refused=name not in ("a long line",))
    draw = random.Random(seed)
    for number, line in enumerate((*LINES, *RECORDS)):
        for how in ("alone", "amid others"):
            lines = [line] if how == "alone" else ["What is the capital of Boria?", line, line[: len(line) // 2]]
            asked = "\n".join(lines).encode("utf-8", "surrogatepass")
            yield Case("questions", f"{number} {how}: {line[:40]!r}", asking(template, asked))
        yield Case("predictions", f"{number}: {line[:40]!r}", predicting(template, line))
        yield Case("question sets", f"{number}: {line[:40]!r}", with_questions(vocab, line))
    for _ in range(40):
        junk = draw.randbytes(draw.randrange(1, 400))
        yield Case("questions", f"bytes {junk[:10]!r}", asking(template, junk))
    for number in range(documents):
        files = {
            draw.choice(NAMES): b"".join(draw.choices(PIECES, k=draw.randrange(1, 12)))
            for _ in range(draw.randrange(1, 4))
        }
        source = "jsonl" if number % 4 == 3 else "folder"
        yield Case("documents", f"{number}: {source} {sorted(files)}", with_documents(vocab, files, source))


def _experiment(content: bytes) -> Callable[[Path], list[str]]:
    def lay(place: Path) -> list[str]:
        (place / "mine.py").write_bytes(content)
        return ["report", str(place / "mine.py"), "--workdir", str(place / "run")]

    return lay


def asking(template: Path, content: bytes) -> Callable[[Path], list[str]]:
    def lay(place: Path) -> list[str]:
        (place / "asked.txt").write_bytes(content)
        return ["ask", str(template), "--questions", str(place / "asked.txt"), "--json"]

    return lay


def predicting(template: Path, line: str) -> Callable[[Path], list[str]]:
    def lay(place: Path) -> list[str]:
        (place / "said.jsonl").write_bytes(line.encode("utf-8", "surrogatepass"))
        return ["evaluate", str(template), "--predictions", str(place / "said.jsonl")]

    return lay


def with_questions(vocab: Path, line: str) -> Callable[[Path], list[str]]:
    def lay(place: Path) -> list[str]:
        good = json.dumps({"question": "What is the capital?", "answer": ["Bergo"]})
        (place / "set.jsonl").write_bytes(f"{good}\n{line}\n".encode("utf-8", "surrogatepass"))
        (place / "docs").mkdir()
        (place / "docs" / "a.md").write_bytes(DOCUMENT)
        return [*_prepare(place, vocab, "folder"), "--questions.train", str(place / "set.jsonl")]

    return lay


def with_documents(vocab: Path, files: dict[str, bytes], source: str) -> Callable[[Path], list[str]]:
    def lay(place: Path) -> list[str]:
        (place / "docs").mkdir()
        for name, content in files.items():
            (place / "docs" / name).write_bytes(content)
        return _prepare(place, vocab, source)

    return lay


def _prepare(place: Path, vocab: Path, source: str) -> list[str]:
    (place / "mine.py").write_text(GOOD)
    named = ["--workdir", str(place / "run"), "--data.source", source, "--data.path", str(place / "docs")]
    vocabulary = ["--model.vocab", str(vocab), "--model.bert.vocab_size", str(len(vocab.read_text().splitlines()))]
    return ["prepare", str(place / "mine.py"), *named, *TINY, *vocabulary]
