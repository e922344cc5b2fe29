#!/usr/bin/env bash
# Makes an Ubuntu machine ready for this project. `scripts/paperspace bootstrap` runs it there over SSH, once after `create`;
# more often does no harm: what is done already is left alone. All of it is on the disk, which a stop and start keeps.
# Usage: bootstrap.sh machine FOLDER BRANCH             system packages, SSH, deploy key, an empty repository to push to
#        bootstrap.sh project FOLDER NAME EMAIL ORIGIN DEVICE   after the push: git identity, idle guard, .venv; on a DEVICE
#                                                       gpu, not cpu, ends well only if torch can use it
#        bootstrap.sh drive //ADDRESS/SHARE USER        a shared drive on /mnt/drive; its password on standard input
# DESTDIR, if set, is put before the names of the system's files.
set -euo pipefail

# libgl1 and glib are OpenCV's; a compiler and Python's headers are for torch.compile
readonly PACKAGES=(git tmux jq rsync curl ca-certificates tar python3 python3-venv python3-dev build-essential libgl1 libglib2.0-bin)
readonly OLDEST_GLIBC=2.28 # of the VS Code server
# What unattended upgrades leave alone, as beginnings of packages' names: a driver that is changed under a running kernel, or a
# kernel without the driver's module, is no GPU. `sudo apt-get upgrade` still takes them.
readonly HELD_BACK=(nvidia- libnvidia- libcuda cuda- xserver-xorg-video-nvidia linux-)
readonly BROKEN_SOURCE=/etc/apt/sources.list.d/paperspace.list

say() {
  printf '  %s\n' "$*" >&2
}

die() {
  printf 'Error: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if ((EUID == 0)); then
    "$@"
  else
    sudo "$@"
  fi
}

need_root() {
  ((EUID == 0)) || sudo -n true 2> /dev/null || { [[ -t 0 ]] && sudo -v; } ||
    die "sudo asks for a password here, and there is no terminal to type it in; run scripts/paperspace bootstrap in a terminal."
}

# MODE PATH: a file of the system gets what stands on standard input; 1 if it has it already
put() {
  local new code=0
  new="$(mktemp)"
  cat > "$new"
  if cmp -s "$new" "${DESTDIR:-}$2"; then
    code=1
  else
    as_root install -D -m "$1" "$new" "${DESTDIR:-}$2" || die "$2 cannot be written."
    say "wrote $2"
  fi
  rm -f "$new"
  return "$code"
}

check_system() {
  local glibc
  glibc="$(getconf GNU_LIBC_VERSION | cut -d ' ' -f 2)"
  [[ "$(printf '%s\n' "$OLDEST_GLIBC" "$glibc" | sort -V | head -n 1)" == "$OLDEST_GLIBC" ]] ||
    die "This system has glibc $glibc, and the VS Code server needs $OLDEST_GLIBC; make a machine with Ubuntu 22.04 or newer."
  say "glibc $glibc"
}

# Template images come with a source of the provider that answers no longer, and with it every `apt-get update` fails
mend_apt() {
  [[ -e "${DESTDIR:-}$BROKEN_SOURCE" ]] || return 0
  as_root mv "${DESTDIR:-}$BROKEN_SOURCE" "${DESTDIR:-}$BROKEN_SOURCE.disabled"
  say "disabled $BROKEN_SOURCE"
}

