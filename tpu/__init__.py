"""Experiments on Cloud TPU VMs, from a machine with the gcloud CLI and Python's standard library; docs/tpu.md."""
