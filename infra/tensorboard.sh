# The command tensorboard: a page with the runs of the machine, as long as it is wanted. Sourced by infra/work.sh.
# shellcheck shell=bash

cmd_tensorboard() {
  local logs=logs/runs port="" there
  while (($#)); do
    case "$1" in
      --port)
        [[ "${2:-}" =~ ^[1-9][0-9]{0,4}$ ]] || misuse "tensorboard --port is '${2:-}'; it must be a port, 1 to 65535."
        port="$2"
        shift
        ;;
      -*) misuse "tensorboard does not know '$1'; see scripts/paperspace tensorboard --help." ;;
      *) logs="${1%/}" ;;
    esac
    shift
  done
  need_tools ssh curl
  ssh_need
  port="$(free_port_here "$port")" || exit 1
  there="$(ssh_script "$REPO/infra/remote/tensorboard" port)" || die "The machine has no free port for TensorBoard."
  show_when_ready "$port" &
  # shellcheck disable=SC2064 # it is this process
  trap "kill $! 2> /dev/null || true" EXIT
  serve_tensorboard "$port" "$there" "$logs"
}

# [PORT]: that one, or the first that is free; dies where there is none
free_port_here() {
  local number last="${1:-6105}"
  for ((number = ${1:-6006}; number <= last; number++)); do
    (exec 3<> "/dev/tcp/127.0.0.1/$number") 2> /dev/null || {
      echo "$number"
      return
    }
  done
  die "Port ${1:-6006} of this computer is taken by another program; name another one: tensorboard --port 7007"
}

# PORT_HERE PORT_THERE LOGS: until Ctrl-C. The machine's TensorBoard ends when its standard input does, which we keep open.
serve_tensorboard() {
  local code=0 script
  script="$(cat "$REPO/infra/remote/tensorboard")"
  say "Starting TensorBoard for $3 on the machine; Ctrl-C ends it."
  # shellcheck disable=SC2034 # ssh_remote reads it
  local SSH_OPTIONS=(-L "127.0.0.1:$1:127.0.0.1:$2" -o ExitOnForwardFailure=yes)
  ssh_remote "bash -c $(printf %q "$script") tensorboard serve $(printf '%q ' "$(remote_dir)" "$3" "$2")" \
    < <(exec tail -f /dev/null) >&2 || code=$?
  kill "$!" 2> /dev/null || true # what kept it open
  case "$code" in
    3) die "The machine has no folder $3 in '$(remote_dir)'; it has one once something trained there. Another one: scripts/paperspace tensorboard results/NAME" ;;
    4) die "There is no TensorBoard on the machine: scripts/paperspace bootstrap" ;;
    255) die "The connection broke off, or the port could not be forwarded. Again: scripts/paperspace tensorboard" ;;
    *) die "TensorBoard ended with status $code; the reason is above." ;;
  esac
}

# PORT
show_when_ready() {
  local page="http://127.0.0.1:$1/" opener
  until curl -q --silent --noproxy '*' --output /dev/null --max-time 5 "$page"; do
    sleep "$PAPERSPACE_POLL_SECONDS"
  done
  echo "TensorBoard: $page"
  for opener in xdg-open open wslview explorer.exe; do
    command -v "$opener" > /dev/null || continue
    "$opener" "$page" > /dev/null 2>&1 || true # the address is above
    return
  done
}
