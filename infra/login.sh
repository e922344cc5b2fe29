# Why the machine lets nobody in, and the mend. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2153 # our configuration is shared between files

readonly LOGIN_DENIALS=10 # a login whose keys are refused so often in a row stays refused
readonly KEY_LINE="write PAPERSPACE_SSH_KEY=FILE, with the private key that the machine knows, in the configuration"

# What can be seen without a machine: before anything is paid for
refuse_useless_ssh() {
  local said
  [[ -z "$PAPERSPACE_SSH_KEY" || -f "$PAPERSPACE_SSH_KEY" ]] ||
    die "PAPERSPACE_SSH_KEY names $PAPERSPACE_SSH_KEY, which is not a file; it must be your private key, e.g. ~/.ssh/id_ed25519."
  said="$(ssh -G -- 127.0.0.1 2>&1 > /dev/null < /dev/null)" ||
    die "ssh cannot read its own configuration, and reaches nothing until that is mended: ${said%%$'\n'*}"
}

# ANSWER DENIALS: of a login that failed, for so many times in a row: prints what is the matter and the mend, in a sentence;
# 1 where waiting may help
login_trouble() {
  case "$1" in
    *"HOST IDENTIFICATION HAS CHANGED"*) changed_key ;;
    *"Too many authentication failures"*)
      echo "ssh offers so many keys that the machine hangs up before the right one (Too many authentication failures): $KEY_LINE."
      ;;
    *"Permission denied"*)
      (($2 == 1 || $2 >= LOGIN_DENIALS)) || return 1 # in between it is as it was
      denial "$(login_trace)" "$2"
      ;;
    *) return 1 ;;
  esac
}

# The same login once more, with what ssh does
login_trace() {
  local SSH_OPTIONS=(${SSH_OPTIONS[@]+"${SSH_OPTIONS[@]}"} -v)
  ssh_remote true 2>&1 < /dev/null || true
}

# TRACE DENIALS: a key that the machine would take, and that ssh could not use; none at all; or others than the machine's
denial() {
  local accepted offered
  accepted="$(sed -n 's/^debug1: Server accepts key: \(.*\) [A-Z0-9-]* SHA256:.*/\1/p' <<< "${1//$'\r'/}" | head -n 1)"
  offered="$(sed -n 's/^debug1: Offering public key: \(.*\) [A-Z0-9-]* SHA256:.*/\1/p' <<< "${1//$'\r'/}" | sort -u | paste -s -d , -)"
  if [[ "$1" == *"UNPROTECTED PRIVATE KEY FILE"* ]]; then
    echo "others may read the key $accepted, so ssh does not use it: chmod 600 '$accepted'"
  elif [[ -n "$accepted" && "$1" == *"signing failed"* ]]; then
    echo "your agent has the key that the machine knows ($accepted), and does not sign with it: unlock the agent, or confirm what it asks."
  elif [[ -n "$accepted" ]]; then
    unlock_key "$accepted"
  elif [[ -z "$offered" ]]; then
    no_key_offered
  elif (($2 >= LOGIN_DENIALS)); then # a machine that has just started may get its keys a moment later
    echo "the machine accepts none of your SSH keys for $PAPERSPACE_SSH_USER (ssh offers ${offered//,/, }): $KEY_LINE."
  else
    return 1
  fi
}

unlock_key() {
  echo "the key $1 has a passphrase, and no agent has it unlocked: eval \"\$(ssh-agent)\" && ssh-add '$1', then this command again."
}

# Where a key cannot even be read as far as its public half, it is not offered
no_key_offered() {
  local key
  while IFS= read -r key; do
    key="${key/#~/$HOME}"
    if is_locked "$key"; then
      unlock_key "$key"
      return
    fi
  done < <(ssh -G -- "$PAPERSPACE_SSH_ALIAS" 2> /dev/null < /dev/null | sed -n 's/^identityfile //p')
  echo "ssh has no key to offer, in none of its usual files and in no agent: $KEY_LINE (make one: ssh-keygen -t ed25519)."
}

is_locked() {
  [[ -r "$1" ]] && ! ssh-keygen -y -P '' -f "$1" > /dev/null 2>&1 < /dev/null
}

changed_key() {
  local known="$HOME/.ssh/paperspace.d/$PAPERSPACE_SSH_ALIAS.known_hosts"
  echo "the machine shows another host key than before: if its system was made anew, forget the old one (rm '$known'); if not, someone may be in between, and do not go on."
}
