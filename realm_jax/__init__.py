"""REALM, retrieval-augmented language model pre-training (Guu et al. 2020, arXiv 2002.08909), in JAX."""

__version__ = "0.1.0"
