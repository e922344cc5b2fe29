# The work tree here and on the machine, and ways to the machine: ssh, sync. Sourced by scripts/paperspace.
#
# The machine's tree is a git repository that this one pushes to and fetches from over SSH, as the git remote named like the
# SSH alias: no hosting service is needed. A push moves the machine's files along (receive.denyCurrentBranch=updateInstead),
# and git refuses it where it would overwrite work. So a commit of the machine is safe if this repository has it in one of
# its refs, or if the machine has it in a remote-tracking branch of a remote of its own (an `origin` that it pushed to).
# shellcheck shell=bash
# shellcheck source-path=SCRIPTDIR

# shellcheck source=training.sh
source "$REPO/infra/training.sh"
# shellcheck source=results.sh
source "$REPO/infra/results.sh"
# shellcheck source=tensorboard.sh
source "$REPO/infra/tensorboard.sh"
# shellcheck source=vscode.sh
source "$REPO/infra/vscode.sh"
# shellcheck source=unsaved.sh
source "$REPO/infra/unsaved.sh"
# shellcheck source=setup.sh
source "$REPO/infra/setup.sh"

cmd_ssh() {
  local options=() code=0
  need_tools ssh
  [[ $# == 0 || ! -t 0 || ! -t 1 ]] || options=(-t)
  ssh ${options[@]+"${options[@]}"} -- "$PAPERSPACE_SSH_ALIAS" "$@" || code=$?
  [[ "$code" != 255 ]] || say "There is no connection, or it broke off; scripts/paperspace up also refreshes the address. $(why_no_answer)"
  exit "$code"
}

cmd_sync() {
  local branch
  (($# == 0)) || misuse "sync takes no arguments."
  need_tools git ssh
  branch="$(branch_here)"
  refuse_dirt_here
  ssh_need
  refuse_dirt_there
  fetch_machine
  case "$(compare_branch "$branch")" in
    same) say "$branch is the same on both sides." ;;
    ahead) push_branch "$branch" && say "$branch is on the machine now." ;;
    behind)
      git_here merge --quiet --ff-only "refs/remotes/$PAPERSPACE_SSH_ALIAS/$branch"
      say "$branch has the machine's commits now."
      ;;
    *) die "$(diverged "$branch")" ;;
  esac
  note_other_branches "$branch"
}

git_here() {
  git -C "$REPO" "$@"
}

# Relative to the home of the machine, or absolute
remote_dir() {
  # shellcheck disable=SC2088 # the tilde of a value is ours to expand
  printf '%s' "${PAPERSPACE_REMOTE_DIR#'~/'}"
}

not_set_up() {
  printf "The machine has no folder '%s' (PAPERSPACE_REMOTE_DIR); set it up: scripts/paperspace bootstrap" "$(remote_dir)"
}

branch_here() {
  git_here symbolic-ref --quiet --short HEAD || die "$REPO is on no branch; check one out: git switch main"
}

refuse_dirt_here() {
  local dirt
  dirt="$(bash "$REPO/infra/remote/git-state" dirty "$REPO")" || die "$REPO is not a git repository."
  [[ -z "$dirt" ]] ||
    die "Your work tree has changes that are not committed, and git carries commits only:"$'\n'"$dirt"$'\n'"Commit them, or put them aside: git stash -u"
}

refuse_dirt_there() {
  local dirt code=0
  dirt="$(ssh_script "$REPO/infra/remote/git-state" dirty "$(remote_dir)")" || code=$?
  [[ "$code" != 3 ]] || die "$(not_set_up)"
  [[ "$code" == 0 ]] || die "The machine's work tree '$(remote_dir)' cannot be looked at."
  [[ -z "$dirt" ]] ||
    die "The machine's work tree has changes that are not committed:"$'\n'"$dirt"$'\n'"Commit them there (scripts/paperspace code), or put them aside there: git stash -u"
}

