# Sourced by the scripts: `--help` is answered at once, before anything is installed.
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
