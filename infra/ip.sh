# The command ip: a static address for the machine, and which ones the account pays for. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016,SC2153 # jq has variables of its own

cmd_ip() {
  local action="${1:-}"
  (($# == 0)) || shift
  case "$action" in
    status) ip_status "$@" ;;
    claim) ip_claim "$@" ;;
    assign) ip_assign "$@" ;;
    release) ip_release "$@" ;;
    *) misuse "ip '$action' is not known; it must be claim, assign, release or status." ;;
  esac
}

# An address outlives its machine: what is billed can be seen without one
ip_status() {
  local machines
  (($# == 0)) || misuse "ip status takes no arguments."
  api_session || die "$API_ERROR"
  api_list_machines || die "$API_ERROR"
  machines="$API_ANSWER"
  api_list_ips || die "$API_ERROR"
  answer --argjson machines "$machines" --arg wanted "$PAPERSPACE_MACHINE" '
    ([$machines[] | select(.dtDeleted == null)] | map({key: .id, value: .}) | from_entries) as $there
    | ([$there[] | select(.name == $wanted or .id == $wanted)][0]) as $ours
    | if $ours then "\($ours.name): \($ours.publicIp // "no address") (\($ours.publicIpType))"
      elif $wanted != "" then "No machine has the name or the id \u0027\($wanted)\u0027." else empty end,
      (.[] | "  claimed: \(.ip) in \(.region), "
        + if .assignedMachineId == null then "of no machine: paid for, unused"
          elif .assignedMachineId == $ours.id then "of this machine"
          elif $there[.assignedMachineId] then "of \($there[.assignedMachineId].name) (\(.assignedMachineId))"
          else "of \(.assignedMachineId), which is not there: paid for, unused" end)'
  echo "Each claimed address costs $(ip_price), machine on or off; scripts/paperspace ip release gives one back."
}

ip_price() {
  printf 'about $%s a month by the price list' "$STATIC_IP_PRICE"
}

# The addresses of the machine's region that no machine has
free_ips() {
  answer --arg region "$REGION" '.[] | select(.region == $region and .assignedMachineId == null) | .ip'
}

ip_claim() {
  local yes="" free
  [[ "${1:-}" != --yes ]] || { yes=yes && shift; }
  (($# == 0)) || misuse "ip claim takes nothing but --yes."
  machine_find
  api_list_ips || die "$API_ERROR"
  free="$(free_ips)"
  if [[ -n "$free" ]]; then
    echo "Already claimed, and of no machine: ${free%%$'\n'*}. Now: scripts/paperspace ip assign"
    return
  fi
  [[ -n "$yes" ]] || confirm "A static address in $REGION costs $(ip_price), machine on or off. Claim one?"
  api_claim_ip "$REGION" || die "$API_ERROR Whether an address was claimed: scripts/paperspace ip status"
  echo "Claimed $(answer .ip). Now: scripts/paperspace ip assign"
}

ip_assign() {
  local address="${1:-}" owner
  (($# <= 1)) || misuse "ip assign takes one address, or none for the one that is free."
  machine_find
  api_list_ips || die "$API_ERROR"
  [[ -n "$address" ]] || address="$(own_or_free_ip)"
  [[ -n "$address" ]] || die "No claimed address in $REGION is free: scripts/paperspace ip claim"
  owner="$(answer --arg ip "$address" \
    '[.[] | select(.ip == $ip)][0] | if . == null then "nobody" else .assignedMachineId // "" end')"
  case "$owner" in
    nobody) die "$address is not among the account's claimed addresses: $(answer 'map(.ip) | join(", ")')." ;;
    "$MACHINE_ID") say "$address is the machine's already" ;;
    "") api_assign_ip "$address" "$MACHINE_ID" || die "$API_ERROR" ;;
    *) die "$address belongs to the machine $owner; free it at $CONSOLE_URL first." ;;
  esac
  ip_confirm "$address"
}

own_or_free_ip() {
  local own
  own="$(answer --arg machine "$MACHINE_ID" '[.[] | select(.assignedMachineId == $machine)][0].ip // ""')"
  [[ -n "$own" ]] || own="$(free_ips)"
  echo "${own%%$'\n'*}"
}

# Success only when the machine itself shows the address
ip_confirm() {
  local address="$1"
  DEADLINE=$((SECONDS + 60))
  while [[ "$ADDRESS" != "$address" ]]; do
    ((SECONDS < DEADLINE)) ||
      die "$address was assigned, but the machine still shows ${ADDRESS:-no address}; a stop and a start may be needed."
    sleep "$PAPERSPACE_POLL_SECONDS"
    machine_see_or_die
  done
  ssh_write_entry "$address"
  refresh_windows_entry
  echo "$NAME has the address $address; ssh $PAPERSPACE_SSH_ALIAS goes there."
}

# [ADDRESS] [--yes]
ip_release() {
  local yes="" address="" machines owner
  while (($#)); do
    if [[ "$1" == --yes ]]; then yes=yes; else
      [[ -z "$address" && "$1" != -* ]] || misuse "ip release takes one address, and --yes."
      address="$1"
    fi
    shift
  done
  api_session || die "$API_ERROR"
  api_list_machines || die "$API_ERROR"
  machines="$API_ANSWER"
  api_list_ips || die "$API_ERROR"
  [[ -n "$address" ]] || address="$(only_unused_ip "$machines")"
  owner="$(owner_of_ip "$address" "$machines")"
  [[ -n "$yes" ]] || confirm "$address is of ${owner:-no machine}. Give it back, for good?"
  release "$address" || die "$API_ERROR $address is still claimed, and billed; give it back at $CONSOLE_URL."
  echo "$address is given back, and not billed any more."
}

# MACHINES: the one claimed address that none of them has
only_unused_ip() {
  local found
  found="$(answer --argjson machines "$1" '[.[] | select(.assignedMachineId as $id
    | any($machines[]; .id == $id and .dtDeleted == null) | not) | .ip] | join(" ")')"
  case "$found" in
    "") die "No claimed address is unused: scripts/paperspace ip status" ;;
    *" "*) die "Several claimed addresses are unused; name one: scripts/paperspace ip release ${found// / | }" ;;
    *) echo "$found" ;;
  esac
}

# ADDRESS MACHINES: the name of the one that has it; nothing where none has
owner_of_ip() {
  answer -e --arg ip "$1" 'any(.[]; .ip == $ip)' > /dev/null ||
    die "$1 is not among the account's claimed addresses: $(answer 'map(.ip) | join(", ") | if . == "" then "there are none" else . end')."
  answer --arg ip "$1" --argjson machines "$2" '[.[] | select(.ip == $ip)][0].assignedMachineId as $id
    | [$machines[] | select(.id == $id and .dtDeleted == null)][0].name // ""'
}

# ADDRESS: 0 when it was seen to be gone. It may have to be taken from its machine first; and of an answer that is lost, the
# list tells more.
release() {
  local reason
  api_release_ip "$1" || { [[ "$API_STATUS" == 4?? ]] && api_assign_ip "$1" "" && api_release_ip "$1"; } || true
  reason="$API_ERROR"
  api_list_ips || return 1
  [[ "$(answer --arg ip "$1" 'any(.[]; .ip == $ip)')" == false ]] || api_fail "${reason:-It is still listed.}"
}
