"""Types of Cloud TPU slices: their devices and memory, and the needs of REALM's settings on them.

    python -m tpu.types

prints the table of docs/tpu.md. Devices and memory are Google's published figures; hours and memory per device are
computed from the paper's settings and an assumed utilisation. Nothing of this has been measured.
"""

import dataclasses
import difflib

from realm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Generation:
    """The common figures of the slices of one generation."""

    prefix: str
    """Of the type's name; after it comes a number."""
    runtime: str
    """Version of the TPU VM's software."""
    per_device: int
    """The count of one device in the type's number: some count TensorCores, of which two make a device."""
    per_host: int
    """Devices of a worker of a slice that has several."""
    most: int
    """The largest number of a single slice."""
    one_host: int
    """Most devices of a slice with a single worker."""
    memory: float
    """Of a device, GB (10^9 bytes)."""
    flops: float
    """Peak of a device, bfloat16 operations per second."""


GENERATIONS = (
    Generation("v4", "tpu-ubuntu2204-base", 2, 4, 8192, 4, 32e9, 275e12),
    Generation("v5litepod", "v2-alpha-tpuv5-lite", 1, 4, 256, 8, 16e9, 197e12),
    Generation("v5p", "v2-alpha-tpuv5", 2, 4, 12288, 4, 95e9, 459e12),
    Generation("v6e", "v2-alpha-tpuv6e", 1, 4, 256, 8, 32e9, 918e12),
)
SHOWN = (
    "v4-8",
    "v4-32",
    "v4-128",
    "v5litepod-8",
    "v5litepod-16",
    "v5litepod-64",
    "v5p-8",
    "v5p-128",
    "v6e-8",
    "v6e-64",
)


@dataclasses.dataclass(frozen=True)
class SliceType:
    """Such as v5litepod-16."""

    name: str
    generation: Generation
    devices: int

    @property
    def workers(self) -> int:
        return 1 if self.devices <= self.generation.one_host else self.devices // self.generation.per_host


