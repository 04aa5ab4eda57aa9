"""A grid of experiments."""

import dataclasses
import re

from realm_jax.config.experiment import MAX_SEED, Config, decisive
from realm_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A grid of runs, which an experiment file's ``get_sweep()`` returns: every variant with every seed."""

    variants: dict[str, Config]
    """The settings of each, by a name that can be a folder's; their own `name` and `seed` do not count."""
    seeds: tuple[int, ...]
    reference: str
    """The variant that all others are compared with."""

    def __post_init__(self):
        if not (isinstance(self.variants, dict) and self.variants):
            found = f"are a {type(self.variants).__name__}" if self.variants else "are none"
            raise UserError(f"variants: {found}; they must be a dict of names to Config, such as {{'reference': base}}")
        for name, config in self.variants.items():
            if not (isinstance(name, str) and re.fullmatch(r"\w[\w.+-]*", name)):
                raise UserError(f"variants: {name!r} cannot name a folder; use letters, digits, _ and, inside, . + -")
            if not isinstance(config, Config):
                raise UserError(f"variants: {name!r} is a {type(config).__name__}; it must be a Config")
        if self.reference not in self.variants:
            raise UserError(f"reference: {self.reference!r} is none of the variants {', '.join(self.variants)}")
        if not isinstance(self.seeds, tuple | list) or not all(isinstance(seed, int) for seed in self.seeds):
            raise UserError(f"seeds: {self.seeds!r} must be whole numbers in brackets, such as (0, 1, 2)")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or not all(0 <= s <= MAX_SEED for s in self.seeds):
            raise UserError(f"seeds: {self.seeds} must be at least one number of 0 to {MAX_SEED}, and none twice")
        seen: dict[frozenset, str] = {}
        for name, config in self.variants.items():
            same = frozenset(option for option in decisive(config).items() if option[0] not in ("name", "seed"))
            if (other := seen.setdefault(same, name)) != name:
                raise UserError(f"variants: {other!r} and {name!r} are equal settings, so equal runs; take one out")

    def run(self, variant: str, seed: int) -> Config:
        """The settings of one run."""
        return dataclasses.replace(self.variants[variant], name=variant, seed=seed)
