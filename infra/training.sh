# Trainings on the machine: run. Sourced by infra/work.sh.
# shellcheck shell=bash

# Where `run --debug` waits, on the loopback of both sides; .vscode/launch.json attaches there
readonly DEBUG_PORT=5678

# How long the machine of `run --down` waits for its results to be fetched before it powers itself off; and its folder for that
readonly FETCH_MINUTES=15
readonly END_FOLDER=.local/state/sheeprl-dnp
readonly ITS_END="waits $FETCH_MINUTES minutes for its results to be fetched, and then powers itself off"
readonly NO_DOWN="The machine powers itself off soon, as run --down asked; to see it off: scripts/paperspace down"

# What is known of a training whose start was cut off
readonly MAY_RUN="while the training was being started: it may run on the machine all the same."

cmd_run() {
  local down="" debug="" follow="" resume="" device=gpu overrides=() branch
  while (($#)); do
    case "$1" in
      --down) down=yes ;;
      --debug) debug=yes ;;
      --follow) follow=yes ;;
      --cpu) device=cpu ;;
      --resume) resume=yes ;;
      -*) misuse "run does not know '$1'; see scripts/paperspace run --help." ;;
      *) overrides+=("$1") ;;
    esac
    shift
  done
  need_tools git ssh
  if [[ -n "$follow" ]]; then
    ((${#overrides[@]} == 0)) || misuse "run --follow takes no experiment: it follows the training that runs, or that ran last."
    ssh_need
    [[ -z "$down" ]] || on_training power-off "$FETCH_MINUTES" || die "The machine has no training to follow."
  else
    start_training
  fi
  finish_training
}

# Uses the caller's `overrides`, `resume`, `device`, `debug` and `down`
start_training() {
  local code=0 port=0 minutes=never
  [[ -z "$down" ]] || minutes="$FETCH_MINUTES"
  check_overrides
  branch="$(branch_here)"
  refuse_dirt_here
  [[ -z "$debug" ]] || { port="$DEBUG_PORT" && refuse_busy_port; }
  ssh_need
  refuse_second_training
  refuse_full_disk
  [[ -z "$resume" ]] || resume_overrides
  choose_device
  update_machine "$branch"
  bring_notify
  say "Starting on the machine, at $(git_here log -1 --format='%h %s'): sheeprl ${overrides[*]}"
  on_interrupt interrupted_start
  on_training start "$port" "$device" "$minutes" "${overrides[@]}" >&2 || code=$?
  case "$code" in
    0) ;;
    4)
      refuse_second_training
      die "Another training was being started on the machine, so this one was not. Follow it: scripts/paperspace run --follow"
      ;;
    5) die "No training was started: it would have run on the CPU, at the price of the GPU. The reason is above. On the CPU all the same: run --cpu" ;;
    255) die "The connection was lost $MAY_RUN $(ways_on)" ;;
    *) die "The training did not start on the machine; the reason is above." ;;
  esac
  [[ -z "$debug" ]] || say "It waits for a debugger: in VS Code, start \"Attach to run --debug\" (port $DEBUG_PORT, forwarded while this command runs)."
}

