"""Why no connection comes about with an agent that is spoken to without TLS."""

from __future__ import annotations

import ssl

from edgeopt_host.errors import DeviceError, Untrusted
from edgeopt_host.inventory import Device


def diagnose(device: Device) -> DeviceError | None:
    """Whether it speaks TLS and nothing else; None when it does not, or nothing answers."""
    if device.address.startswith("unix:"):
        return None
    from edgeopt_host.client.enroll import fetch_certificate
    from edgeopt_host.identity import certificates

    try:
        der = fetch_certificate(device.address)
        _common, names = certificates.names(ssl.DER_cert_to_PEM_cert(der))
    except (DeviceError, ValueError):
        return None
    found = f"the agent at {device.address} speaks TLS, which {device.name!r} has no identity for: "
    if certificates.ENROLLING_NAME in names:
        found += (
            f"it waits to be enrolled, so run `edgeopt-host device enroll {device.name}` with the line "
            "that it has printed"
        )
    else:
        found += (
            "it was enrolled before; bring the identity of the host that did so here "
            "(`edgeopt-host identity export` there, `identity import` here), or enrol it anew "
            "(`edgeopt-agent serve --enroll --replace` there, `device enroll` here)"
        )
    return Untrusted(found, "NOT_ENROLLED")