def slice_type(name: str) -> SliceType:
    """Raises UserError where no generation has such slices. v5e-8 is another word for v5litepod-8."""
    prefix, _, number = name.replace("v5e-", "v5litepod-").partition("-")
    for generation in GENERATIONS:
        if generation.prefix == prefix and number.isascii() and number.isdecimal() and len(number) < 9:
            devices, left = divmod(int(number), generation.per_device)
            whole = devices in (1, 2, 4, 8) or devices % generation.per_host == 0
            if left or not devices or not whole or int(number) > generation.most:
                raise UserError(
                    f"--type {name}: no slice of {prefix} is so large; {generation.per_device} stand for a device, a "
                    f"worker has {generation.per_host}, and the largest is {prefix}-{generation.most}"
                )
            return SliceType(f"{prefix}-{number}", generation, int(number) // generation.per_device)
    near = difflib.get_close_matches(name, SHOWN, n=3, cutoff=0.3) or SHOWN
    raise UserError(
        f"--type {name}: no known type of TPU; such as {', '.join(near)}. For those of a zone run "
        "`gcloud compute tpus accelerator-types list --zone=ZONE`"
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """The sizes that the costs of REALM depend on; the defaults are the paper's (BERT-base, Wikipedia of
    2018-12-20)."""

    layers: int = 12
    hidden: int = 768
    intermediate: int = 3072
    vocabulary: int = 30522
    steps: int = 200_000
    batch: int = 512
    candidates: int = 8
    query: int = 64
    passage: int = 288
    joint: int = 352
    masks: int = 10
    passages: int = 13_353_718
    vector: int = 128
    refresh: int = 500
    """Steps from one index to the next."""

    @property
    def trunk_params(self) -> int:
        """Of one BERT: word, position and segment embeddings, layers, LayerNorms and biases."""
        h, i = self.hidden, self.intermediate
        layer = 4 * h * h + 2 * h * i + i + 9 * h
        return (self.vocabulary + 512 + 2 + 2) * h + self.layers * layer + h * h + h

    @property
    def params(self) -> int:
        """Embedder and reader, each with a head."""
        h = self.hidden
        return 2 * self.trunk_params + h * self.vector + 3 * self.vector + h * h + 3 * h + self.vocabulary

    def forward(self, rows: float, tokens: int) -> float:
        """Operations of a BERT on `rows` sequences: two for each product of matrices."""
        h = self.hidden
        per_token = 2 * (4 * h * h + 2 * h * self.intermediate) + 4 * tokens * h
        return rows * tokens * self.layers * per_token

    def step(self) -> float:
        """Operations of a step: embed queries and candidates, read the candidates, predict; forwards, forwards again
        for activations that were not kept (model.remat), and twice as much backwards. To search, queries are embedded
        a second time and the index is scanned."""
        pairs = self.batch * self.candidates
        head = 2 * pairs * self.masks * self.hidden * (self.vocabulary + self.hidden)
        trained = self.forward(self.batch, self.query) + self.forward(pairs, self.passage)
        trained += self.forward(pairs, self.joint) + head
        searched = self.forward(self.batch, self.query) + 2.0 * self.batch * self.passages * self.vector
        return 4 * trained + searched

    def index(self) -> float:
        """Operations to embed every passage once."""
        return self.forward(self.passages, self.passage)

    def memory(self, devices: int, accumulate: int) -> float:
        """Bytes of a trainer's device: parameters, moments and gradients (float32) are whole on each (mesh.data);
        two bfloat16 snapshots and the tokens are divided; activations are those of one part of the rows, kept once a
        layer (model.remat) plus those within the one layer that is computed again."""
        pairs = -(-self.batch * self.candidates // (devices * accumulate))
        index = self.passages * (2 * 2 * self.vector + 2 * self.passage) / devices
        layer = 2 * self.joint * (2 * self.intermediate + 8 * self.hidden) + 4 * 12 * self.joint * self.joint
        saved = 2 * self.layers * self.hidden * (self.joint + self.passage)
        return 16.0 * self.params + index + pairs * (saved + layer) + 6.0 * pairs * self.masks * self.vocabulary


PAPER = Settings()
UTILISATION = 0.4
"""Assumed share of the peak that a BERT's training reaches; not measured."""
RESERVE = 0.9
"""Share of a device's memory that we plan with."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The needs of the paper's pre-training, computed."""

    accumulate: int
    """Least `pretrain.accumulate` with which a step fits; 0 where nothing does."""
    memory: float
    hours: float
    """Of 200,000 steps."""
    index_hours: float
    """To embed every passage once on such a slice."""


def estimate(kind: SliceType, settings: Settings = PAPER) -> Estimate:
    """For a slice that trains while another one builds the index."""
    rate = kind.devices * kind.generation.flops * UTILISATION * 3600
    hours, index_hours = settings.steps * settings.step() / rate, settings.index() / rate
    accumulate = 1
    while settings.batch // accumulate >= kind.devices:
        memory = settings.memory(kind.devices, accumulate)
        if memory < RESERVE * kind.generation.memory:
            again = 5 / 4 if accumulate > 1 else 1  # each part is computed forwards once more
            return Estimate(accumulate, memory, hours * again, index_hours)
        accumulate *= 2
    return Estimate(0, settings.memory(kind.devices, accumulate // 2), hours, index_hours)


def table() -> str:
    """In Markdown."""
    lines = [
        "| type | workers | devices | GB of a device | needed of it | `accumulate` | hours to train | hours an index |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in SHOWN:
        kind = slice_type(name)
        found = estimate(kind)
        fits = str(found.accumulate) if found.accumulate else "does not fit"
        lines.append(
            f"| `{name}` | {kind.workers} | {kind.devices} | {kind.generation.memory / 1e9:.0f} "
            f"| {found.memory / 1e9:.1f} | {fits} | {found.hours:,.0f} | {found.index_hours:.2f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
