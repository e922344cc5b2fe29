# The command code: VS Code here, on the project there; and what is special where it is Windows' VS Code, called from WSL: that
# one connects with Windows' ssh, which reads Windows' configuration, not ours. Sourced by infra/work.sh.
# shellcheck shell=bash

cmd_code() {
  local folder windows=""
  [[ "${1:-}" != --windows ]] || { windows=yes && shift; }
  (($# == 0)) || misuse "code takes nothing but --windows; see scripts/paperspace code --help."
  command -v code > /dev/null ||
    die "The command 'code' is not on PATH; in VS Code: Command Palette, \"Shell Command: Install 'code' command in PATH\"."
  is_windows_code || [[ -z "$windows" ]] || misuse "code --windows is for WSL with Windows' VS Code, and this is none."
  ssh_need
  folder="$(ssh_remote "cd $(printf %q "$(remote_dir)") && pwd" < /dev/null)" || die "$(not_set_up)"
  ! is_windows_code || prepare_windows "$windows"
  code --remote "ssh-remote+$PAPERSPACE_SSH_ALIAS" "$folder"
}

is_wsl() {
  [[ -n "${WSL_DISTRO_NAME:-}" ]] || grep -qi microsoft /proc/sys/kernel/osrelease 2> /dev/null
}

# A VS Code that was installed in WSL itself reads our configuration
is_windows_code() {
  local program
  is_wsl || return 1
  program="$(readlink -f "$(command -v code)")"
  [[ "$program" != /usr/* && "$program" != /snap/* && "$program" != /opt/* ]]
}

# WRITE: not empty where it may write there
prepare_windows() {
  local folder
  folder="$(windows_ssh_folder)" || die "Windows does not tell the folder of its user (cmd.exe and wslpath); is WSL's interoperability switched off?"
  if [[ -n "$1" ]]; then
    mkdir -p "$folder/paperspace.d"
    printf '%s\n' "$folder" > "$HOME/.ssh/paperspace.d/windows"
    write_windows_entry "$folder"
    ssh_include "$folder/config" "Include \"$(wslpath -m "$folder")/paperspace.d/$PAPERSPACE_SSH_ALIAS.conf\""
    note_windows_key "$folder"
  elif [[ ! -e "$folder/paperspace.d/$PAPERSPACE_SSH_ALIAS.conf" ]]; then
    say "Windows' VS Code connects with Windows' ssh, and reads $(wslpath -w "$folder/config")" \
      "(or the file of its setting remote.SSH.configFile), which does not know '$PAPERSPACE_SSH_ALIAS'." \
      "To have it written there, and kept current: scripts/paperspace code --windows"
  fi
}

# Windows' ~/.ssh, as WSL sees it
windows_ssh_folder() {
  local shell=cmd.exe profile
  command -v "$shell" > /dev/null || shell=/mnt/c/Windows/System32/cmd.exe
  profile="$("$shell" /c 'echo %USERPROFILE%' 2> /dev/null < /dev/null | tr -d '\r')" || return 1
  [[ "$profile" == ?:* ]] && printf '%s/.ssh' "$(wslpath -u "$profile")"
}

# FOLDER: the entry that is ours, with Windows' files
write_windows_entry() {
  local ours="$HOME/.ssh/paperspace.d/$PAPERSPACE_SSH_ALIAS.conf" there key
  there="$(wslpath -m "$1")"
  key="$(windows_key "$1")"
  write_if_changed "$1/paperspace.d/$PAPERSPACE_SSH_ALIAS.conf" "$(
    grep -vE '^  (UserKnownHostsFile|IdentityFile) ' "$ours"
    printf '  UserKnownHostsFile "%s"\n' "$(ssh_quote "$there/paperspace.d/$PAPERSPACE_SSH_ALIAS.known_hosts")"
    [[ -z "$key" ]] || printf '  IdentityFile "%s"\n' "$(ssh_quote "$(wslpath -m "$key")")"
  )"
}

# FOLDER: where Windows' ssh finds the configured key, or should; nothing where it has its own choice
windows_key() {
  case "$PAPERSPACE_SSH_KEY" in
    "") ;;
    /mnt/?/*) printf '%s' "$PAPERSPACE_SSH_KEY" ;;
    *) printf '%s/%s' "$1" "$(basename "$PAPERSPACE_SSH_KEY")" ;;
  esac
}

# FOLDER. A private key is the user's to copy
note_windows_key() {
  local key
  key="$(windows_key "$1")"
  if [[ -n "$key" && ! -e "$key" ]]; then
    say "Windows' ssh needs the key too; copy it: cp '$PAPERSPACE_SSH_KEY' '$key'"
  elif [[ -z "$key" ]] && ! compgen -G "$1/id_*" > /dev/null; then
    say "Windows' ssh has no key in $(wslpath -w "$1"); copy yours: cp ~/.ssh/id_* '$1/'"
  fi
}

# After our own entry has changed: Windows' one, where `code --windows` wrote one
refresh_windows_entry() {
  local mark="$HOME/.ssh/paperspace.d/windows"
  [[ ! -e "$mark" ]] || ! is_wsl || write_windows_entry "$(cat "$mark")" ||
    say "Windows' entry for '$PAPERSPACE_SSH_ALIAS' could not be renewed: scripts/paperspace code --windows"
}
