#!/bin/sh
# Installs the edgeopt agent on this device. `edgeopt-host device add --ssh` runs it step by step; by
# hand it does everything at once:
#
#   sudo sh install.sh --wheel edgeopt-0.1.0-py3-none-any.whl     a system service, for all hosts
#   sh install.sh --wheel edgeopt-0.1.0-py3-none-any.whl          a service of this user
#
# Repeating it upgrades. deploy/README.md says what goes where; uninstall.sh takes it away.
set -eu
umask 022
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

usage() {
  cat <<'END'
usage: install.sh [STEP] [OPTION...]

Steps, in their order; without one, check, packages, service, and what to do next:
  check          refuse a device that cannot run the agent; print what it is. Changes nothing
  packages       make the virtual environment, install the agent and its runtimes into it
  service        make the account and the state directory; install and enable the service
  start          start the service, or start it again
  log            print the state of the service and its last lines
  command        print the command that starts the agent without a service
  agent WORD...  run edgeopt-agent as the service's user, on the service's state directory

Options:
  --system, --user   a system service, or one of this user. Default: system for root
  --wheel FILE       the agent's wheel. Default: edgeopt-*.whl beside this script
  --extras A,B       runtimes to install with it. Default: tflite,onnx
  --wheels FOLDER    install from these wheels alone, without the network
  --python PATH      Python 3.10 or later. Default: the first one found
  --port N           the port that the agent listens on. Default: 50551
  --allow WHAT       code the agent may run, torchscript or delegates; may be repeated
  --no-service       install no service
  --dry-run          print the commands instead
END
}

# What went wrong, for people and for edgeopt-host: a reason and one sentence.
fail() {
  printf 'edgeopt-install: %s: %s\n' "$1" "$2" >&2
  exit 4
}

main() {
  step=all scope="" wheel="" extras=tflite,onnx wheels="" python="" port=50551 allow=""
  with_service=yes dry=""
  case "${1:-}" in
    check | packages | service | start | log | command | agent) step=$1 && shift ;;
  esac
  while [ $# -gt 0 ]; do
    case $1 in
      --system) scope=system ;;
      --user) scope=user ;;
      --no-service) with_service="" ;;
      --dry-run) dry=yes ;;
      --wheel | --extras | --wheels | --python | --port | --allow)
        [ $# -ge 2 ] || misused "$1 needs a value"
        case $1 in
          --wheel) wheel=$2 ;;
          --extras) extras=$2 ;;
          --wheels) wheels=$2 ;;
          --python) python=$2 ;;
          --port) port=$2 ;;
          --allow) allow="$allow --allow $2" ;;
        esac
        shift
        ;;
      -h | --help) usage && exit 0 ;;
      --) shift && break ;;
      *) [ "$step" = agent ] && break || misused "unknown: $1" ;;
    esac
    shift
  done
  set_places
  case $step in
    agent) agent "$@" ;;
    all) install_all ;;
    command) command_by_hand ;;
    *) "$step" ;;
  esac
}

misused() {
  printf 'install.sh: %s\n' "$1" >&2
  usage >&2
  exit 2
}

set_places() {
  name=edgeopt-agent
  case $port in "" | *[!0-9]*) misused "--port needs a number" ;; esac
  case " $allow " in *[!a-z\ -]*) misused "--allow needs a name" ;; esac
  [ -n "$scope" ] || { [ "$(id -u)" = 0 ] && scope=system || scope=user; }
  if [ "$scope" = system ]; then
    [ "$(id -u)" = 0 ] || [ -n "$dry" ] ||
      fail SUDO_NEEDED "a system service is installed by root: use sudo, or --user"
    home="" base=/opt/edgeopt-agent state=/var/lib/edgeopt-agent
    units=/etc/systemd/system
    template=edgeopt-agent.service
  else
    home=$HOME base=$HOME/.local/share/edgeopt-agent state=$HOME/.local/state/edgeopt-agent
    units=$HOME/.config/systemd/user
    template=edgeopt-agent.user.service
    # A session over SSH may lack it, and systemctl --user finds its way by it.
    XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
    export XDG_RUNTIME_DIR
  fi
  venv=$base/venv
  here=$(dirname "$0")
}

