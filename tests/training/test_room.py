"""What cannot fit is refused before anything is allocated, with the bytes needed."""

import dataclasses

import jax
import pytest

from realm_jax.config import Bert, Config, Finetune, Mesh, Pretrain
from realm_jax.errors import UserError
from realm_jax.training import room
from realm_jax.training.mesh import make_mesh

ONE = (1, 1, 1)


def test_a_trunk_has_as_many_numbers_as_we_count():
    """BERT-base, but for its pooler and LayerNorm of the embeddings."""
    assert abs(Bert(30522, 768, 12, 12, 3072, 512).parameters / 108_890_112 - 1) < 0.001


@pytest.mark.parametrize("devices, state", [(ONE, 1), ((4, 1, 1), 1), ((1, 4, 1), 4), ((1, 2, 2), 4)])
def test_state_is_divided_as_parameters_are(devices, state):
    bert = Bert()
    assert next(iter(room.least_bytes(Config(), "pretrain", bert, *devices).values())) == 16 * bert.parameters // state


def test_a_batch_counts_by_its_parts():
    def rows(**options):
        config = Config(pretrain=Pretrain(batch_size=64, candidates=8, **options))
        return list(room.least_bytes(config, "pretrain", Bert(), 2, 2, 1).values())[1]

    assert rows() == 4 * rows(accumulate=4)


@pytest.mark.parametrize(
    "bert, stage",
    [(Bert(num_layers=1024, hidden_size=1 << 18, num_heads=1), {}), (Bert(), {"batch_size": 1 << 20, "read": 100})],
)
def test_what_no_machine_holds_is_refused_with_the_bytes(bert, stage):
    config = Config(finetune=dataclasses.replace(Finetune(steps=1), **stage))
    with pytest.raises(UserError, match=r"^finetune: needs .* GB \([\d,]+ bytes\) on each device, but .*free"):
        room.require_room(config, "finetune", bert, make_mesh(Mesh(), jax.devices()[:1]))


def test_what_fits_is_let_through():
    room.require_room(Config(), "finetune", Bert(num_layers=1), make_mesh(Mesh(), jax.devices()[:1]))
