# The machine of PAPERSPACE_MACHINE: finding it, looking at it, waiting for it. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016,SC2034,SC2153 # jq has variables of its own; ours are shared between files

MACHINE="" # the whole of it, as the API showed it last
MACHINE_ID="" NAME="" ADDRESS="" ADDRESS_TYPE="" TYPE="" REGION="" RATE="" RESTORE_POINT=""
STATE=unknown # off starting stopping restarting serviceready ready upgrading provisioning
START_ASKED="" LOOKS=0
EVENT_ID="" # what the provider does about our last request
DOING=""    # what Ctrl-C interrupts

# Finds the machine by its exact name or its id
machine_find() {
  local found
  [[ -n "$PAPERSPACE_MACHINE" ]] ||
    die "PAPERSPACE_MACHINE is not set; it is the name or the id of your machine (scripts/paperspace create makes one)."
  api_list_machines "$PAPERSPACE_MACHINE" || die "$API_ERROR"
  mapfile -t found < <(machines_named "$PAPERSPACE_MACHINE")
  case "${#found[@]}" in
    0) machine_find_id "$PAPERSPACE_MACHINE" ;;
    1) machine_is "${found[0]%%$'\t'*}" "${found[0]#*$'\t'}" ;;
    *) die "${#found[@]} machines are named '$PAPERSPACE_MACHINE' (ids: ${found[*]%%$'\x1f'*});" \
      "set PAPERSPACE_MACHINE to the id of one." ;;
  esac
}

# Of the machines that were listed, those of this exact name: a line each, its values (see machine_is), a tab, its JSON
machines_named() {
  answer --arg name "$1" "$MACHINE_JQ"' .[] | select(.name == $name and .dtDeleted == null) | machine + "\t" + tojson'
}

machine_find_id() {
  if api_get_machine "$1"; then
    machine_is "$API_VALUE" "$API_ANSWER"
    return
  fi
  [[ "$API_STATUS" == 400 || "$API_STATUS" == 404 ]] || die "$API_ERROR"
  # An account without machines may be a key that is not known
  api_session || die "$API_ERROR"
  api_list_machines || die "$API_ERROR"
  die "No machine has the name or the id '$1' (PAPERSPACE_MACHINE); there are:" \
    "$(answer 'map("\(.name) (\(.id))") | join(", ") | if . == "" then "none" else . end')."
}

# VALUES JSON, of one machine
machine_is() {
  MACHINE="$2"
  IFS=$'\x1f' read -r MACHINE_ID STATE NAME ADDRESS ADDRESS_TYPE TYPE REGION RATE RESTORE_POINT <<< "$1"
  [[ "$ADDRESS" != null ]] || ADDRESS=""
}

# What the jq FILTER finds in the machine; nothing for null
field() {
  jq -r "$1 | if . == null then empty else . end" <<< "$MACHINE"
}

# Looks again
machine_see() {
  api_get_machine "$MACHINE_ID" && machine_is "$API_VALUE" "$API_ANSWER"
}

machine_see_or_die() {
  machine_see || die "$API_ERROR The machine was $STATE when last seen$(billed_note)"
}

# Waits a moment and looks again, until the DEADLINE, which is $1 seconds after the begin. A look that fails on the way
# is no reason to give up a machine.
machine_await() {
  local before="$STATE"
  if ((SECONDS >= DEADLINE)); then
    die "The machine is still $STATE after $1 s$(billed_note) Look at $CONSOLE_URL, or run this command again."
  fi
  sleep "$PAPERSPACE_POLL_SECONDS"
  if machine_see; then
    LOOKS=$((LOOKS + 1))
    if [[ "$STATE" != "$before" ]]; then
      say "  $STATE"
    elif ((LOOKS % 6 == 0)); then # each half minute, as it is by default
      say "  still $STATE, $((SECONDS - DEADLINE + $1)) s of at most $1"
    fi
  else
    case "$API_STATUS" in
      401 | 403 | 404) machine_see_or_die ;;
      *) say "  $API_ERROR Still trying." ;;
    esac
  fi
}

# Only `off` is known not to be billed
billed_note() {
  if [[ "$STATE" == off && -n "$START_ASKED" ]]; then
    printf ', but its start was asked for: from then on it is billed ($%s/h).' "$RATE"
  elif [[ "$STATE" == off ]]; then
    printf '; off, only its storage is billed.'
  else
    printf ', and may be billed ($%s/h) until it is off.' "$RATE"
  fi
}

# Takes over a start or a stop that someone else asked for, so that its failure is seen
machine_adopt_event() {
  EVENT_ID=""
  case "$STATE" in off | ready) return ;; esac
  api_list_events "$MACHINE_ID" || return 0
  EVENT_ID="$API_VALUE"
}

# Leaves in FAILURE why the provider gave up what was asked for
machine_check_event() {
  FAILURE=""
  if [[ -z "$EVENT_ID" ]] || ! api_get_event "$EVENT_ID"; then
    return 0
  fi
  local state="${API_VALUE%%$'\t'*}" reason="${API_VALUE#*$'\t'}"
  case "$state" in
    error | cancelled) FAILURE="${reason:-$state}" EVENT_ID="" ;;
    done) EVENT_ID="" ;;
  esac
  ! is_past_due "$FAILURE" || FAILURE="${FAILURE%.}. $(past_due_note)"
}

# Of the machine as it was seen last, to which SSH gets no answer: why, and what that may cost. Whether a `poweroff` from
# inside, as the idle guard does it, ends the charge is documented nowhere.
no_answer_note() {
  case "$STATE" in
    off) printf 'It is off. Start it: scripts/paperspace up' ;;
    ready | serviceready)
      printf 'For Paperspace it is %s, and it may be billed on ($%s/h, $%s a day), even if it powered itself off, as its idle guard does: %s %s' \
        "$STATE" "$RATE" "$(jq -n "$RATE * 2400 | round / 100")" \
        "scripts/paperspace down stops it for certain, and up starts it again." \
        "What such hours cost, your first invoice shows ($CONSOLE_URL, team settings, billing)."
      ;;
    *) printf 'It is %s. Wait for it: scripts/paperspace up' "$STATE" ;;
  esac
}

# The same, of the machine as it is now, for commands that have not asked the API
why_no_answer() {
  (API_TRIES=1 && machine_find 2> /dev/null && no_answer_note) || printf 'Start it: scripts/paperspace up'
}

refuse_restore_point() {
  [[ "$RESTORE_POINT" != true ]] ||
    die "$NAME has a restore point: each stop resets its disk, and all work on it is lost. $1." \
      "It is $STATE$(billed_note)"
}

# Of up, down and create: the machine goes on without us, so say where it is
interrupted() {
  on_interrupt
  API_TRIES=1 API_SECONDS=5
  say ""
  say "Interrupted while $DOING."
  if machine_see; then
    say "The machine is $STATE now$(billed_note)"
  else
    say "The machine was $STATE when last seen$(billed_note) $API_ERROR"
  fi
  say "See scripts/paperspace status; scripts/paperspace down stops it."
  exit 130
}
