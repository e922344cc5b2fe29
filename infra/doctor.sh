# The command doctor: each thing that must be right, and the mend where it is not. Sourced by scripts/paperspace.
# shellcheck shell=bash

WRONG=0 # how many things are

cmd_doctor() {
  (($# == 0)) || misuse "doctor takes no arguments."
  echo "This computer"
  doctor_tools
  doctor_key
  echo "The account"
  if api_session; then
    fine "the API key is accepted: $(answer '"\(.user.email), team \(.team.namespace // .team.id)"')"
    doctor_machine
  else
    wrong "$API_ERROR" "set PAPERSPACE_API_KEY, in the environment or in $CONFIG_FILE"
  fi
  ((WRONG == 0)) || die "$WRONG of these things must be mended."
  echo "All is well."
}

fine() {
  printf '  ok     %s\n' "$1"
}

# WHAT MEND
wrong() {
  printf '  WRONG  %s\n         mend: %s\n' "$1" "$2"
  WRONG=$((WRONG + 1))
}

note() {
  printf '  note   %s\n' "$1"
}

# CONDITION... -- RIGHT WRONG MEND
expect() {
  local condition=()
  while [[ "$1" != -- ]]; do
    condition+=("$1")
    shift
  done
  if "${condition[@]}" > /dev/null 2>&1; then
    fine "$2"
  else
    wrong "$3" "$4"
  fi
}

doctor_tools() {
  fine "curl, jq, git and ssh are installed"
  command -v rsync > /dev/null || note "rsync is not installed; pull uses tar, and copies all results each time"
  command -v code > /dev/null || note "the command 'code' is not on PATH; scripts/paperspace code needs it (VS Code: \"Install 'code' command in PATH\")"
  expect git_here rev-parse HEAD -- "$REPO is a git repository" \
    "$REPO is not a git repository, or has no commit" "clone the project with git: run and sync bring commits to the machine"
}

doctor_key() {
  local key="$PAPERSPACE_SSH_KEY"
  if [[ -z "$key" ]]; then
    note "PAPERSPACE_SSH_KEY is not set: ssh tries your usual keys"
    return
  fi
  expect test -f "$key" -- "the SSH key $key exists" "PAPERSPACE_SSH_KEY names $key, which is not a file" \
    "make it: ssh-keygen -t ed25519 -f '$key', and add '$key.pub' at $CONSOLE_URL (account, SSH keys) before you create a machine"
  [[ ! -f "$key" ]] || expect is_private "$key" -- "it is yours alone" "others may read $key, so ssh ignores it" "chmod 600 '$key'"
}

is_private() {
  [[ "$(ls -ldL -- "$1")" == -r[w-]-------* ]]
}

doctor_machine() {
  local reason
  echo "The machine"
  if ! reason="$( (machine_find) 2>&1)"; then
    wrong "${reason#Error: }" "set PAPERSPACE_MACHINE, or make a machine: scripts/paperspace create"
    return
  fi
  machine_find
  fine "$(field .name) ($MACHINE_ID) is $STATE: $(field .machineType), $(field .os)"
  doctor_settings
  doctor_address
  if [[ "$STATE" == ready && -n "$(field .publicIp)" ]]; then
    doctor_inside
  else
    note "what is on it can only be checked when it is ready: scripts/paperspace up, then doctor again"
  fi
}

doctor_settings() {
  expect test "$(field .restorePointEnabled)" != true -- "no restore point: its disk is kept when it stops" \
    "it has a restore point: each stop resets its disk, and all work on it is lost" "turn it off at $CONSOLE_URL"
  expect test "$(field .autoShutdownEnabled)" = true -- "$(auto_shutdown_note)" \
    "it has no auto-shutdown: forgotten, it runs and is billed for ever" "turn it on at $CONSOLE_URL"
}

doctor_address() {
  case "$(field .publicIpType)" in
    static) fine "its address $(field .publicIp) is static" ;;
    dynamic) note "its address is dynamic: another one after each start, which up writes into the SSH entry; scripts/paperspace ip claim buys a static one" ;;
    *) wrong "it has no public address" "scripts/paperspace ip claim, then ip assign" ;;
  esac
}

doctor_inside() {
  local answer kind what mend part
  echo "On the machine"
  ssh_write_entry "$(field .publicIp)"
  expect reads_our_config "$(field .publicIp)" -- "ssh $PAPERSPACE_SSH_ALIAS leads to it" \
    "ssh does not read $HOME/.ssh/config, or an earlier entry there has the alias '$PAPERSPACE_SSH_ALIAS'" \
    "the line 'Include \"$HOME/.ssh/paperspace.d/*.conf\"' must be the first one of the configuration that ssh reads"
  if ! answer="$(ssh_remote true 2>&1 < /dev/null)"; then
    wrong "SSH: $(ssh_reason "$answer")" "$(ssh_mend "$answer")"
    ! ssh_is_silent || note "$(no_answer_note)"
    return
  fi
  fine "SSH lets you in"
  while IFS=$'\t' read -r kind what mend; do
    case "$kind" in
      fine) fine "$what" ;;
      wrong) wrong "$what" "$mend" ;;
    esac
  done < <(for part in gpu doctor disk; do ssh_script "$REPO/infra/remote/$part" "$(remote_dir)" 2>&1; done)
}

reads_our_config() {
  [[ "$(ssh -G "$PAPERSPACE_SSH_ALIAS" | sed -n 's/^hostname //p')" == "$1" ]]
}

ssh_mend() {
  login_trouble "$1" "$LOGIN_DENIALS" || printf 'wait a minute, as sshd starts late; then scripts/paperspace down --force, and up'
}
