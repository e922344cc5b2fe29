# Every call to Paperspace's API (v1): another provider would replace this file. Sourced by scripts/paperspace.
#
# A call, made plainly and not in $(...), leaves what was answered in API_ANSWER (JSON) and the gist of it in API_VALUE,
# and returns 0; or returns 1 with the reason, a sentence, in API_ERROR, and the HTTP status in API_STATUS (000: none):
#   api_get_machine "$id" || die "$API_ERROR"
# shellcheck shell=bash disable=SC2016,SC2034 # jq has variables of its own, and what a call leaves is for the caller

readonly CONSOLE_URL=https://console.paperspace.com
readonly USER_AGENT=sheeprl-dnp # a front of the API refuses the names that programs have by default (error 1010)
API_TRIES=5
API_SECONDS=30 # the longest that one request may take
API_ANSWER="" API_VALUE="" API_ERROR="" API_STATUS=""

# A machine's id, state, name, address, its type, machine type, region, $/h, restore point; see machine_is
readonly MACHINE_JQ='
  def money: if . > 0 and . < 0.01 then tostring
    else (. * 100 | round) | "\(. / 100 | floor).\(. % 100 | if . < 10 then "0\(.)" else . end)" end;
  def machine: if (.id | type) == "string" and (.state | type) == "string" then . else error("no machine") end
    | [.id, .state, .name, .publicIp, .publicIpType, .machineType, .region, (.usageRate // 0 | money),
      .restorePointEnabled] | map(tostring | gsub("[[:cntrl:]]"; " ")) | join("\u001f");
  def epoch: sub("\\.[0-9]+"; "") | sub("\\+00:00$"; "Z") | fromdateiso8601;
  # Of events, the newest first: when the machine was started last, in seconds since 1970
  def started: [.[] | select((.name == "start" or .name == "create") and .state != "error" and .state != "cancelled")][0]
    | if . then .dtStarted // .dtCreated | epoch else null end;'

# What the jq FILTER finds in the last answer
answer() {
  jq -r "$@" <<< "$API_ANSWER"
}

# A key that is not known is answered with success, and null
api_session() {
  api_request GET /auth/session type || return 1
  [[ "$API_VALUE" != null ]] || api_fail "$(bad_key)"
}

# All machines, or those whose name contains NAME
api_list_machines() {
  api_list "/machines?${1:+name=$(url_encode "$1")&}limit=100"
}

# Value: see MACHINE_JQ
api_get_machine() {
  api_request GET "/machines/$(url_encode "$1")" "$MACHINE_JQ machine"
}

# The document gives start and stop no body: an empty one with a content type is refused. Value: the event's id
api_start_machine() {
  api_request PATCH "/machines/$(url_encode "$1")/start" '.event.id // ""'
}

api_stop_machine() {
  api_request PATCH "/machines/$(url_encode "$1")/stop" '.event.id // ""'
}

# MACHINE_ID HOURS. The document has it; the product's pages say that it cannot be changed
api_set_auto_shutdown() {
  api_request PUT "/machines/$(url_encode "$1")" '.event.id // ""' \
    "$(jq -n --argjson hours "$2" '{autoShutdownEnabled: true, autoShutdownTimeout: $hours, autoShutdownForce: true}')"
}

# BODY. Value: the event's id
api_create_machine() {
  api_request POST /machines '.event.id // ""' "$1"
}

# Value: the event's id
api_delete_machine() {
  api_request DELETE "/machines/$(url_encode "$1")" '.event.id // ""'
}

# Value: new, in progress, done, error or cancelled; a tab; the reason of an error
api_get_event() {
  api_request GET "/machine-events/$(url_encode "$1")" \
    '[.state, .error // ""] | map(gsub("[[:cntrl:]]"; " ")) | join("\t")'
}

# The last twenty, the newest first. Value: the id of what is still going on
api_list_events() {
  api_request GET "/machine-events?machineId=$(url_encode "$1")&orderBy=dtCreated&order=desc&limit=20" \
    '[.items[] | select(.state == "new" or .state == "in progress")][0].id // ""'
}

# All of them, in API_ANSWER
api_list_all_events() {
  api_list "/machine-events?machineId=$(url_encode "$1")&orderBy=dtCreated&order=desc&limit=100"
}

api_list_templates() {
  api_list "/os-templates?limit=100"
}

# MACHINE_TYPE REGION. Value: true or false
api_get_availability() {
  api_request GET "/machine-availability?machineType=$(url_encode "$1")&region=$(url_encode "$2")" .available
}

api_list_ips() {
  api_list "/public-ips?limit=100"
}

# REGION. Value: the address
api_claim_ip() {
  api_request POST /public-ips .ip "$(jq -n --arg region "$1" '{region: $region}')"
}

# ADDRESS MACHINE_ID, or of no machine where that is empty
api_assign_ip() {
  api_request PUT "/public-ips/$(url_encode "$1")" .ip \
    "$(jq -n --arg id "$2" '{machineId: (if $id == "" then null else $id end)}')"
}

# ADDRESS
api_release_ip() {
  api_request DELETE "/public-ips/$(url_encode "$1")" .ip
}

# NAME. Value: the id of the startup script of that name; nothing where there is none
api_list_scripts() {
  api_list "/startup-scripts?name=$(url_encode "$1")&limit=100" || return 1
  API_VALUE="$(answer --arg name "$1" '[.[] | select(.name == $name and .isEnabled and .dtDeleted == null)][0].id // ""')"
}

# NAME SCRIPT. Value: its id
api_create_script() {
  api_request POST /startup-scripts .id \
    "$(jq -n --arg name "$1" --arg script "$2" '{name: $name, script: $script, isRunOnce: false}')"
}

# MACHINE_ID
api_list_snapshots() {
  api_list "/snapshots?machineId=$(url_encode "$1")&limit=100"
}

# Leaves every item of a listing in API_ANSWER, page after page
api_list() {
  local cursor="" items="" more after page
  while :; do
    api_request GET "$1${cursor:+&after=$(url_encode "$cursor")}" '
      if (.items | type) == "array" then . else error("no list") end
      | "\(.hasMore)\t\(.nextPage // "")\t\(.items | tojson)"' || return 1
    more="${API_VALUE%%$'\t'*}" page="${API_VALUE##*$'\t'}" after="${API_VALUE#*$'\t'}"
    after="${after%%$'\t'*}"
    items="${items:+$items + }$page"
    [[ "$more" == true ]] || break
    [[ -n "$after" && "$after" != "$cursor" ]] ||
      api_fail "The API's list of ${1%%\?*} goes on, and does not say where." || return 1
    cursor="$after"
  done
  API_ANSWER="$items"
  [[ "$items" == "$page" ]] || API_ANSWER="$(jq -nc "$items")"
}

# METHOD PATH FILTER [JSON]: one request, repeated where that is safe and may help; the jq FILTER makes API_VALUE
api_request() {
  local try
  if [[ -z "$PAPERSPACE_API_KEY" ]]; then
    api_fail "PAPERSPACE_API_KEY is not set; make a key at $CONSOLE_URL (team settings, API keys)" \
      "and set it in the environment or in $CONFIG_FILE."
    return 1
  fi
  for ((try = 1; ; try++)); do
    api_exchange "$1" "$2" "${4:-}"
    if [[ "$API_STATUS" == 2?? && -n "$API_ANSWER" ]] && API_VALUE="$(jq -r "$3" <<< "$API_ANSWER" 2> /dev/null)"; then
      return 0
    fi
    API_ERROR="$(api_reason)"
    if ((try >= API_TRIES)) || ! api_may_repeat "$1"; then
      return 1
    fi
    api_back_off "$try"
  done
}

# One exchange with curl, which gets the key on its standard input: arguments are seen by every process
api_exchange() {
  local body=() output code=0
  [[ -z "$3" ]] || body=(--header "Content-Type: application/json" --data-binary "$3")
  output="$(printf 'header = "Authorization: Bearer %s"\n' "$PAPERSPACE_API_KEY" |
    curl -q --config - --silent --include --request "$1" --header "Accept: application/json" --user-agent "$USER_AGENT" \
      --write-out '\n%{http_code}' --connect-timeout 10 --max-time "$API_SECONDS" ${body[@]+"${body[@]}"} \
      "$PAPERSPACE_API_URL$2")" || code=$?
  API_CURL_CODE="$code" API_STATUS="${output##*$'\n'}" API_HEADERS=""
  output="${output%$'\n'*}"
  while [[ "$output" == HTTP/* ]]; do # a proxy's own headers come first
    API_HEADERS="${output%%$'\r\n\r\n'*}"
    output="${output#*$'\r\n\r\n'}"
  done
  API_ANSWER="$output"
  [[ "$code" == 0 ]] || API_STATUS=000
}

# Reading may always be repeated. What changes something may be when the server has not looked at it.
api_may_repeat() {
  case "$API_STATUS" in
    429) ;;
    000) [[ "$1" == GET || "$1" == PUT || "$API_CURL_CODE" == [567] ]] ;;
    408 | 5?? | 2??) [[ "$1" == GET || "$1" == PUT ]] && ! is_capacity "$API_ERROR" ;;
    *) false ;;
  esac
}

# Waits as long as the server asks (a minute at most), or twice as long after each try
api_back_off() {
  local seconds asked='retry-after:[[:space:]]*([0-9]{1,6})([[:space:]]|$)'
  if [[ "${API_HEADERS,,}" =~ $asked ]]; then
    seconds=$((10#${BASH_REMATCH[1]} < 60 ? 10#${BASH_REMATCH[1]} : 60))
  else
    seconds="$(jq -n "$PAPERSPACE_POLL_SECONDS / 5 * pow(2; $1 - 1)")"
  fi
  say "  ${API_ERROR%.}; trying again in $seconds s"
  sleep "$seconds"
}

# Why the last exchange failed, in a sentence
api_reason() {
  local message
  message="$(jq -r '.message | strings | gsub("[[:cntrl:]]"; " ") | .[:300]' <<< "$API_ANSWER" 2> /dev/null || true)"
  message="${message//"$PAPERSPACE_API_KEY"/(the key)}"
  if [[ "$API_STATUS" == 000 ]]; then
    printf 'Cannot reach %s: %s.' "$PAPERSPACE_API_URL" "$(curl_reason)"
  elif [[ "$API_STATUS" == 2?? ]]; then
    printf 'Paperspace answers something else than its API should: %s' "$(jq -Rsc '.[:80]' <<< "$API_ANSWER")"
  elif [[ "$API_STATUS" == 401 ]]; then
    printf 'Paperspace answers HTTP 401. %s' "$(bad_key)"
  elif [[ "$API_STATUS" == 402 ]] || is_past_due "$message"; then
    message="${message:-payment required}"
    printf 'Paperspace answers HTTP %s: %s. %s' "$API_STATUS" "${message%.}" "$(past_due_note)"
  elif [[ -n "$message" ]]; then
    printf 'Paperspace answers HTTP %s: %s.' "$API_STATUS" "${message%.}"
  elif [[ "$API_STATUS" == 403 ]]; then
    printf 'A web page in front of the API blocks this computer (HTTP 403): not the key, but the network (%s) %s' \
      "a VPN, a proxy, a cloud address" "is refused. Try from another one."
  else
    printf 'Paperspace answers HTTP %s, without a reason.' "$API_STATUS"
  fi
}

curl_reason() {
  case "$API_CURL_CODE" in
    5 | 6) printf 'its name is not known here (is there a network?)' ;;
    7) printf 'the connection is refused' ;;
    28) printf 'no answer in time' ;;
    35 | 51 | 60) printf 'its certificate is not trusted' ;;
    18 | 52 | 56) printf 'the connection broke off' ;;
    *) printf 'curl fails with code %s' "$API_CURL_CODE" ;;
  esac
}

bad_key() {
  printf 'PAPERSPACE_API_KEY is not accepted: make a new key at %s (team settings, API keys).' "$CONSOLE_URL"
}

# Whether this reason of a failure says that the provider has no free machine of the type
is_capacity() {
  local words='capacity|out of stock|insufficient|no (machine|host|gpu|vm)s? (are |is )?(currently )?available'
  [[ "${1,,}" =~ $words ]] && ! is_past_due "$1"
}

# Whether this reason of a failure says that the account owes money, or has nothing to pay with
is_past_due() {
  local words='past[ -]due|overdue|unpaid|payment|credit card|declined|(outstanding|insufficient) (balance|funds|credit|invoice)|suspended'
  [[ "${1,,}" =~ $words ]]
}

past_due_note() {
  printf 'The matter is the payment: settle it at %s (team settings, billing). Of an account that is past due, %s' \
    "$CONSOLE_URL" "machines are deleted after 60 days."
}

api_fail() {
  API_ERROR="$*"
  return 1
}

url_encode() {
  if [[ "$1" =~ ^[[:alnum:]._~-]*$ ]]; then
    printf '%s' "$1"
    return
  fi
  jq -rn --arg text "$1" '$text | @uri'
}
