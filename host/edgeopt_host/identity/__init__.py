"""Who this host is to its devices, and which devices and colleagues it vouches for."""

from edgeopt_host.identity._name import client_name
from edgeopt_host.identity.host import HostIdentity, Issued, identity_path, new_device_id

__all__ = ["HostIdentity", "Issued", "client_name", "identity_path", "new_device_id"]