# PACKAGE...; a machine that has just been started may be updating itself: its lock is waited for
install_packages() {
  local package missing=()
  for package in "$@"; do
    [[ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2> /dev/null)" == installed ]] || missing+=("$package")
  done
  ((${#missing[@]} > 0)) || return 0
  say "installing ${missing[*]}"
  as_root apt-get -q -o DPkg::Lock::Timeout=600 update >&2
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=600 install --no-install-recommends "${missing[@]}" >&2
}

hold_back_driver() {
  {
    echo "Unattended-Upgrade::Package-Blacklist {"
    printf '  "%s";\n' "${HELD_BACK[@]}"
    echo "};"
  } | put 644 /etc/apt/apt.conf.d/52-hold-back-gpu-driver || true
}

check_python() {
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "This system has $(python3 --version), and the project needs Python 3.10; make a machine with Ubuntu 22.04 or newer."
}

# A laptop that was shut leaves a session behind, and the idle guard would wait for it for hours
drop_dead_sessions() {
  if printf 'ClientAliveInterval 60\nClientAliveCountMax 5\n' | put 644 /etc/ssh/sshd_config.d/50-drop-dead-sessions.conf; then
    as_root systemctl reload ssh
  fi
}

# tmux stays when the last session ends
linger() {
  [[ -e "${DESTDIR:-}/var/lib/systemd/linger/$(id -un)" ]] || as_root loginctl enable-linger "$(id -un)"
}

deploy_key() {
  local key="$HOME/.ssh/id_ed25519"
  (umask 077 && mkdir -p "$HOME/.ssh")
  [[ -f "$key" ]] || ssh-keygen -q -t ed25519 -N '' -C "deploy key of $(hostname)" -f "$key"
  say "to push to a hosting service from this machine, add its public key there as a deploy key with write access:"
  say "$(cat "$key.pub")"
}

# A push moves the checked-out files along, unless they hold changes
repository() {
  mkdir -p "$1"
  if [[ ! -e "$1/.git" ]]; then
    git init --quiet "$1"
    git -C "$1" symbolic-ref HEAD "refs/heads/$2"
    say "made a git repository in $1"
  fi
  git -C "$1" config receive.denyCurrentBranch updateInstead
}

identity() {
  [[ -z "$2" ]] || git -C "$1" config user.name > /dev/null || git -C "$1" config user.name "$2"
  [[ -z "$3" ]] || git -C "$1" config user.email > /dev/null || git -C "$1" config user.email "$3"
  [[ -z "$4" ]] || git -C "$1" config remote.origin.url > /dev/null || git -C "$1" remote add origin "$4"
  git -C "$1" config user.email > /dev/null ||
    say "git knows no name for commits made here: git config --global user.name ..., and user.email"
}

idle_guard() {
  local unit changed=""
  put 755 /usr/local/sbin/idle-guard < "$1/infra/idle-guard" || true
  for unit in idle-guard.service idle-guard.timer; do
    put 644 "/etc/systemd/system/$unit" < "$1/infra/systemd/$unit" && changed=yes
  done
  # The user's to change: written once
  [[ -e "${DESTDIR:-}/etc/idle-guard.conf" ]] ||
    sed "s|^IDLE_GUARD_KEEP_AWAKE=.*|IDLE_GUARD_KEEP_AWAKE=$HOME/.keep-awake|" "$1/infra/systemd/idle-guard.conf" | put 644 /etc/idle-guard.conf
  [[ -z "$changed" ]] || as_root systemctl daemon-reload
  as_root systemctl enable --now --quiet idle-guard.timer
  say "the idle guard is on; touch ~/.keep-awake makes it wait"
}

# A machine whose training of `run --down` has ended powers itself off, when no one is there to type a password
may_power_off() {
  printf '%s ALL=(root) NOPASSWD: /usr/bin/systemctl poweroff\n' "$(id -un)" | put 440 /etc/sudoers.d/60-power-off || true
}

machine() {
  check_system
  mend_apt
  hold_back_driver
  install_packages "${PACKAGES[@]}"
  check_python
  drop_dead_sessions
  linger
  deploy_key
  repository "$@"
}

# The set-up is worth nothing if a training would run on the CPU, at the price of the GPU
check_gpu() {
  local report
  if ! report="$(bash "$1/infra/remote/gpu" "$1")"; then
    die "$(awk -F '\t' '$1 == "wrong" { print $2 ". Mend it: " $3 }' <<< "$report")"$'\n'"On a machine without a GPU: bootstrap --cpu"
  fi
  say "${report##*$'\t'}"
}

# The guard comes first: a set-up that fails leaves a machine that is billed
project() {
  identity "$@"
  idle_guard "$1"
  "$1/scripts/setup"
  [[ "$5" == cpu ]] || check_gpu "$1"
}

# SMB has no symbolic links: for data sets and checkpoints, not for code or .venv
drive() {
  local password where=/mnt/drive fstab="${DESTDIR:-}/etc/fstab" line
  IFS= read -r password || [[ -n "$password" ]] || die "No password on standard input."
  install_packages cifs-utils
  printf 'username=%s\npassword=%s\n' "$2" "$password" | put 600 /etc/drive.credentials || true
  line="$1 $where cifs credentials=/etc/drive.credentials,uid=$(id -u),gid=$(id -g),_netdev,nofail,x-systemd.automount 0 0"
  grep -qxF "$line" "$fstab" 2> /dev/null || {
    grep -v " $where cifs " "$fstab" 2> /dev/null || true
    printf '%s\n' "$line"
  } | put 644 /etc/fstab || true
  as_root mkdir -p "${DESTDIR:-}$where"
  as_root systemctl daemon-reload
  as_root mount "$where" 2> /dev/null || mountpoint -q "$where" || die "$1 cannot be mounted: is its address right, and the password?"
  say "the drive is on $where, also after a stop and start; e.g. sheeprl ... log_root=$where/runs"
}

main() {
  local step="$1"
  shift
  need_root
  "$step" "$@"
}

main "$@"
