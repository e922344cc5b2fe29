# Messages and configuration, shared by everything under infra/. Sourced by scripts/paperspace, which sets REPO.
# shellcheck shell=bash

# What may be configured, by environment variable or by a line of infra/paperspace.conf, and its default
readonly CONFIG_DEFAULTS=(
  PAPERSPACE_API_KEY=
  PAPERSPACE_API_URL=https://api.paperspace.com/v1
  PAPERSPACE_MACHINE=
  PAPERSPACE_MACHINE_TYPE=A4000
  PAPERSPACE_REGION=ny2
  PAPERSPACE_TEMPLATE=
  PAPERSPACE_DISK_GB=100
  PAPERSPACE_AUTO_SHUTDOWN_HOURS=8
  PAPERSPACE_SSH_ALIAS=paperspace
  PAPERSPACE_SSH_USER=paperspace
  PAPERSPACE_SSH_PORT=22
  PAPERSPACE_SSH_KEY=
  PAPERSPACE_REMOTE_DIR=sheeprl-dnp
  PAPERSPACE_NOTIFY=
  PAPERSPACE_POLL_SECONDS=5
  PAPERSPACE_UP_TIMEOUT=600
  PAPERSPACE_DOWN_TIMEOUT=480
)

say() {
  printf '%s\n' "$*" >&2
}

die() {
  say "Error: $*"
  exit 1
}

misuse() {
  say "Error: $*"
  exit 2
}

# COMMAND: what Ctrl-C, a closed terminal or a kill does from now on; it must exit. Without COMMAND, what they always do.
# A trap that is due while $(...) is expanded is read as a part of it (bash 5.2), which the second line ends.
on_interrupt() {
  if (($#)); then
    # shellcheck disable=SC2064 # expands now what is to be run then
    trap "$1"$'\n)' INT TERM HUP
  else
    trap - INT TERM HUP
  fi
}

need_tools() {
  local tool
  for tool in "$@"; do
    command -v "$tool" > /dev/null ||
      die "$tool is not installed; install it with your system's packages, e.g. apt or brew install $tool."
  done
}

config_default() {
  local entry
  for entry in "${CONFIG_DEFAULTS[@]}"; do
    if [[ "${entry%%=*}" == "$1" ]]; then
      printf '%s' "${entry#*=}"
      return
    fi
  done
  return 1
}

# The environment's value beats the file's, and that the default. Nothing is handed on to the programs that we start:
# the API key least of all.
load_config() {
  local entry key
  read_config_file
  for entry in "${CONFIG_DEFAULTS[@]}"; do
    key="${entry%%=*}"
    [[ -n "${!key:-}" ]] || printf -v "$key" '%s' "${entry#*=}"
    export -n "${key?}"
  done
  # shellcheck disable=SC2088 # the tilde of a value is ours to expand
  [[ "$PAPERSPACE_SSH_KEY" != '~/'* ]] || PAPERSPACE_SSH_KEY="$HOME/${PAPERSPACE_SSH_KEY#'~/'}"
  check_config
}

read_config_file() {
  CONFIG_FILE="${PAPERSPACE_CONFIG:-$REPO/infra/paperspace.conf}"
  export -n PAPERSPACE_CONFIG
  if [[ ! -f "$CONFIG_FILE" ]]; then
    [[ -z "${PAPERSPACE_CONFIG:-}" ]] || die "PAPERSPACE_CONFIG names $CONFIG_FILE, which is not a file."
    return 0
  fi
  local line number=0
  while IFS= read -r line || [[ -n "$line" ]]; do
    number=$((number + 1))
    line="${line%$'\r'}"
    [[ "$line" =~ ^[[:space:]]*(#|$) ]] || read_config_line "$line" "$number"
  done < "$CONFIG_FILE"
}

# KEY=VALUE, the value as it stands or in quotes; never executed
read_config_line() {
  local where="$CONFIG_FILE, line $2" key value
  [[ "$1" =~ ^[[:space:]]*([A-Z_]+)[[:space:]]*=[[:space:]]*(.*)$ ]] ||
    die "$where, is not KEY=VALUE." # its text is not shown: it may be a key
  key="${BASH_REMATCH[1]}" value="${BASH_REMATCH[2]}"
  value="${value%"${value##*[![:space:]]}"}"
  config_default "$key" > /dev/null || die "$where: $key is not known; known are: ${CONFIG_DEFAULTS[*]%%=*}."
  if [[ "$value" =~ ^\"(.*)\"$ || "$value" =~ ^\'(.*)\'$ ]]; then
    value="${BASH_REMATCH[1]}"
  fi
  [[ "$key" != PAPERSPACE_API_KEY || -z "$value" ]] || check_config_is_private
  [[ -n "${!key:-}" ]] || printf -v "$key" '%s' "$value"
}

check_config_is_private() {
  # The one way to see a mode that GNU and BSD share
  [[ "$(ls -ldL -- "$CONFIG_FILE")" == -r[w-]-------* ]] ||
    die "$CONFIG_FILE holds an API key, and others may read it; make it yours alone: chmod 600 '$CONFIG_FILE'"
  ! git -C "$(dirname "$CONFIG_FILE")" ls-files --error-unmatch -- "$CONFIG_FILE" > /dev/null 2>&1 ||
    die "$CONFIG_FILE holds an API key, and git tracks it; take it out: git rm --cached '$CONFIG_FILE'," \
      "and make a new key."
}

check_config() {
  check_matches PAPERSPACE_SSH_PORT '^[1-9][0-9]{0,4}$' "a port, 1 to 65535"
  ((PAPERSPACE_SSH_PORT < 65536)) || check_matches PAPERSPACE_SSH_PORT '^$' "a port, 1 to 65535"
  check_matches PAPERSPACE_POLL_SECONDS '^([1-9][0-9]*(\.[0-9]+)?|0?\.[0-9]*[1-9][0-9]*)$' "a number of seconds above 0"
  check_matches PAPERSPACE_UP_TIMEOUT '^[1-9][0-9]*$' "whole seconds above 0"
  check_matches PAPERSPACE_DOWN_TIMEOUT '^[1-9][0-9]*$' "whole seconds above 0"
  check_matches PAPERSPACE_DISK_GB '^[1-9][0-9]*$' "whole gigabytes, e.g. 50, 100, 250"
  check_matches PAPERSPACE_AUTO_SHUTDOWN_HOURS '^[1-9][0-9]*$' "whole hours above 0"
  # Elsewhere than on this computer, the key may only travel encrypted
  check_matches PAPERSPACE_API_URL \
    '^(https://[^[:space:]]+|http://(127\.0\.0\.1|localhost)(:[0-9]+)?(/[^[:space:]]*)?)$' "an https:// address"
  [[ "$PAPERSPACE_API_KEY" =~ ^[[:alnum:]._~+/=-]*$ ]] ||
    misuse "PAPERSPACE_API_KEY has characters that no key has (a blank, a quote?); copy it again."
}

check_matches() {
  [[ "${!1}" =~ $2 ]] || misuse "$1 is '${!1}'; it must be $3."
}
