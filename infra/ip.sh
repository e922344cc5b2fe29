# The command ip: a static address for the machine, and which ones the account pays for. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016 # jq has variables of its own

cmd_ip() {
  local action="${1:-}"
  (($# == 0)) || shift
  case "$action" in
    status) ip_status "$@" ;;
    claim) ip_claim "$@" ;;
    assign) ip_assign "$@" ;;
    *) misuse "ip '$action' is not known; it must be claim, assign or status." ;;
  esac
}

ip_status() {
  (($# == 0)) || misuse "ip status takes no arguments."
  machine_find
  api_list_ips || die "$API_ERROR"
  echo "$NAME: ${ADDRESS:-no address} ($ADDRESS_TYPE)"
  answer --arg machine "$MACHINE_ID" '.[] | "  claimed: \(.ip) in \(.region), "
    + if .assignedMachineId == null then "of no machine: paid for, unused"
      elif .assignedMachineId == $machine then "of this machine" else "of \(.assignedMachineId)" end'
  echo "Each claimed address costs $(ip_price), machine on or off; give one up at $CONSOLE_URL."
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
  echo "$NAME has the address $address; ssh $PAPERSPACE_SSH_ALIAS goes there."
}
