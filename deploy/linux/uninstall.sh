#!/bin/sh
# Takes the edgeopt agent away: service, virtual environment, state, and the account it ran as.
# `edgeopt-host device uninstall` runs it; by hand:
#
#   sudo sh /opt/edgeopt-agent/uninstall.sh                  a system service
#   sh ~/.local/share/edgeopt-agent/uninstall.sh             this user's
#
#   --keep-state   leave models, results and keys, and the account that owns them
#   --dry-run      print the commands instead
#   --present      print yes when there is something to take away; changes nothing
set -eu
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"

main() {
  scope="" keep="" dry="" present="" name=edgeopt-agent
  for word in "$@"; do
    case $word in
      --system) scope=system ;;
      --user) scope=user ;;
      --keep-state) keep=yes ;;
      --dry-run) dry=yes ;;
      --present) present=yes ;;
      *)
        echo "usage: uninstall.sh [--system | --user] [--keep-state] [--dry-run | --present]" >&2
        exit 2
        ;;
    esac
  done
  [ -n "$scope" ] || { [ "$(id -u)" = 0 ] && scope=system || scope=user; }
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
  if [ -n "$present" ]; then
    ! is_present || echo yes
  else
    uninstall
  fi
}

is_present() {
  [ -e "$base" ] || [ -e "$state" ] || [ -e "$units/$name.service" ] || [ -e "$units/$name.service.d" ]
}

uninstall() {
  [ "$scope" = user ] || [ "$(id -u)" = 0 ] || [ -n "$dry" ] || {
    echo "edgeopt-uninstall: SUDO_NEEDED: a system service is taken away by root: use sudo" >&2
    exit 4
  }
  if [ -e "$units/$name.service" ] && [ -d /run/systemd/system ]; then
    # With a model under way, this waits until the agent has reported it.
    run control disable --now --quiet "$name"
  fi
  run rm -rf "$units/$name.service" "$units/$name.service.d"
  if [ -d /run/systemd/system ]; then
    run control daemon-reload
    run control reset-failed --quiet "$name" 2>/dev/null || true
  fi
  if [ -e "$base/lingering" ]; then run loginctl disable-linger "$(id -un)"; fi
  run rm -rf "$base"
  [ -z "$keep" ] || return 0
  run rm -rf "$state"
  if [ "$scope" = system ] && id "$name" >/dev/null 2>&1; then
    if command -v userdel >/dev/null; then run userdel "$name"; else run deluser "$name"; fi
  fi
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
