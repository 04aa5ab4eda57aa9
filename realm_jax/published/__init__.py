"""Published weights of REALM, ORQA and BERT: read into our parameters, and written back in the same formats."""

from realm_jax.published.directory import Params, Published, load, save
from realm_jax.published.records import Records
from realm_jax.published.variables import load_checkpoint

__all__ = ["Params", "Published", "Records", "load", "load_checkpoint", "save"]
