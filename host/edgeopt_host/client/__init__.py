"""Talks to agents: connects, uploads blobs, runs benchmarks."""

import os

# Before gRPC is imported: its own log lines would stand before the sentence that says the same.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from edgeopt_host.client._calls import result_lost
from edgeopt_host.client.agent import Agent
from edgeopt_host.client.connect import connect

__all__ = ["Agent", "connect", "result_lost"]