# The git remote of the machine, named like the SSH alias
set_git_remote() {
  local name="$PAPERSPACE_SSH_ALIAS" url present
  url="$name:$(remote_dir)"
  present="$(git_here config --get "remote.$name.url")" || true
  case "$present" in
    "$url") ;;
    "") git_here remote add "$name" "$url" ;;
    "$name:"*) git_here remote set-url "$name" "$url" ;;
    *) die "Your repository has a git remote '$name' that leads to $present, and the machine's would have that name. Rename yours: git remote rename $name ..., or set PAPERSPACE_SSH_ALIAS." ;;
  esac
}

fetch_machine() {
  set_git_remote
  git_here fetch --quiet "$PAPERSPACE_SSH_ALIAS" || die "The machine's repository '$(remote_dir)' cannot be fetched from."
}

# BRANCH: how ours is to the machine's, as fetched: same, ahead, behind or diverged
compare_branch() {
  local here there
  here="$(git_here rev-parse HEAD)"
  if ! there="$(git_here rev-parse --quiet --verify "refs/remotes/$PAPERSPACE_SSH_ALIAS/$1")"; then
    echo ahead
  elif [[ "$here" == "$there" ]]; then
    echo same
  elif git_here merge-base --is-ancestor "$there" "$here"; then
    echo ahead
  elif git_here merge-base --is-ancestor "$here" "$there"; then
    echo behind
  else
    echo diverged
  fi
}

# Never forced: what git refuses would lose work
push_branch() {
  local said
  said="$(git_push "$1" 2>&1)" || { make_room && said="$(git_push "$1" 2>&1)"; } ||
    die "The machine did not take the commits of $1. Nothing was lost; git says:"$'\n'"$said"
}

git_push() {
  git_here push --quiet "$PAPERSPACE_SSH_ALIAS" "HEAD:refs/heads/$1"
}

# Results that were pulled and committed here lie there untracked, and git does not overwrite them. Those that are the same
# to the byte make room, and the push puts them back. 1 if there are none.
make_room() {
  local report kind identity path same=()
  report="$(ssh_script "$REPO/infra/remote/git-state" unsaved "$(remote_dir)")" || return 1
  while IFS=$'\t' read -r kind identity path; do
    [[ "$kind" != training ]] || return 1 # it may be writing them
    [[ "$kind" != result || "$(git_here rev-parse --quiet --verify "HEAD:$path")" != "$identity" ]] || same+=("$path")
  done <<< "$report"
  ((${#same[@]} > 0)) || return 1
  printf '%s\0' "${same[@]}" | ssh_remote "cd $(printf %q "$(remote_dir)") && xargs -0 rm -f --"
}

diverged() {
  local there="$PAPERSPACE_SSH_ALIAS/$1"
  printf '%s has commits of its own on both sides. Those of the machine were fetched as %s: git rebase %s (or git merge), then scripts/paperspace sync again.' "$1" "$there" "$there"
}

note_other_branches() {
  local name
  git_here for-each-ref --format='%(refname:short)' "refs/remotes/$PAPERSPACE_SSH_ALIAS" |
    while read -r name; do
      [[ "$name" == "$PAPERSPACE_SSH_ALIAS/$1" || "$name" == */HEAD ]] || say "Also fetched: $name"
    done
}

# BRANCH: the machine has our last commit checked out when this returns
update_machine() {
  refuse_dirt_there
  fetch_machine
  case "$(compare_branch "$1")" in
    same) ;;
    ahead) push_branch "$1" ;;
    behind) die "The machine has commits on $1 that you do not have; get them first: scripts/paperspace sync" ;;
    *) die "$(diverged "$1")" ;;
  esac
  local there
  there="$(ssh_remote "cd $(printf %q "$(remote_dir)") && git checkout --quiet $(printf %q "$1") -- && git rev-parse HEAD" < /dev/null)" ||
    die "The machine cannot check out $1."
  [[ "$there" == "$(git_here rev-parse HEAD)" ]] || die "The machine is at commit $there, not at yours."
}
