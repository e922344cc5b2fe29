# The command create: a machine with what this project needs, its price told before. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016,SC2034,SC2153 # jq has variables of its own; ours are shared between files

cmd_create() {
  local name="${PAPERSPACE_MACHINE:-sheeprl-dnp}" yes="" address=static
  create_options "$@"
  check_config
  DOING="creating $name"
  local machines template
  api_session || die "$API_ERROR"
  api_list_machines || die "$API_ERROR"
  machines="$API_ANSWER"
  refuse_second_machine
  template="$(find_template)"
  create_offer "$template" "$machines"
  [[ -n "$yes" ]] || confirm "Create it?"
  on_interrupt interrupted
  request_machine "$(create_body "$(jq -r .id <<< "$template")")"
  create_wait
  create_report
}

# Sets what cmd_create holds, and the configuration
create_options() {
  local option
  while (($#)); do
    option="$1"
    if [[ "$option" == --yes ]]; then
      yes=yes
      shift
      continue
    fi
    [[ -n "${2:-}" ]] || misuse "create: '$option' is not known, or has no value; see scripts/paperspace create --help."
    case "$option" in
      --name) name="$2" ;;
      --type) PAPERSPACE_MACHINE_TYPE="$2" ;;
      --region) PAPERSPACE_REGION="$2" ;;
      --disk) PAPERSPACE_DISK_GB="$2" ;;
      --auto-shutdown) PAPERSPACE_AUTO_SHUTDOWN_HOURS="$2" ;;
      --template) PAPERSPACE_TEMPLATE="$2" ;;
      --address) address="$2" ;;
      *) misuse "create does not know '$option'; see scripts/paperspace create --help." ;;
    esac
    shift 2
  done
  [[ "$address" == static || "$address" == dynamic ]] ||
    misuse "create --address is '$address'; it must be static or dynamic."
}

refuse_second_machine() {
  local found
  found="$(machines_named "$name" | cut -d $'\x1f' -f 1,2 | tr '\n\037' ' ,')"
  [[ -z "$found" ]] ||
    die "A machine named '$name' exists already (${found% }): scripts/paperspace up starts it;" \
      "create --name makes another one."
}

# The newest Ubuntu LTS with a glibc that VS Code's server can use (20.04 on), with the GPU's driver (ML-in-a-Box) where
# there is one; or the template that is configured, by its id or name
find_template() {
  local found
  api_list_templates || die "$API_ERROR"
  found="$(answer -c --arg type "$PAPERSPACE_MACHINE_TYPE" --arg wanted "$PAPERSPACE_TEMPLATE" '
    def version: "\(.operatingSystemLabel) \(.name)"
      | [capture("Ubuntu[^0-9]*(?<v>[0-9]{2})\\.04") | .v | tonumber][0] // 0;
    [.[] | select(any(.availableMachineTypes[]; .machineTypeLabel == $type and .isAvailable))
      | . + {version: version}
      | select(if $wanted != "" then .id == $wanted or .name == $wanted else .version >= 20 and .version % 2 == 0 end)]
    | sort_by([(.name | test("ML.in.a.Box"; "i")), .version]) | last // empty')"
  [[ -z "$found" ]] || {
    echo "$found"
    return
  }
  local types
  types="$(answer '[.[].availableMachineTypes[] | select(.isAvailable) | .machineTypeLabel] | unique | join(", ")')"
  die "No ${PAPERSPACE_TEMPLATE:-Ubuntu LTS} template is there for the machine type '$PAPERSPACE_MACHINE_TYPE'" \
    "(PAPERSPACE_MACHINE_TYPE, --type); types that have templates: ${types:-none}."
}

