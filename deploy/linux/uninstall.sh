#!/bin/sh
# Takes the edgeopt agent away: service, virtual environment, state, and the account it ran as.
# `edgeopt-host device uninstall` runs it; by hand it takes away the installation that it lies in:
#
#   sudo sh /opt/edgeopt-agent/uninstall.sh                  a system service
#   sh ~/.local/share/edgeopt-agent/uninstall.sh             this user's
#
#   --keep-state      leave models, results and keys, and the account that owns them
#   --dry-run         print the commands instead
#   --system, --user  which one, from elsewhere
set -eu
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
# What an agent may take to report the model under way.
patience_s=60

# What went wrong, for people and for edgeopt-host: a reason and one sentence.
fail() {
  printf 'edgeopt-uninstall: %s: %s\n' "$1" "$2" >&2
  exit 4
}

misused() {
  printf 'uninstall.sh: %s\n' "$1" >&2
  echo "usage: uninstall.sh [--system | --user] [--keep-state] [--dry-run]" >&2
  exit 2
}

main() {
  scope="" keep="" dry="" name=edgeopt-agent
  for word in "$@"; do
    case $word in
      --system | --user)
        [ "${scope:-${word#--}}" = "${word#--}" ] || misused "--system and --user exclude each other"
        scope=${word#--}
        ;;
      --keep-state) keep=yes ;;
      --dry-run) dry=yes ;;
      *) misused "unknown: $word" ;;
    esac
  done
  [ -n "$scope" ] || scope=$(scope_here)
  if [ "$scope" = system ]; then
    base=/opt/edgeopt-agent
    state=/var/lib/edgeopt-agent
    units=/etc/systemd/system
  else
    base=$HOME/.local/share/edgeopt-agent
    state=$HOME/.local/state/edgeopt-agent
    units=$HOME/.config/systemd/user
    XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"
    export XDG_RUNTIME_DIR
  fi
  uninstall
}

# The scope of the installation that this script lies in.
scope_here() {
  here=$(cd "$(dirname "$0")" && pwd -P)
  for known in "system /opt/edgeopt-agent" "user $HOME/.local/share/edgeopt-agent"; do
    folder=$(cd "${known#* }" 2>/dev/null && pwd -P) || continue
    [ "$here" != "$folder" ] || { echo "${known%% *}" && return; }
  done
  misused "it lies in no installation of this user, so say which one: --system or --user"
}

uninstall() {
  [ "$scope" = user ] || [ "$(id -u)" = 0 ] || [ -n "$dry" ] ||
    fail SUDO_NEEDED "a system service is taken away by root: use sudo"
  if [ -e "$units/$name.service" ] || [ -e "$units/$name.service.d" ]; then
    if [ -e "$units/$name.service" ] && [ -d /run/systemd/system ]; then
      # With a model under way, this waits until the agent has reported it.
      run control disable --now --quiet "$name"
    fi
    run rm -rf "$units/$name.service" "$units/$name.service.d"
    if [ -d /run/systemd/system ]; then
      run control daemon-reload
      run control reset-failed --quiet "$name" 2>/dev/null || true
    fi
  fi
  stop_agents
  if [ -e "$base/lingering" ]; then run loginctl disable-linger "$(id -un)"; fi
  # State that no installation of ours used belongs to somebody else.
  if [ -z "$keep" ] && [ "$(sed -n 's/^state=//p' "$base/installed" 2>/dev/null)" = "$state" ]; then
    run rm -rf "$state"
    if [ "$scope" = system ] && id "$name" >/dev/null 2>&1; then
      if command -v userdel >/dev/null; then run userdel "$name"; else run deluser "$name"; fi
    fi
  fi
  # Last: what breaks off before can be repeated.
  if [ -e "$base" ]; then run rm -rf "$base"; fi
}

# Agents that were started without the service: their code, or state, is about to go.
stop_agents() {
  pids=$(agents)
  [ -n "$pids" ] || return 0
  # The words are numbers.
  run kill $pids 2>/dev/null || true
  [ -z "$dry" ] || return 0
  tries=0
  while pids=$(agents) && [ -n "$pids" ]; do
    [ $((tries += 1)) -le "$patience_s" ] || fail AGENT_RUNNING \
      "an agent still runs here, or was started again, with the process id $(echo $pids): stop what starts it, and repeat"
    sleep 1
  done
}

# Prints the ids of processes that run this installation's code, or have its state directory open,
# as an agent does that has locked it.
agents() {
  own=$(cd "$base" 2>/dev/null && pwd -P) || own=""
  its=$(cd "$state" 2>/dev/null && pwd -P) || its=""
  {
    for process in /proc/[0-9]*; do
      [ -z "$own" ] || case "$(tr '\0' '\n' 2>/dev/null <"$process/cmdline" | head -n 1)" in
        "$own"/* | "$base"/*) echo "${process#/proc/}" ;;
      esac
    done
    [ -z "$its" ] || ls -l /proc/[0-9]*/fd 2>/dev/null | state=$its awk '
      /^\/proc\// { split($0, part, "/"); pid = part[3] }
      { target = " -> " ENVIRON["state"] }
      substr($0, length($0) - length(target) + 1) == target { print pid }
    ' | while read -r pid; do
      ! grep -aq edgeopt "/proc/$pid/cmdline" 2>/dev/null || echo "$pid"
    done
  } | sort -un
}

control() {
  $(control_command) "$@"
}

control_command() {
  [ "$scope" = system ] && echo systemctl || echo systemctl --user
}

# Runs a command, or prints it for --dry-run.
run() {
  if [ -z "$dry" ]; then
    "$@"
    return
  fi
  [ "$1" != control ] || { shift && set -- $(control_command) "$@"; }
  line=""
  for word in "$@"; do
    case $word in
      *[!A-Za-z0-9_./:=@%+,-]*) word="'$(printf %s "$word" | sed "s/'/'\\\\''/g")'" ;;
    esac
    line="$line${line:+ }$word"
  done
  printf '%s\n' "$line"
}

main "$@"
