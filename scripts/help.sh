# Sourced by the scripts: `--help` is answered at once, before anything is installed; then what they run is.
# shellcheck shell=bash

# Usage: help_if_asked NAME ARGUMENTS...
# Prints scripts/help/NAME.txt and exits, where -h or --help is among the arguments.
help_if_asked() {
  local argument name="$1"
  shift
  for argument in "$@"; do
    case "$argument" in
      --) return ;;
      -h | --help)
        cat "$(dirname "${BASH_SOURCE[0]}")/help/$name.txt"
        exit
        ;;
    esac
  done
}

# Usage: run_module NAME MODULE ARGUMENTS...
# Answers `--help`, sets up the environment, and runs the module in it.
run_module() {
  local name="$1" module="$2" root
  shift 2
  help_if_asked "$name" "$@"
  root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
  "$root/scripts/setup" study
  exec "$root/.venv/bin/python" -m "$module" "$@"
}