check() {
  case "$(uname -s) ${PREFIX:-} $(uname -o 2>/dev/null)" in
    *com.termux* | *Android*)
      fail PLATFORM_UNSUPPORTED \
        "this is Android: install edgeopt in Termux by hand and enrol it with edgeopt-agent serve --enroll"
      ;;
    Linux*) ;;
    *) fail PLATFORM_UNSUPPORTED "this is $(uname -s), and the agent runs on Linux" ;;
  esac
  choose_python
  "$python" -c 'import ensurepip, venv' </dev/null >/dev/null 2>&1 ||
    fail VENV_MISSING \
      "$python cannot make virtual environments: install python3-venv, or the package that has ensurepip here"
  [ -z "$with_service" ] || has_systemd || fail NO_SYSTEMD \
    "there is no systemd to run the service: use --no-service, and start the agent by a service manager of your own"
  check_space
  printf 'scope=%s\nport=%s\npython=%s\n' "$scope" "$port" "$python"
  describe_python "$python"
  printf 'installed=%s\n' "$(version_of_agent)"
}

# Sets python to the first that will do; tells what is wrong with the first found when none does.
choose_python() {
  wrong=""
  if [ -n "$python" ]; then
    set -- "$python"
  elif [ "$scope" = system ]; then
    # The system's own before one in somebody's home, which the service may not enter.
    set -- /usr/bin/python3 /usr/local/bin/python3
  else
    set -- python3
  fi
  [ -n "$python" ] || set -- "$@" python3.14 python3.13 python3.12 python3.11 python3.10 python3
  for candidate in "$@"; do
    found=$(command -v "$candidate") || continue
    problem=$(python_problem "$found")
    [ -n "$problem" ] || { python=$found && return; }
    wrong="${wrong:-$problem}"
  done
  [ -n "$wrong" ] || wrong="PYTHON_MISSING ${python:-python3} is not there: install Python 3.10 or later"
  fail "${wrong%% *}" "${wrong#* }"
}

# Prints "REASON sentence" for a Python that will not do. Runs on old ones, too.
python_problem() {
  "$1" -c '
import os, struct, sys
path, version = sys.argv[1], "%d.%d.%d" % tuple(sys.version_info[:3])
real = os.path.realpath(path)
if sys.version_info[:2] < (3, 10):
    print("PYTHON_TOO_OLD %s is Python %s, and the agent needs 3.10 or later: name another with --python" % (path, version))
elif struct.calcsize("P") != 8:
    print("PLATFORM_UNSUPPORTED %s is 32-bit, and the agent needs a 64-bit system: install a 64-bit image" % path)
elif sys.argv[2] == "system" and real.startswith(("/root/", "/home/")):
    print("PYTHON_PRIVATE %s lies in the home folder %s, which a system service cannot enter: name another with --python, or use --user" % (path, os.path.dirname(real)))
' "$1" "$scope" </dev/null 2>&1 || echo "PYTHON_MISSING $1 does not run: install Python 3.10 or later"
}

describe_python() {
  "$1" -c '
import json, os, platform, sys, sysconfig
print("tag=cp%d%d%s" % (sys.version_info[0], sys.version_info[1], getattr(sys, "abiflags", "")))
musl = "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or "")
print("libc=%s" % ("musl" if musl else " ".join(platform.libc_ver())))
print("markers=" + json.dumps({
    "implementation_name": sys.implementation.name,
    "os_name": os.name,
    "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "platform_system": platform.system(),
    "python_full_version": platform.python_version(),
    "python_version": "%d.%d" % sys.version_info[:2],
    "sys_platform": sys.platform,
}))
' </dev/null
}

