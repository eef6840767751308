"""`device add --ssh`: from a bare board to a device of the bench, and from an old agent to a new."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from ipaddress import AddressValueError, IPv6Address
from pathlib import Path

from edgeopt.agent.v1 import device_pb2
from edgeopt_host.address import DEFAULT_PORT, parse_address
from edgeopt_host.client import connect, trust
from edgeopt_host.errors import DeviceError, EdgeoptError, Unreachable, UsageError
from edgeopt_host.identity import HostIdentity, certificates, new_device_id
from edgeopt_host.inventory import LOCAL, Device, Inventory
from edgeopt_host.provision import offline, scripts, wheel
from edgeopt_host.provision.device import Remote
from edgeopt_host.provision.ssh import Ssh
from edgeopt_host.provision.steps import Steps

_NO_RUNTIMES = {"enroll", "reflection"}
# How long a small board may take to start Python and bind its port.
_START_S = 60.0
_ANSWER_S = 3.0
_RENEW_BEFORE = dt.timedelta(days=30)


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        name: of the device in the inventory.
        target: USER@HOST, or what else ssh knows.
        port: SSH's.
        runtimes: the extras to install with the agent.
        tags: of the device in the inventory.
        scope: `system`, `user`, or None to let the rights on the device decide.
        listen_port: the agent's.
        address: HOST:PORT that the agent is reached at, where it is not ssh's own host.
        offline: carry all wheels.
        python: path on the device.
        allow: kinds of code that the agent may run.
        service: install one; else the agent is to be started by hand.
        take_over: enrol a device that another host has enrolled.
    """

    name: str
    target: str
    port: int | None = None
    runtimes: tuple[str, ...] = ("tflite", "onnx")
    tags: tuple[str, ...] = ()
    scope: str | None = None
    listen_port: int = DEFAULT_PORT
    address: str | None = None
    offline: bool = False
    python: str | None = None
    allow: tuple[str, ...] = ()
    service: bool = True
    take_over: bool = False


@dataclass(frozen=True)
class Installed:
    """What came of it: `facts`, or without a service the `command` that starts the agent."""

    device: Device
    facts: device_pb2.Device | None = None
    command: str | None = None


def install(request: Request, write: Callable[[str], None]) -> Installed:
    """Installs the agent or upgrades it, enrols it, starts it.

    Args:
        request: what is wanted.
        write: told of each step; pieces of lines.

    Raises:
        UsageError: when the request cannot be meant so.
        DeviceError, EdgeoptError: what is in the way; repeating the request goes on from there.
    """
    plan = _Plan.make(request)
    # One each: connect, look, copy, install, set up, enrol; start and ask.
    steps = Steps(6 + request.offline + 2 * request.service, write)
    with contextlib.ExitStack() as stack:
        remote, facts = _look(plan, steps, stack)
        extras = plan.extras
        with tempfile.TemporaryDirectory(prefix="edgeopt-wheels-") as temporary:
            wheels = Path(temporary)
            made = wheel.build(wheels)
            if request.offline:
                with steps.step(f"downloading the wheels for {_platform(facts)}"):
                    offline.download(made, extras, facts, wheels)
            with steps.step(f"copying {_size(wheels)} to the device"):
                folder = stack.enter_context(remote.ssh.folder())
                names = (scripts.INSTALL, scripts.UNINSTALL, *scripts.UNITS)
                remote.receive(
                    ["tar", "-x", "-f", "-", "-C", folder],
                    lambda pipe: scripts.send(pipe, sorted(wheels.iterdir()), names),
                )
                remote.use(folder)
        with steps.step(f"installing edgeopt {version('edgeopt')} with {', '.join(plan.runtimes)}"):
            remote.install("packages", *plan.packages(facts, f"{folder}/wheels/{made.name}"))
        with steps.step("setting up the service" if request.service else "setting up its state"):
            remote.install("service", *plan.service())
        with steps.step("enrolling"):
            device = _enrol(plan, remote)
        by_hand = remote.install("command", *plan.service()).out.strip()
        if not request.service:
            return Installed(device, command=by_hand)
        with steps.step("starting the agent"):
            remote.install("start")
            _await(device, remote, by_hand)
        with steps.step("asking it what it is"), connect(device) as agent:
            return Installed(device, facts=agent.device(refresh=True))