check_overrides() {
  if [[ -n "$resume" ]]; then
    [[ ${#overrides[@]} == 0 || "${overrides[0]}" == *=* ]] ||
      misuse "run --resume takes no experiment ('${overrides[0]}'): it goes on with the training that ran last."
    return
  fi
  ((${#overrides[@]} > 0)) || misuse "run needs an experiment, e.g. scripts/paperspace run dnp_crafter seed=1"
  [[ "${overrides[0]}" == *=* ]] || overrides[0]="exp=${overrides[0]}"
}

# Puts those of the training that ran last, and its last checkpoint, before the caller's `overrides`
resume_overrides() {
  local before
  before="$(ssh_script "$REPO/infra/remote/resume" "$(remote_dir)")" || die "No training was started: there is nothing to resume; the reason is above."
  mapfile -t before <<< "$before"
  overrides=("${before[@]}" ${overrides[@]+"${overrides[@]}"})
}

# Sets the caller's `device` and `overrides`: the user may say either of --cpu and fabric.accelerator=cpu
choose_device() {
  local override
  for override in "${overrides[@]}"; do
    [[ "$override" != *fabric.accelerator=cpu ]] || device=cpu
  done
  [[ "$device" == gpu || " ${overrides[*]} " == *" fabric.accelerator="* ]] || overrides+=(fabric.accelerator=cpu)
}

# On standard input: it may hold a secret, and arguments are seen by every process
bring_notify() {
  printf '%s' "$PAPERSPACE_NOTIFY" | ssh_remote "umask 077 && mkdir -p $END_FOLDER && cat > $END_FOLDER/notify" ||
    die "PAPERSPACE_NOTIFY could not be brought to the machine."
}

refuse_second_training() {
  local running
  running="$(on_training running < /dev/null)" || return 0
  die "A training runs on the machine already: $running. Follow it: scripts/paperspace run --follow; or stop it: scripts/paperspace ssh tmux kill-session -t training"
}

# Before commits are brought there, which would fail half-way
refuse_full_disk() {
  local report
  report="$(ssh_script "$REPO/infra/remote/disk" "$(remote_dir)" 2> /dev/null)" && return
  [[ "$report" == wrong* ]] || return 0 # what cannot be looked at is no reason
  report="${report#wrong$'\t'}"
  die "No training was started: the machine has too little room, ${report%%$'\t'*}. Mend it: ${report#*$'\t'}"
}

refuse_busy_port() {
  ! (exec 3<> "/dev/tcp/127.0.0.1/$DEBUG_PORT") 2> /dev/null ||
    die "Port $DEBUG_PORT of this computer, which --debug forwards, is taken by another program; end that one first."
}

# COMMAND ARGUMENT...: of infra/remote/training
on_training() {
  local command="$1"
  shift
  ssh_script "$REPO/infra/remote/training" "$command" "$(remote_dir)" "$@"
}

# Shows the training until it ends, and exits as it did. Uses the caller's `down` and `debug`.
finish_training() {
  local status
  on_interrupt interrupted_following
  follow_training
  on_interrupt
  read_status
  if [[ -n "$status" ]]; then
    say "The training ended with status $status."
  else
    say "The training left no exit status: it was killed, or the machine was switched off. Go on from its last checkpoint: scripts/paperspace run --resume"
    status=1
  fi
  if [[ -n "$down" ]]; then
    on_interrupt interrupted_pull
    pull_results || { wait_again && pull_results; } || die "The results could not be pulled: they stay on the machine's disk. It $ITS_END." \
      "Try again: scripts/paperspace pull, then down"
    on_training fetched || true
    cmd_down
  else
    say "Bring the results here: scripts/paperspace pull"
    ! on_training ends || say "$NO_DOWN"
  fi
  exit "$status"
}

# Sets the caller's `status`
read_status() {
  until status="$(on_training status)"; do
    wait_again || die "The training ended, but the machine does not answer any more. $(why_no_answer)"
  done
}

# A lost connection is made again, as long as the machine may come back
follow_training() {
  local lines=+1 code shutdown SSH_OPTIONS=()
  shutdown="$(shutdown_time)"
  [[ -z "$debug" ]] || SSH_OPTIONS=(-L "127.0.0.1:$DEBUG_PORT:127.0.0.1:$DEBUG_PORT")
  while :; do
    code=0
    on_training follow "$lines" "$((shutdown > SECONDS ? shutdown - SECONDS : 0))" "$(jq -n "$PAPERSPACE_POLL_SECONDS * 12")" || code=$?
    case "$code" in
      0) return ;;
      255) ;;
      *) die "The machine has no training to follow." ;;
    esac
    say "The connection is lost; the training goes on. Connecting again."
    sleep "$PAPERSPACE_POLL_SECONDS"
    wait_again || die "The machine does not answer any more. $(why_no_answer) Results are safe on its disk: scripts/paperspace up, then pull; run --resume goes on from the last checkpoint"
    lines=10
  done
}

# When auto-shutdown comes, on bash's clock (SECONDS); 0 where that is not known
shutdown_time() {
  local left
  if left="$(seconds_to_shutdown)" && ((left > 0)); then
    say "Auto-shutdown comes in $((left / 3600)) h $((left % 3600 / 60)) min, whatever runs then."
    echo $((SECONDS + left))
  else
    echo 0
  fi
}

# Without the forwarded port, which the next one to follow needs
# shellcheck disable=SC2034 # ssh_remote reads it
wait_again() {
  local SSH_OPTIONS=()
  ssh_wait "$PAPERSPACE_UP_TIMEOUT"
}

# LINE...: the last words of a command that was interrupted
end_interrupted() {
  on_interrupt
  say ""
  printf '%s\n' "$@" >&2
  exit 130
}

# Uses the caller's `down`, as those below do
ways_on() {
  printf '%s' "Follow it: scripts/paperspace run --follow${down:+ --down}; stop it: scripts/paperspace ssh tmux kill-session -t training"
}

interrupted_start() {
  end_interrupted "Interrupted $MAY_RUN" "$(ways_on)"
}

interrupted_following() {
  end_interrupted "Not followed any more; the training goes on${down:+; when it has ended, the machine $ITS_END}." "$(ways_on)"
}

interrupted_pull() {
  end_interrupted "Interrupted while the results were pulled: the machine stays on, and is billed; it $ITS_END. Go on: scripts/paperspace pull, then down"
}
