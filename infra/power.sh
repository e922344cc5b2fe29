# The commands up and down: from whatever state the machine is in, to ready or to off. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016,SC2034,SC2153 # jq has variables of its own; ours are shared between files

readonly ASK_TRIES=4

cmd_up() {
  local minutes=0 retry=""
  while (($#)); do
    case "$1" in
      --retry)
        [[ "${2:-}" =~ ^[0-9]*\.?[0-9]+$ ]] || misuse "up --retry is '${2:-}'; it must be a number of minutes."
        minutes="$2" retry=yes
        shift 2
        ;;
      *) misuse "up does not know '$1'; see scripts/paperspace up --help." ;;
    esac
  done
  refuse_useless_ssh
  machine_find
  refuse_restore_point "Turn it off at $CONSOLE_URL first"
  DOING="starting $NAME"
  on_interrupt interrupted
  up_with_retries "$((SECONDS + $(jq -n "$minutes * 60 | ceil")))"
  up_report
}

# Until the time $1, no capacity is a reason to wait
up_with_retries() {
  while :; do
    reach_ready
    [[ -n "$NO_CAPACITY" ]] || reach_ssh
    [[ "$STATE" != ready ]] || return 0
    [[ -n "$NO_CAPACITY" ]] || continue # it went away while sshd was awaited
    if ((SECONDS >= $1)); then
      die "Paperspace has no $TYPE free in $REGION ($NO_CAPACITY); the machine is $STATE$(billed_note)" \
        "Wait for one: scripts/paperspace up --retry 60"
    fi
    say "  no $TYPE is free in $REGION ($NO_CAPACITY); asking again, for $(($1 - SECONDS)) s more"
    sleep "$(jq -n "$PAPERSPACE_POLL_SECONDS * 12")"
    machine_see_or_die
  done
}

# Ends with STATE ready; or with the provider's words in NO_CAPACITY
reach_ready() {
  local left="" looks_off=0 stumbles=0
  NO_CAPACITY="" START_ASKED="" FOUND="$STATE"
  DEADLINE=$((SECONDS + PAPERSPACE_UP_TIMEOUT))
  say "$NAME is $STATE"
  machine_adopt_event
  while [[ "$STATE" != ready ]]; do
    machine_check_event
    [[ -z "$FAILURE" ]] || start_failed "$FAILURE"
    if [[ "$STATE" != off ]]; then
      left="$START_ASKED"
    elif [[ -z "$START_ASKED" ]]; then
      [[ -n "$NO_CAPACITY" ]] || request_start
    elif start_is_over; then
      went_back
    fi
    [[ -z "$NO_CAPACITY" && "$STATE" != ready ]] || return 0
    machine_await "$PAPERSPACE_UP_TIMEOUT"
  done
}

# Whether a start that was asked for is over, though the machine is off: what the API shows may come late, or slip. Uses
# reach_ready's `left` (it was seen in another state since) and `looks_off`.
start_is_over() {
  looks_off=$((looks_off + 1))
  case "${left:+left}, ${EVENT_ID:+event}" in
    "left, ") ;;
    "left, event") ((looks_off >= 6)) ;;
    ", ") ((looks_off >= 12)) ;;
    *) false ;;
  esac
}

# START_ASKED is set when the provider is at it
request_start() {
  say "  asking for its start"
  START_ASKED=yes # from now on Ctrl-C leaves a machine that may start
  if api_start_machine "$MACHINE_ID"; then
    EVENT_ID="$API_VALUE"
    return
  fi
  local reason="$API_ERROR" status="$API_STATUS"
  START_ASKED=""
  if is_capacity "$reason"; then
    NO_CAPACITY="it says: ${reason%.}"
    return
  fi
  machine_see_or_die
  if [[ "$STATE" != off ]] || arrived_before "$status"; then
    START_ASKED=yes # by someone else, or by us
    return
  fi
  stumbled "$status" || die "The machine does not start: $reason It is $STATE$(billed_note)"
  say "  $reason Asking again."
}

# Whether a refusal (STATUS) comes from an earlier request of ours, of which only the answer was lost
arrived_before() {
  ((stumbles > 0)) && [[ "$1" == 4?? && "$1" != 429 ]]
}

# Whether to ask again after STATUS: the server stumbled, and did not refuse, and not for the last time
stumbled() {
  stumbles=$((stumbles + 1))
  [[ "$1" == 5?? || "$1" == 000 || "$1" == 429 ]] && ((stumbles < ASK_TRIES))
}

start_failed() {
  local tries
  for ((tries = 0; tries < 12; tries++)); do # it takes a moment to be off again
    machine_see_or_die
    [[ "$STATE" == starting ]] || break
    sleep "$PAPERSPACE_POLL_SECONDS"
  done
  if [[ -z "$START_ASKED" ]]; then
    say "  a start before ours failed: $1"
    return
  fi
  case "$1" in
    error | cancelled) went_back ;; # without a word
    *)
      START_ASKED=""
      is_capacity "$1" || die "The machine does not start: ${1%.}. It is $STATE$(billed_note)"
      NO_CAPACITY="it says: ${1%.}"
      ;;
  esac
}

