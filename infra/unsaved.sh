# What of the machine's work is nowhere else, and what runs there: for down, destroy and status. Sourced by infra/work.sh.
# shellcheck shell=bash

# What is on the machine only, a line each; 1 if SSH is dead. What cannot be looked at counts as unsaved.
remote_unsaved_work() {
  local report code=0
  report="$(ssh_script "$REPO/infra/remote/git-state" unsaved "$(remote_dir)" "${BUFFERS[@]}" 2>&1)" || code=$?
  case "$code" in
    0) unsaved_lines "$report" ;;
    3) ;; # nothing was set up there yet
    255) return 1 ;;
    *) printf 'its work tree cannot be looked at: %s\n' "$(ssh_reason "$report")" ;;
  esac
  ssh_script "$REPO/infra/remote/processes" 2> /dev/null | sed -n $'s/^busy\t/still runs: /p' || true
}

# REPORT of git-state
unsaved_lines() {
  local kind identity text
  while IFS=$'\t' read -r kind identity text; do
    case "$kind" in
      uncommitted) printf 'uncommitted: %s\n' "$text" ;;
      stash) printf 'stashed: %s\n' "$text" ;;
      training) printf 'a training runs: %s\n' "$text" ;;
      commit) is_commit_here "$identity" || printf 'unpushed: %s\n' "$text" ;;
      result) is_file_here "$identity" "$text" || printf 'not pulled: %s\n' "$text" ;;
    esac
  done <<< "$1"
  sed -n $'s/^ignored\t//p' <<< "$1" | not_here | by_folder | sed 's/^/not pulled: /'
}

is_commit_here() {
  git_here cat-file -e "$1^{commit}" 2> /dev/null &&
    [[ -n "$(git_here for-each-ref --count=1 --contains "$1" 2> /dev/null)" ]]
}

is_file_here() {
  [[ -f "$REPO/$2" && "$(git_here hash-object --no-filters -- "$REPO/$2")" == "$1" ]]
}

# Of the machine's files, lines SIZE:TIME<tab>PATH on standard input: the paths of those that `pull` would bring or renew
not_here() {
  local lines format=(-c $'%s:%Y\t%n')
  lines="$(cat)"
  [[ -n "$lines" ]] || return 0
  stat -c %s / > /dev/null 2>&1 || format=(-f $'%z:%m\t%N') # BSD
  {
    cut -f 2- <<< "$lines" | tr '\n' '\0' | (cd "$REPO" && xargs -0 stat "${format[@]}" 2> /dev/null) || true
    printf '\n%s\n' "$lines"
  } | awk -F '\t' '
    $0 == "" { there = 1; next }
    !there { here[$2] = $1; next }
    { split($1, new, ":"); split(here[$2], old, ":") }
    here[$2] == "" || new[2] > old[2] || (new[2] == old[2] && new[1] != old[1]) { print $2 }'
}

# Paths: as they are if they are few, else their folders
by_folder() {
  awk '
    { paths[NR] = folder = $0; sub("[^/]*$", "", folder) }
    !(folder in files) { folders[++known] = folder }
    { files[folder]++ }
    END {
      if (NR <= 10) { for (i = 1; i <= NR; i++) print paths[i] }
      else for (i = 1; i <= known; i++) print folders[i] " (" files[folders[i]] (files[folders[i]] > 1 ? " files)" : " file)")
    }'
}

# What ends when the machine stops, and is no reason to keep it
note_idle_sessions() {
  ssh_script "$REPO/infra/remote/processes" 2> /dev/null | sed -n $'s/^idle\t/  ends too: /p' >&2 || true
}
