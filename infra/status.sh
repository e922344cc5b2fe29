# The command status: state, costs, address, idle guard, work that is nowhere else. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016 # jq has variables of its own

cmd_status() {
  local json="" month="" status option
  for option in "$@"; do
    case "$option" in
      --json) json=yes ;;
      --month) month=yes ;;
      *) misuse "status does not know '$option'; see scripts/paperspace status --help." ;;
    esac
  done
  machine_find
  [[ -z "$month" ]] || month="$(month_json)"
  status="$(status_json)"
  if [[ -n "$json" ]]; then
    jq --argjson month "${month:-null}" 'if $month then . + {month: $month} else . end' <<< "$status"
  else
    status_text "$status"
    [[ -z "$month" ]] || month_text "$month"
  fi
}

# Null stands for what cannot be known: without SSH, nothing of the inside
status_json() {
  local guard=null work=null reachable=null events="[]"
  if [[ "$STATE" == ready ]] && work="$(unsaved_work_json)"; then
    reachable=true
    guard="$(ssh_guard_state | jq -Rsc 'rtrimstr("\n")')"
  else
    work=null
    [[ "$STATE" != ready ]] || ! ssh_is_silent || reachable=false
  fi
  [[ "$STATE" == off ]] || ! api_list_events "$MACHINE_ID" || events="$(answer -c .items)"
  jq --argjson events "$events" --argjson guard "$guard" --argjson work "$work" --argjson reachable "$reachable" \
    "$COSTS_JQ"'
    ($events | started | if . then now - . | floor else null end) as $uptime
    | {id, name, state, machineType, region, address: .publicIp, addressType: .publicIpType,
      reachable: $reachable, billed: (.state != "off"), dollarsPerHour: .usageRate, uptimeSeconds: $uptime,
      dollarsSinceStart: (if $uptime then $uptime / 3600 * .usageRate * 100 | round / 100 else null end),
      dollarsPerMonthWhileOff: resting, whileOff: resting_note,
      autoShutdownHours: (if .autoShutdownEnabled then .autoShutdownTimeout else null end),
      restorePoint: .restorePointEnabled, idleGuard: $guard, unsavedWork: $work}' <<< "$MACHINE"
}

# A list of lines; fails where SSH does not answer
unsaved_work_json() {
  local work
  [[ -n "$ADDRESS" ]] || return 1
  ssh_write_entry "$ADDRESS"
  work="$(remote_unsaved_work)" || return 1
  jq -Rsc 'split("\n") | map(select(. != ""))' <<< "$work"
}

status_text() {
  jq -r --arg beware "SSH does not answer. $(no_answer_note)" "$COSTS_JQ"'
    def duration: (if . < 3600 then "" else "\(. / 3600 | floor) h " end) + "\(. % 3600 / 60 | floor) min";
    "\(.name) (\(.id)): \(.state)" + (if .uptimeSeconds then ", started \(.uptimeSeconds | duration) ago" else "" end)
      + "; \(.machineType) in \(.region)",
    "  address     \(.address // "none") (\(.addressType))"
      + if .addressType == "dynamic" then ": another one after each start" else "" end,
    "  now         " + if .billed | not then "only what it costs while off"
      else "$\(.dollarsPerHour | money)/h"
        + if .dollarsSinceStart then ", about $\(.dollarsSinceStart | money) since its start" else "" end end,
    "  while off   \(.whileOff)",
    (if .state == "ready" then "SSH does not answer" else "it can be asked when the machine is ready" end) as $unknown
    | "  idle guard  \(.idleGuard // "unknown: \($unknown)")",
    "  work        " + if .unsavedWork == null then "unknown: \($unknown)"
      elif .unsavedWork == [] then "none is unsaved"
      else "nowhere else:\n" + (.unsavedWork | map("    " + .) | join("\n")) end,
    if .reachable == false then "  Beware: \($beware)" else empty end,
    if .restorePoint then "  Beware: its restore point resets the disk at each stop. Turn it off at '"$CONSOLE_URL"'."
      else empty end' <<< "$1"
  echo "  shutdown    $(auto_shutdown_note)"
}
