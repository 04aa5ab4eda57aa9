"""Whether a stage of training fits into memory: sizes multiplied out before anything is allocated."""

import jax

from realm_jax.config import Bert, Config
from realm_jax.errors import UserError
from realm_jax.index.placement import free, gb


def require_room(config: Config, name: str, bert: Bert, mesh: jax.sharding.Mesh) -> None:
    """Refuses a stage whose largest arrays alone are more than a device has free. What is counted is a lower bound.

    Raises:
      UserError: with the bytes needed, those free, and the options behind them.
    """
    needed = least_bytes(config, name, bert, mesh.shape["data"], mesh.shape["fsdp"], mesh.shape["tensor"])
    device = jax.local_devices()[0]
    if sum(needed.values()) > (there := free(device)):
        parts = "; ".join(f"{what} {gb(size)}" for what, size in needed.items())
        raise UserError(
            f"{name}: needs at least {gb(sum(needed.values()))} on each device, but {device} has {gb(there)} free "
            f"({parts}). Make one of these smaller; {name}.accumulate computes a batch in parts"
        )


def least_bytes(config: Config, name: str, bert: Bert, data: int, fsdp: int, tensor: int) -> dict[str, int]:
    """{what, by the options that decide it: bytes on one device}, of float32 state and the least that a step keeps."""
    stage = getattr(config, name)
    read = getattr(stage, "candidates", getattr(stage, "read", 1))
    length = getattr(stage, "joint_length", getattr(stage, "length", config.data.joint_length))
    rows = -(-stage.batch_size * read // (data * fsdp * stage.accumulate))
    state = 4 * 4 * bert.parameters // (fsdp * tensor)
    return {
        "parameters, gradient and moments of one trunk (model.bert, or its weights)": state,
        f"a layer's activations ({name}.batch_size {stage.batch_size}, {read} passages, {length} wordpieces)": (
            2 * rows * length * max(bert.hidden_size, bert.intermediate_size // tensor)
        ),
    }
