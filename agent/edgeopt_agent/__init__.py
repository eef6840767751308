"""The agent: runs on each device, executes models and reports what it measured."""

__version__ = "0.1.0"