def dry_run(request: Request, write: Callable[[str], None]) -> str:
    """The commands that `install` would run, for people to read; changes nothing.

    Raises:
        As `install` does, up to where it would change something.
    """
    plan = _Plan.make(request)
    with contextlib.ExitStack() as stack:
        remote, facts = _look(plan, Steps(2, write), stack)
        lines = []
        made = Path("WHEELS") / f"edgeopt-{version('edgeopt')}-py3-none-any.whl"
        if request.offline:
            command = offline.download(made, plan.extras, facts, made.parent, dry_run=True)
            lines += ["# on this host", " ".join(command)]
        lines.append(f"# on {request.target}, in a temporary folder")
        place = f"/var/tmp/edgeopt.XXXXXX/wheels/{made.name}"  # noqa: S108 - shown, not used
        for step, arguments in (
            ("packages", plan.packages(facts, place)),
            ("service", plan.service()),
        ):
            lines.append(remote.install(step, "--dry-run", *arguments).out.rstrip())
        for words in ("request", "install"):
            arguments = ["--dry-run", "--", "identity", words]
            lines.append(remote.install("agent", *arguments).out.rstrip())
        if request.service:
            lines.append(remote.install("start", "--dry-run").out.rstrip())
        lines += ["# on this host", f"# {request.name} at {plan.address} goes into the inventory"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Plan:
    """A request that can be meant so, with what the host knows of it."""

    request: Request
    identity: HostIdentity | None
    inventory: Inventory
    address: str
    ssh: str
    known: Device | None

    @classmethod
    def make(cls, request: Request) -> _Plan:
        runtimes = wheel.extras() - _NO_RUNTIMES
        for runtime in request.runtimes:
            if runtime not in runtimes:
                raise UsageError(
                    f"no runtime is called {runtime!r}; known are {', '.join(sorted(runtimes))}"
                )
        ssh = Ssh(request.target, request.port)
        address = parse_address(
            request.address or f"{_bracketed(ssh.hostname())}:{request.listen_port}", enrolled=True
        )
        inventory = Inventory.load()
        known = next((d for d in inventory.devices if d.name == request.name), None)
        if known is None or known.name == LOCAL:
            inventory.check(request.name, address, request.tags, identity=new_device_id())
        identity = HostIdentity.load()
        if identity is not None and not identity.is_admin:
            raise UsageError(
                "this host's identity was imported without the CA's key, so it can use devices but "
                "not enrol them: add the device on the host that exported it"
            )
        spelled = _spelled(request.target, request.port)
        return cls(request, identity, inventory, address, spelled, known)

    @property
    def scope(self) -> str | None:
        """As wanted, else as it was installed before."""
        return self.request.scope or (self.known.scope if self.known else None)

    @property
    def runtimes(self) -> tuple[str, ...]:
        return self.request.runtimes or ("no runtime",)

    @property
    def extras(self) -> list[str]:
        return ["enroll", *self.request.runtimes]

    def check(self) -> list[str]:
        arguments = ["--extras", ",".join(self.request.runtimes)]
        arguments += ["--python", self.request.python] if self.request.python else []
        return arguments + self._no_service()

    def packages(self, facts: dict[str, str], path: str) -> list[str]:
        arguments = ["--python", facts["python"], "--wheel", path]
        arguments += ["--extras", ",".join(self.request.runtimes)]
        return arguments + (["--wheels", str(Path(path).parent)] if self.request.offline else [])

    def service(self) -> list[str]:
        arguments = ["--port", str(self.request.listen_port)]
        arguments += [word for kind in self.request.allow for word in ("--allow", kind)]
        return arguments + self._no_service()

    def _no_service(self) -> list[str]:
        return [] if self.request.service else ["--no-service"]


def _look(plan: _Plan, steps: Steps, stack: contextlib.ExitStack) -> tuple[Remote, dict[str, str]]:
    """Connects, and finds out all that could be in the way before anything is changed."""
    request = plan.request
    with steps.step(f"connecting to {request.target}", asks=True):
        remote = Remote(stack.enter_context(Ssh(request.target, request.port)))
    with steps.step("looking at the device"):
        remote.choose(plan.scope)
        done = remote.install("check", *plan.check())
        facts = dict(line.split("=", 1) for line in done.out.splitlines() if "=" in line)
        if request.offline:
            offline.download(Path("edgeopt.whl"), plan.extras, facts, Path(), dry_run=True)
        shown = remote.identity() if facts.get("installed") else {}
        _refuse_another(plan, shown)
    return remote, facts


def _refuse_another(plan: _Plan, shown: dict[str, object]) -> None:
    known, request = plan.known, plan.request
    its_id = shown.get("device_id")
    same = known is not None and its_id in {known.identity, known.next_identity} - {None}
    if known is not None and known.ssh != plan.ssh and not same:
        raise UsageError(
            f"a device {known.name!r} is there already, at {known.address}, and {request.target} is "
            f"not it: remove it first, or take another name"
        )
    if known is not None and known.scope and request.scope not in {None, known.scope}:
        # Of two agents under one name, only one could be taken away again.
        raise UsageError(
            f"{known.name!r} is installed with --{known.scope}: leave --{request.scope} out, or first "
            f"run `edgeopt-host device uninstall {known.name}`"
        )
    ours = certificates.fingerprint(plan.identity.ca_certificate) if plan.identity else None
    if shown.get("enrolled") and shown.get("ca_sha256") != ours and not request.take_over:
        raise DeviceError(
            f"{request.target} is enrolled with another host, which could not use it any more: have "
            f"that host export an identity for you, or take the device over with --take-over",
            "ENROLLED_ELSEWHERE",
        )
    for other in plan.inventory.devices:
        if its_id and other.identity == its_id and other.name != request.name:
            raise UsageError(
                f"{request.target} is in the inventory already, as {other.name!r}: use that name, "
                f"or remove it first"
            )


def _enrol(plan: _Plan, remote: Remote) -> Device:
    """Gives the agent a certificate unless it has one that is good, and notes who it is."""
    name = plan.request.name
    identity = HostIdentity.open()
    shown = remote.identity()
    device_id = _own_id(plan, shown, identity.ca_certificate)
    if device_id is None or _ends_soon(shown):
        # Under an id that another key had, that key would still pass for the device.
        device_id = device_id or new_device_id()
        signing_request = remote.agent("identity", "request")
        certificate = identity.sign_device(signing_request, device_id)
        answer = {"certificate": certificate, "ca": identity.ca_certificate}
        remote.agent("identity", "install", stdin=json.dumps(answer))
        _forget_contact(device_id)
    installed = {"ssh": plan.ssh, "scope": remote.scope}
    if plan.known is None:
        tags = plan.request.tags
        return plan.inventory.add(name, plan.address, tags, identity=device_id, **installed)
    # First what an address off loopback needs, then the address.
    plan.inventory.change(name, identity=device_id, next_identity=None, **installed)
    device = plan.inventory.change(name, address=plan.address)
    return plan.inventory.tag(name, plan.request.tags) if plan.request.tags else device


def _own_id(plan: _Plan, shown: dict[str, object], ca: str) -> str | None:
    """The id in a certificate of the device that is ours and known here."""
    its_id = shown.get("device_id")
    if plan.known is None or its_id not in {plan.known.identity, plan.known.next_identity} - {None}:
        return None
    return str(its_id) if shown.get("ca_sha256") == certificates.fingerprint(ca) else None


def _ends_soon(shown: dict[str, object]) -> bool:
    left = dt.datetime.fromisoformat(str(shown["expires"])) - dt.datetime.now(dt.timezone.utc)
    return left < _RENEW_BEFORE


def _forget_contact(device_id: str) -> None:
    try:
        trust.forget_contact(device_id)
    except OSError as error:
        raise EdgeoptError(
            f"this host's notes on its devices cannot be written: {error}"
        ) from error


def _await(device: Device, remote: Remote, by_hand: str) -> None:
    """Waits until the agent answers with its new certificate."""
    deadline = time.monotonic() + _START_S
    while error := _silence(device):
        lines = remote.install("log").out.splitlines() or ["state: unknown"]
        # Between two attempts of the service manager it is "activating".
        state = lines[0].removeprefix("state: ")
        if state != "active":
            raise DeviceError(
                f"the agent did not start on {remote.ssh.target}, its service is {state}: "
                f"{_last_words(lines[1:]) or f'run `{by_hand}` there to see why'}",
                "AGENT_NOT_STARTED",
            )
        if time.monotonic() > deadline:
            raise Unreachable(
                f"the agent runs on {remote.ssh.target} but does not answer at {device.address}: open "
                f"that port in its firewall, or name another way to it with --address "
                f"({error.message})"
            )
        time.sleep(1.0)


def _last_words(log: list[str]) -> str:
    """The agent's, before systemd's own; a user who may not read the log has none."""
    return next((line for line in reversed(log) if line.startswith("edgeopt-agent: ")), "")


def _silence(device: Device) -> Unreachable | None:
    try:
        with connect(device, _ANSWER_S):
            return None
    except Unreachable as error:
        return error


def _bracketed(host: str) -> str:
    try:
        return f"[{IPv6Address(host.partition('%')[0])}]"
    except AddressValueError:
        return host


def _spelled(target: str, port: int | None) -> str:
    """The target and SSH's port as one word, that ssh takes as it is."""
    if not port:
        return target
    user, at, host = target.rpartition("@")
    return f"ssh://{user}{at}{_bracketed(host)}:{port}"


def _platform(facts: dict[str, str]) -> str:
    markers = json.loads(facts["markers"])
    return f"Python {markers['python_version']} on {markers['platform_machine']}"


def _size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.iterdir())
    return f"{size / 2**20:.1f} MB"