has_systemd() {
  [ -d /run/systemd/system ] && command -v systemctl >/dev/null
}

# Wheels, what they unpack to, and pip's cache of them.
check_space() {
  need=300
  for extra in $(echo "$extras" | tr , ' '); do
    case $extra in
      onnx) need=$((need + 250)) ;;
      tflite | tflite-runtime) need=$((need + 150)) ;;
      torch) need=$((need + 1500)) ;;
      tensorflow) need=$((need + 3000)) ;;
    esac
  done
  # An upgrade replaces what is there.
  [ ! -x "$venv/bin/python" ] || need=$((need / 3))
  folder=$base
  while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
  free=$(($(df -Pk "$folder" | awk 'NR == 2 { print $4 }') / 1024))
  [ "$free" -ge "$need" ] ||
    fail DEVICE_DISK_FULL \
      "$folder has $free MB free, and the agent with $extras needs $need MB: make room, or install fewer runtimes"
}

version_of_agent() {
  "$venv/bin/edgeopt-agent" --version 2>/dev/null </dev/null | awk '{ print $NF }'
}

packages() {
  [ -n "$python" ] || choose_python
  [ -n "$wheel" ] || for wheel in "$here"/edgeopt-*.whl; do :; done
  [ -n "$dry" ] || [ -f "$wheel" ] || fail WHEEL_MISSING "there is no wheel $wheel: name one with --wheel"
  was_active=""
  if is_active; then
    # A worker that starts while its files are being replaced would be half of each version.
    was_active=yes
    run control stop "$name"
  fi
  [ -n "$dry" ] || trap resume EXIT
  run mkdir -p "$base/tmp"
  # One disk for all of it, the one that was checked; /tmp is often memory.
  TMPDIR=$base/tmp
  export TMPDIR
  # Made anew when the system's Python has been replaced by a newer one.
  if [ "$("$venv/bin/python" -c 'import pip, sys; print(sys.version_info[:2])' 2>/dev/null)" != \
    "$("$python" -c 'import sys; print(sys.version_info[:2])')" ]; then
    run rm -rf "$venv"
    run "$python" -m venv "$venv"
  fi
  # Compiling on a board takes hours where it works at all.
  set -- install --disable-pip-version-check --no-input --quiet --only-binary=:all:
  [ -z "$wheels" ] || set -- "$@" --no-index --find-links "$wheels"
  run_pip "$@" "$wheel[enroll${extras:+,$extras}]"
  # The same version again may be another build.
  run_pip "$@" --force-reinstall --no-deps "$wheel"
}

resume() {
  code=$?
  rm -rf "$base/tmp"
  [ "$code" = 0 ] || [ -z "$was_active" ] || control start "$name"
}

run_pip() {
  if [ -n "$dry" ]; then
    run "$venv/bin/python" -m pip "$@"
    return
  fi
  log=$base/tmp/pip.log
  # Under a user's own settings pip would install somewhere else.
  PIP_USER=0 "$venv/bin/python" -m pip "$@" >"$log" 2>&1 </dev/null ||
    fail INSTALL_FAILED "pip could not install the agent: $(grep -a '^ERROR' "$log" | tail -n 2 | tr '\n' ' ' | cut -c 1-600 | grep . || tail -n 1 "$log")"
}

