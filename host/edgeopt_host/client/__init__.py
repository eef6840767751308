"""Talks to agents: connects, uploads blobs, runs benchmarks."""

from edgeopt_host.client._calls import result_lost
from edgeopt_host.client.agent import Agent
from edgeopt_host.client.connect import connect

__all__ = ["Agent", "connect", "result_lost"]
