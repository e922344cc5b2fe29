# The command create: a machine with what this project needs, its price told before. Sourced by scripts/paperspace.
# shellcheck shell=bash disable=SC2016,SC2034,SC2153 # jq has variables of its own; ours are shared between files

cmd_create() {
  local name="${PAPERSPACE_MACHINE:-sheeprl-dnp}" yes="" address=static key=""
  create_options "$@"
  check_config
  check_ssh_names
  DOING="creating $name"
  local machines template
  api_session || die "$API_ERROR"
  api_list_machines || die "$API_ERROR"
  machines="$API_ANSWER"
  refuse_second_machine
  key="$(find_key "$key")"
  template="$(find_template)"
  create_offer "$template" "$machines"
  [[ -n "$yes" ]] || confirm "Create it?"
  API_VALUE=""
  [[ -z "$key" ]] || request_key_script "$key"
  on_interrupt interrupted
  request_machine "$(create_body "$(jq -r .id <<< "$template")" "$API_VALUE")"
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
      --key) key="$2" ;;
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

# What a template's name (e.g. mliab-u22-241108-1x-h100) and label say of it: the Ubuntu, whether the GPU's driver is in it
# (ML-in-a-Box best, then the desktop ones for GPUs), its date, and the type that it alone is for
readonly TEMPLATE_JQ='
  def ubuntu: [capture("Ubuntu (?<major>[0-9]{2})\\.04"; "g") | .major | tonumber][0] // 0;
  def release: .operatingSystemLabel | ubuntu | if . % 2 == 0 then . else 0 end;
  def driver: .name | if test("^mliab|ml.in.a.box"; "i") then 2 elif test("(^|-)gpu(-|$)") then 1 else 0 end;
  def date: [.name | capture("-(?<d>[0-9]{6})(-|$)") | .d | tonumber][0] // 0;
  def only_for: [.name | capture("-[0-9]{6}-([0-9]+x-)?(?<type>.+)$") | .type][0] // "";
  def fits: only_for as $only | any(.availableMachineTypes[]; .machineTypeLabel == $type and .isAvailable)
    and ($type | ascii_downcase | startswith($only | ascii_downcase));
  def serves: release >= 22 and driver > 0;
  def lacks: [if release < 22 then "\(.operatingSystemLabel)" else empty end, if driver == 0 then "no driver" else empty end];'

# The newest Ubuntu LTS that has the GPU's driver and a Python that the project can use (22.04 on); or the template that is
# configured, by its id or name
find_template() {
  local found
  api_list_templates || die "$API_ERROR"
  found="$(answer -c --arg type "$PAPERSPACE_MACHINE_TYPE" --arg wanted "$PAPERSPACE_TEMPLATE" "$TEMPLATE_JQ"'
    [.[] | select(if $wanted != "" then .id == $wanted or .name == $wanted else serves end) | select(fits)]
    | sort_by(release, driver, (only_for != ""), date) | last // empty')"
  [[ -n "$found" ]] || no_template
  echo "$found"
}

no_template() {
  local others types wanted="template with Ubuntu LTS, 22.04 or newer, and a driver"
  [[ -z "$PAPERSPACE_TEMPLATE" ]] || wanted="template $PAPERSPACE_TEMPLATE (PAPERSPACE_TEMPLATE, --template)"
  others="$(answer --arg type "$PAPERSPACE_MACHINE_TYPE" "$TEMPLATE_JQ"'
    map(select(fits) | "\(.name) (\(lacks | join(", ")))" | sub(" \\(\\)$"; "")) | join(", ")')"
  types="$(answer '[.[].availableMachineTypes[] | select(.isAvailable) | .machineTypeLabel] | unique | join(", ")')"
  die "No $wanted is there for the machine type '$PAPERSPACE_MACHINE_TYPE' (PAPERSPACE_MACHINE_TYPE, --type);" \
    "it has: ${others:-none}; types that have templates: ${types:-none}."
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
  say "  SSH key        $(key_note)"
  say "  auto-shutdown  after $PAPERSPACE_AUTO_SHUTDOWN_HOURS h, whatever runs then"
  say "  while on       ${notes[0]}"
  say "  while off      ${notes[1]}"
}

# Uses the caller's `key`
key_note() {
  if [[ -n "$key" ]]; then
    echo "$(key_fingerprint "$key"), brought along by a startup script"
  else
    echo "those that the account has (console, account settings, SSH keys)"
  fi
}

confirm() {
  local reply=""
  printf '%s [y/N] ' "$1" >&2
  read -r reply || true
  [[ "${reply,,}" == y || "${reply,,}" == yes ]] || die "Not confirmed: nothing was done. (--yes answers yes.)"
}

# TEMPLATE SCRIPT (empty: none). Off after it is made: `up` starts it when it is wanted
create_body() {
  jq -n --arg name "$name" --arg type "$PAPERSPACE_MACHINE_TYPE" --arg template "$1" --arg region "$PAPERSPACE_REGION" \
    --arg address "$address" --argjson disk "$PAPERSPACE_DISK_GB" --argjson hours "$PAPERSPACE_AUTO_SHUTDOWN_HOURS" \
    --arg script "$2" '{
      name: $name, machineType: $type, templateId: $template, region: $region, diskSize: $disk, publicIpType: $address,
      startOnCreate: false, autoShutdownEnabled: true, autoShutdownTimeout: $hours, autoShutdownForce: true,
      autoSnapshotEnabled: false, takeInitialSnapshot: false, restorePointEnabled: false}
      + if $script == "" then {} else {startupScriptId: $script} end'
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
  echo "Look at your first invoice ($CONSOLE_URL, team settings, billing): the provider's pages contradict each other about" \
    "a machine that is off."
  echo "Then: scripts/paperspace up, and once: scripts/paperspace bootstrap."
}
