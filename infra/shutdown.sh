# Auto-shutdown, which switches the machine off whatever runs: when it comes, and auto-shutdown, which changes it. Sourced by
# scripts/paperspace.
# shellcheck shell=bash disable=SC2016 # jq has variables of its own

auto_shutdown_note() {
  if [[ "$(field .autoShutdownEnabled)" == true ]]; then
    echo "auto-shutdown: $(field .autoShutdownTimeout) h after it was started, whatever runs then"
  else
    echo "auto-shutdown: none! Turn it on at $CONSOLE_URL, lest a forgotten machine runs for ever"
  fi
}

# Prints the seconds until then; fails where that is not known. Asks the API, once, in a shell of its own.
seconds_to_shutdown() (
  # shellcheck disable=SC2034 # api_request reads it
  API_TRIES=1
  machine_find 2> /dev/null
  api_list_events "$MACHINE_ID" || exit 1
  answer --argjson machine "$MACHINE" "$MACHINE_JQ"'
    (.items | started) as $start
    | if $machine.autoShutdownEnabled and $machine.autoShutdownTimeout and $start
      then $start + $machine.autoShutdownTimeout * 3600 - now | floor else error("not known") end' 2> /dev/null
)

cmd_auto_shutdown() {
  local hours="${1:-}"
  [[ "$#,$hours" =~ ^1,[1-9][0-9]*$ ]] ||
    misuse "auto-shutdown is '$*'; it must be whole hours above 0, after which the machine is switched off."
  machine_find
  if ! shutdown_is "$hours"; then
    api_set_auto_shutdown "$MACHINE_ID" "$hours" || die "$API_ERROR $(shutdown_by_hand)"
    DEADLINE=$((SECONDS + 30))
    until machine_see_or_die && shutdown_is "$hours"; do
      ((SECONDS < DEADLINE)) || die "Paperspace took the request, and did not change it. $(shutdown_by_hand)"
      sleep "$PAPERSPACE_POLL_SECONDS"
    done
  fi
  echo "$NAME: $(auto_shutdown_note)."
  [[ "$STATE" == off ]] ||
    echo "It is $STATE: whether that counts for this start already is documented nowhere, and certain only after down and up."
}

shutdown_is() {
  [[ "$(field .autoShutdownEnabled) $(field .autoShutdownTimeout)" == "true $1" ]]
}

shutdown_by_hand() {
  printf 'The machine has: %s. Change it at %s; or make another one, with create --auto-shutdown HOURS.' \
    "$(auto_shutdown_note)" "$CONSOLE_URL"
}