# TEMPLATE MACHINES
create_offer() {
  local available=unknown notes
  if api_get_availability "$PAPERSPACE_MACHINE_TYPE" "$PAPERSPACE_REGION"; then
    available="$API_VALUE"
  fi
  mapfile -t notes < <(offer_note "$address" "$2")
  say "A machine named $name:"
  say "  type           $PAPERSPACE_MACHINE_TYPE in $PAPERSPACE_REGION (one is free now: $available)"
  say "  system         $(jq -r .name <<< "$1") on a disk of $PAPERSPACE_DISK_GB GB"
  say "  address        $address"
  say "  auto-shutdown  after $PAPERSPACE_AUTO_SHUTDOWN_HOURS h, whatever runs then"
  say "  while on       ${notes[0]}"
  say "  while off      ${notes[1]}"
}

confirm() {
  local reply=""
  printf '%s [y/N] ' "$1" >&2
  read -r reply || true
  [[ "${reply,,}" == y || "${reply,,}" == yes ]] || die "Not confirmed: nothing was bought. (--yes answers yes.)"
}

# Off after it is made: `up` starts it when it is wanted
create_body() {
  jq -n --arg name "$name" --arg type "$PAPERSPACE_MACHINE_TYPE" --arg template "$1" --arg region "$PAPERSPACE_REGION" \
    --arg address "$address" --argjson disk "$PAPERSPACE_DISK_GB" --argjson hours "$PAPERSPACE_AUTO_SHUTDOWN_HOURS" '{
      name: $name, machineType: $type, templateId: $template, region: $region, diskSize: $disk, publicIpType: $address,
      startOnCreate: false, autoShutdownEnabled: true, autoShutdownTimeout: $hours, autoShutdownForce: true,
      autoSnapshotEnabled: false, takeInitialSnapshot: false, restorePointEnabled: false}'
}

# A request whose answer is lost may have made the machine: it is looked for, and not asked for twice
request_machine() {
  if api_create_machine "$1"; then
    EVENT_ID="$API_VALUE"
    machine_is "$(answer "$MACHINE_JQ .data | machine")" "$(answer -c .data)"
    return
  fi
  local reason="$API_ERROR" status="$API_STATUS" found=""
  ! is_capacity "$reason" ||
    die "Paperspace has no $PAPERSPACE_MACHINE_TYPE free in $PAPERSPACE_REGION: $reason" \
      "Try later, or another --type or --region."
  if [[ "$status" == 000 || "$status" == [25]?? ]] && api_list_machines "$name"; then
    found="$(machines_named "$name")"
  fi
  [[ -n "$found" ]] ||
    die "The machine was not created, as far as can be seen: $reason Look at $CONSOLE_URL before you try again."
  say "  $reason But the machine is there."
  machine_is "${found%%$'\t'*}" "${found#*$'\t'}"
}

# New machines end off or, where they are started all the same, ready
create_wait() {
  DEADLINE=$((SECONDS + PAPERSPACE_UP_TIMEOUT))
  say "  $STATE"
  while [[ "$STATE" != off && "$STATE" != ready || -n "$EVENT_ID" ]]; do
    machine_check_event
    [[ -z "$FAILURE" ]] ||
      die "The machine was not created: ${FAILURE%.}. It is $STATE; look at $CONSOLE_URL whether it is billed."
    machine_await "$PAPERSPACE_UP_TIMEOUT"
  done
}

create_report() {
  echo "$NAME ($MACHINE_ID) is $STATE. It costs \$$RATE/h while on; while off, $(resting_note)"
  [[ "$ADDRESS_TYPE" == "$address" ]] ||
    say "Beware: its address is $ADDRESS_TYPE, not $address; see scripts/paperspace ip --help."
  [[ "$(field .autoShutdownEnabled)" == true ]] || say "Beware: $(auto_shutdown_note)."
  if [[ "$PAPERSPACE_MACHINE" != "$name" ]]; then
    echo "Now write PAPERSPACE_MACHINE=$MACHINE_ID in $CONFIG_FILE."
  fi
  echo "Then: scripts/paperspace up, and once: scripts/paperspace bootstrap."
}
