# Setting up the machine: bootstrap. Sourced by infra/work.sh.
# shellcheck shell=bash

# The script is copied, not piped, so that sudo may ask for a password at a terminal
readonly BOOTSTRAP=.cache/paperspace-bootstrap.sh

cmd_bootstrap() {
  local drive="" user="" device=gpu branch
  while (($#)); do
    case "$1" in
      --cpu)
        device=cpu
        shift
        continue
        ;;
      --drive) drive="${2:-}" ;;
      --drive-user) user="${2:-}" ;;
      *) misuse "bootstrap does not know '$1'; see scripts/paperspace bootstrap --help." ;;
    esac
    (($# > 1)) || misuse "bootstrap $1 needs a value."
    shift 2
  done
  [[ -z "$drive$user" || ("$drive" =~ ^//[^/]+/[^/]+ && -n "$user") ]] ||
    misuse "bootstrap --drive is '$drive' and --drive-user '$user'; they must be //ADDRESS/SHARE and a name, both as the console shows them."
  need_tools git ssh
  branch="$(branch_here)"
  ssh_need
  ssh_remote "mkdir -p .cache && cat > $BOOTSTRAP" < "$REPO/infra/bootstrap.sh"
  bootstrap_step machine "$(remote_dir)" "$branch"
  fetch_machine
  case "$(compare_branch "$branch")" in
    ahead) push_branch "$branch" ;;
    same) ;;
    *) say "The machine's $branch has commits that you do not have, and stays as it is: scripts/paperspace sync" ;;
  esac
  bootstrap_step project "$(remote_dir)" "$(git_here config user.name || true)" "$(git_here config user.email || true)" "$(origin_here)" "$device"
  [[ -z "$drive" ]] || bootstrap_drive "$drive" "$user"
  say "The machine is set up; after any stop and start it is as it is now."
}

# At a terminal sudo may ask for a password; elsewhere standard input is not ours to eat
bootstrap_step() {
  local command code=0
  command="bash $BOOTSTRAP $(printf '%q ' "$@")"
  if [[ -t 0 ]]; then
    ssh -t -- "$PAPERSPACE_SSH_ALIAS" "$command" || code=$?
  else
    ssh_remote "$command" < /dev/null || code=$?
  fi
  [[ "$code" == 0 ]] ||
    die "The set-up stopped at its step '$1'; the reason is above. It may be run again at any time: scripts/paperspace bootstrap"
}

# The password travels on standard input: arguments are seen by every process
bootstrap_drive() {
  local password
  IFS= read -rs -p "Password of $2 for $1: " password || [[ -n "$password" ]] || die "No password for $1 on standard input."
  say ""
  printf '%s\n' "$password" | ssh_remote "bash $BOOTSTRAP drive $(printf '%q ' "$1" "$2")" || die "The drive $1 was not mounted; the reason is above."
}

# The hosting service of this repository, if it has one; never the credentials that its address may hold
origin_here() {
  local url
  url="$(git_here config --get remote.origin.url)" || return 0
  case "$url" in
    https://*@*) printf 'https://%s' "${url#https://*@}" ;;
    https://* | ssh://* | *@*:*) printf '%s' "$url" ;;
  esac
}
