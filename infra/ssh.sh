# The SSH alias of the machine, and commands over it. Sourced by scripts/paperspace.
#
# ~/.ssh/config gets one Include line, and everything else of ours is in ~/.ssh/paperspace.d: git, rsync and VS Code find the
# machine by the alias, wherever its address moves.
# shellcheck shell=bash

# ADDRESS: the alias leads there from now on
ssh_write_entry() {
  local folder="$HOME/.ssh/paperspace.d"
  check_ssh_names
  mkdir -p "$folder"
  chmod 700 "$HOME/.ssh" "$folder"
  write_if_changed "$folder/$PAPERSPACE_SSH_ALIAS.conf" "$(ssh_entry "$1" "$folder")"
  ssh_include "$HOME/.ssh/config" "Include \"$folder/*.conf\""
}

check_ssh_names() {
  [[ "$PAPERSPACE_SSH_ALIAS" =~ ^[[:alnum:]][[:alnum:]._-]*$ ]] ||
    misuse "PAPERSPACE_SSH_ALIAS is '$PAPERSPACE_SSH_ALIAS'; it must be letters, digits, '.', '_' and '-'."
  [[ "$PAPERSPACE_SSH_USER" =~ ^[[:alnum:]_][[:alnum:]._-]*$ ]] ||
    misuse "PAPERSPACE_SSH_USER is '$PAPERSPACE_SSH_USER'; it must be a name of letters, digits, '.', '_' and '-'."
}

# HostKeyAlias: the key belongs to the machine, not to its address, and another machine may have another
ssh_entry() {
  cat << END
# Written by scripts/paperspace; what you change here is lost
Host $PAPERSPACE_SSH_ALIAS
  HostName $1
  Port $PAPERSPACE_SSH_PORT
  User $PAPERSPACE_SSH_USER
  HostKeyAlias $PAPERSPACE_SSH_ALIAS-${MACHINE_ID:-machine}
  UserKnownHostsFile "$(ssh_quote "$2/$PAPERSPACE_SSH_ALIAS.known_hosts")"
  StrictHostKeyChecking accept-new
  CheckHostIP no
  ConnectTimeout 10
  ServerAliveInterval 15
  ServerAliveCountMax 4
END
  [[ -z "$PAPERSPACE_SSH_KEY" ]] || cat << END
  IdentityFile "$(ssh_quote "$PAPERSPACE_SSH_KEY")"
  IdentitiesOnly yes
END
}

# ssh expands %-tokens in file names
ssh_quote() {
  printf '%s' "${1//%/%%}"
}

# FILE LINE: LINE is the first of FILE, once: below a Host line it would hold for that host alone
ssh_include() {
  local content=""
  [[ ! -e "$1" ]] || content="$(cat "$1")"
  [[ $'\n'"$content"$'\n' != *$'\n'"$2"$'\n'* ]] || return 0
  write_if_changed "$1" "$2${content:+$'\n\n'$content}"
  say "Your $1 includes our SSH entries now."
}

# FILE CONTENT: written in place, because a user's file may be a link to where it is kept
write_if_changed() {
  [[ ! -e "$1" || "$(cat "$1")" != "$2" ]] || return 0
  (umask 077 && printf '%s\n' "$2" > "$1")
}

# COMMAND...: runs it on the machine as ssh does, without questions, and with the caller's SSH_OPTIONS. Status 255: no
# connection.
ssh_remote() {
  ssh -o BatchMode=yes ${SSH_OPTIONS[@]+"${SSH_OPTIONS[@]}"} -- "$PAPERSPACE_SSH_ALIAS" "$@"
}

# FILE ARGUMENT...: runs a bash script of ours on the machine
ssh_script() {
  local file="$1"
  shift
  ssh_remote "bash -s -- $(printf '%q ' "$@")" < "$file"
}

# Whether nothing answers, not even to refuse
ssh_is_silent() {
  local answer
  ! answer="$(ssh_remote true 2>&1 < /dev/null)" && ! login_trouble "$answer" "$LOGIN_DENIALS" > /dev/null
}

# Dies unless the machine answers
ssh_need() {
  local answer trouble
  answer="$(ssh_remote true 2>&1 < /dev/null)" && return
  if trouble="$(login_trouble "$answer" "$LOGIN_DENIALS")"; then
    die "The machine answers, and does not let you in: $trouble"
  fi
  die "The machine does not answer over SSH ($(ssh_reason "$answer")). $(why_no_answer)"
}

# SECONDS: 0 as soon as a login succeeds; 1 when that time is over, or no time would help
ssh_wait() {
  local deadline=$((SECONDS + $1)) denials=0 answer reason said="" trouble SSH_OPTIONS=(-o ConnectTimeout=5)
  until answer="$(ssh_remote true 2>&1 < /dev/null)"; do
    reason="$(ssh_reason "$answer")"
    [[ "$reason" == "$said" ]] || say "  waiting for SSH: $reason"
    said="$reason"
    [[ "$answer" == *"Permission denied"* ]] && denials=$((denials + 1)) || denials=0
    if trouble="$(login_trouble "$answer" "$denials")"; then
      say "  $trouble"
      return 1
    fi
    ((SECONDS < deadline)) || return 1
    sleep "$PAPERSPACE_POLL_SECONDS"
  done
}

# What ssh said last, which is why it gave up
ssh_reason() {
  local reason
  reason="$(grep -v '^$' <<< "${1//$'\r'/}" | tail -n 1)" || true
  printf '%s' "${reason:-no answer}"
}

# The idle guard in a line
ssh_guard_state() {
  local state code=0
  # shellcheck disable=SC2016 # PATH is the machine's
  state="$(ssh_remote 'PATH="$PATH:/usr/local/sbin"; command -v idle-guard > /dev/null || exit 3; idle-guard status' 2> /dev/null < /dev/null)" || code=$?
  case "$code" in
    0) printf '%s\n' "$state" ;;
    255) printf 'not known, as SSH does not answer\n' ;;
    *) printf 'not installed; install it: scripts/paperspace bootstrap\n' ;;
  esac
}
