# The SSH key that a new machine knows: the API shows no keys of the account, so create brings one along. Sourced by
# scripts/paperspace.
# shellcheck shell=bash disable=SC2016,SC2153 # jq has variables of its own; our configuration is shared between files

# WANTED: the public key, as a line without its comment; WANTED is a file, `none` (then nothing is printed), or empty: the
# configured key, else the usual ones, else the first of the agent. Dies where there is none: nobody could log in.
find_key() {
  local file found=""
  [[ "$1" != none ]] || return 0
  if [[ -n "$1" ]]; then
    found="$(public_key "$1")" || die "create --key names $1, which is no SSH key; it must be a file like ~/.ssh/id_ed25519.pub, or none."
  elif [[ -n "$PAPERSPACE_SSH_KEY" ]]; then
    found="$(public_key "$PAPERSPACE_SSH_KEY")" ||
      die "PAPERSPACE_SSH_KEY names $PAPERSPACE_SSH_KEY, and there is no public key beside it; make one: ssh-keygen -y -f KEY > KEY.pub"
  else
    for file in "$HOME"/.ssh/id_{ed25519,ecdsa,rsa,ed25519_sk,ecdsa_sk}.pub; do
      [[ -n "$found" ]] || found="$(public_key "$file")" || found=""
    done
    [[ -n "$found" ]] || found="$(ssh-add -L 2> /dev/null < /dev/null | plain_key)" || found=""
  fi
  [[ -n "$found" ]] ||
    die "You have no SSH key that the machine could know, so nobody could log in, and nothing was bought. Make one:" \
      "ssh-keygen -t ed25519; or, if the account has another one (console, SSH keys): create --key none"
  echo "$found"
}

# FILE: its public half, also where FILE is the private one
public_key() {
  if [[ "$1" != *.pub && -f "$1.pub" ]]; then
    plain_key < "$1.pub"
  elif [[ -f "$1" ]]; then
    plain_key < "$1" || ssh-keygen -y -P '' -f "$1" 2> /dev/null < /dev/null | plain_key
  else
    return 1
  fi
}

# The first public key on standard input, without the comment
plain_key() {
  grep -m 1 -oE '^(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*'
}

# KEY: for people
key_fingerprint() {
  ssh-keygen -l -f - <<< "$1" | cut -d ' ' -f 2
}

# KEY: brings it into the account as a startup script, once. Leaves the id of the script in API_VALUE.
request_key_script() {
  local name
  name="scripts/paperspace: SSH key $(key_fingerprint "$1")"
  api_list_scripts "$name" && [[ -n "$API_VALUE" ]] && return
  api_create_script "$name" "$(key_script "$1")" ||
    die "Your SSH key cannot be brought along, so nothing was bought: $API_ERROR Add it at $CONSOLE_URL (account settings," \
      "SSH keys), then: scripts/paperspace create --key none"
}

# What the machine runs at each start, until it has worked: as root, or as its user
key_script() {
  cat << END
#!/bin/bash
# Lets an SSH key in, which scripts/paperspace create brought along
set -eu
home="\$(getent passwd '$PAPERSPACE_SSH_USER' | cut -d : -f 6)"
[ ! -e "\$home/.ssh/key-of-create" ] || exit 0
mkdir -p -m 700 "\$home/.ssh"
grep -qF '$1' "\$home/.ssh/authorized_keys" 2> /dev/null || printf '\n%s\n' '$1' >> "\$home/.ssh/authorized_keys"
touch "\$home/.ssh/key-of-create"
chmod 600 "\$home/.ssh/authorized_keys"
chown -R '$PAPERSPACE_SSH_USER': "\$home/.ssh"
END
}
