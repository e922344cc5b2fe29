# The results of trainings, from the machine: pull. Sourced by infra/work.sh.
# shellcheck shell=bash

# What a training leaves behind, but for the replay buffers: they are large, and only a training on the machine needs them
readonly RESULTS=(logs results) BUFFERS=(memmap_buffer checkpoint_buffers)

cmd_pull() {
  (($# == 0)) || misuse "pull takes no arguments."
  need_tools git ssh
  ssh_need
  pull_results || die "Not all results could be pulled; try again: scripts/paperspace pull"
  say "The results of the machine are in: ${RESULTS[*]}."
  ! on_training fetched 2> /dev/null || say "$NO_DOWN"
}

# Adds to our results, and renews what the machine has newer. Nothing is deleted here, and what git tracks travels by git.
pull_results() {
  local folder folders pull=pull_by_tar
  folders="$(ssh_remote "cd $(printf %q "$(remote_dir)") && ls -d ${RESULTS[*]} 2> /dev/null || true" < /dev/null)" || return 1
  if command -v rsync > /dev/null && ssh_remote "command -v rsync > /dev/null" < /dev/null; then
    pull=pull_by_rsync
  fi
  for folder in $folders; do
    say "Pulling $folder from the machine"
    mkdir -p "$REPO/$folder" && "$pull" "$folder" || return 1
  done
}

# What of FOLDER stays where it is: the patterns of rsync and of tar
not_pulled() {
  printf '%s\n' "${BUFFERS[@]}"
  git_here ls-files -- "$1" | sed "s|^$1/|${2:-}|"
}

# 24: a file was gone before it was copied, as those of a training that runs may be
pull_by_rsync() {
  not_pulled "$1" / |
    rsync -rltz --update --exclude-from=- "$PAPERSPACE_SSH_ALIAS:$(remote_dir)/$1/" "$REPO/$1/" || (($? == 24))
}

# 1: a file grew while it was read
pull_by_tar() {
  local exclude code=0
  exclude="$(mktemp)" || return 1
  not_pulled "$1" ./ > "$exclude"
  ssh_remote "cd $(printf %q "$(remote_dir)/$1") && { tar -czf - ${BUFFERS[*]/#/--exclude=} . || [ \$? = 1 ]; }" < /dev/null |
    tar -C "$REPO/$1" -xzf - --keep-newer-files -X "$exclude" 2> >(grep -v 'newer or same age' >&2) || code=$?
  rm -f "$exclude"
  return "$code"
}