service() {
  if [ "$scope" = system ] && ! id "$name" >/dev/null 2>&1; then
    if command -v useradd >/dev/null; then
      run useradd --system --user-group --home-dir "$state" --no-create-home --shell /usr/sbin/nologin "$name"
    else
      run adduser -S -D -H -h "$state" -s /sbin/nologin "$name"
    fi
  fi
  run mkdir -p "$state"
  run chmod 700 "$state"
  [ "$scope" = user ] || run chown "$name:" "$state"
  # By this uninstall.sh knows what is its own.
  put "$base/installed" "state=$state"
  run cp "$here/uninstall.sh" "$base/uninstall.sh"
  [ -n "$with_service" ] || return 0
  if [ "$scope" = user ] && [ ! -e "/var/lib/systemd/linger/$(id -un)" ]; then
    run loginctl enable-linger "$(id -un)" ||
      fail LINGER_REFUSED \
        "this user's services end with the session, and loginctl enable-linger is refused: let root run loginctl enable-linger $(id -un), or install as root"
    put "$base/lingering" "uninstall.sh disables lingering, which was not enabled before."
  fi
  [ "$scope" = system ] || [ -n "$dry" ] || await_manager
  run mkdir -p "$units/$name.service.d"
  run cp "$here/$template" "$units/$name.service"
  put "$units/$name.service.d/50-install.conf" "$(options)"
  run control daemon-reload
  run control enable --quiet "$name"
}

# With lingering just enabled, the user's service manager is still starting.
await_manager() {
  tries=0
  until systemctl --user show-environment >/dev/null 2>&1; do
    [ $((tries += 1)) -le 30 ] ||
      fail NO_SYSTEMD "systemd runs no services for this user: install as root, or use --no-service"
    sleep 1
  done
}

# What this device and this installation differ in from the unit file.
options() {
  echo "# Written by install.sh."
  echo "[Service]"
  if [ "$scope" = system ]; then
    # Sensors and accelerators belong to groups, which not every system has.
    for group in video render gpio i2c spi; do
      [ -z "$(getent group "$group")" ] || echo "SupplementaryGroups=$group"
    done
  fi
  echo "ExecStart="
  # systemd splits at spaces first, and fills in %h then.
  [ "$scope" = system ] && place=/ || place=%h/
  echo "ExecStart=$(serve_command "$place")"
}

# On all addresses: gRPC takes this one for IPv6's, too.
serve_command() {
  echo "$1${venv#"$home/"}/bin/edgeopt-agent serve --listen 0.0.0.0:$port --state-dir $1${state#"$home/"}$allow"
}

command_by_hand() {
  set -- "$venv/bin/edgeopt-agent" serve --listen "0.0.0.0:$port" --state-dir "$state" $allow "$@"
  [ "$scope" = user ] || set -- sudo runuser -u "$name" -- "$@"
  quoted "$@"
}

start() {
  run control restart "$name"
}

log() {
  echo "state: $(control is-active "$name" || true)"
  [ "$scope" = system ] && set -- --unit "$name" || set -- --user-unit "$name"
  journalctl "$@" --lines 5 --no-pager --output cat 2>/dev/null || true
}

agent() {
  set -- "$venv/bin/edgeopt-agent" "$@" --state-dir "$state"
  [ "$scope" = user ] || { cd / && set -- runuser -u "$name" -- "$@"; }
  run "$@"
}

control() {
  $(control_command) "$@"
}

control_command() {
  [ "$scope" = system ] && echo systemctl || echo systemctl --user
}

is_active() {
  has_systemd && control is-active --quiet "$name" 2>/dev/null
}

install_all() {
  check >/dev/null
  packages
  service
  [ -z "$dry" ] || return 0
  cat <<END
Installed. The agent trusts nobody yet. To enrol it:
  1. $(command_by_hand --enroll)
  2. on the host, the line that it prints, with a name for NAME
  3. Ctrl-C here$([ -z "$with_service" ] || echo ", then: $(control_command) start $name")
END
}

# Runs a command, or prints it for --dry-run.
run() {
  if [ -z "$dry" ]; then
    "$@"
    return
  fi
  [ "$1" != control ] || { shift && set -- $(control_command) "$@"; }
  quoted "$@"
}

# Prints words as one would type them.
quoted() {
  line=""
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./:=@%+,-]* | "") word="'$(printf %s "$word" | sed "s/'/'\\\\''/g")'" ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

# Writes a file.
put() {
  if [ -n "$dry" ]; then printf 'cat >%s <<END\n%s\nEND\n' "$1" "$2"; else printf '%s\n' "$2" >"$1"; fi
}

main "$@"
