"""Brings the agent onto a device over SSH, and takes it away again."""

from edgeopt_host.provision.install import Installed, Request, dry_run, install
from edgeopt_host.provision.uninstall import uninstall

__all__ = ["Installed", "Request", "dry_run", "install", "uninstall"]
