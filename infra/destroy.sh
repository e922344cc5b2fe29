# The command destroy: the machine and its address, deleted and seen to be gone. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016,SC2034,SC2153 # jq has variables of its own; ours are shared between files

cmd_destroy() {
  local addresses
  (($# == 0)) || misuse "destroy takes no arguments."
  machine_find
  api_list_ips || die "$API_ERROR"
  addresses="$(own_ips)"
  confirm_destruction
  DOING="deleting $NAME"
  on_interrupt interrupted
  reach_off ""
  request_deletion
  deletion_wait
  on_interrupt
  release_all "$addresses"
  echo "$NAME is gone${addresses:+, and so is its address ${addresses//$'\n'/, }}: nothing of it is billed any more."
  note_snapshots
}

# The claimed addresses of the machine
own_ips() {
  answer --arg machine "$MACHINE_ID" --arg ip "$ADDRESS" \
    '.[] | select(.assignedMachineId == $machine or (.assignedMachineId == null and .ip == $ip)) | .ip'
}

# There is no way to say yes beforehand
confirm_destruction() {
  local reply=""
  say "This deletes $NAME ($MACHINE_ID, $STATE): its disk with all that is on it${addresses:+, and its address ${addresses//$'\n'/, }}."
  [[ "$STATE" != off ]] || say "What is on it only can be seen while it is on: scripts/paperspace up, then status."
  say "It cannot be taken back."
  printf 'To delete it, type its name: ' >&2
  read -r reply || true
  [[ "$reply" == "$NAME" ]] || die "Not confirmed: nothing was deleted. It is $STATE$(billed_note)"
}

# Of an answer that is lost, the machine's absence tells more
request_deletion() {
  say "  asking for its deletion"
  if api_delete_machine "$MACHINE_ID"; then
    EVENT_ID="$API_VALUE"
    return
  fi
  EVENT_ID=""
  case "$API_STATUS" in
    404 | 000 | 2?? | 5??) say "  $API_ERROR Looking whether it is gone." ;;
    *) die "The machine is not deleted: $API_ERROR Its storage is billed until it is: delete it at $CONSOLE_URL." ;;
  esac
}

# Until the API knows it no longer
deletion_wait() {
  local seconds="$PAPERSPACE_DOWN_TIMEOUT"
  DEADLINE=$((SECONDS + seconds))
  while machine_is_there; do
    machine_check_event
    [[ -z "$FAILURE" ]] || die "The machine is not deleted: ${FAILURE%.}. Its storage is billed until it is: see $CONSOLE_URL."
    ((SECONDS < DEADLINE)) ||
      die "The machine is still there after $seconds s, and its storage billed: delete it at $CONSOLE_URL, or run this command again."
    sleep "$PAPERSPACE_POLL_SECONDS"
  done
}

machine_is_there() {
  if api_get_machine "$MACHINE_ID"; then
    [[ -z "$(answer '.dtDeleted // empty')" ]]
  else
    [[ "$API_STATUS" != 404 ]]
  fi
}

# ADDRESSES: a line each
release_all() {
  local ip
  while read -r ip; do
    [[ -z "$ip" ]] || release "$ip" ||
      die "$NAME is gone, but its address $ip is still claimed, and billed: $API_ERROR Again: scripts/paperspace ip release $ip"
  done <<< "$1"
}

note_snapshots() {
  local number
  api_list_snapshots "$MACHINE_ID" || return 0
  number="$(answer length)"
  ((number == 0)) || say "Beware: $number of its snapshots are left, and may be billed; delete them at $CONSOLE_URL."
}