# A start that ends in off without a reason: a lack of capacity, as a rule, unless someone stopped the machine. Uses the
# caller's `retry`.
went_back() {
  local what="the machine went back to off before it was ready"
  START_ASKED="" EVENT_ID=""
  if api_list_events "$MACHINE_ID" && [[ "$(answer '.items[0].name')" =~ ^(stop|vm-shutdown-force)$ ]]; then
    die "${what^}: someone stopped it. It is $STATE$(billed_note)"
  fi
  [[ -n "$retry" ]] ||
    die "${what^}, and nothing says why: was it stopped by someone, or is no $TYPE free in $REGION? See $CONSOLE_URL." \
      "It is $STATE$(billed_note) If none is free, wait for one: scripts/paperspace up --retry 60"
  NO_CAPACITY="as it seems: $what, and nothing says why"
}

# `ready` comes before sshd answers; and for some seconds after a restart or a stop was asked for, it is still shown
reach_ssh() {
  [[ -n "$ADDRESS" ]] ||
    die "The machine is ready, but has no public address$(billed_note)" \
      "Give it one: scripts/paperspace ip claim, then ip assign."
  ssh_write_entry "$ADDRESS"
  refresh_windows_entry
  DOING="waiting for SSH on $NAME"
  # Of a machine that was on already, sshd is no longer on its way
  if [[ "$FOUND" == ready ]] && ssh_is_silent; then
    say "  SSH does not answer. $(no_answer_note)"
  fi
  ssh_wait "$PAPERSPACE_UP_TIMEOUT" ||
    die "The machine is ready, but SSH at $PAPERSPACE_SSH_USER@$ADDRESS:$PAPERSPACE_SSH_PORT does not answer," \
      "or not let you in (waited up to $PAPERSPACE_UP_TIMEOUT s)$(billed_note) scripts/paperspace doctor tells more."
  machine_see_or_die
}

up_report() {
  echo "$NAME is ready: ssh $PAPERSPACE_SSH_ALIAS ($PAPERSPACE_SSH_USER@$ADDRESS, $ADDRESS_TYPE address)"
  echo "  costs     \$$RATE/h ($TYPE) until it is off"
  echo "  stops by  scripts/paperspace down"
  echo "            $(auto_shutdown_note)"
  echo "            idle guard: $(ssh_guard_state || true)"
}

cmd_down() {
  local force=""
  while (($#)); do
    case "$1" in
      --force) force=yes ;;
      *) misuse "down does not know '$1'; see scripts/paperspace down --help." ;;
    esac
    shift
  done
  machine_find
  DOING="stopping $NAME"
  on_interrupt interrupted
  say "$NAME is $STATE"
  reach_off "$force"
  echo "$NAME is off. While it rests it costs $(resting_note)"
}

# Ends with STATE off, or not at all. $1: not empty where unsaved work doesn't matter
reach_off() {
  local asked="" refused_in="" stumbles=0 checked="$1"
  DEADLINE=$((SECONDS + PAPERSPACE_DOWN_TIMEOUT))
  machine_adopt_event
  while [[ "$STATE" != off ]]; do
    case "$STATE" in
      stopping | upgrading | provisioning | "$refused_in") ;; # wait for what comes next
      *) [[ -n "$asked" ]] || request_stop ;;
    esac
    machine_check_event
    [[ -z "$FAILURE" || -z "$asked" ]] || die "The machine does not stop: ${FAILURE%.}. It is $STATE$(billed_note)"
    [[ "$STATE" == off ]] || machine_await "$PAPERSPACE_DOWN_TIMEOUT"
  done
}

# Sets the caller's `asked` when the provider is at it
request_stop() {
  [[ -n "$checked" ]] || refuse_to_lose_work
  say "  asking for its stop"
  if api_stop_machine "$MACHINE_ID"; then
    EVENT_ID="$API_VALUE" asked=yes
    return
  fi
  local reason="$API_ERROR" status="$API_STATUS" before="$STATE"
  machine_see_or_die
  if arrived_before "$status"; then
    asked=yes
  elif [[ "$STATE" == "$before" ]] && ! stumbled "$status"; then
    [[ "$STATE" != ready ]] || die "The machine does not stop: $reason It is $STATE$(billed_note)"
    refused_in="$STATE" # it may be stopped when it has come further
  fi
  [[ -n "$asked" || "$STATE" == stopping || "$STATE" == off ]] || say "  $reason"
}

# Refuses while the machine has work that is nowhere else. One that SSH does not reach is stopped nevertheless: its disk
# keeps everything, and it costs money.
refuse_to_lose_work() {
  local unsaved
  refuse_restore_point "Save your work, then: scripts/paperspace down --force"
  case "$STATE" in ready | serviceready) ;; *) return 0 ;; esac
  [[ -n "$ADDRESS" ]] || return 0
  ssh_write_entry "$ADDRESS"
  if unsaved="$(remote_unsaved_work)"; then
    [[ -z "$unsaved" ]] ||
      die "The machine has work that is nowhere else:"$'\n'"$unsaved"$'\n'"Bring it here (scripts/paperspace sync," \
        "pull), or stop all the same, as its disk keeps it, but nothing that runs: scripts/paperspace down --force." \
        "It is $STATE$(billed_note)"
    note_idle_sessions
  else
    say "  SSH does not answer, so unsaved work cannot be looked for; the machine's disk keeps it"
  fi
  checked=yes
}
